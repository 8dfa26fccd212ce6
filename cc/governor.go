package cc

import "math"

// A lossAccount separates the loss of the path, which slowing down does not
// cure, from loss that we cause. Ratios are of bytes.
type lossAccount struct {
	roundAcked, roundLost float64
	roundRatio            float64 // of the last complete round

	acked, lost             float64 // of the present stretch
	quietAcked, quietRandom float64 // in quiet rounds, with no queue standing

	floor      windowedMin // of all losses, ppm: the reference of the governor
	smoothed   float64
	random     windowedMin // of quiet losses, ppm: L₀
	randomMean float64
}

const ppm = 1e6

func (l *lossAccount) gone(bytes float64) {
	l.roundLost += bytes
	l.lost += bytes
}

func (l *lossAccount) arrived(s Sample, quiet bool) {
	l.roundAcked += float64(s.AckedBytes)
	l.acked += float64(s.AckedBytes)
	if quiet {
		l.quietAcked += float64(s.AckedBytes)
	}
	if late := float64(s.LateBytes); late > 0 { // not lost after all
		l.roundLost = max(l.roundLost-late, 0)
		l.lost = max(l.lost-late, 0)
		l.quietRandom = max(l.quietRandom-late, 0)
	}
}

func (l *lossAccount) endRound() {
	if sum := l.roundAcked + l.roundLost; sum > 0 {
		l.roundRatio = l.roundLost / sum
	}
	l.roundAcked, l.roundLost = 0, 0
}

// endStretch closes a stretch and returns its loss ratio and its packets.
func (l *lossAccount) endStretch(at int64) (ratio, packets float64) {
	sum := l.acked + l.lost
	ratio = l.lost / max(sum, 1)
	l.smoothed += (ratio - l.smoothed) / 2
	l.floor.add(at, int64(l.smoothed*ppm), int64(minRTTWindow))
	if quiet := l.quietAcked + l.quietRandom; quiet > 50*PacketBytes {
		l.randomMean += (l.quietRandom/quiet - l.randomMean) / 4
	}
	l.random.add(at, int64(l.randomMean*ppm), int64(minRTTWindow))
	l.acked, l.lost, l.quietAcked, l.quietRandom = 0, 0, 0, 0
	return ratio, sum / PacketBytes
}

// baseline is the loss that the path has anyway.
func (l *lossAccount) baseline() float64 { return float64(l.floor.value()) / ppm }

// randomLoss is L₀, the loss that is made up for by sending more.
func (l *lossAccount) randomLoss(limit float64) float64 {
	return min(float64(l.random.value())/ppm, limit)
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
