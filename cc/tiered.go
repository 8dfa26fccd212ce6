package cc

import (
	"math"
	"time"
)

// A TierController is a Controller whose aggressiveness follows the urgency of
// what it carries.
type TierController interface {
	Controller
	SetTier(now time.Time, t Tier)
	Tier() Tier
	// Mode names what the controller is doing, for people.
	Mode() string
}

// phase is where a Tiered is in finding and keeping the path's bandwidth.
type phase uint8

const (
	startup phase = iota
	drainStartup
	cruise
	probeUp
	probeDown
	drainTest
)

const (
	// startupGain doubles the rate within a round trip (4·ln 2, BBR §4.3.1).
	startupGain = 2.77
	// The gains of cruise, and for how long a change of capacity counts.
	steadyGain   = 0.99
	changingGain = 1.03
	changingTime = 5 * time.Second
	drainGain    = 0.5
	// competeGain keeps the window the limit while competing, as Cubic's.
	competeGain = cubicPacingGain
	// boundGrowth is the part by which the bound of a congestion grows in a round
	// trip. Four flows in half a BDP lose 4 % with a quarter, 2 % with this.
	boundGrowth = 0.03
	// jitterRoom is the part of J by which probes need a smaller window. With all of it capacity
	// that comes under jitter is found later.
	jitterRoom = 0.7
	// lossSigmas of what chance loses more in a round trip than it does on average
	// are sent all the same.
	lossSigmas = 2
	// minTieredWindow keeps acknowledgements coming.
	minTieredWindow = 4 * PacketBytes
)

// Tiered keeps in flight what the path holds and no more, whatever the loss:
// bandwidth and round trip come from windowed filters, growth from probes, and
// losses count as congestion only while a queue stands or when there are more of
// them than the path has by itself. The tier says how far each of that goes.
// Beside a flow that keeps the queue filled it competes as Cubic does; in its
// slowest tier it yields to everybody.
type Tiered struct {
	// constant
	begun time.Time
	group *Group // nil: alone

	place   place   // in the group
	sharers float64 // how many of the group met the last congestion together

	tier   Tier
	params *tierParams

	phase  phase
	filled bool // the bandwidth has been found
	gain   float64
	path   pathModel
	losses lossAccount

	windowBytes float64 // of startup, and of the tier that yields
	start       startupState
	probe       probeState
	drain       drainState
	drop        dropDetector
	compete     competition
	yielding    yieldState

	// Bounds below the measured bandwidth, in bytes per second; 0: none.
	delayBound float64 // after congestion, relaxed by quiet rounds
	lossBound  float64 // of the governor, relaxed by stretches without loss

	recoverySince time.Time
	cruiseRound   int64 // the round in which the present cruise began
	changedAt     int64 // when the path was last seen to carry more or less; 0: never
	inFlight      int
	sentAt        int64 // when the last packet left
	now           int64 // the latest moment seen
}

// NewTiered returns a Tiered for a channel that begins now.
func NewTiered(now time.Time, t Tier) *Tiered {
	c := &Tiered{begun: now.Add(-time.Nanosecond), recoverySince: now.Add(-time.Nanosecond), place: alone, sharers: 1}
	c.tier, c.params = min(t, Slow), &tierTable[min(t, Slow)]
	c.startOver(InitialWindowBytes)
	return c
}

// Tier is part of TierController.
func (c *Tiered) Tier() Tier { return c.tier }

// Mode is part of TierController.
func (c *Tiered) Mode() string {
	switch {
	case c.phase == startup:
		return "startup"
	case c.phase == drainTest || c.phase == drainStartup:
		return "drain"
	case c.params.yields:
		return "yield"
	case c.compete.on:
		return "compete"
	case c.phase == probeUp:
		return "probe"
	default:
		return "cruise"
	}
}

// SetTier is part of TierController. No filter is lost, and the window does not
// jump; a flow that had been yielding ramps up like a new one, from where it is.
func (c *Tiered) SetTier(now time.Time, t Tier) {
	t = min(t, Slow)
	if t == c.tier {
		return
	}
	yielded, window := c.params.yields, float64(c.WindowBytes())
	c.tier, c.params = t, &tierTable[t]
	switch {
	case c.params.yields && !yielded:
		c.beginYielding(c.clock(now), window)
	case !c.params.yields && yielded && c.filled:
		c.endYielding(c.clock(now), window)
	}
}

// Sent is part of Controller.
func (c *Tiered) Sent(now time.Time, bytes, inFlight int) {
	at := c.clock(now)
	if inFlight == bytes && c.sentAt > 0 {
		c.resume(at, time.Duration(at-c.sentAt))
	}
	c.sentAt, c.inFlight = at, inFlight
}

// Acked is part of Controller.
func (c *Tiered) Acked(now time.Time, s Sample) {
	at := c.clock(now)
	c.inFlight = s.InFlight
	quiet := c.quiet()
	c.path.acked(at, s, quiet)
	c.losses.arrived(s, quiet, c.path.low(c.params))
	if !c.path.known() {
		return
	}
	if c.drop.acked(at, s, &c.path) {
		c.dropped(at, s)
	}
	if s.RoundStart {
		c.endRound(at, s.Delivered)
		if c.group != nil {
			c.place = c.group.place(now, c, s.InFlight+s.AckedBytes)
		}
	}
	if s.CEPackets > 0 {
		c.congested(now, s.SentAt)
	}
	c.advance(now, at, s)
}

// Lost is part of Controller.
func (c *Tiered) Lost(now time.Time, l Loss) {
	c.inFlight = l.InFlight
	low := c.path.low(c.params)
	c.losses.gone(float64(l.Bytes), c.quiet(), low)
	switch {
	case l.Persistent:
		c.startOver(minTieredWindow)
	case c.takenForRandom(low):
	default:
		c.congested(now, l.SentAt)
	}
}

// WindowBytes is part of Controller.
func (c *Tiered) WindowBytes() int {
	return int(min(c.window(), MaxWindowBytes))
}

// PacingBytesPerSec is part of Controller.
func (c *Tiered) PacingBytesPerSec() float64 {
	bandwidth := c.path.bytesPerSec()
	srtt := max(c.path.smoothed, minPacingRTT).Seconds()
	switch {
	case !c.path.known():
		return startupGain * c.windowBytes / initialRTT.Seconds()
	case c.phase == startup:
		return startupGain * max(bandwidth, c.windowBytes/srtt/2)
	case c.params.yields:
		return yieldGain * c.window() / srtt
	case c.compete.on:
		return competeGain * c.window() / srtt
	default:
		// Of round trips that become short at once, after an outage, the average would
		// tell long afterwards: the least window would take as long as ever.
		srtt = max(min(c.path.smoothed, c.path.recent), minPacingRTT).Seconds()
		return max(c.gain*c.rate()/c.arriving(), c.minWindow()/srtt)
	}
}

// clock turns a moment into nanoseconds since the channel began, at least 1 and never backwards.
func (c *Tiered) clock(now time.Time) int64 {
	c.now = max(c.now, int64(now.Sub(c.begun)), 1)
	return c.now
}

func (c *Tiered) window() float64 {
	switch {
	case c.phase == startup:
		return c.windowBytes
	case c.phase == drainTest:
		return c.drainWindow()
	case c.params.yields:
		return max(c.windowBytes, minYieldBytes)
	case c.compete.on:
		return max(c.compete.windowBytes, minTieredWindow)
	case c.phase == probeUp:
		return max(c.modelWindow(c.gain), c.minWindow())
	default:
		return max(c.modelWindow(1), c.minWindow())
	}
}

// modelWindow is what may be in flight at a multiple of the rate: what the path
// holds, jitter and losses included, a small queue of our own, what waits for
// its ACK, and K. A probe does not multiply the jitter, and less of rttMin where there
// is some: mostly it holds back less than the window covers, which is room enough. A lost
// packet is in flight for about two round trips, until later ones have come.
func (c *Tiered) modelWindow(gain float64) float64 {
	m := &c.path
	more := (gain - 1) * max(float64(m.minRTT())-jitterRoom*float64(m.jitter), 0)
	hold := m.minRTT() + time.Duration(more) + m.jitter + c.params.ownQueue + m.ackTime()
	bytes, arriving := bytesAt(c.rate(), hold), c.arriving()
	if arriving < 1 {
		bytes = bytes/arriving*(2-arriving) + lossSigmas*math.Sqrt((1-arriving)*bytes*PacketBytes)
	}
	return bytes + c.extraBytes()
}

// extraBytes is K: what a group keeps is divided, and the slower has more of it.
func (c *Tiered) extraBytes() float64 {
	return c.params.extraBytes / c.place.channels / c.place.relative
}

// minWindow is the least of the model: a crowd that keeps to the least of one each would
// fill the queue with it.
func (c *Tiered) minWindow() float64 {
	return max(minTieredWindow/c.place.channels, PacketBytes)
}

// rate is the bandwidth within the bounds of congestion.
func (c *Tiered) rate() float64 {
	r := c.path.bytesPerSec()
	return atMost(c.delayBound, atMost(c.lossBound, r))
}

// atMost is the lesser of a bound, which is 0 where there is none, and a rate.
func atMost(bound, rate float64) float64 {
	if bound > 0 {
		return min(bound, rate)
	}
	return rate
}

// arriving is the part that random loss leaves, within what may be made up for.
// Where sending more only loses more, as at a policer, nothing is.
func (c *Tiered) arriving() float64 {
	if c.probe.lossy {
		return 1
	}
	return 1 - c.losses.randomLoss()
}

// quiet tells that neither probes nor drains disturb what is measured now.
func (c *Tiered) quiet() bool {
	return !c.filled || c.params.yields || c.compete.on ||
		c.phase == cruise && c.path.round > c.cruiseRound+1
}

func (c *Tiered) endRound(at int64, delivered uint64) {
	m := &c.path
	m.endRound(at, delivered)
	c.losses.endRound()
	if c.delayBound > 0 && m.queue(1) < c.params.ownQueue+m.minRTT()/10+m.jitter {
		c.relaxDelayBound()
	}
	if c.phase == cruise || !c.filled {
		m.stretch.rounds++
	}
	if m.stretch.over(at) {
		if !c.compete.on {
			m.learnJitter()
		}
		c.govern(at)
		m.expectLoss(c.losses.randomLoss())
		c.suspect()
		m.stretch = stretch{at: at}
	}
}

// relaxDelayBound grows by a packet or a few percent a round trip: as slowly as flows
// of one bottleneck need to find their places in it. Of n who met the congestion together
// each grows by 1/n² of that, for each finds what the others leave, too (as beside a
// stranger who competes), and the slower by as much as the faster.
func (c *Tiered) relaxDelayBound() {
	packet := PacketBytes / (c.path.minRTT() + c.path.jitter).Seconds()
	n := min(c.sharers, c.place.channels)
	c.delayBound += max(packet, boundGrowth*c.delayBound/c.place.relative) / (n * n)
	if c.delayBound >= c.path.bytesPerSec() {
		c.delayBound = 0
		c.probe.next = c.path.round + c.probe.every
	}
}

// takenForRandom is the talk's loss filter (γ), and more: where packets are lost
// while the queue is low, as many will be while it is not.
func (c *Tiered) takenForRandom(low bool) bool {
	if c.params.yields {
		limit := c.params.lossCap + lossNoise(c.losses.baseline(), c.windowBytes/PacketBytes)
		return low && c.losses.roundRatio <= limit
	}
	return low || !c.compete.on && c.losses.asUsual()
}

// congested answers congestion that a packet sent at that moment met, once for all losses
// of a flight (RFC 9002 §7.3.2) and for all of a group.
func (c *Tiered) congested(now, sentAt time.Time) {
	if !c.filled && c.place.channels == 1 || !sentAt.After(c.recoverySince) {
		return
	}
	c.backOff(now)
	if c.group != nil && !c.params.yields && !c.compete.on {
		c.group.congested(now, sentAt, c)
	}
}

// backOff keeps α of what there is. Of a group the faster keep less, so that they come
// to have the same.
func (c *Tiered) backOff(now time.Time) {
	c.recoverySince = now
	p := c.params
	switch {
	case !c.filled:
		c.start.over = true
	case p.yields:
		c.windowBytes = max(c.windowBytes*p.keep, minYieldBytes)
	case c.compete.on:
		halfBDP := bytesAt(c.path.bytesPerSec(), c.path.minRTT()) / 2
		c.compete.backOff(p.keep, max(halfBDP, minCompeteBytes))
	default:
		// The talk's max(BDP, α·window), in rates: what is being delivered is the BDP.
		r := c.place.relative
		c.delayBound = min(c.rate(), max(math.Pow(0.8, r)*c.path.roundRate, math.Pow(p.keep, r)*c.rate()))
	}
}

// startOver looks for the bandwidth anew, from the given window.
func (c *Tiered) startOver(windowBytes float64) {
	c.phase, c.filled, c.gain = startup, false, startupGain
	c.compete.on = false
	c.drain.doubtful, c.drain.suspected, c.drain.stayed = false, false, false
	c.windowBytes = windowBytes
	c.delayBound, c.lossBound = 0, 0
	c.start = startupState{queue: c.path.queue(1)}
	c.probe.every = c.params.probeEveryMin
}

// resume comes after a pause with nothing in flight (RFC 7661). What is known of
// the path is kept as long as the filters would keep it, for pacing spreads what
// the window allows; afterwards it is not known.
func (c *Tiered) resume(at int64, pause time.Duration) {
	if pause > minRTTWindow {
		c.path.bandwidth, c.path.standing = windowedMax{}, [standingRounds]time.Duration{}
		c.startOver(InitialWindowBytes)
	}
	if pause > c.path.smoothed {
		c.drain.at = at // nothing of ours was in any queue
	}
	if pause > groupMemory {
		c.place = alone
	}
	c.path.roundAt, c.path.marks = 0, [maxAveragedRounds]deliveryMark{}
	c.drop = dropDetector{}
}
