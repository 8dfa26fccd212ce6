package rig

import (
	"fmt"
	"math"
	"strings"
)

// Result is what a player did.
type Result struct {
	Scenario Scenario `json:"scenario"`
	// Segments of video in the order in which they came. A player may load a
	// segment again in a better rendition.
	Segments   []Segment `json:"segments"`
	Stalls     int       `json:"stalls"`
	StalledMS  float64   `json:"stalled_ms"`
	StallsAtMS []int     `json:"stalls_at_ms"`
	FirstFrame int       `json:"first_frame_ms"`
	Error      string    `json:"error,omitempty"`
	Done       bool      `json:"done"`

	// Of the node; 0 for Direct.
	LineKbps   int   `json:"node_line_kbps"` // its estimate at the end
	CDNBytes   int64 `json:"cdn_bytes"`
	P2PBytes   int64 `json:"p2p_bytes"`
	CacheBytes int64 `json:"cache_bytes"`
}

// Segment is one video segment that the player loaded.
type Segment struct {
	Index        int     `json:"index"`
	Step         int     `json:"step"` // of the Ladder
	StartMS      int     `json:"start_ms"`
	FirstByteMS  int     `json:"first_byte_ms"` // from the request
	TookMS       int     `json:"took_ms"`
	Bytes        int     `json:"bytes"`
	EstimateKbps int     `json:"estimate_kbps"` // the player's own, after it
	BufferS      float64 `json:"buffer_s"`
}

// Played are the steps that were shown, by segment: a player that changes its
// mind in time loads a segment again (dash.js fastSwitchEnabled).
func (r *Result) Played() []int {
	var steps []int
	for _, s := range r.Segments {
		for len(steps) <= s.Index {
			steps = append(steps, s.Step)
		}
		steps[s.Index] = s.Step
	}
	return steps
}

// settled leaves out the first segments, in which a player feels its way up.
func (r *Result) settled() []int {
	played := r.Played()
	return played[min(SettleSegments, len(played)):]
}

// SettleSegments are the first segments, which say how a player starts rather
// than what it believes.
const SettleSegments = 3

// Modal is the step that most settled segments have; the lower one of equals.
func (r *Result) Modal() int {
	count := make([]int, len(Ladder))
	for _, step := range r.settled() {
		count[step]++
	}
	best := 0
	for step, n := range count {
		if n > count[best] {
			best = step
		}
	}
	return best
}

// MeanStep is the mean step of the settled segments.
func (r *Result) MeanStep() float64 {
	sum := 0.0
	for _, step := range r.settled() {
		sum += float64(step)
	}
	return sum / max(float64(len(r.settled())), 1)
}

// MeanKbps is the mean nominal bitrate of the settled segments.
func (r *Result) MeanKbps() float64 {
	sum := 0.0
	for _, step := range r.settled() {
		sum += float64(Ladder[step])
	}
	return sum / max(float64(len(r.settled())), 1)
}

// Switches counts the changes of rendition that were shown, from the first
// segment on.
func (r *Result) Switches() int {
	n := 0
	played := r.Played()
	for i := 1; i < len(played); i++ {
		if played[i] != played[i-1] {
			n++
		}
	}
	return n
}

// Above counts the segments asked for whose rendition needs more than the line.
func (r *Result) Above() int {
	n := 0
	for _, s := range r.Segments {
		if Ladder[s.Step] > r.Scenario.LineKbps {
			n++
		}
	}
	return n
}

// MeasuredKbps is the median of what the segments' bodies came at, as the
// player's clock saw it; estimators take something close to it.
func (r *Result) MeasuredKbps() int {
	var rates []int
	for _, s := range r.Segments {
		rates = append(rates, int(math.Round(float64(s.Bytes)*8/max(float64(s.TookMS-s.FirstByteMS), 1))))
	}
	return median(rates)
}

// Estimate is the player's own estimate at the end.
func (r *Result) Estimate() int {
	if len(r.Segments) == 0 {
		return 0
	}
	return r.Segments[len(r.Segments)-1].EstimateKbps
}

// Timeline writes when each segment was asked for, how long it took to its first
// and from there to its last byte, and when the picture stopped.
func (r *Result) Timeline() string {
	var b strings.Builder
	for _, s := range r.Segments {
		fmt.Fprintf(&b, "%6d ms: segment %d at step %d, %d + %d ms, then %.1f s of buffer\n",
			s.StartMS, s.Index, s.Step, s.FirstByteMS, s.TookMS-s.FirstByteMS, s.BufferS)
	}
	fmt.Fprintf(&b, "stalls at %d ms", r.StallsAtMS)
	return b.String()
}

// Steps writes the renditions over time, a digit per segment that was shown.
func (r *Result) Steps() string {
	var b strings.Builder
	for _, step := range r.Played() {
		fmt.Fprint(&b, step)
	}
	return b.String()
}
