package cc

import "time"

const (
	// A drain of 2.5 round trips empties our share of any queue; the second half of
	// it is measured.
	drainEvery        = 5 * time.Second
	drainEveryCompete = 3 * time.Second
	minDrainStep      = 20 * time.Millisecond
)

// drainState is the periodic drain, which keeps rttMin honest, and the test that
// comes with it: a queue that stays although we drained is somebody else's.
type drainState struct {
	at        int64 // when the last one ended
	slot      int64 // of the group
	testing   bool  // the result decides on competing
	suspicion int   // stretches in a row with a queue that may be foreign

	measureAt, endAt int64
	rttMin           time.Duration // since measureAt
}

// suspect looks, after every stretch, whether a queue stands that we cannot explain.
func (c *Tiered) suspect(at int64) {
	s, m := &c.path.stretch, &c.path
	if !c.filled || c.compete.on || c.params.yields {
		return
	}
	stands := s.whole.least-m.minRTT() > m.foreignQueue()
	moves := s.whole.mean()-m.minRTT() > m.jitter+max(8*time.Millisecond, m.minRTT()/5)
	if !stands && !moves {
		c.drain.suspicion = 0
		return
	}
	c.drain.suspicion++
	if c.drain.suspicion >= 2 && time.Duration(at-c.drain.at) > time.Second {
		c.drain.testing = true
	}
}

// drainIsDue decides in cruise. Channels of a group drain in the same slots of
// time, or each would take the others' queue for the path's.
func (c *Tiered) drainIsDue(at int64) bool {
	d := &c.drain
	if c.group != nil && !c.params.yields {
		slot := c.group.slot(c.begun.Add(time.Duration(at)))
		if slot == d.slot {
			return false
		}
		d.slot = slot
		if d.suspicion > 0 || c.compete.on {
			d.testing = true
		}
		return d.testing
	}
	every := drainEvery
	if c.compete.on {
		every = drainEveryCompete
	}
	if !d.testing && time.Duration(at-d.at) <= every {
		return false
	}
	if d.testing || c.compete.on || c.params.yields || time.Duration(at-c.path.rttMin.kept[0].at) > drainEvery {
		return true
	}
	d.at = at // an empty queue has been seen without a drain
	return false
}

func (c *Tiered) beginDrain(at int64) {
	c.phase, c.gain = drainTest, 0.9
	step := max(c.path.smoothed+c.path.jitter, minDrainStep)
	c.drain.measureAt = at + int64(step+step/4)
	c.drain.endAt = at + int64(step*5/2)
	c.drain.rttMin = 0
}

// drainWindow is in flight during a drain.
func (c *Tiered) drainWindow() float64 {
	m := &c.path
	if c.params.yields {
		return max(minYieldBytes, min(c.windowBytes, bytesAt(m.bytesPerSec(), m.minRTT()))/2)
	}
	normal := c.modelWindow(1)
	if c.compete.on {
		normal = c.compete.windowBytes
	}
	return max(minTieredWindow, min(0.7*bytesAt(m.bytesPerSec(), m.minRTT()+m.jitter), normal/2))
}

func (c *Tiered) drainSample(at int64, s Sample) {
	d := &c.drain
	if s.RTT > 0 && at >= d.measureAt && (d.rttMin == 0 || s.RTT < d.rttMin) {
		d.rttMin = s.RTT
	}
	if at < d.endAt {
		return
	}
	d.at = at
	c.toCruise()
	if d.rttMin > 0 && !c.params.yields {
		c.judgeDrain(at, d.rttMin-c.path.minRTT()-c.path.jitter*6/10)
	}
	d.testing = false
}

// judgeDrain enters the competitive mode when the queue stayed, and leaves it
// after two drains in a row that found none.
func (c *Tiered) judgeDrain(at int64, queue time.Duration) {
	m := &c.path
	switch {
	case !c.compete.on:
		if c.drain.testing && queue > m.foreignQueue() {
			window := c.modelWindow(1)
			if c.compete.lately(at) {
				window = max(window, c.compete.leftBytes)
			}
			c.compete.enter(window, c.params.keep)
		}
	case queue >= m.foreignQueue()/2:
		c.compete.drained = 0
	default:
		if c.compete.drained++; c.compete.drained >= 2 {
			c.compete.leave(at)
			c.drain.suspicion = 0
		}
	}
}

// weight is the channel's part of the one place that its group takes.
func (c *Tiered) weight(now time.Time) float64 {
	if c.group == nil {
		return 1
	}
	return c.group.weight(now, c)
}
