package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"shoal/bench/replay"
	"shoal/bench/replay/trace"
)

const (
	// savingWithin and stallsWithin are how far the replay may be from the real
	// median, as shares; inside the real runs' spread is as good.
	savingWithin = 0.05
	stallsWithin = 0.01
	// openRoundTrips: TCP, the playlist or meanwhile the manifest's header, a frame
	// of the manifest's path index, a page, and the initialization segment.
	openRoundTrips = 5
	// replaySeeds: the replay's figure is the median of as many.
	replaySeeds = 5
)

// replayResult is a world in the replay.
type replayResult struct {
	Seed         uint64    `json:"seed"`
	Saving       float64   `json:"saving"`
	StallRatio   float64   `json:"stall_ratio"`
	StartupP50   float64   `json:"startup_ms_p50"`
	CDNStartup   float64   `json:"cdn_startup_bytes"`
	CDNFirstCopy float64   `json:"cdn_first_copy_bytes"`
	CDNRescue    float64   `json:"cdn_rescue_bytes"`
	Viewers      []figures `json:"viewers"`
}

func (r *replayResult) sentMB() (texts []string) {
	for _, v := range r.Viewers {
		texts = append(texts, fmt.Sprintf("%.1f", v.SentMB))
	}
	return texts
}

// check is one comparison.
type check struct {
	Scale      float64 `json:"scale"`
	What       string  `json:"what"`
	Real       spread  `json:"real"`
	Replay     float64 `json:"replay"` // median
	Difference float64 `json:"difference"`
	Within     float64 `json:"within"`
	Pass       bool    `json:"pass"`
}

func (c check) String() string {
	verdict := "FAIL"
	if c.Pass {
		verdict = "PASS"
	}
	return fmt.Sprintf("%s scale %g %s: replay %.2f %%, real %.2f %% (%.2f–%.2f): %+.2f points, %.0f allowed",
		verdict, c.Scale, c.What, 100*c.Replay, 100*c.Real.Median, 100*c.Real.Least, 100*c.Real.Most, 100*c.Difference, 100*c.Within)
}

func compareFigure(scale float64, what string, real *spread, got, within float64) check {
	c := check{Scale: scale, What: what, Real: *real, Replay: got, Difference: got - real.Median, Within: within}
	c.Pass = math.Abs(c.Difference) <= within || got >= real.Least && got <= real.Most
	return c
}

// compare runs the world in the replay and checks it against the real runs.
func (s *scaleResult) compare(ctx context.Context, w *world, t *title) error {
	var savings, stalls []float64
	for i := range uint64(replaySeeds) {
		r, err := w.replay(ctx, t, w.seed+i)
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		s.Replay = append(s.Replay, r)
		savings, stalls = append(savings, r.Saving), append(stalls, r.StallRatio)
	}
	if s.Saving != nil {
		s.Checks = []check{
			compareFigure(s.Scale, "saving", s.Saving, median(savings), savingWithin),
			compareFigure(s.Scale, "stalled", s.StallRatio, median(stalls), stallsWithin),
		}
	}
	return nil
}

func (s *scaleResult) failed() (count int) {
	for _, c := range s.Checks {
		if !c.Pass {
			count++
		}
	}
	return count
}

// replay plays the world on a virtual clock.
func (w *world) replay(ctx context.Context, t *title, seed uint64) (*replayResult, error) {
	var sessions []replay.Session
	for _, h := range w.homes {
		s := trace.NewSession(h.Name, h.Start, "truth", h.Watch)
		s.Kind, s.BitrateKbps, s.TitleLength, s.Position = trace.VOD, t.kbps, titleLength, 0
		s.DownKbps, s.UpKbps, s.RTT, s.Linger = h.DownKbps, h.UpKbps, h.RTT, 0
		s.NAT, s.Uploads = trace.NATOpen, trace.UploadsYes
		sessions = append(sessions, replay.Session{Session: s, Crash: h.Crash})
	}
	got, err := replay.Run(ctx, replay.Config{
		Seed: seed, Policies: []string{w.policy}, Segment: segmentLength, CDNRTT: originWay,
		MaxBuffer: 30 * time.Second, Cache: 256 << 20,
		UplinkQueue: w.uplinkQueueKiB << 10, CDNHTTP1: true, OpenRoundTrips: openRoundTrips,
	}, sessions, nil)
	if err != nil {
		return nil, err
	}
	for _, r := range got {
		if r.Policy != w.policy {
			continue
		}
		out := &replayResult{
			Seed: seed, Saving: r.Saving, StallRatio: r.StallRatio, StartupP50: r.StartupMsP50,
			CDNStartup: float64(r.CDNStartupBytes), CDNFirstCopy: float64(r.CDNFirstCopyBytes), CDNRescue: float64(r.CDNRescueBytes),
		}
		for i := range r.PerSession {
			out.Viewers = append(out.Viewers, replayed(&r.PerSession[i]))
		}
		return out, nil
	}
	return nil, fmt.Errorf("there is no result of policy %s", w.policy)
}
