package cc

import (
	"errors"
	"fmt"
	"time"
)

// MaxAckRanges is the most ranges that one ACK may carry. The wire format has
// the same limit; beyond it an ACK says nothing that a later one will not.
const MaxAckRanges = 64

// Errors of Recovery.Ack. Only a peer that lies or is broken causes them:
// nothing of such an ACK is believed, and its channel deserves to be closed.
var (
	// ErrNeverSent is an acknowledgement of a packet that was never sent.
	ErrNeverSent = errors.New("cc: acknowledged packet was never sent")
	// ErrBadRanges is an ACK whose ranges are too many, empty or out of order.
	ErrBadRanges = errors.New("cc: malformed acknowledgement ranges")
	// ErrBadMarks is a count of congestion marks that falls, or that exceeds
	// what can have arrived.
	ErrBadMarks = errors.New("cc: impossible count of congestion marks")
)

// maxPacketNumber leaves room for arithmetic; keys wear out long before it.
const maxPacketNumber = 1<<62 - 1

// A Range is a run of acknowledged packet numbers, both ends included.
type Range struct{ First, Last uint64 }

// A Result tells what an ACK or the passing of time changed.
type Result struct {
	AckedBytes, AckedPackets int
	LostBytes, LostPackets   int
	// LateBytes and LatePackets had been declared lost and arrived after all.
	LateBytes, LatePackets int
	// Probe asks the owner to send one packet that the peer acknowledges at
	// once (a PING), whatever Budget says: the probe time-out has passed, and
	// nothing else will tell what became of the packets in flight. Data is not
	// sent again for it; asking anew for what is missing is the leech's part.
	Probe bool
}

// Stats counts what happened on one channel since it began.
type Stats struct {
	SentPackets, AckedPackets, LostPackets, LatePackets uint64
	SentBytes, AckedBytes, LostBytes, LateBytes         uint64
	// Probes counts probe time-outs, PersistentCongestion collapses.
	Probes, PersistentCongestion uint64
}

// Recovery keeps account of the packets that one channel has in flight: it
// measures round trips and delivery rate, declares losses, tells the
// Controller, and answers how much may be sent now.
//
// The owner reports every packet number that it uses, in ascending order, and
// calls Advance at the moment that Next names (at other moments it is harmless).
// It is not safe for concurrent use.
type Recovery struct {
	epoch      time.Time
	now        int64 // latest moment seen, nanoseconds since epoch
	controller Controller
	rtt        RTT
	pacer      Pacer
	rate       rateSampler
	stats      Stats

	sent     sentRing
	late     lateList
	inFlight int
	ackedEnd uint64 // one above the largest number acknowledged
	marked   uint64 // packets that met congestion (ECN), as the peer says

	rateCapBytesPerSec float64         // zero: none
	uploads            *UploadGovernor // nil: none

	// loss detection (RFC 9002 §6)
	order          reordering
	lossAt         int64 // when the time threshold strikes next; zero: not armed
	lastCountedAt  int64 // when the last packet was sent that counts in flight
	probedAt       int64 // when the probe time-out struck last
	probeCount     int   // times in a row
	firstSampleAt  int64 // when the first round trip was measured
	lostRunStarted bool  // persistent congestion (RFC 9002 §7.6)
	lostRunFrom    int64

	// evidence of being held back (RFC 9002 §7.8)
	offeredBytes int  // what is left of the last answer of Budget
	pacerCut     bool // that answer was cut by the pacer, not by the window
	limitedEnd   uint64
}

// NewRecovery returns a Recovery for a channel that begins now.
func NewRecovery(now time.Time, c Controller) *Recovery {
	r := &Recovery{epoch: now, controller: c}
	r.pacer = NewPacer(0, c.PacingBytesPerSec())
	return r
}

// A Rest is what is worth keeping of a Recovery while its channel is silent:
// a fraction of its memory. The window is not part of it, for after a pause it
// would have to start anew anyway (RFC 5681 §4.1).
type Rest struct {
	next, ackedEnd uint64
	marked         uint64
	rtt            RTT
	stats          Stats
	begun          time.Time // the moment that rtt counts from
}

// RTT is the estimate of the path's round trip.
func (s *Rest) RTT() *RTT { return &s.rtt }

// Stats returns the counters.
func (s *Rest) Stats() Stats { return s.stats }

// Rest returns what [Resume] needs; the Recovery is not to be used any more.
// False while packets are in flight, of which an ACK or a loss must tell.
func (r *Recovery) Rest() (Rest, bool) {
	return Rest{
		next: r.sent.next, ackedEnd: r.ackedEnd, marked: r.marked,
		rtt: r.rtt, stats: r.stats, begun: r.epoch,
	}, r.inFlight == 0
}

// Resume returns a Recovery for a channel that was at rest until now. ACKs for
// packets sent before tell nothing any more.
func Resume(now time.Time, c Controller, s Rest) *Recovery {
	r := NewRecovery(s.begun, c)
	r.rtt, r.stats = s.rtt, s.stats
	r.sent.head, r.sent.next = s.next, s.next
	r.ackedEnd, r.marked = s.ackedEnd, s.marked
	r.pacer = NewPacer(r.clock(now), c.PacingBytesPerSec())
	return r
}

// Sent reports the packet with that number and size in bytes of IP.
//
// Every number that is used on the channel must be reported, in ascending
// order. Packets that the peer does not acknowledge by themselves (an ACK) are
// reported with size 0: they take no part in congestion control, but an ACK may
// name them. Numbers left out (at most 64 at once) count as never sent, so
// that leaving some out unpredictably exposes a receiver that acknowledges
// what it has not seen (RFC 9000 §21.4).
func (r *Recovery) Sent(now time.Time, number uint64, bytes int) {
	at := r.clock(now)
	if r.sent.next == 0 && r.sent.packets == nil {
		r.sent.head, r.sent.next = number, number
	}
	if number < r.sent.next || number-r.sent.next > maxSkippedPackets || number > maxPacketNumber || bytes < 0 || bytes > 1<<16-1 {
		panic(fmt.Sprintf("BUG: packet %d of %d bytes sent after packet %d", number, bytes, r.sent.next))
	}
	for r.sent.next < number {
		r.makeRoom()
		r.sent.push(sentPacket{sentAt: at, state: packetSkipped})
	}
	r.makeRoom()
	if bytes == 0 {
		r.sent.push(sentPacket{sentAt: at, state: packetUncounted})
		return
	}
	p := sentPacket{sentAt: at, bytes: uint16(bytes), state: packetInFlight}
	r.rate.sent(at, r.inFlight, &p)
	r.inFlight += bytes
	p.inFlight = uint32(r.inFlight)
	r.sent.push(p)
	r.lastCountedAt = at
	r.stats.SentPackets++
	r.stats.SentBytes += uint64(bytes)
	r.controller.Sent(now, bytes, r.inFlight)
	r.pacer.Spend(at, bytes)
	if r.uploads != nil {
		r.uploads.sent(now, bytes)
	}
	r.noteLimit(number, bytes)
}

// Ack processes one ACK of the peer: ranges of packet numbers, the newest
// first, and the time for which the peer held it back.
func (r *Recovery) Ack(now time.Time, ranges []Range, delay time.Duration) (Result, error) {
	return r.AckMarked(now, ranges, delay, r.marked)
}

// AckMarked is Ack for a path with ECN: marked counts all packets, since the
// channel began, that the peer received with a congestion mark.
func (r *Recovery) AckMarked(now time.Time, ranges []Range, delay time.Duration, marked uint64) (Result, error) {
	if err := r.check(ranges); err != nil {
		return Result{}, err
	}
	if len(ranges) == 0 {
		return Result{}, nil
	}
	fresh, err := r.freshMarks(ranges[0].Last, marked)
	if err != nil {
		return Result{}, err
	}
	at := r.clock(now)
	a := ackEvent{at: at, newest: -1}
	sample := Sample{PriorInFlight: r.inFlight}
	for _, acked := range ranges {
		r.ackLate(acked, &a)
		r.ackSent(acked, &a)
	}
	r.ackedEnd = max(r.ackedEnd, ranges[0].Last+1)
	if a.ackedPackets+a.latePackets > 0 {
		r.probeCount = 0
		sample.RTT = r.measure(at, &a, ranges[0].Last, delay)
		r.rate.acked(at, a.ackedBytes+a.lateBytes)
		if r.uploads != nil {
			r.uploads.acked(now, r, a.ackedBytes+a.lateBytes, sample.RTT)
		}
	}
	result := r.detect(now, at, 0)
	if a.ackedPackets+a.latePackets > 0 {
		r.fillSample(&sample, &a)
		sample.CEPackets = min(fresh, a.ackedPackets+a.latePackets)
		r.controller.Acked(now, sample)
	}
	r.repace(at)
	result.AckedBytes, result.AckedPackets = a.ackedBytes, a.ackedPackets
	result.LateBytes, result.LatePackets = a.lateBytes, a.latePackets
	r.stats.AckedPackets += uint64(a.ackedPackets)
	r.stats.AckedBytes += uint64(a.ackedBytes)
	r.stats.LatePackets += uint64(a.latePackets)
	r.stats.LateBytes += uint64(a.lateBytes)
	return result, nil
}

// measure takes the round trip that an ACK tells. Of several packets only the
// largest number does, for the others may have waited for it (RFC 9002 §5.1). But
// one packet that comes after later ones is acknowledged by itself and at once: without
// it a path that reorders would seem as short as for its fastest packets.
func (r *Recovery) measure(at int64, a *ackEvent, newest uint64, delay time.Duration) time.Duration {
	switch {
	case a.seen && a.largest == newest:
	case a.ackedPackets+a.latePackets == 1 && r.rtt.Sampled():
		delay = 0
	default:
		return 0
	}
	if !r.rtt.Sampled() {
		r.firstSampleAt = at
	}
	return r.rtt.sample(at, time.Duration(at-a.largestSentAt), delay)
}

// Budget is the number of bytes that window, pacer and the node's UploadGovernor
// allow now. It is never more than one burst of 60 packets: send them and ask
// again.
func (r *Recovery) Budget(now time.Time) int {
	at := r.clock(now)
	wanted := min(r.room(), maxBurstBytes)
	allowed := r.pacer.Budget(at, wanted)
	r.offeredBytes, r.pacerCut = allowed, allowed < wanted
	if r.uploads != nil && allowed > 0 {
		if line := r.uploads.Budget(now); line < allowed {
			// What the governor withholds says nothing about the path.
			allowed = line
			r.SetAppLimited()
		}
	}
	return allowed
}

// NextSend is when Budget will be positive without another ACK; zero when only
// an ACK or a loss can open the window.
func (r *Recovery) NextSend(now time.Time) time.Time {
	at := r.clock(now)
	room := r.room()
	if room <= 0 {
		return time.Time{}
	}
	next := r.moment(at).Add(r.pacer.Wait(at, room))
	if r.uploads != nil {
		if line := r.uploads.Next(now); line.After(next) {
			return line
		}
	}
	return next
}

// Govern puts the channel under the governor of its node; nil: none.
func (r *Recovery) Govern(g *UploadGovernor) { r.uploads = g }

// Next is when Advance must be called; zero when time alone changes nothing.
func (r *Recovery) Next() time.Time {
	switch {
	case r.inFlight == 0:
		return time.Time{}
	case r.lossAt > 0:
		// The time threshold comes before the probe (RFC 9002 §6.2.1).
		return r.moment(r.lossAt)
	default:
		return r.moment(r.probeAt())
	}
}

// Advance lets time pass: losses by time threshold, and the probe time-out.
func (r *Recovery) Advance(now time.Time) Result {
	at := r.clock(now)
	var result Result
	switch {
	case r.inFlight == 0:
		return result
	case r.lossAt > 0:
		if at < r.lossAt {
			return result
		}
		result = r.detect(now, at, 0)
	case at >= r.probeAt():
		r.probeCount++
		r.probedAt = at
		r.stats.Probes++
		var giveUpEnd uint64
		if r.probeCount > 1 {
			// The first probe brought nothing either. Whatever has been away
			// for as long as persistent congestion takes is given up, or
			// a dead path would hold its window for ever.
			giveUpEnd = r.sentBefore(at - int64(r.persistentDuration()))
		}
		result = r.detect(now, at, giveUpEnd)
		result.Probe = true
	}
	r.repace(at)
	return result
}

// RTT is the channel's estimate of its path's round trip. It stays owned by Recovery.
func (r *Recovery) RTT() *RTT { return &r.rtt }

// Controller is the one in charge.
func (r *Recovery) Controller() Controller { return r.controller }

// Stats returns the counters.
func (r *Recovery) Stats() Stats { return r.stats }

// InFlightBytes is the number of bytes sent and not yet acknowledged or lost.
func (r *Recovery) InFlightBytes() int { return r.inFlight }

// WindowBytes is the controller's window, within what can be accounted for.
func (r *Recovery) WindowBytes() int { return min(r.controller.WindowBytes(), MaxWindowBytes) }

// PacingBytesPerSec is the rate at which packets are released: the
// controller's, or the receiver's cap where that is less.
func (r *Recovery) PacingBytesPerSec() float64 { return r.pacer.rateBytesPerSec }

// DeliveryRate is the last valid delivery-rate sample in bytes per second;
// zero before the first.
func (r *Recovery) DeliveryRate() float64 { return r.rate.last }

// SetAppLimited tells that there is nothing to send, though more might be
// sent: rate samples of what is in flight say little about the path.
func (r *Recovery) SetAppLimited() {
	if r.room() >= PacketBytes {
		r.rate.setAppLimited(r.inFlight)
	}
}

// SetRateCap sets the rate that the receiver asks not to exceed; zero lifts it.
func (r *Recovery) SetRateCap(now time.Time, bytesPerSec uint64) {
	r.rateCapBytesPerSec = float64(bytesPerSec)
	r.repace(r.clock(now))
}

// PathChanged starts anew on another path (RFC 9000 §9.4): with a fresh
// controller and no estimate. What is in flight no longer counts.
func (r *Recovery) PathChanged(now time.Time, c Controller) {
	at := r.clock(now)
	if old, ok := r.controller.(interface{ leave() }); ok {
		old.leave()
	}
	for n := r.sent.head; n < r.sent.next; n++ {
		if p := r.sent.at(n); p.state == packetInFlight {
			p.state = packetUncounted
		}
	}
	r.controller, r.rtt, r.order = c, RTT{}, reordering{}
	r.late.size, r.inFlight = 0, 0
	r.rate = rateSampler{delivered: r.rate.delivered, nextRound: r.rate.delivered}
	r.lossAt, r.probeCount, r.probedAt, r.lostRunStarted = 0, 0, 0, false
	r.offeredBytes, r.pacerCut, r.limitedEnd = 0, false, 0
	r.pacer = NewPacer(at, 0)
	r.repace(at)
}

// room is what the window has left. A window that has less left than a
// segment is full; with nothing in flight it is never full, and a window below a
// segment is a matter of the pacer.
func (r *Recovery) room() int {
	if r.inFlight == 0 {
		return max(r.WindowBytes(), PacketBytes)
	}
	room := r.WindowBytes() - r.inFlight
	if room < PacketBytes {
		return 0
	}
	return room
}

// noteLimit records that window or pacer hold the sender back, which is what
// entitles the window to grow. Being held back by the pacer alone counts only
// with half a window in flight: the pacer's bucket is also empty after
// a burst of a sender that has nothing more to say.
func (r *Recovery) noteLimit(number uint64, bytes int) {
	if r.offeredBytes -= bytes; r.offeredBytes >= PacketBytes {
		return // in the middle of a burst: nothing holds the sender back yet
	}
	usedUp := r.pacerCut && 2*r.inFlight >= r.WindowBytes()
	if usedUp || r.room() == 0 {
		r.limitedEnd = number + 1
	}
}

func (r *Recovery) repace(at int64) {
	rate := r.controller.PacingBytesPerSec()
	if r.rateCapBytesPerSec > 0 {
		rate = min(rate, r.rateCapBytesPerSec)
	}
	r.pacer.SetRate(at, rate)
}

// clock turns a moment into nanoseconds since the epoch, never backwards.
func (r *Recovery) clock(now time.Time) int64 {
	r.now = max(r.now, int64(now.Sub(r.epoch)))
	return r.now
}

func (r *Recovery) moment(at int64) time.Time { return r.epoch.Add(time.Duration(at)) }
