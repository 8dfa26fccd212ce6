package cc

import (
	"math"
	"slices"
	"time"
)

const (
	// bandwidthRounds is how long a delivery rate counts, in round trips
	// (BBR's window: two cycles of probing of the fastest kind).
	bandwidthRounds = 10

	// rttBaseWindow is how long a scavenger remembers the path without a queue:
	// a Cubic that fills a deep buffer does not empty it within minRTTWindow.
	rttBaseWindow = time.Minute

	// standingRounds is over how many rounds the least RTT is a queue that
	// stands, and not one that passes.
	standingRounds = 4

	// A stretch of this length gives one value of jitter and loss.
	stretchRounds  = 8
	stretchTime    = 250 * time.Millisecond
	stretchSamples = 24

	// maxAckedAtOnce is the most that a receiver lets wait for one ACK.
	maxAckedAtOnce = 64 * PacketBytes

	// ackFactor allows for ACKs of more than the mean. The greatest of the last
	// rounds would do too, but after a stall that is a whole window.
	ackFactor = 1.5

	// averagedJitter is over how many times the jitter a delivery rate is averaged:
	// bounded jitter then changes it by a few percent only.
	averagedJitter    = 5
	maxAveragedRounds = 8

	// averagedLosses/packet is over how many packets, times L₀, a delivery rate is
	// averaged: chance then changes it by 1/√averagedLosses, 0.9 %. More than
	// maxLossRounds would be too slow to notice growth.
	averagedLosses = 12800
	maxLossRounds  = 5

	// jitterFactor corrects mean − min of few samples, and covers what jitter is above
	// its mean. It is a cliff: at 0.8 half the goodput is lost at ±30 ms, and much more
	// hides real queues.
	jitterFactor = 1.3
	maxJitter    = 60 * time.Millisecond

	// ownPackets is what a channel keeps under way whatever the path is like: below
	// 5 Mbit/s or so that is what its own queue is made of.
	ownPackets = 6

	// spreadFactor is how much wider jitter may be than within single rounds: what
	// moves more slowly is a queue.
	spreadFactor = 2.4

	// jitterStretches is how many stretches the median is taken of: a queue that
	// drains or fills within one of them does not pass for jitter.
	jitterStretches = 5
)

// A pathModel is what a Tiered has learned about its path. All filters have
// windows: nothing that once was true is believed for ever.
type pathModel struct {
	round       int64
	bandwidth   windowedMax // bytes per second, by round
	rttMin      windowedMin
	emptyAt     int64 // when a round trip was last as if no queue stood
	rttBase     windowedMin
	standingMax windowedMax
	ackBytes    float64                       // acknowledged at once: the mean of a round, over some eight
	standing    [standingRounds]time.Duration // least RTT of the last rounds, newest first; 0: none
	smoothed    time.Duration
	recent      time.Duration // smoothed over a few ACKs: what lost packets met, too
	recentMax   windowedMax
	jitter      time.Duration
	jitters     [jitterStretches]time.Duration // of the last stretches, newest first
	chance      time.Duration                  // over which random loss changes a delivery rate by little

	// the present round
	roundAt    int64
	roundMin   time.Duration
	roundBytes float64
	roundAcks  int
	roundRate  float64                         // bytes per second of the last complete round
	marks      [maxAveragedRounds]deliveryMark // starts of the last rounds, newest first

	stretch stretch
}

// A deliveryMark is how much had been delivered at a moment; at 0: none.
type deliveryMark struct {
	at        int64
	delivered uint64
}

// A stretch is a run of rounds over which jitter and loss are averaged.
type stretch struct {
	at     int64
	rounds int
	whole  spread // of quiet samples, as is what follows
	round  spread // of the present round

	spreads      time.Duration // sum of those of single rounds
	spreadRounds int
}

// A spread is the least and the sum of some round trips.
type spread struct {
	least, sum time.Duration
	samples    int
}

func (s *spread) add(rtt time.Duration) {
	if s.samples == 0 || rtt < s.least {
		s.least = rtt
	}
	s.sum += rtt
	s.samples++
}

func (s *spread) mean() time.Duration { return s.sum / time.Duration(s.samples) }

func (s *spread) aboveLeast() time.Duration { return s.mean() - s.least }

func (m *pathModel) known() bool { return m.rttMin.set }

func (m *pathModel) minRTT() time.Duration { return time.Duration(m.rttMin.value()) }

func (m *pathModel) bytesPerSec() float64 { return float64(m.bandwidth.value()) }

// acked takes the measurements of one ACK.
func (m *pathModel) acked(at int64, s Sample, quiet bool) {
	if s.RoundStart {
		m.round++
	}
	m.roundBytes += float64(s.AckedBytes + s.LateBytes)
	m.roundAcks++
	if s.AppLimited {
		m.marks = [maxAveragedRounds]deliveryMark{}
	}
	rate := int64(min(s.DeliveryRate, m.averageRate(at, s.Delivered)))
	if rate > 0 && (!s.AppLimited || rate > m.bandwidth.value()) {
		m.bandwidth.add(m.round, rate, bandwidthRounds)
	}
	if s.RTT <= 0 {
		return
	}
	m.smoothed = ewma(m.smoothed, s.RTT, 8)
	m.recent = ewma(m.recent, s.RTT, 2)
	m.recentMax.add(at, int64(m.recent), int64(minRTTWindow))
	m.rttMin.add(at, int64(s.RTT), int64(minRTTWindow))
	if s.RTT <= m.minRTT()*17/16+m.jitter/8 {
		m.emptyAt = at
	}
	m.rttBase.add(at, int64(s.RTT), int64(rttBaseWindow))
	if m.roundMin == 0 || s.RTT < m.roundMin {
		m.roundMin = s.RTT
	}
	if quiet {
		m.stretch.sample(s.RTT)
	}
}

// endRound closes the round that the present ACK ends.
func (m *pathModel) endRound(at int64, delivered uint64) {
	copy(m.marks[1:], m.marks[:])
	m.marks[0] = deliveryMark{at, delivered}
	if elapsed := time.Duration(at - m.roundAt); elapsed > 0 && m.roundAt > 0 {
		m.roundRate = m.roundBytes / elapsed.Seconds()
	}
	m.ackBytes = ewma(m.ackBytes, min(m.roundBytes/float64(max(m.roundAcks, 1)), maxAckedAtOnce), 8)
	m.roundAt, m.roundBytes, m.roundAcks = at, 0, 0
	m.stretch.endRound()
	copy(m.standing[1:], m.standing[:])
	m.standing[0], m.roundMin = m.roundMin, 0
	if q := m.standingRTT(standingRounds); q > 0 {
		m.standingMax.add(at, int64(q), int64(minRTTWindow))
	}
}

// averageRate is the rate of delivery over as many rounds as outweigh jitter, or
// no limit where that is not known: jitter squeezes single flights, and a filter
// that keeps the best of them would believe in a faster path than there is.
func (m *pathModel) averageRate(at int64, delivered uint64) float64 {
	for _, mark := range m.marks {
		if mark.at == 0 {
			break
		}
		elapsed := time.Duration(at - mark.at)
		if elapsed >= max(m.noise(), m.minRTT()) {
			return float64(delivered-mark.delivered) / elapsed.Seconds()
		}
	}
	return math.Inf(1)
}

// noise is over how long delivery must be averaged to outweigh jitter and chance.
func (m *pathModel) noise() time.Duration {
	return max(averagedJitter*m.jitter, min(m.chance, maxLossRounds*m.smoothed))
}

// expectLoss says how much is lost by chance.
func (m *pathModel) expectLoss(ratio float64) {
	m.chance = m.timeOf(ratio * averagedLosses)
}

// low tells whether the queue is so far from the longest of the last seconds that
// what is lost now is not lost to its overflow: the talk's γ.
func (m *pathModel) low(p *tierParams) bool {
	span := float64(time.Duration(m.recentMax.value()) - m.minRTT())
	limit := min(time.Duration(p.filter*span), m.explained(p))
	return m.recent-m.minRTT() <= max(limit, 2*time.Millisecond)
}

// explained is the queue that jitter and the channel itself explain: a longer one is
// not low, even if something longer still, as a machine that stood still, was seen.
func (m *pathModel) explained(p *tierParams) time.Duration {
	return m.jitter*135/100 + p.ownQueue + max(4*time.Millisecond, m.minRTT()/10, m.timeOf(ownPackets))
}

// standingRTT is the least RTT of the last n rounds; 0: not measured.
func (m *pathModel) standingRTT(n int) time.Duration {
	var least time.Duration
	for _, rtt := range m.standing[:n] {
		if rtt > 0 && (least == 0 || rtt < least) {
			least = rtt
		}
	}
	return least
}

// queue is the delay that has stood above rttMin for the last n rounds.
func (m *pathModel) queue(n int) time.Duration { return max(m.standingRTT(n)-m.minRTT(), 0) }

// span is rttMax − rttMin of the talk's rules, on standing round trips.
func (m *pathModel) span() time.Duration {
	return max(time.Duration(m.standingMax.value())-m.minRTT(), 0)
}

// foreignQueue is the queue from which on somebody else must be filling it: more
// than jitter and our own probes leave, or the least window on a thin line.
func (m *pathModel) foreignQueue() time.Duration {
	return max(m.leftovers(), m.timeOf(ownPackets)+m.jitter/3)
}

// leftovers is the queue that jitter and probes leave.
func (m *pathModel) leftovers() time.Duration {
	return max(5*time.Millisecond, m.minRTT()/8) + m.jitter/3
}

// timeOf is how long the path takes for so many packets.
func (m *pathModel) timeOf(packets float64) time.Duration {
	if m.bandwidth.value() <= 0 {
		return 0
	}
	return time.Duration(packets * PacketBytes / m.bytesPerSec() * float64(time.Second))
}

// ackTime is how long packets wait at the receiver for their ACK: the window must
// cover them beside what the path holds.
func (m *pathModel) ackTime() time.Duration {
	if m.bandwidth.value() <= 0 {
		return maxAckDelay
	}
	return min(time.Duration(ackFactor*m.ackBytes/m.bytesPerSec()*float64(time.Second)), maxAckDelay)
}

func (s *stretch) sample(rtt time.Duration) {
	s.whole.add(rtt)
	s.round.add(rtt)
}

func (s *stretch) endRound() {
	if s.round.samples >= 3 {
		s.spreads += s.round.aboveLeast()
		s.spreadRounds++
	}
	s.round = spread{}
}

func (s *stretch) over(at int64) bool {
	return s.rounds >= stretchRounds && time.Duration(at-s.at) >= stretchTime && s.whole.samples >= stretchSamples
}

// learnJitter takes the jitter of a complete stretch: the median of the last few. A stretch
// during which a queue stood shows how that queue moved, and not the path.
func (m *pathModel) learnJitter() {
	s := &m.stretch
	j := min(time.Duration(jitterFactor*float64(s.whole.aboveLeast())), maxJitter)
	if s.spreadRounds > 0 {
		j = min(j, time.Duration(spreadFactor*float64(s.spreads/time.Duration(s.spreadRounds))))
	}
	j = max(j, 1)
	if j > m.jitter && s.whole.least-m.minRTT() > m.foreignQueue() {
		return
	}
	copy(m.jitters[1:], m.jitters[:])
	m.jitters[0] = j
	known := m.jitters
	n := 0
	for n < len(known) && known[n] > 0 {
		n++
	}
	slices.Sort(known[:n])
	m.jitter = known[n/2]
}
