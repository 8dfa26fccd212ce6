package cc

import "time"

const (
	// minYieldBytes is a quarter of a packet per round trip: beside a greedy flow
	// even one packet per round trip may be 5 % of a slow line.
	minYieldBytes = PacketBytes / 4

	// yieldGain paces a little above window/RTT.
	yieldGain = 1.1
)

// yield is the window of the tier that yields: it grows by a packet or two a round
// trip while the queue is below its target, and shrinks the more the further the
// queue is above it, whoever filled it.
func (c *Tiered) yield(s Sample) {
	m := &c.path
	target := c.params.queueTarget + time.Duration(m.jitterBase.value())
	queue := max(m.standing[0]-time.Duration(m.rttBase.value()), 0)
	if s.RoundStart && queue > target {
		over := float64(queue)/float64(target) - 1
		c.windowBytes *= 1 - min(0.5, 0.5*over+0.15)
	}
	if queue < target*3/4 && s.WindowLimited {
		packets := 1.0
		if queue < target/4 {
			packets = 2
		}
		c.windowBytes += packets * PacketBytes * float64(s.AckedBytes) / max(c.windowBytes, PacketBytes)
	}
	limit := max(InitialWindowBytes, 2.5*bytesAt(m.bytesPerSec(), m.smoothed+m.ackTime()))
	c.windowBytes = min(max(c.windowBytes, minYieldBytes), limit)
}

// beginYielding takes over a window of another tier. If somebody is queueing
// it gives way at once; a cut is always safe.
func (c *Tiered) beginYielding(at int64, windowBytes float64) {
	c.compete.on = false
	c.windowBytes = min(windowBytes, max(float64(c.inFlight), minTieredWindow))
	if c.filled && c.phase != drainTest {
		if c.path.queue(standingRounds) > c.params.queueTarget {
			c.windowBytes /= 2
		}
		c.toCruise()
		c.drain.at = at
	}
}

// endYielding hands the window to a tier that does not yield. If somebody fills
// the queue, the flow joins as a new one would, from where it is.
func (c *Tiered) endYielding(at int64, windowBytes float64) {
	c.toCruise()
	c.probe.next = c.path.round
	if c.path.queue(1) > c.path.foreignQueue() {
		c.compete.enter(at, windowBytes, c.params.keep)
		c.compete.slowStart = true
	}
}
