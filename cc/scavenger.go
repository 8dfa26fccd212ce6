package cc

import "time"

const (
	// minYieldBytes is a quarter of a packet per round trip: beside a greedy flow
	// even one packet per round trip may be 5 % of a slow line.
	minYieldBytes = PacketBytes / 4

	// yieldGain paces a little above window/RTT.
	yieldGain = 1.1

	// foreignCuts rounds in a row would have emptied a queue of our own.
	foreignCuts = 4

	// yieldedQueue is the most that a flow leaves behind that was alone while it yielded:
	// its target, jitter allowed for.
	yieldedQueue = 12 * time.Millisecond

	// A flow that comes back within formerTime goes for most of the window that it had.
	aimOfFormer = 0.8
	formerTime  = time.Minute

	// After meeting somebody the window grows by heldGrowth packets a round trip
	// only: Cubic needs seconds to take what was left to it.
	yieldHold  = 10 * time.Second
	heldGrowth = 1.0 / 16
)

// yieldState tells a queue of our own, which goes when we shrink, from another's.
type yieldState struct {
	cuts      int   // rounds in a row in which the queue made us shrink
	heldUntil int64 // somebody was there, and may not have what it can get yet
	met       bool  // in this stay of the tier

	formerBytes float64 // the window of the tier before, and when that was left
	formerAt    int64
}

func (y *yieldState) hold(at int64) { y.heldUntil = at + int64(yieldHold) }

// yield is the window of the tier that yields: it grows by a packet or two a round
// trip while the queue is below its target, and shrinks the more the further the
// queue is above it, whoever filled it.
func (c *Tiered) yield(at int64, s Sample) {
	m := &c.path
	target := c.yieldTarget()
	queue := max(m.standing[0]-time.Duration(m.rttBase.value()), 0)
	if s.RoundStart {
		if queue > target {
			over := float64(queue)/float64(target) - 1
			c.windowBytes *= 1 - min(0.5, 0.5*over+0.05)
			c.yielding.cuts++
		} else {
			c.yielding.cuts = 0
		}
		if c.yielding.cuts >= foreignCuts {
			c.yielding.met = true
			c.yielding.hold(at)
		}
	}
	if queue < target*9/10 && s.WindowLimited {
		packets := 1.0
		switch {
		case at < c.yielding.heldUntil:
			packets = heldGrowth
		case queue < target/4:
			packets = 2
		}
		c.windowBytes += packets * PacketBytes * float64(s.AckedBytes) / max(c.windowBytes, PacketBytes)
	}
	limit := max(InitialWindowBytes, 2.5*bytesAt(m.bytesPerSec(), m.smoothed+m.ackTime()))
	c.windowBytes = min(max(c.windowBytes, minYieldBytes), limit)
}

// yieldTarget is the queue that is given way to. Only so much jitter is allowed
// for: what a late Cubic does to the queue may pass for it, and yielding too much
// harms nobody else.
func (c *Tiered) yieldTarget() time.Duration {
	target := c.params.queueTarget
	return target + min(c.path.jitter, target/2)
}

// beginYielding takes over a window of another tier. Where somebody else was
// queueing it gives way at once: a cut is always safe.
func (c *Tiered) beginYielding(at int64, windowBytes float64) {
	m := &c.path
	queue := m.queue(1) > c.yieldTarget()
	foreign := c.compete.on || c.compete.lately(at) || c.drain.suspected
	if c.filled {
		c.yielding.formerBytes, c.yielding.formerAt = windowBytes, at
	}
	c.compete.on, c.yielding.met = false, false
	c.windowBytes = min(windowBytes, max(float64(c.inFlight), minTieredWindow))
	if !c.filled {
		return
	}
	if queue || foreign {
		c.windowBytes = minTieredWindow
		c.yielding.hold(at)
	}
	c.toCruise(at)
	c.drain.at = at
}

// endYielding hands the window to a tier that does not yield. If somebody fills
// the queue, or was met a moment ago and has just backed off, the flow joins as a
// new one would, from where it is: next to nothing of the queue can be its own. What
// made it yield before does not count: that may have been itself.
func (c *Tiered) endYielding(at int64, windowBytes float64) {
	c.toCruise(at)
	c.probe.next = c.path.round
	if c.path.queue(1) > max(c.path.leftovers(), yieldedQueue) || c.yielding.met && at < c.yielding.heldUntil {
		c.compete.enter(windowBytes, c.params.keep)
		c.compete.slowStart = true
		if time.Duration(at-c.yielding.formerAt) < formerTime {
			c.compete.aim = aimOfFormer * c.yielding.formerBytes
		}
	}
}
