package cc

import (
	"math"
	"time"
)

// startupState tells when startup has filled the path.
type startupState struct {
	best  float64 // bandwidth at the last round of growth
	stuck int     // rounds since
	queue time.Duration
	over  bool // a group has filled the path
}

// probeState is the rhythm of looking for more bandwidth.
type probeState struct {
	every     int64 // rounds from one probe to the next
	next      int64 // round of the next
	round     int64 // in which the present phase began
	rounds    int   // of the present probe
	at        int64 // when it began, or last found more
	bandwidth float64
	before    float64 // bandwidth when it began
	lossy     bool    // the last one found losses and no bandwidth
}

const (
	probeGrowth  = 1.06 // a probe that delivers so much more goes on
	probeFaster  = 1.25 // and by so much faster
	maxProbeGain = 2

	// startupQueue is what startup may build before it ends.
	startupQueue = 8 * time.Millisecond
)

func (s *probeState) postpone(every, round int64, p *tierParams) {
	s.every = min(every, p.probeEveryMax)
	s.next = round + s.every
}

// advance moves the phases on, after every ACK.
func (c *Tiered) advance(now time.Time, at int64, s Sample) {
	switch c.phase {
	case startup:
		c.startUp(at, s)
	case drainStartup:
		if float64(c.inFlight) <= c.pathBytes()+c.extraBytes() {
			c.toCruise(at)
		}
	case cruise:
		switch {
		case c.drainIsDue(at):
			c.beginDrain(at)
		case c.params.yields:
			c.yield(at, s)
		case c.compete.on:
			if s.WindowLimited && s.AckedBytes > 0 {
				c.compete.acked(now, s.AckedBytes, c.path.smoothed, 1/c.place.channels)
			}
		case s.RoundStart && !s.AppLimited && c.path.round >= c.probe.next:
			c.beginProbe(at)
		}
	case probeUp:
		if s.RoundStart && c.path.round > c.probe.round {
			c.judgeProbe(at)
		}
	case probeDown:
		if float64(c.inFlight) <= c.pathBytes() || c.path.round > c.probe.round+1 {
			c.toCruise(at)
		}
	case drainTest:
		c.drainSample(at, s)
	}
}

// pathBytes is what the path holds without any queue.
func (c *Tiered) pathBytes() float64 {
	return bytesAt(c.rate(), c.path.minRTT()+c.path.jitter+c.path.ackTime()) / c.arriving()
}

// startUp grows exponentially until the bandwidth does not grow any more, or a
// queue builds, or losses exceed what the tier takes.
func (c *Tiered) startUp(at int64, s Sample) {
	m := &c.path
	bandwidth := m.bytesPerSec()
	if s.WindowLimited {
		limit := max(InitialWindowBytes, 2*bytesAt(bandwidth, m.minRTT()+max(m.jitter, startupQueue)+m.ackTime()))
		c.windowBytes = min(c.windowBytes+float64(s.AckedBytes), max(limit, c.windowBytes))
	}
	if s.AppLimited {
		c.start.over = false // it was not this one that filled the path
	}
	if !s.RoundStart || s.AppLimited {
		return
	}
	if bandwidth >= 1.25*c.start.best {
		c.start.best, c.start.stuck = bandwidth, 0
	} else {
		c.start.stuck++
	}
	queued := m.queue(2)-c.start.queue > max(startupQueue, m.minRTT()/4)+m.jitter
	if c.start.over || c.start.stuck >= 3 || queued && c.start.stuck >= 1 || c.losses.roundRatio > c.params.lossCap {
		c.filled = true
		c.drain.at = at
		c.phase, c.gain, c.probe.round = drainStartup, drainGain, m.round
		if c.params.yields {
			c.windowBytes = bytesAt(bandwidth, m.minRTT()+m.ackTime())
		}
	}
}

func (c *Tiered) toCruise(at int64) {
	c.phase, c.gain, c.cruiseRound = cruise, c.cruiseGain(at), c.path.round
	c.probe.next = c.path.round + c.probe.every
}

// cruiseGain leaves a little of the bandwidth, so that a queue that came by chance goes
// away. Where the capacity has changed lately it will again, and what is more than last
// time is noticed at once if the window is the limit.
func (c *Tiered) cruiseGain(at int64) float64 {
	if c.changedAt > 0 && time.Duration(at-c.changedAt) < changingTime && !c.probe.lossy {
		return changingGain
	}
	return steadyGain
}

// beginProbe tries a higher rate, unless the queue stands high (the talk's loss
// avoidance, β).
func (c *Tiered) beginProbe(at int64) {
	m, p := &c.path, c.params
	span := max(m.span(), m.minRTT()/2)
	if c.delayBound > 0 || m.queue(standingRounds) > time.Duration(p.avoid*float64(span))+m.jitter/3 {
		c.probe.next = m.round + 2
		return
	}
	c.phase, c.gain = probeUp, p.probeGain+c.probeNoise()
	c.probe.rounds, c.probe.round, c.probe.at = 0, m.round, at
	c.probe.bandwidth, c.probe.before = m.bytesPerSec(), m.bytesPerSec()
}

// judgeProbe ends a probe that finds nothing, and speeds up one that does.
func (c *Tiered) judgeProbe(at int64) {
	m, p := &c.path, c.params
	c.probe.rounds++
	bandwidth := m.bytesPerSec()
	base := c.losses.baseline()
	packets := bytesAt(bandwidth, m.smoothed) / PacketBytes
	lossy := c.losses.roundRatio > base+max(p.lossTolerance, 0.03)+2*math.Sqrt(max(base, 0.005)/max(packets, 10))
	grew := bandwidth > (probeGrowth+c.probeNoise())*c.probe.bandwidth
	switch {
	case !lossy && c.lossBound > 0 && c.probe.rounds < 8:
		if c.lossBound *= 1.25; c.lossBound > bandwidth {
			c.lossBound = 0
		}
	case !lossy && grew && m.recent-m.minRTT() <= m.explained(p):
		c.probe.bandwidth, c.probe.at, c.changedAt = bandwidth, at, at
		c.gain = min(c.gain*probeFaster, maxProbeGain)
	case lossy || grew || c.probe.rounds >= 2 && time.Duration(at-c.probe.at) >= m.noise()+m.minRTT():
		switch {
		case c.probe.rounds > 3: // it has found much: look again soon
			c.probe.every = p.probeEveryMin
		case lossy:
			c.probe.every = min(2*c.probe.every, 2*p.probeEveryMax)
		default:
			c.probe.every = min(c.probe.every+4, p.probeEveryMax)
		}
		c.phase, c.gain, c.probe.round = probeDown, 0.75, m.round
		if c.probe.lossy = lossy; lossy {
			c.lossBound = atMost(c.lossBound, max(c.probe.before, m.roundRate))
		}
	}
}

// probeNoise is what remains of jitter after averaging: it must not pass for growth.
func (c *Tiered) probeNoise() float64 {
	return min(0.1, c.path.jitter.Seconds()/c.path.minRTT().Seconds()/10)
}

// A dropDetector compares what was delivered within a round trip with the rate
// believed in: after a capacity drop ten rounds would be a long time.
type dropDetector struct {
	at     int64
	bytes  float64
	rttMin time.Duration
	rate   float64 // of the interval that has ended
	queue  time.Duration
	low    float64 // rate of the one before, if that looked like a drop; else 0
}

// acked tells whether an interval has ended.
func (d *dropDetector) acked(at int64, s Sample, m *pathModel) bool {
	d.bytes += float64(s.AckedBytes + s.LateBytes)
	if s.RTT > 0 && (d.rttMin == 0 || s.RTT < d.rttMin) {
		d.rttMin = s.RTT
	}
	elapsed := time.Duration(at - d.at)
	if elapsed < max(m.minRTT()+m.jitter, 20*time.Millisecond) || d.rttMin == 0 {
		return false
	}
	whole := d.at > 0
	*d = dropDetector{at: at, rate: d.bytes / elapsed.Seconds(), queue: d.rttMin - m.minRTT(), low: d.low}
	return whole
}

// dropped adopts the delivered rate when it is clearly less than what is believed, a
// queue stands that jitter cannot explain, and both twice in a row: a machine that
// stood still for a moment looks the same, once.
func (c *Tiered) dropped(at int64, s Sample) {
	m := &c.path
	if !c.filled || c.compete.on || c.params.yields || c.phase == drainTest || s.AppLimited {
		return
	}
	limit := c.params.ownQueue + m.minRTT()*3/10 + m.jitter*22/10
	if c.drop.queue <= limit || c.drop.rate >= 0.75*c.rate()*(1-c.losses.baseline()) {
		c.drop.low = 0
		return
	}
	rate, again := max(c.drop.rate, c.drop.low), c.drop.low > 0
	c.drop.low = c.drop.rate
	if !again {
		return
	}
	c.changedAt = at
	m.bandwidth = windowedMax{}
	m.bandwidth.add(m.round, int64(max(rate, c.rate()/2)), bandwidthRounds)
	c.probe.every = c.params.probeEveryMin
	if c.phase == probeUp {
		c.toCruise(at)
	}
	c.probe.next = m.round + 4
}
