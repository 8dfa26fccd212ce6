package cc

import "time"

// A rateSampler measures the rate at which the path delivers, after
// draft-cheng-iccrg-delivery-rate-estimation §3: the bytes delivered between
// a packet's departure and its ACK, over the longer of the time that sending
// them took and the time that their acknowledgement took. It also counts round
// trips by packets.
type rateSampler struct {
	delivered   uint64 // bytes acknowledged so far
	deliveredAt int64
	firstSentAt int64  // send time of the packet that began the present flight
	limitedEnd  uint64 // application-limited until so many bytes are delivered; 0: not
	nextRound   uint64
	last        float64
}

// sent stamps a packet; inFlight does not include it.
func (s *rateSampler) sent(at int64, inFlight int, p *sentPacket) {
	if inFlight == 0 {
		// A new flight: the time before it says nothing about the path.
		s.firstSentAt, s.deliveredAt = at, at
	}
	p.firstSentAt, p.deliveredAt, p.delivered = s.firstSentAt, s.deliveredAt, s.delivered
	p.appLimited = s.limitedEnd != 0
}

// acked counts bytes that an ACK at that moment reports.
func (s *rateSampler) acked(at int64, bytes int) {
	s.delivered += uint64(bytes)
	s.deliveredAt = at
	if s.limitedEnd != 0 && s.delivered > s.limitedEnd {
		s.limitedEnd = 0
	}
}

// sample computes the rate over the flight that ends with p, the newest packet
// acknowledged at that moment; zero when the clock has not moved. The time
// taken is never less than p's own round trip, so ACKs that come in a bunch
// cannot feign a fast path (§2.2).
func (s *rateSampler) sample(at int64, p *sentPacket) float64 {
	s.firstSentAt = p.sentAt
	elapsed := max(p.sentAt-p.firstSentAt, at-p.deliveredAt)
	if elapsed <= 0 {
		return 0
	}
	s.last = float64(s.delivered-p.delivered) / (float64(elapsed) / float64(time.Second))
	return s.last
}

// startsRound tells whether an ACK whose newest packet is p begins a round.
func (s *rateSampler) startsRound(p *sentPacket) bool {
	if p.delivered < s.nextRound {
		return false
	}
	s.nextRound = s.delivered
	return true
}

func (s *rateSampler) setAppLimited(inFlight int) {
	s.limitedEnd = max(s.delivered+uint64(inFlight), 1)
}
