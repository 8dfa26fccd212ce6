package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"shoal/bench/emulator"
)

const pieceBytes = 64 << 10

// viewerResult is one viewer of one run.
type viewerResult struct {
	Name   string `json:"name"`
	UpKbps int    `json:"up_kbps"`
	Crash  bool   `json:"crash"`

	// Bytes of segments of which at least the first picture was shown, by source.
	P2PBytes int64 `json:"p2p_bytes"`
	CDNBytes int64 `json:"cdn_bytes"`
	// MixedBytes are of pieces that came from both, and divided in proportion.
	MixedBytes int64 `json:"mixed_bytes"`
	// UnseenBytes of the shown segments could not be attributed: they came and
	// were shown between two looks at a node that then crashed.
	UnseenBytes int64 `json:"unseen_bytes"`

	// All that came, of use or not.
	RawP2PBytes    int64            `json:"raw_p2p_bytes"`
	RawCDNBytes    int64            `json:"raw_cdn_bytes"`
	CDNReasons     map[string]int64 `json:"cdn_reasons"`
	DuplicateBytes int64            `json:"duplicate_bytes"`
	SentBytes      int64            `json:"sent_bytes"`
	Notes          map[string]int64 `json:"notes,omitempty"` // a rival's own

	StartupMillis float64 `json:"startup_ms"` // −1: no picture
	Stalls        int     `json:"stalls"`
	StalledS      float64 `json:"stalled_s"`
	PlayedS       float64 `json:"played_s"`

	Timeline []sample  `json:"timeline"`
	Uplink   []carried `json:"uplink"` // what the household's uplink carried
}

// sources are bytes by where their pieces came from.
type sources struct{ p2p, cdn, mixed int64 }

// countPieces reads a segment's letters; those of pieces that are not here, or
// were here before, do not count.
func countPieces(pieces string, bytes int64) (s sources) {
	for i, letter := range pieces {
		n := max(min(pieceBytes, bytes-int64(i)*pieceBytes), 0)
		switch letter {
		case 'P':
			s.p2p += n
		case 'C':
			s.cdn += n
		case 'M':
			s.mixed += n
		}
	}
	return s
}

// played books a segment; mixed is the peers' part of what came from both.
func (r *viewerResult) played(s sources, mixed float64) {
	fromPeers := int64(mixed * float64(s.mixed))
	r.P2PBytes += s.p2p + fromPeers
	r.CDNBytes += s.cdn + s.mixed - fromPeers
	r.MixedBytes += s.mixed
}

// runResult is one real run.
type runResult struct {
	Saving       float64          `json:"saving"`
	RawSaving    float64          `json:"raw_saving"` // of all bytes, played or not
	StallRatio   float64          `json:"stall_ratio"`
	Stalls       int              `json:"stalls"`
	StartupP50   float64          `json:"startup_ms_p50"`
	StartupMax   float64          `json:"startup_ms_max"`
	MixedShare   float64          `json:"mixed_share"`  // of the played bytes
	UnseenShare  float64          `json:"unseen_share"` // of the played bytes
	CDNReasons   map[string]int64 `json:"cdn_reasons"`
	DeviceDrops  int64            `json:"device_drops"`
	LateP95Milli float64          `json:"late_p95_ms"` // the emulator's; see bench/emulator
	WaitMillis   float64          `json:"wait_ms"`     // for a processor, mean of the nodes' threads
	Load         string           `json:"load"`        // of the machine over the run's last 1 and 5 minutes
	Viewers      []viewerResult   `json:"viewers"`
	// Lines are the origin's, then the households', as in the sessions file.
	Lines []emulator.LineStats `json:"lines"`
}

func (r *runResult) sum() {
	var p2p, cdn, rawP2P, rawCDN, mixed, unseen int64
	var stalled, played float64
	var startups []float64
	r.CDNReasons = make(map[string]int64)
	for _, v := range r.Viewers {
		p2p, cdn, mixed, unseen = p2p+v.P2PBytes, cdn+v.CDNBytes, mixed+v.MixedBytes, unseen+v.UnseenBytes
		rawP2P, rawCDN = rawP2P+v.RawP2PBytes, rawCDN+v.RawCDNBytes
		stalled, played = stalled+v.StalledS, played+v.PlayedS
		r.Stalls += v.Stalls
		if v.StartupMillis >= 0 {
			startups = append(startups, v.StartupMillis)
		}
		for reason, n := range v.CDNReasons {
			r.CDNReasons[reason] += n
		}
	}
	slices.Sort(startups)
	r.Saving, r.RawSaving = share(p2p, p2p+cdn), share(rawP2P, rawP2P+rawCDN)
	r.MixedShare, r.UnseenShare = share(mixed, p2p+cdn), share(unseen, p2p+cdn+unseen)
	if stalled+played > 0 {
		r.StallRatio = stalled / (stalled + played)
	}
	r.StartupP50, r.StartupMax = median(startups), most(startups)
}

// addNetwork adds the emulator's counters.
func (r *runResult) addNetwork(network *emulator.Network) error {
	stats, err := network.Stats()
	if err != nil {
		return err
	}
	r.DeviceDrops, r.Lines = stats.DeviceDrops, stats.Lines
	for _, line := range stats.Lines {
		r.LateP95Milli = max(r.LateP95Milli, float64(line.LateP95)/float64(time.Millisecond))
	}
	return nil
}

func (r *runResult) write(file string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

func share(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func (r *runResult) line(scale float64, number int) string {
	var ups []string
	for _, v := range r.Viewers {
		ups = append(ups, fmt.Sprintf("%.1f", float64(v.SentBytes)/1e6))
	}
	var reasons []string
	for _, name := range sortedKeys(r.CDNReasons) {
		reasons = append(reasons, fmt.Sprintf("%s %.1f", name, float64(r.CDNReasons[name])/1e6))
	}
	return fmt.Sprintf("scale %g run %d: saving %.1f %% (all bytes %.1f %%), stalled %.2f %% in %d stalls, start %.0f ms (slowest %.0f); "+
		"CDN MB: %s; sent MB: %s; emulator late p95 %.1f ms, waits %.2f ms, load %s, %d device drops, mixed %.1f %%, unseen %.1f %%",
		scale, number, 100*r.Saving, 100*r.RawSaving, 100*r.StallRatio, r.Stalls, r.StartupP50, r.StartupMax,
		strings.Join(reasons, ", "), strings.Join(ups, " "), r.LateP95Milli, r.WaitMillis, r.Load, r.DeviceDrops, 100*r.MixedShare, 100*r.UnseenShare)
}

func sortedKeys(m map[string]int64) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// spread is a figure over several runs.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

func over(values []float64) spread {
	if len(values) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	return spread{Median: median(values), Least: slices.Min(values), Most: slices.Max(values)}
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

func most(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return slices.Max(values)
}

// scaleResult is all about one scale.
type scaleResult struct {
	Scale      float64      `json:"scale"`
	DemandKbps int          `json:"demand_kbps"`
	Seed       uint64       `json:"seed"`
	Homes      []home       `json:"homes"`
	Runs       []*runResult `json:"runs"`

	Saving     *spread `json:"saving,omitempty"`
	StallRatio *spread `json:"stall_ratio,omitempty"`
	StartupP50 *spread `json:"startup_ms_p50,omitempty"`

	Replay []*replayResult `json:"replay,omitempty"`
	Checks []check         `json:"checks,omitempty"`
}

func (s *scaleResult) summarize() {
	if len(s.Runs) == 0 {
		return
	}
	of := func(f func(*runResult) float64) *spread {
		var values []float64
		for _, r := range s.Runs {
			values = append(values, f(r))
		}
		v := over(values)
		return &v
	}
	s.Saving = of(func(r *runResult) float64 { return r.Saving })
	s.StallRatio = of(func(r *runResult) float64 { return r.StallRatio })
	s.StartupP50 = of(func(r *runResult) float64 { return r.StartupP50 })
}

func (s *scaleResult) print(out io.Writer) {
	text := ""
	if s.Saving != nil {
		text += fmt.Sprintf("scale %g, real, median of %d (least to most): saving %.1f %% (%.1f–%.1f), stalled %.2f %% (%.2f–%.2f), start %.0f ms (%.0f–%.0f)\n",
			s.Scale, len(s.Runs), 100*s.Saving.Median, 100*s.Saving.Least, 100*s.Saving.Most,
			100*s.StallRatio.Median, 100*s.StallRatio.Least, 100*s.StallRatio.Most, s.StartupP50.Median, s.StartupP50.Least, s.StartupP50.Most)
	}
	for _, r := range s.Replay {
		text += fmt.Sprintf("scale %g, replay, seed %d: saving %.1f %%, stalled %.2f %%, start %.0f ms; CDN MB played: startup %.1f, first copy %.1f, rescue %.1f; sent MB: %s\n",
			s.Scale, r.Seed, 100*r.Saving, 100*r.StallRatio, r.StartupP50, r.CDNStartup/1e6, r.CDNFirstCopy/1e6, r.CDNRescue/1e6, strings.Join(r.sentMB(), " "))
	}
	text += s.byViewer()
	for _, c := range s.Checks {
		text += c.String() + "\n"
	}
	_, _ = io.WriteString(out, text) // a terminal that is gone is nobody's loss
}
