package replay

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
)

// WriteEvents writes one CSV line per session and policy. What is true of a whole
// run, whether it is partial and how many rows were skipped, stands in each line.
func WriteEvents(w io.Writer, results []Result) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{
		"policy", "session", "title", "start_s", "watched_s", "played_s", "startup_ms", "stalls", "stalled_s",
		"p2p_bytes", "cdn_startup_bytes", "cdn_first_copy_bytes", "cdn_rescue_bytes", "cdn_hash_failure_bytes",
		"cache_bytes", "duplicate_bytes", "wasted_bytes", "sent_bytes", "mean_kbps", "switches",
		"partial", "skipped_rows",
	}) // Flush tells
	for i := range results {
		for j := range results[i].PerSession {
			s := &results[i].PerSession[j]
			startup := "" // no picture was ever shown
			if s.Started {
				startup = fmt.Sprintf("%.3f", s.Startup.Seconds()*1000)
			}
			record := []string{
				results[i].Policy, s.Session, s.Title, seconds(s.Start.Seconds()), seconds(s.Watched.Seconds()),
				seconds(s.Played.Seconds()), startup, strconv.Itoa(s.Stalls), seconds(s.Stalled.Seconds()),
			}
			for _, n := range []int64{s.P2P, s.CDN[0], s.CDN[1], s.CDN[2], s.CDN[3], s.Cache, s.Duplicate, s.Wasted, s.Sent} {
				record = append(record, strconv.FormatInt(n, 10))
			}
			record = append(record, strconv.FormatFloat(s.MeanKbps(), 'f', 0, 64), strconv.Itoa(s.Switches),
				strconv.FormatBool(results[i].Partial), strconv.Itoa(results[i].SkippedRows))
			_ = out.Write(record) // Flush tells
		}
	}
	out.Flush()
	return out.Error()
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }
