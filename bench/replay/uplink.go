package replay

import (
	"math"
	"time"
)

// What a node sends beside payload, in bytes of IP: means of what bench/truth
// counted on emulated uplinks.
const (
	// requestBytes and cancelBytes are datagrams of the entries for one peer that
	// a node decides on at once, busyBytes of one.
	requestBytes = 80
	cancelBytes  = 72
	busyBytes    = 65
	// controlBytes is a frame on a QUIC stream, in a packet of its own.
	controlBytes = 110
	// ackBytes is an ACK datagram with a few ranges.
	ackBytes = 84
	// tcpAckRatio of what the CDN sends goes back as acknowledgements: 52 bytes
	// for every second packet of 1,500.
	tcpAckRatio = 52.0 / 3000
	// quicAckBytes answers to a frame on a stream.
	quicAckBytes = 80
	// getBytes is a GET with its headers.
	getBytes = 300
	// retransmit is Linux's least TCP retransmission time-out (TCP_RTO_MIN), and
	// about quic-go's first probe: what a loss at the tail costs at least.
	retransmit = 200 * time.Millisecond
)

// The access line's way out is a drop-tail queue of the router's buffer in front
// of the line's rate, and all that a node sends passes it in the order in which
// it is sent. A node that never uploads has a line of unknown rate, which its
// requests don't fill.

// uplinkWait is how long what p sends now waits until the line begins with it.
func (p *peer) uplinkWait() time.Duration { return max(p.upFree-p.w.now, 0) }

// uplinkRoom is how many bytes the queue still takes.
func (p *peer) uplinkRoom() float64 {
	if p.line.up <= 0 {
		return math.Inf(1)
	}
	return float64(p.w.cfg.UplinkQueue) - p.line.sent(p.w.now, p.upFree)
}

// burstTime is how long a burst of a channel with tiers may take on the uplink: of
// longer ones, a single one would look like a queue to the other channels'
// controllers, which go by delays. Fitted (go run ./bench/link calibrate).
const burstTime = 8 * time.Millisecond

// leastBurst is what leaves at once all the same, in chunks, where that takes no longer
// than leastTime: packets one by one fit real flows no better, and cost more than all
// other bursts. leastTime is that of the thinnest line that was compared, 1 Mbit/s.
const (
	leastBurst = 3
	leastTime  = 27 * time.Millisecond
)

// burstChunks is how many chunks the uplink carries at once.
func (p *peer) burstChunks() int {
	if p.group == nil {
		return chunksPerBurst
	}
	_, up, _ := p.line.at(p.w.now)
	within := func(t time.Duration) int { return int(up * t.Seconds() / chunkOnWire) }
	return min(max(within(burstTime), min(within(leastTime), leastBurst), 1), chunksPerBurst)
}

// sendUp puts a packet of so many bytes into the queue and returns when the line
// has sent it; false: there is no room.
func (p *peer) sendUp(bytes float64) (at time.Duration, ok bool) { return p.sendUpAt(p.w.now, bytes) }

// sendUpAt is sendUp for what was sent some time ago.
func (p *peer) sendUpAt(now time.Duration, bytes float64) (at time.Duration, ok bool) {
	if p.line.up <= 0 {
		return now, true
	}
	if p.upFree > now && bytes > p.uplinkRoom() {
		return 0, false
	}
	p.upFree = p.line.carry(max(p.upFree, now), bytes, true)
	return p.upFree, true
}

// sendSurely is sendUp for what a transport sends again until it is through.
func (p *peer) sendSurely(bytes float64, rtt time.Duration) time.Duration {
	at, ok := p.sendUp(bytes)
	if !ok {
		at = p.upFree + retransmit + rtt
	}
	return at
}
