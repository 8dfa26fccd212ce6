package cc

import (
	"math"
	"time"
)

// Constants of RFC 9406 §4.3. Its limit L on growth per ACK is infinite, as it
// asks of senders that pace.
const (
	hystartMinThreshold = 4 * time.Millisecond
	hystartMaxThreshold = 16 * time.Millisecond
	hystartDivisor      = 8
	hystartSamples      = 8
	hystartCSSDivisor   = 4
	hystartCSSRounds    = 5

	noRTT = time.Duration(math.MaxInt64)
)

// hyStart ends the first slow start before it overflows the queue (RFC 9406):
// once a round's least RTT rises above the last one's, growth slows down to
// a quarter (conservative slow start); if the rise persists for five rounds,
// slow start is over, and if not, it was jitter and slow start goes on.
//
// RFC 9406 wants eight ACKs per round before it judges. Our receivers
// acknowledge a batch of packets at once, so acknowledged packets are counted.
type hyStart struct {
	last, current time.Duration // least RTT of the last and of the present round
	packets       int           // acknowledged in the present round
	conservative  bool
	baseline      time.Duration
	rounds        int // in conservative slow start
}

func newHyStart() hyStart { return hyStart{last: noRTT, current: noRTT} }

// acked takes a sample of slow start and tells whether slow start is over.
func (h *hyStart) acked(s Sample) (over bool) {
	if s.RoundStart {
		if h.conservative {
			h.rounds++
			if h.rounds >= hystartCSSRounds {
				return true
			}
		}
		h.last, h.current, h.packets = h.current, noRTT, 0
	}
	if s.RTT > 0 {
		h.current = min(h.current, s.RTT)
	}
	h.packets += s.AckedPackets
	if h.packets < hystartSamples || h.current == noRTT || h.last == noRTT {
		return false
	}
	if h.conservative {
		if h.current < h.baseline {
			h.conservative = false
		}
		return false
	}
	threshold := min(max(h.last/hystartDivisor, hystartMinThreshold), hystartMaxThreshold)
	if h.current >= h.last+threshold {
		h.conservative, h.baseline, h.rounds = true, h.current, 0
	}
	return false
}

// growth is what so many acknowledged bytes add to the window.
func (h *hyStart) growth(ackedBytes int) float64 {
	if h.conservative {
		return float64(ackedBytes) / hystartCSSDivisor
	}
	return float64(ackedBytes)
}
