package cc

import "math"

// A lossAccount separates the loss of the path, which slowing down does not
// cure, from loss that we cause. Ratios are of bytes.
type lossAccount struct {
	roundAcked, roundLost float64
	roundRatio            float64 // of the last complete round
	latelyAcked           float64 // of the last rounds, fading
	latelyLost            float64

	// of the present stretch, in quiet rounds
	acked, lost       float64
	lowAcked, lowLost float64 // while the queue was low

	smoothed  float64
	floor     windowedMin // of smoothed, ppm
	random    float64     // L₀: mean over stretches of what is lost while the queue is low
	stretches float64     // that random is the mean of, at most randomStretches
}

const (
	ppm = 1e6

	// keepLately is what a round counts of the one before it: four rounds or so tell
	// more losses than usual from chance better than one.
	keepLately = 0.75

	// randomStretches is how many stretches count in L₀.
	randomStretches = 8

	// maxRandomLoss bounds what is made up for by sending more: without a bound,
	// losses of our own making raised loss to 37–61 %.
	maxRandomLoss = 0.06
)

func (l *lossAccount) gone(bytes float64, quiet, low bool) {
	l.roundLost += bytes
	if quiet {
		l.lost += bytes
		if low {
			l.lowLost += bytes
		}
	}
}

func (l *lossAccount) arrived(s Sample, quiet, low bool) {
	l.roundAcked += float64(s.AckedBytes)
	if quiet {
		l.acked += float64(s.AckedBytes)
		if low {
			l.lowAcked += float64(s.AckedBytes)
		}
	}
	if late := float64(s.LateBytes); late > 0 { // not lost after all
		l.roundLost = max(l.roundLost-late, 0)
		l.lost = max(l.lost-late, 0)
		l.lowLost = max(l.lowLost-late, 0)
	}
}

func (l *lossAccount) endRound() {
	if sum := l.roundAcked + l.roundLost; sum > 0 {
		l.roundRatio = l.roundLost / sum
	}
	l.latelyAcked = keepLately*l.latelyAcked + l.roundAcked
	l.latelyLost = keepLately*l.latelyLost + l.roundLost
	l.roundAcked, l.roundLost = 0, 0
}

// endStretch closes a stretch and returns its loss ratio and its packets.
func (l *lossAccount) endStretch(at int64) (ratio, packets float64) {
	sum := l.acked + l.lost
	ratio = l.lost / max(sum, 1)
	l.smoothed += (ratio - l.smoothed) / 2
	l.floor.add(at, int64(l.smoothed*ppm), int64(minRTTWindow))
	if sum := l.lowAcked + l.lowLost; sum > 50*PacketBytes {
		l.stretches = min(l.stretches+1, randomStretches)
		l.random += (l.lowLost/sum - l.random) / l.stretches
	}
	l.acked, l.lost, l.lowAcked, l.lowLost = 0, 0, 0, 0
	return ratio, sum / PacketBytes
}

// randomLoss is L₀, the loss that is made up for by sending more.
func (l *lossAccount) randomLoss() float64 { return min(l.random, maxRandomLoss) }

// baseline is the loss that the path has anyway.
func (l *lossAccount) baseline() float64 {
	return max(float64(l.floor.value())/ppm, l.randomLoss())
}

// asUsual tells whether no more was lost lately than chance takes: losses that come at any queue say nothing about the queue.
func (l *lossAccount) asUsual() bool {
	lost := (l.latelyLost + l.roundLost) / PacketBytes
	expected := l.randomLoss() * ((l.latelyAcked+l.roundAcked)/PacketBytes + lost)
	return lost <= expected+4*math.Sqrt(expected)
}

// lossNoise is three standard deviations of the loss ratio among so many packets.
func lossNoise(ratio, packets float64) float64 {
	return 3 * math.Sqrt(max(ratio, 0.005)/max(packets, 10))
}

// govern backs off when loss exceeds its baseline by more than the tier
// tolerates and chance explains, or the tier's cap, whatever the delay is.
func (c *Tiered) govern(at int64) {
	ratio, packets := c.losses.endStretch(at)
	if !c.filled {
		return
	}
	p := c.params
	base := c.losses.baseline()
	noise := lossNoise(base, packets)
	if ratio <= min(p.lossCap, base+p.lossTolerance)+noise {
		if c.lossBound > 0 && ratio < 0.8*p.lossCap {
			c.lossBound += 2 * PacketBytes / (c.path.minRTT() + c.path.jitter).Seconds()
			if c.lossBound > 1.1*c.path.bytesPerSec() {
				c.lossBound = 0
			}
		}
		return
	}
	switch {
	case p.yields:
		c.windowBytes *= p.cut
	case c.compete.on:
		c.compete.backOff(p.keep, minCompeteBytes)
	default:
		c.lossBound = max(c.rate()*p.cut, 0.7*c.path.roundRate)
	}
	c.probe.postpone(2*c.probe.every, c.path.round, p)
}
