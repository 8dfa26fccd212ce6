package replay

import (
	"math"
	"time"

	"shoal/cc"
)

// sender is what one end of a session has sent and the other has not yet
// acknowledged, under cc.Cubic. A controller that goes by delays (cc.Tiered, the
// live node's) would take the bursts of this model for queues. It knows bursts
// where the live node knows packets.
type sender struct {
	controller cc.Controller // nil: nothing has been sent
	flights    []flight      // oldest first
	first      uint64        // number of flights[0]
	inFlight   int           // bytes on the wire
	pacer      time.Duration // when the next burst may leave
	credit     int           // bytes that leave unpaced
	asked      bool          // was refused a burst because the window was full
	srtt       time.Duration
	minRTT     time.Duration
	rounds     uint64 // number of the flight that ends the present round
	limitedEnd uint64 // flights below it were sent by a sender held back
	delivered  uint64
	out, lost  int // bytes since lossRatio was asked
}

// flight is a burst on its way.
type flight struct {
	at       time.Duration
	acked    time.Duration // when its ACK comes; 0: nobody knows yet
	bytes    int           // on the wire
	lost     int           // of them
	inFlight int           // just after it was sent
}

// leastBurst is the room in a window, in chunks, that is worth a burst: what ACKs
// of packets would let go one by one goes together.
const leastBurst = chunksPerBurst / 2

// budget is how many chunks the window takes now. If none, again tells when to
// ask: at another time when the pacer says no, never when only an ACK helps.
func (s *sender) budget(w *world) (chunks int, again time.Duration) {
	if s.controller == nil {
		s.controller, s.credit = cc.NewCubic(w.clock()), cc.InitialWindowBytes
	}
	s.settle(w)
	s.asked = false
	window := s.controller.WindowBytes() / cc.PacketBytes
	if s.pacer > w.now {
		// Held back by the pacer with half a window in flight, as cc.Recovery
		// counts it.
		if 2*s.inFlight >= window*cc.PacketBytes {
			s.limitedEnd = s.first + uint64(len(s.flights))
		}
		return 0, s.pacer
	}
	room := window - (s.inFlight+cc.PacketBytes-1)/cc.PacketBytes
	least := leastBurst
	if window <= chunksPerBurst {
		least = max(window*3/4, 1) // once per round trip, nearly all of it
	}
	if room < least && s.inFlight > 0 {
		s.asked = true
		s.limitedEnd = s.first + uint64(len(s.flights))
		return 0, s.nextAck()
	}
	return min(room, chunksPerBurst), 0
}

// sent takes a burst of so many bytes on the wire and returns its number.
func (s *sender) sent(w *world, bytes int) uint64 {
	s.inFlight += bytes
	s.out += bytes
	s.flights = append(s.flights, flight{at: w.now, bytes: bytes, inFlight: s.inFlight})
	s.controller.Sent(w.clock(), bytes, s.inFlight)
	// The pacer lets an initial window pass at once (RFC 9002 §7.7).
	paced := bytes - max(s.credit, 0)
	s.credit -= bytes
	if paced > 0 {
		rate := s.controller.PacingBytesPerSec()
		s.pacer = max(s.pacer, w.now-uploadGrain) + time.Duration(float64(paced)/rate*float64(time.Second))
	}
	return s.first + uint64(len(s.flights)) - 1
}

// lossRatio is what was lost of what was sent since the last call.
func (s *sender) lossRatio() float64 {
	r := 0.0
	if s.out > 0 {
		r = min(float64(s.lost)/float64(s.out), 1)
	}
	s.out, s.lost = 0, 0
	return r
}

// losing notes bytes of a flight that will not arrive.
func (s *sender) losing(number uint64, bytes int) {
	s.flights[number-s.first].lost += bytes
}

// ackAt notes when the sender will know what became of a flight. It reports
// whether it waits for just that.
func (s *sender) ackAt(number uint64, at time.Duration) bool {
	if number < s.first || number-s.first >= uint64(len(s.flights)) {
		return false
	}
	s.flights[number-s.first].acked = at
	return s.asked && number == s.first
}

// nextAck is when something becomes known next, as far as is known now.
func (s *sender) nextAck() time.Duration {
	if len(s.flights) > 0 && s.flights[0].acked > 0 {
		return s.flights[0].acked
	}
	return never
}

// settle tells the controller what has become known by now.
func (s *sender) settle(w *world) {
	done := 0
	for done < len(s.flights) && s.flights[done].acked > 0 && s.flights[done].acked <= w.now {
		s.acknowledged(s.flights[done], s.first+uint64(done))
		done++
	}
	if done > 0 {
		s.first += uint64(done)
		s.flights = append(s.flights[:0], s.flights[done:]...)
	}
}

func (s *sender) acknowledged(f flight, number uint64) {
	at := epoch.Add(f.acked)
	prior := s.inFlight
	s.inFlight -= f.bytes
	if f.lost > 0 {
		s.lost += f.lost
		s.controller.Lost(at, cc.Loss{
			Bytes: f.lost, Packets: packets(f.lost), InFlight: s.inFlight, SentAt: epoch.Add(f.at),
		})
	}
	acked := f.bytes - f.lost
	if acked == 0 {
		return
	}
	rtt := f.acked - f.at
	s.minRTT = min(s.minRTT, rtt)
	if s.srtt == 0 {
		s.srtt, s.minRTT = rtt, rtt
	}
	s.srtt += (rtt - s.srtt) / 8
	s.delivered += uint64(acked)
	round := number >= s.rounds
	if round {
		s.rounds = s.first + uint64(len(s.flights))
	}
	s.controller.Acked(at, cc.Sample{
		AckedBytes: acked, AckedPackets: packets(acked), PriorInFlight: prior, InFlight: s.inFlight,
		SentInFlight: f.inFlight, SentAt: epoch.Add(f.at), RTT: rtt, SmoothedRTT: s.srtt, MinRTT: s.minRTT,
		WindowLimited: number < s.limitedEnd, RoundStart: round, Delivered: s.delivered,
	})
}

func packets(bytes int) int { return int(math.Ceil(float64(bytes) / cc.PacketBytes)) }
