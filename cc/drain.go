package cc

import "time"

const (
	// drainSlot is the rhythm of drains. A test of 2.5 round trips empties our share of
	// any queue; the second half of it is measured.
	drainSlot    = 3 * time.Second
	minDrainStep = 20 * time.Millisecond

	// drainPause is how many round trips lie between drains at least: on a thin line
	// they would take up most of the time.
	drainPause = 25

	// drainEvery is the age from which on rttMin is refreshed by a drain. Jitter shows
	// round trips like it every second or two, and then there is no need.
	drainEvery = 8 * time.Second

	// The parts of the window that stay during a drain. A refresh has only our own
	// queue to empty; a test, that of all who drain with us.
	refreshKeep = 0.7
	testKeep    = 0.5
)

// drainState is the periodic drain, which keeps rttMin honest, and the test that
// comes with it: a queue that stays although we drained is somebody else's.
type drainState struct {
	at        int64 // when the last one ended
	slot      int64 // in which it was decided about the last one
	doubtful  bool  // a queue stood in the last stretch that may be foreign
	suspected bool  // and in the one before
	testing   bool  // the result decides on competing
	stayed    bool  // the queue was there in the last test, too

	measureAt, endAt int64
	rttMin           time.Duration // since measureAt
}

// suspect looks, after every stretch, whether a queue stands that we cannot explain. Under
// jitter the least round trip of one stretch is a matter of luck.
func (c *Tiered) suspect() {
	s, m := &c.path.stretch, &c.path
	if !c.filled || c.compete.on || c.params.yields {
		return
	}
	stands := s.whole.least-m.minRTT() > m.foreignQueue()
	moves := s.whole.mean()-m.minRTT() > m.jitter+max(12*time.Millisecond, m.minRTT()/4, m.timeOf(ownPackets))
	doubtful := stands || moves
	c.drain.suspected = doubtful && c.drain.doubtful
	c.drain.doubtful = doubtful
}

// drainIsDue decides in cruise. Channels drain in the same slots of wall-clock time,
// those of other nodes too as far as clocks agree, or each would take the others'
// queue for a stranger's.
func (c *Tiered) drainIsDue(at int64) bool {
	d := &c.drain
	wall := c.begun.Add(time.Duration(at)).UnixNano()
	slot, late := wall/int64(drainSlot), time.Duration(wall%int64(drainSlot))
	if slot == d.slot {
		return false
	}
	d.slot = slot
	d.stayed = d.stayed && d.suspected
	if time.Duration(at-d.at) < max(drainSlot/2, drainPause*c.path.smoothed) {
		return false
	}
	// Whoever comes late, from a probe, drains while others have filled up again.
	d.testing = d.suspected && late < c.path.smoothed
	return d.testing || c.compete.on || time.Duration(at-c.path.emptyAt) > drainEvery
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
	normal, keep := c.modelWindow(1), refreshKeep
	if c.compete.on {
		normal = c.compete.windowBytes
	}
	if c.compete.on || c.drain.testing {
		keep = testKeep
	}
	return max(c.minWindow(), min(0.7*bytesAt(m.bytesPerSec(), m.minRTT()+m.jitter), keep*normal))
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
	c.toCruise(at)
	if d.rttMin > 0 && !c.params.yields {
		c.judgeDrain(at, d.rttMin-c.path.minRTT()-c.path.jitter*6/10)
	}
	d.testing = false
}

// judgeDrain enters the competitive mode when the queue stayed in two tests in a row,
// and leaves it after two drains in a row that found none. One test may fall into
// a slot that others of our kind, who saw no reason, let pass.
func (c *Tiered) judgeDrain(at int64, queue time.Duration) {
	m, d := &c.path, &c.drain
	switch {
	case !c.compete.on && d.testing:
		lately, stayed := c.compete.lately(at), d.stayed
		d.stayed = queue > m.foreignQueue()
		if d.stayed && (stayed || lately) {
			d.stayed = false
			c.beginCompeting(lately)
		}
	case !c.compete.on: // rttMin was refreshed, no more
	case queue >= m.foreignQueue()/2:
		c.compete.drained = 0
	default:
		if c.compete.drained++; c.compete.drained >= 2 {
			c.compete.leave(at)
			d.doubtful, d.suspected = false, false
		}
	}
}

// beginCompeting enters the mode; again: from the window with which it was left not long ago.
func (c *Tiered) beginCompeting(again bool) {
	window := c.modelWindow(1)
	if again {
		window = max(window, c.compete.leftBytes)
	}
	c.compete.enter(window, c.params.keep)
}
