package main

import (
	"fmt"
	"strings"

	"shoal/bench/replay"
)

// figures are one viewer's in one world, real or replayed.
type figures struct {
	Name       string  `json:"name"`
	StartupMS  float64 `json:"startup_ms"`
	StalledS   float64 `json:"stalled_s"`
	ReceivedMB float64 `json:"received_mb"` // from peers, of use or not
	SentMB     float64 `json:"sent_mb"`
	DuplicMB   float64 `json:"duplicate_mb"`
}

func (v *viewerResult) figures() figures {
	return figures{
		Name: v.Name, StartupMS: v.StartupMillis, StalledS: v.StalledS, ReceivedMB: mega(v.RawP2PBytes + v.DuplicateBytes),
		SentMB: mega(v.SentBytes), DuplicMB: mega(v.DuplicateBytes),
	}
}

func replayed(s *replay.SessionResult) figures {
	return figures{
		Name: s.Session, StartupMS: s.Startup.Seconds() * 1000, StalledS: s.Stalled.Seconds(), ReceivedMB: mega(s.Received),
		SentMB: mega(s.Sent), DuplicMB: mega(s.Duplicate),
	}
}

func mega(n int64) float64 { return float64(n) / 1e6 }

// byViewer is a table of the medians of both worlds, so that a difference can be
// followed to those who cause it.
func (s *scaleResult) byViewer() string {
	if len(s.Runs) == 0 || len(s.Replay) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "scale %g, medians, real / replay\n  %-10s %8s %8s %17s %15s %15s %15s %15s\n", s.Scale,
		"viewer", "up kbps", "joins s", "start-up ms", "stalled s", "from peers MB", "duplicates MB", "sent MB")
	for i, h := range s.Homes {
		pick := func(of func(figures) float64) (real, model float64) {
			var a, b []float64
			for _, r := range s.Runs {
				a = append(a, of(r.Viewers[i].figures()))
			}
			for _, r := range s.Replay {
				b = append(b, of(r.Viewers[i]))
			}
			return median(a), median(b)
		}
		fmt.Fprintf(&b, "  %-10s %8d %8.1f", h.Name, h.UpKbps, h.Start.Seconds())
		real, model := pick(func(f figures) float64 { return f.StartupMS })
		fmt.Fprintf(&b, " %8.0f /%7.0f", real, model)
		for _, of := range []func(figures) float64{
			func(f figures) float64 { return f.StalledS }, func(f figures) float64 { return f.ReceivedMB },
			func(f figures) float64 { return f.DuplicMB }, func(f figures) float64 { return f.SentMB },
		} {
			real, model := pick(of)
			fmt.Fprintf(&b, " %7.2f /%6.2f", real, model)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
