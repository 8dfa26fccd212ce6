package emulator

import (
	"errors"
	"fmt"
	"time"

	"shoal/bench/replay/trace"
)

// Line is one direction of a link. The zero value carries everything at once.
type Line struct {
	// BytesPerSec of IP packets. Zero: no limit, and so no queue.
	BytesPerSec float64
	// Steps replace BytesPerSec by a rate that changes. They rise by At, and the
	// first is at zero.
	Steps []Step
	// Period after which Steps repeat. Zero: the last one lasts.
	Period time.Duration

	// Queue is what waits for the rate.
	Queue Queue
	// Policer drops what exceeds a rate, before the queue.
	Policer Policer

	// Delay is the propagation, one way.
	Delay time.Duration
	// Jitter is added to Delay: up to as much more or less, never below zero in
	// sum. It wanders in straight lines between values drawn every JitterStep,
	// and packets keep their order; with Reorder it is drawn for every packet by
	// itself, and packets overtake each other.
	Jitter time.Duration
	// JitterStep is how often the jitter turns. Default 20 ms.
	JitterStep time.Duration
	// Reorder: see Jitter.
	Reorder bool

	// Loss is the probability of losing a packet on the wire, behind the queue:
	// what is lost has used its share of the rate.
	Loss float64
	// Burst loses packets in bursts, besides Loss.
	Burst Burst

	// Observe, when set, is told of each packet's fate. It is called on the
	// line's goroutines, one call at a time, and must neither block nor keep or
	// change the packet.
	Observe func(at time.Duration, packet []byte, fate Fate, queued time.Duration)
}

// Step is the rate from a time on, counted from the Network's start.
type Step struct {
	At          time.Duration
	BytesPerSec float64
	// Delay replaces the line's; below zero: it does not.
	Delay time.Duration
}

// Queue is a drop-tail queue. A packet that finds no room is dropped. Where both
// are set, the smaller holds. The zero value is 200 ms.
type Queue struct {
	Bytes int           // waiting or being sent
	Time  time.Duration // until the packet has been sent
}

// BDP is a queue of n bandwidth-delay products.
func BDP(n, bytesPerSec float64, rtt time.Duration) Queue {
	return Queue{Bytes: int(n * bytesPerSec * rtt.Seconds())}
}

// Policer is a token bucket without a queue. The zero value polices nothing.
type Policer struct {
	BytesPerSec float64
	Bucket      int // bytes
}

// Burst is a Gilbert–Elliott channel: it changes between a good and a bad state
// with these probabilities per packet, and loses packets while it is bad.
type Burst struct {
	Enter float64 // good to bad
	Leave float64 // bad to good; 1/Leave packets is the mean length of a burst
	Loss  float64 // of a packet in the bad state
}

// Fate is what became of a packet.
type Fate uint8

// Fates.
const (
	Delivered Fate = iota
	Policed        // dropped by the policer
	QueueFull      // dropped at the queue's tail
	Lost           // on the wire
	Overrun        // dropped because the emulator holds packetsMax packets
	fateCount
)

// String names the fate.
func (f Fate) String() string {
	return [...]string{"delivered", "policed", "queue full", "lost", "overrun"}[f]
}

const (
	defaultQueue      = 200 * time.Millisecond
	defaultJitterStep = 20 * time.Millisecond

	// queueMin is what any queue takes: two full packets, or nothing would pass.
	queueMin = 2 * MTU

	// packetsMax bounds what is on one line: 1 Gbit/s for 0.7 s, 90 MiB.
	packetsMax = 60_000
)

// FromTrace returns the two directions of a recorded access link. What the trace
// has not measured is taken from down and up, as is everything but rate and
// delay.
func FromTrace(n *trace.Network, down, up Line) (Line, Line) {
	const bytesPerKbit = 125.0
	rate := func(kbps int, otherwise float64) float64 {
		if kbps < 0 {
			return otherwise
		}
		return float64(kbps) * bytesPerKbit
	}
	down.Steps, up.Steps = nil, nil
	for i := range n.Len() {
		row := n.Row(i)
		delay := time.Duration(trace.Absent)
		if row.RTT >= 0 {
			delay = row.RTT / 2
		}
		down.Steps = append(down.Steps, Step{At: row.At, BytesPerSec: rate(row.DownKbps, down.BytesPerSec), Delay: delay})
		up.Steps = append(up.Steps, Step{At: row.At, BytesPerSec: rate(row.UpKbps, up.BytesPerSec), Delay: delay})
	}
	down.Period, up.Period = n.Period(), n.Period()
	return down, up
}

// check returns what is wrong with the line.
func (l Line) check() error {
	probability := func(p float64) bool { return p >= 0 && p <= 1 }
	switch {
	case l.BytesPerSec < 0 || l.Policer.BytesPerSec < 0:
		return errors.New("a rate is negative")
	case l.Policer.BytesPerSec > 0 && l.Policer.Bucket < MTU:
		return fmt.Errorf("the policer's bucket of %d bytes never lets a packet of %d pass", l.Policer.Bucket, MTU)
	case l.Delay < 0 || l.Jitter < 0 || l.JitterStep < 0 || l.Period < 0:
		return errors.New("a duration is negative")
	case l.Queue.Bytes < 0 || l.Queue.Time < 0:
		return errors.New("the queue is negative")
	case !probability(l.Loss) || !probability(l.Burst.Enter) || !probability(l.Burst.Leave) || !probability(l.Burst.Loss):
		return errors.New("a probability is not between 0 and 1")
	case l.Period > 0 && len(l.Steps) == 0:
		return errors.New("a period needs steps")
	}
	return l.checkSteps()
}

func (l Line) checkSteps() error {
	if len(l.Steps) == 0 {
		return nil
	}
	sum := 0.0
	for i, s := range l.Steps {
		switch {
		case i == 0 && s.At != 0, i > 0 && s.At <= l.Steps[i-1].At:
			return fmt.Errorf("step %d: the times must rise from 0", i)
		case s.BytesPerSec < 0:
			return fmt.Errorf("step %d: the rate is negative", i)
		}
		sum += s.BytesPerSec
	}
	last := l.Steps[len(l.Steps)-1]
	switch {
	case l.Period > 0 && l.Period <= last.At:
		return errors.New("the period ends before its last step")
	case sum == 0, l.Period == 0 && last.BytesPerSec == 0:
		return errors.New("the line ends with a rate of 0: nothing would ever arrive")
	}
	return nil
}
