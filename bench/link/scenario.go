package main

import (
	"errors"
	"fmt"
	"time"

	"shoal/bench/emulator"
	"shoal/bench/replay/trace"
)

const (
	// setUp is how long after the link's beginning a run starts: the processes of
	// all flows wait by then.
	setUp = 2 * time.Second

	lengthMax = 10 * time.Minute

	// carriedMax bounds the bytes that a run can carry, and with them the record
	// of its packets: 20 GB are about 14 million, of 24 bytes each.
	carriedMax = 20e9
)

// A scenario is a bottleneck and the flows that share it. All of it lies in the
// direction of the data; the way back has the same delay and nothing else,
// unless a trace gives it a rate.
type scenario struct {
	RateBytesPerSec float64
	RTT, Jitter     time.Duration
	Reorder         bool // the jitter is drawn for each packet: they overtake each other
	Loss            float64
	Burst           emulator.Burst
	BufferBytes     int // or
	BufferBDP       float64
	Policer         emulator.Policer
	Steps           []rateStep     // after RateBytesPerSec
	Trace           *trace.Network // instead of both
	Flows           []flow
	SegmentBytes    int  // of TCP flows, without headers; 0: what fits the MTU
	Paced           bool // TCP flows spread their packets as ours do
	Length, WarmUp  time.Duration
	Seed            uint64
}

// A rateStep is another rate from a time on, since the run's start.
type rateStep struct {
	At          time.Duration
	BytesPerSec float64
}

// check returns what does not fit together.
func (s *scenario) check() error {
	switch {
	case len(s.Flows) == 0:
		return errors.New("no flow: add --flow shoal-cubic, for instance")
	case len(s.Flows) > flowsMax:
		return fmt.Errorf("more than %d flows", flowsMax)
	case s.Length < time.Second || s.Length > lengthMax:
		return fmt.Errorf("--seconds lies between 1 and %.0f", lengthMax.Seconds())
	case s.Trace != nil && (s.RateBytesPerSec > 0 || len(s.Steps) > 0):
		return errors.New("a --trace is the rate: leave out --rate and --step")
	case s.Trace == nil && s.RateBytesPerSec == 0:
		return errors.New("no rate: add --rate 20mbit, for instance, or --trace FILE.csv")
	case s.SegmentBytes != 0 && (s.SegmentBytes < 500 || s.SegmentBytes > emulator.MTU-40):
		return fmt.Errorf("--mss lies between 500 and %d", emulator.MTU-40)
	}
	last := time.Duration(0)
	for _, step := range s.Steps {
		if step.At <= last || step.At >= s.Length {
			return fmt.Errorf("--step: the times rise, and lie between 0 and the run's end (%v)", s.Length)
		}
		last = step.At
	}
	for _, f := range s.Flows {
		if n := len(f.Tiers); n > 0 && f.Tiers[n-1].At >= s.Length {
			return fmt.Errorf("--flow %s: the last change of tier is after the run's end (%v)", f, s.Length)
		}
	}
	if from, to := s.measured(); from >= to {
		return fmt.Errorf("nothing is left to measure: the last flow starts and warms up (--warmup) until %v, and the run ends at %v", from, to)
	}
	if s.meanRate(0, s.Length)*s.Length.Seconds() > carriedMax {
		return errors.New("too long at this rate: take fewer --seconds")
	}
	if s.meanRate(0, s.Length) == 0 {
		return errors.New("the trace carries nothing in its first seconds: take more --seconds, or another trace")
	}
	return nil
}

// measured is the time of which the figures tell: all flows run, and the last
// one has had the time to start.
func (s *scenario) measured() (from, to time.Duration) {
	for _, f := range s.Flows {
		from = max(from, f.Start)
	}
	return from + s.WarmUp, s.Length
}

// lines are the two directions of the link.
func (s *scenario) lines() (there, back emulator.Line) {
	there = emulator.Line{
		Delay: s.RTT / 2, Jitter: s.Jitter, Reorder: s.Reorder, Loss: s.Loss, Burst: s.Burst, Policer: s.Policer,
		Queue: emulator.Queue{Bytes: s.BufferBytes}, Steps: s.steps(down),
	}
	if s.BufferBDP > 0 {
		there.Queue = emulator.BDP(s.BufferBDP, s.bufferRate(), s.RTT)
	}
	back = emulator.Line{Delay: s.RTT / 2}
	if s.Trace != nil {
		back.Steps = s.steps(up)
	}
	return there, back
}

// bufferRate is the bandwidth of the bandwidth-delay product.
func (s *scenario) bufferRate() float64 {
	if s.Trace != nil {
		return s.meanRate(0, s.Length)
	}
	return s.RateBytesPerSec
}

func down(l trace.Link) int { return l.DownKbps }
func up(l trace.Link) int   { return l.UpKbps }

// steps are the rates over the whole run, in the emulator's time.
func (s *scenario) steps(kbps func(trace.Link) int) []emulator.Step {
	steps := []emulator.Step{{BytesPerSec: s.RateBytesPerSec, Delay: -1}}
	if s.Trace == nil {
		for _, step := range s.Steps {
			steps = append(steps, emulator.Step{At: setUp + step.At, BytesPerSec: step.BytesPerSec, Delay: -1})
		}
		return steps
	}
	steps = steps[:0]
	for at := time.Duration(0); at < s.Length; at = s.Trace.Until(at) {
		steps = append(steps, traceStep(at, s.Trace.At(at), kbps))
	}
	if len(steps) > 0 {
		steps[0].At = 0 // the first row holds while the flows are set up
	}
	// What is left in the queue when the run ends goes out at some rate.
	return append(steps, emulator.Step{At: setUp + s.Length, BytesPerSec: rateMax, Delay: -1})
}

// traceStep is a row of a trace; what it has not measured does not limit.
func traceStep(at time.Duration, l trace.Link, kbps func(trace.Link) int) emulator.Step {
	step := emulator.Step{At: setUp + at, BytesPerSec: rateMax, Delay: -1}
	if n := kbps(l); n >= 0 {
		step.BytesPerSec = float64(n) * mbit / 1000
	}
	if l.RTT >= 0 {
		step.Delay = l.RTT / 2
	}
	return step
}

// meanRate is the link's mean rate between two times since the run's start, in
// bytes per second.
func (s *scenario) meanRate(from, to time.Duration) float64 {
	steps := s.steps(down)
	bytes := 0.0
	for i, step := range steps {
		begin, end := max(step.At-setUp, from), to
		if i+1 < len(steps) {
			end = min(end, steps[i+1].At-setUp)
		}
		if end > begin {
			bytes += step.BytesPerSec * (end - begin).Seconds()
		}
	}
	mean := bytes / (to - from).Seconds()
	if s.Policer.BytesPerSec > 0 {
		mean = min(mean, s.Policer.BytesPerSec)
	}
	return mean
}
