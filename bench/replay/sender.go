package replay

import (
	"math"
	"time"

	"shoal/cc"
	"shoal/internal/wire"
)

// sender is what one end of a session has sent and the other has not yet
// acknowledged, under the congestion controller of its node. It knows bursts
// where the live node knows packets; what it tells the controller of a burst is
// what the packets would have told.
type sender struct {
	controller cc.Controller
	flights    []flight      // oldest first
	first      uint64        // number of flights[0]
	inFlight   int           // bytes on the wire
	pacer      time.Duration // when the next burst may leave
	credit     int           // bytes that leave unpaced
	eager      uint64        // bytes to be delivered while the receiver answers eagerly
	asked      bool          // was refused a burst because the window was full
	srtt       time.Duration
	minRTT     time.Duration
	rounds     uint64 // number of the flight that ends the present round
	limitedEnd uint64 // flights below it were sent by a sender held back

	// the delivery rate, sampled as cc.Recovery does
	delivered   uint64
	deliveredAt time.Duration
	firstSentAt time.Duration // of the present flight of packets
	idleEnd     uint64        // what is sent before so much is delivered is limited by the application; 0: is not

	// budget's last answer
	answeredAt time.Duration
	offered    int // chunks, less those sent since
	again      time.Duration

	out, lost int // bytes since lossRatio was asked
}

// flight is a burst on its way.
type flight struct {
	at       time.Duration
	acked    time.Duration // when its ACK comes; 0: nobody knows yet
	unlike   time.Duration // part of what it took that is no round trip
	bytes    int32         // on the wire
	lost     int32         // of them
	inFlight int32         // just after it was sent
	idle     bool          // limited by the application

	// of the sender, when it was sent
	delivered                uint64
	deliveredAt, firstSentAt time.Duration
}

const (
	// eagerBurst is the longest burst of a start, in chunks.
	eagerBurst = 4
	eagerBytes = eagerChunks * wire.ChunkBytes * 53 / 50 // with peerOverhead
)

// restAfter is when what a controller has measured is worth nothing any more:
// cc.Tiered looks for the bandwidth anew after as long.
const restAfter = 10 * time.Second

// newSender returns one over which nothing has been sent. The channels of a group
// have tiers; without a group it follows cc.Cubic.
func newSender(now time.Time, group *cc.Group) *sender {
	s := &sender{credit: cc.InitialWindowBytes, answeredAt: -1}
	if group == nil {
		s.controller = cc.NewCubic(now)
	} else {
		s.controller, s.eager = group.NewTiered(now, cc.Fast), eagerBytes
	}
	return s
}

// budget is how many chunks the window takes now, at most limit. If none, again
// tells when to ask: at another time when the pacer says no, never when only an
// ACK helps.
func (s *sender) budget(w *world, limit int) (chunks int, again time.Duration) {
	if s.answeredAt != w.now || s.offered <= 0 && s.again == 0 {
		s.offered, s.again = s.answer(w, limit)
		s.answeredAt = w.now
	}
	return s.offered, s.again
}

// answer is what budget says now.
func (s *sender) answer(w *world, limit int) (chunks int, again time.Duration) {
	s.asked = false
	if s.pacer > w.now {
		return 0, s.pacer
	}
	if s.offered > 0 {
		s.idleEnd = max(s.delivered+uint64(s.inFlight), 1) // it had no more
	}
	s.settle(w)
	window := s.controller.WindowBytes() / cc.PacketBytes
	room := window - (s.inFlight+cc.PacketBytes-1)/cc.PacketBytes
	if s.inFlight == 0 {
		room = max(room, min(leastBurst, limit)) // a window below a packet is a matter of the pacer
	}
	// What ACKs of packets would let go one by one goes together: half a burst, or
	// of a small window nearly all once per round trip.
	least := max(limit/2, 1)
	if window <= limit {
		least = max(window*3/4, 1)
	}
	if room < least && s.inFlight > 0 {
		s.asked = true
		s.limitedEnd = s.first + uint64(len(s.flights))
		return 0, s.nextAck()
	}
	return min(room, limit), 0
}

// burstChunks bounds the bursts while the receiver is eager to answer: longer ones
// would be answered later than packets are, and each round of a start take longer.
func (s *sender) burstChunks() int {
	if s.delivered < s.eager {
		return eagerBurst
	}
	return chunksPerBurst
}

// tier says how urgent is what is sent from now on.
func (s *sender) tier(now time.Time, t cc.Tier) {
	if c, ok := s.controller.(cc.TierController); ok {
		c.SetTier(now, t)
	}
}

// atRest tells that nothing is under way, and that nothing was for so long that
// what is known of the path is worth nothing.
func (s *sender) atRest(w *world) bool {
	if w.now-max(s.firstSentAt, s.pacer) < restAfter {
		return false
	}
	s.settle(w)
	return s.inFlight == 0
}

// trim gives memory back when everything that was sent is settled.
func (s *sender) trim(w *world) {
	s.settle(w)
	if len(s.flights) == 0 {
		s.flights = nil
	}
}

// sent takes a burst, of which bytes, lost and unlike are known, and returns its
// number.
func (s *sender) sent(w *world, f flight) uint64 {
	if s.inFlight == 0 {
		s.firstSentAt, s.deliveredAt = w.now, w.now
	}
	bytes := int(f.bytes)
	s.offered -= packets(f.bytes)
	s.inFlight += bytes
	s.out += bytes
	f.at, f.inFlight, f.idle = w.now, int32(s.inFlight), s.idleEnd > 0
	f.delivered, f.deliveredAt, f.firstSentAt = s.delivered, s.deliveredAt, s.firstSentAt
	s.flights = append(s.flights, f)
	s.controller.Sent(w.clock(), bytes, s.inFlight)
	// The pacer lets an initial window pass at once (RFC 9002 §7.7).
	paced := bytes - max(s.credit, 0)
	s.credit -= bytes
	if paced > 0 {
		rate := s.controller.PacingBytesPerSec()
		s.pacer = max(s.pacer, w.now-uploadGrain) + time.Duration(float64(paced)/rate*float64(time.Second))
	}
	// Held back by the pacer with half a window in flight, as cc.Recovery counts it.
	if s.offered <= 0 && s.pacer > w.now && 2*s.inFlight >= s.controller.WindowBytes() {
		s.limitedEnd = s.first + uint64(len(s.flights))
	}
	return s.first + uint64(len(s.flights)) - 1
}

// lossRatio is what was lost of what the end sent since the last call.
func (e *end) lossRatio() float64 {
	s := e.sender
	if s == nil || s.out == 0 {
		return 0
	}
	r := min(float64(s.lost)/float64(s.out), 1)
	s.out, s.lost = 0, 0
	return r
}

// ackAt notes when the sender will know what became of a flight, and for how much
// of that time its ACK was held back. It reports whether the sender waits for
// just that.
func (s *sender) ackAt(number uint64, at, held time.Duration) bool {
	if number < s.first || number-s.first >= uint64(len(s.flights)) {
		return false
	}
	f := &s.flights[number-s.first]
	f.acked, f.unlike = at, f.unlike+held
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
		s.acknowledged(&s.flights[done], s.first+uint64(done))
		done++
	}
	if done > 0 {
		s.first += uint64(done)
		s.flights = append(s.flights[:0], s.flights[done:]...)
	}
}

func (s *sender) acknowledged(f *flight, number uint64) {
	at := epoch.Add(f.acked)
	prior := s.inFlight
	s.inFlight -= int(f.bytes)
	if f.lost > 0 {
		s.lost += int(f.lost)
		s.controller.Lost(at, cc.Loss{
			Bytes: int(f.lost), Packets: packets(f.lost), InFlight: s.inFlight, SentAt: epoch.Add(f.at),
		})
	}
	if f.bytes == f.lost {
		return
	}
	rtt := f.acked - f.at - f.unlike
	s.minRTT = min(s.minRTT, rtt)
	if s.srtt == 0 {
		s.srtt, s.minRTT = rtt, rtt
	}
	s.srtt += (rtt - s.srtt) / 8
	round := number >= s.rounds
	if round {
		s.rounds = s.first + uint64(len(s.flights))
	}
	acked := int(f.bytes - f.lost)
	sample := cc.Sample{
		AckedBytes: acked, AckedPackets: packets(f.bytes - f.lost), PriorInFlight: prior, InFlight: s.inFlight,
		SentInFlight: int(f.inFlight), SentAt: epoch.Add(f.at), RTT: rtt, SmoothedRTT: s.srtt, MinRTT: s.minRTT,
		WindowLimited: number < s.limitedEnd, RoundStart: round, AppLimited: f.idle,
	}
	sample.DeliveryRate = s.deliveryRate(f, acked)
	sample.Delivered = s.delivered
	s.controller.Acked(at, sample)
}

// deliveryRate is the rate over the flight of packets that ends with f, in bytes
// per second (cc.Recovery's sampler); 0: not known.
func (s *sender) deliveryRate(f *flight, acked int) float64 {
	s.delivered += uint64(acked)
	if s.delivered > s.idleEnd {
		s.idleEnd = 0
	}
	s.deliveredAt, s.firstSentAt = f.acked, f.at
	took := max(f.at-f.firstSentAt, f.acked-f.deliveredAt)
	if took <= 0 {
		return 0
	}
	return float64(s.delivered-f.delivered) / took.Seconds()
}

func packets(bytes int32) int { return int(math.Ceil(float64(bytes) / cc.PacketBytes)) }
