package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"shoal/bench/emulator"
	"shoal/internal/wire"
)

// A result is what a run showed. All figures are of the time in which every
// flow had started and warmed up.
type result struct {
	Flows []flowResult `json:"flows"`
	// Jain is the index of fairness of the capacity shares: 1 when all are equal.
	Jain         float64 `json:"jain"`
	CapacityMbps float64 `json:"capacity_mbps"` // mean
	Seed         uint64  `json:"seed"`
	// LateMillisP95 is what the machine added to the link's delay.
	LateMillisP95 float64 `json:"late_ms_p95"`
	// StolenRatio is the part of the processors' time that a host gave to others.
	StolenRatio float64 `json:"stolen_ratio"`
	// FromSeconds and ToSeconds are the time measured.
	FromSeconds float64 `json:"measured_from_s"`
	ToSeconds   float64 `json:"measured_to_s"`
	// Queue is the link's over time, the largest of each binOf.
	Queue []point `json:"queue_ms,omitempty"`
}

// A flowResult is one flow's.
type flowResult struct {
	Flow string `json:"flow"` // as it was given
	// GoodputMbps counts payload that arrived for the first time.
	GoodputMbps float64 `json:"goodput_mbps"`
	// CapacityShare is the part of the link that packets with such payload took,
	// their headers included.
	CapacityShare float64 `json:"capacity_share"`
	// RetransmitRatio is what was sent again, of all payload sent.
	RetransmitRatio float64 `json:"retransmit_ratio"`
	// LossRatio is of the packets that reached the link: lost on the wire, by
	// the queue's tail or by the policer.
	LossRatio float64 `json:"loss_ratio"`
	// The round trip as the sender's own smoothed estimate saw it.
	RTTMillisP50 float64 `json:"rtt_ms_p50"`
	RTTMillisP95 float64 `json:"rtt_ms_p95"`
	// How long the flow's packets waited at the bottleneck.
	QueueMillisP50 float64 `json:"queue_ms_p50"`
	QueueMillisP95 float64 `json:"queue_ms_p95"`
	// WindowBytesCV is the window's standard deviation over its mean.
	WindowBytesCV float64 `json:"window_bytes_cv"`

	Goodput []point `json:"goodput_mbps_series,omitempty"`
	Payload []point `json:"payload_bytes_series,omitempty"` // since the flow's start, distinct
	Window  []point `json:"window_bytes_series,omitempty"`
	RTT     []point `json:"rtt_ms_series,omitempty"`
}

// A point is a moment since the run's start, in seconds, and a value.
type point [2]float64

// binOf is the resolution of what is shown over time.
const binOf = 100 * time.Millisecond

// evaluate makes a result of what both ends of each flow and the link have seen.
func (s *scenario) evaluate(ends []report, passages []passage) *result {
	from, to := s.measured()
	r := &result{
		CapacityMbps: round(s.meanRate(from, to) / mbit), Seed: s.Seed,
		FromSeconds: from.Seconds(), ToSeconds: to.Seconds(), Queue: queueOverTime(passages, s.Length),
	}
	var shares []float64
	for i, f := range s.Flows {
		sent, received := ends[2*i].Samples, ends[2*i+1].Samples
		useful := received
		if _, tcp := f.congestion(); tcp {
			useful = sent // the kernel's count of what was acknowledged
		}
		v := flowResult{Flow: f.String(), Goodput: goodputOverTime(useful, s.Length)}
		goodput := countedIn(useful, from, to, usefulBytes) / (to - from).Seconds() / mbit
		for _, x := range useful {
			v.Payload = append(v.Payload, point{round(x.AtSeconds), float64(x.UsefulBytes)})
		}
		v.GoodputMbps = round(goodput)
		v.CapacityShare = round(goodput * s.headerFactor(f) / (s.meanRate(from, to) / mbit))
		shares = append(shares, v.CapacityShare)
		if all := countedIn(sent, from, to, sentBytes); all > 0 {
			v.RetransmitRatio = round(countedIn(sent, from, to, againBytes) / all)
		}
		v.fromSender(sent, from, to)
		v.fromLink(passages, i, from, to)
		r.Flows = append(r.Flows, v)
	}
	r.Jain = round(jain(shares))
	return r
}

// headerFactor is the size of a full packet over that of its payload.
func (s *scenario) headerFactor(f flow) float64 {
	const udp, tcp, timestamps = 20 + 8, 20 + 20, 12
	if _, kernel := f.congestion(); !kernel {
		return (wire.DataDatagramBytes + udp) / float64(wire.ChunkBytes)
	}
	segment := s.SegmentBytes
	if segment == 0 {
		segment = emulator.MTU - tcp
	}
	return float64(segment+tcp) / float64(segment-timestamps)
}

func usefulBytes(s sample) int64 { return s.UsefulBytes }
func sentBytes(s sample) int64   { return s.SentBytes }
func againBytes(s sample) int64  { return s.AgainBytes }

// countedIn is how much a counter rose between two moments.
func countedIn(samples []sample, from, to time.Duration, counter func(sample) int64) float64 {
	return counterAt(samples, to, counter) - counterAt(samples, from, counter)
}

// counterAt reads a counter between samples.
func counterAt(samples []sample, at time.Duration, counter func(sample) int64) float64 {
	t := at.Seconds()
	i, _ := slices.BinarySearchFunc(samples, t, func(s sample, t float64) int { return compare(s.AtSeconds, t) })
	switch {
	case i == 0:
		return 0
	case i == len(samples):
		return float64(counter(samples[i-1]))
	}
	a, b := samples[i-1], samples[i]
	part := (t - a.AtSeconds) / (b.AtSeconds - a.AtSeconds)
	return float64(counter(a)) + part*float64(counter(b)-counter(a))
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// fromSender takes over what the sender's samples tell.
func (v *flowResult) fromSender(samples []sample, from, to time.Duration) {
	var windows, rtts []float64
	for _, s := range samples {
		v.Window = append(v.Window, point{round(s.AtSeconds), float64(s.WindowBytes)})
		if s.RTTMillis > 0 {
			v.RTT = append(v.RTT, point{round(s.AtSeconds), round(s.RTTMillis)})
		}
		if s.AtSeconds < from.Seconds() || s.AtSeconds > to.Seconds() {
			continue
		}
		windows = append(windows, float64(s.WindowBytes))
		if s.RTTMillis > 0 {
			rtts = append(rtts, s.RTTMillis)
		}
	}
	slices.Sort(rtts)
	v.RTTMillisP50, v.RTTMillisP95 = round(quantile(rtts, 0.5)), round(quantile(rtts, 0.95))
	v.WindowBytesCV = round(variation(windows))
}

// fromLink takes over what the link has seen of a flow.
func (v *flowResult) fromLink(passages []passage, flow int, from, to time.Duration) {
	var queued []float64
	all, lost := 0, 0
	for _, p := range passages {
		if int(p.flow) != flow || p.at < from || p.at >= to {
			continue
		}
		all++
		if p.fate != emulator.Delivered {
			lost++
		}
		if p.fate == emulator.Delivered || p.fate == emulator.Lost {
			queued = append(queued, p.queued.Seconds()*1000)
		}
	}
	if all > 0 {
		v.LossRatio = round(float64(lost) / float64(all))
	}
	slices.Sort(queued)
	v.QueueMillisP50, v.QueueMillisP95 = round(quantile(queued, 0.5)), round(quantile(queued, 0.95))
}

// queueOverTime is the longest wait in each bin, of the packets of all flows.
func queueOverTime(passages []passage, length time.Duration) []point {
	bins := make([]point, length/binOf)
	for i := range bins {
		bins[i][0] = round((time.Duration(i) * binOf).Seconds())
	}
	for _, p := range passages {
		if i := int(p.at / binOf); i < len(bins) {
			bins[i][1] = max(bins[i][1], round(p.queued.Seconds()*1000))
		}
	}
	return bins
}

func goodputOverTime(samples []sample, length time.Duration) []point {
	var bins []point
	for at := time.Duration(0); at+binOf <= length; at += binOf {
		bins = append(bins, point{round(at.Seconds()), round(countedIn(samples, at, at+binOf, usefulBytes) / binOf.Seconds() / mbit)})
	}
	return bins
}

// withoutSeries is what is printed by default.
func (r *result) withoutSeries() *result {
	short := *r
	short.Queue, short.Flows = nil, slices.Clone(r.Flows)
	for i := range short.Flows {
		f := &short.Flows[i]
		f.Goodput, f.Payload, f.Window, f.RTT = nil, nil, nil, nil
	}
	return &short
}

// print writes the figures as a table.
func (r *result) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "capacity %.2f Mbit/s, measured from %.1f to %.1f s, seed %d; the machine was late by %.2f ms (p95)\n\n",
		r.CapacityMbps, r.FromSeconds, r.ToSeconds, r.Seed, r.LateMillisP95)
	fmt.Fprintf(&b, "%-28s %8s %7s %7s %7s %15s %15s %7s\n", "flow", "Mbit/s", "share", "again", "lost", "RTT ms p50/p95", "queue ms", "cv")
	for _, f := range r.Flows {
		fmt.Fprintf(&b, "%-28s %8.2f %6.1f%% %6.2f%% %6.2f%% %7.1f %7.1f %7.1f %7.1f %7.2f\n", f.Flow, f.GoodputMbps, 100*f.CapacityShare,
			100*f.RetransmitRatio, 100*f.LossRatio, f.RTTMillisP50, f.RTTMillisP95, f.QueueMillisP50, f.QueueMillisP95, f.WindowBytesCV)
	}
	if len(r.Flows) > 1 {
		fmt.Fprintf(&b, "\nJain's index %.3f\n", r.Jain)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// round keeps what a measurement is worth.
func round(v float64) float64 { return math.Round(v*1e4) / 1e4 }
