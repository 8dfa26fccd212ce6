package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-isatty"

	"shoal/bench/replay"
	"shoal/bench/replay/report"
)

const (
	// progressEvery is between two drawings on a terminal, progressLines between
	// two lines in a pipe.
	progressEvery = 250 * time.Millisecond
	progressLines = 10 * time.Second
	// progressCells is the width of the bar.
	progressCells = 24
)

// startProgress shows how far a replay is until it is stopped; whole is what
// there is to do, in viewer-seconds.
func startProgress(out io.Writer, meter *replay.Meter, whole float64) *progress {
	ctx, cancel := context.WithCancel(context.Background())
	p := &progress{cancel: cancel, done: make(chan struct{})}
	file, ok := out.(*os.File)
	live := ok && isatty.IsTerminal(file.Fd()) && os.Getenv("TERM") != "dumb"
	every := progressLines
	if live {
		every = progressEvery
	}
	go func() {
		defer close(p.done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		speed := newSpeed(time.Now())
		for {
			select {
			case <-ctx.Done():
				if live {
					_, _ = fmt.Fprint(out, "\r\x1b[K")
				}
				return
			case now := <-ticker.C:
				line := replayProgress(meter, whole, speed.at(now, meter.ViewerSeconds.Load()))
				if live {
					line = "\r" + line + "\x1b[K"
				} else {
					line += "\n"
				}
				_, _ = fmt.Fprint(out, line)
			}
		}
	}()
	return p
}

// speed is that of the last ten to twenty seconds. Of the whole run it would be that
// of the policy without peers, which is fast and comes first.
type speed struct{ old, new mark }

type mark struct {
	at   time.Time
	done int64
}

func newSpeed(now time.Time) *speed { return &speed{mark{at: now}, mark{at: now}} }

// at returns how much is done a second.
func (s *speed) at(now time.Time, done int64) float64 {
	if now.Sub(s.new.at) >= progressLines {
		s.old, s.new = s.new, mark{now, done}
	}
	return float64(done-s.old.done) / max(now.Sub(s.old.at).Seconds(), 0.001)
}

// replayProgress is the line that shows how far a replay is; whole is what there is
// to do.
func replayProgress(meter *replay.Meter, whole, perSecond float64) string {
	share := 0.0
	if whole > 0 {
		share = min(float64(meter.ViewerSeconds.Load())/whole, 1)
	}
	cells := int(share * progressCells)
	return fmt.Sprintf("[%s%s] %3.0f %%  simulated %s  %d viewers online  %.0f viewer-seconds/s",
		strings.Repeat("=", cells), strings.Repeat(" ", progressCells-cells), share*100,
		clockText(meter.Simulated()), meter.Online.Load(), perSecond)
}

func clockText(d time.Duration) string {
	s := int(d / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// printReplay prints the results side by side.
func printReplay(out io.Writer, results []replay.Result) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, value func(*replay.Result) string) {
		_, _ = fmt.Fprint(w, name, "\t")
		for i := range results {
			_, _ = fmt.Fprint(w, value(&results[i]), "\t")
		}
		_, _ = fmt.Fprintln(w)
	}
	percent := func(name string, of func(*replay.Result) float64) {
		row(name, func(r *replay.Result) string { return fmt.Sprintf("%.1f %%", 100*of(r)) })
	}
	bytes := func(name string, of func(*replay.Result) int64) {
		unit, size := report.ByteUnit(results, of)
		row(name, func(r *replay.Result) string { return fmt.Sprintf("%.1f %s", float64(of(r))/size, unit) })
	}
	row("", func(r *replay.Result) string { return r.Policy })
	percent("saving", func(r *replay.Result) float64 { return r.Saving })
	percent("net saving", func(r *replay.Result) float64 { return r.NetSaving })
	percent("bound", func(r *replay.Result) float64 { return r.Bound })
	percent("saving/bound", func(r *replay.Result) float64 { return r.SavingOverBound })
	row("CDN p95", func(r *replay.Result) string { return fmt.Sprintf("%.1f Mbit/s", r.CDNP95Mbps) })
	row("stall ratio", func(r *replay.Result) string { return fmt.Sprintf("%.3f %%", 100*r.StallRatio) })
	row("stalls", func(r *replay.Result) string { return fmt.Sprint(r.Stalls) })
	row("start-up p50", func(r *replay.Result) string { return fmt.Sprintf("%.0f ms", r.StartupMsP50) })
	row("p95", func(r *replay.Result) string { return fmt.Sprintf("%.0f ms", r.StartupMsP95) })
	row("p99", func(r *replay.Result) string { return fmt.Sprintf("%.0f ms", r.StartupMsP99) })
	row("played", func(r *replay.Result) string { return fmt.Sprintf("%.0f kbit/s", r.MeanKbps) })
	row("without peers", func(r *replay.Result) string { return fmt.Sprintf("%.0f kbit/s", r.TwinMeanKbps) })
	row("switches", func(r *replay.Result) string { return fmt.Sprint(r.Switches) })
	bytes("from peers", func(r *replay.Result) int64 { return r.P2PBytes })
	bytes("from the CDN", func(r *replay.Result) int64 { return r.CDNBytes })
	bytes("start-up", func(r *replay.Result) int64 { return r.CDNStartupBytes })
	bytes("first copy", func(r *replay.Result) int64 { return r.CDNFirstCopyBytes })
	bytes("rescue", func(r *replay.Result) int64 { return r.CDNRescueBytes })
	bytes("from the cache", func(r *replay.Result) int64 { return r.CacheBytes })
	bytes("duplicates", func(r *replay.Result) int64 { return r.DuplicateBytes })
	bytes("not watched", func(r *replay.Result) int64 { return r.WastedBytes })
	percent("same ISP", func(r *replay.Result) float64 { return r.SameISPShare })
	percent("same region", func(r *replay.Result) float64 { return r.SameRegionShare })
	percent("same country", func(r *replay.Result) float64 { return r.SameCountryShare })
	row("upload Gini", func(r *replay.Result) string { return fmt.Sprintf("%.2f", r.UploadGini) })
	row("digest", func(r *replay.Result) string { return r.Digest[:12] })
	if err := w.Flush(); err != nil {
		return err
	}
	r := &results[0]
	fmt.Fprintf(&b, "%d sessions, %.0f viewer-seconds in %.1f s; CDN p95 without peers %.1f Mbit/s; seed %d\n",
		r.Sessions, r.ViewerSeconds, r.WallSeconds, r.TwinCDNP95Mbps, r.Seed)
	if r.SkippedRows > 0 {
		fmt.Fprintf(&b, "%d rows could not be read and were skipped\n", r.SkippedRows)
	}
	for i := range results {
		if results[i].Partial {
			fmt.Fprintf(&b, "PARTIAL: the run was interrupted; %s saw %d sessions\n", results[i].Policy, results[i].Sessions)
		}
	}
	if slices.ContainsFunc(results, func(o replay.Result) bool { return o.Sessions != r.Sessions }) {
		fmt.Fprintln(&b, "The policies saw different sessions: do not compare them. Let it end, or play less: --to, --max-sessions")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
