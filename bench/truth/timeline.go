package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// sampleEvery is the grain of a viewer's timeline.
const sampleEvery = 10 * time.Second

// sample is what a viewer had so far, a while after its join.
type sample struct {
	AtS        float64 `json:"at_s"` // since the world's begin
	P2PBytes   int64   `json:"p2p_bytes"`
	CDNBytes   int64   `json:"cdn_bytes"`
	SentBytes  int64   `json:"sent_bytes"`
	PlayedS    float64 `json:"played_s"`
	StalledS   float64 `json:"stalled_s"`
	BufferS    float64 `json:"buffer_s"`
	Peers      int     `json:"peers"`
	RTTMillis  float64 `json:"rtt_ms"` // mean over the peers
	Duplicates int64   `json:"duplicate_bytes"`
}

// printTimeline writes what happened in each stretch of a viewer's samples.
func printTimeline(out io.Writer, title string, samples []sample) {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s\n", title)
	var last sample
	for _, s := range samples {
		fmt.Fprintf(&b, "    %5.0f s: peers %2d, rtt %4.0f ms, from peers %5.2f MB, CDN %5.2f MB, sent %5.2f MB, duplicate %.2f MB, played %5.1f s, stalled %4.1f s, buffer %4.1f s\n",
			s.AtS, s.Peers, s.RTTMillis, mega(s.P2PBytes-last.P2PBytes), mega(s.CDNBytes-last.CDNBytes), mega(s.SentBytes-last.SentBytes),
			mega(s.Duplicates-last.Duplicates), s.PlayedS-last.PlayedS, s.StalledS-last.StalledS, s.BufferS)
		last = s
	}
	_, _ = io.WriteString(out, b.String()) // a terminal that is gone is nobody's loss
}

func mega(n int64) float64 { return float64(n) / 1e6 }
