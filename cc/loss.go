package cc

import (
	"fmt"
	"time"
)

const (
	// packetThreshold is RFC 9002 §6.1.1's kPacketThreshold.
	packetThreshold = 3

	// persistentFactor is RFC 9002 §7.6.1's kPersistentCongestionThreshold.
	persistentFactor = 3

	// maxProbeInterval ends the doubling of the probe time-out (RFC 6298 §2.5
	// allows a bound of a minute or more).
	maxProbeInterval = time.Minute
)

// An ackEvent gathers what one ACK newly acknowledges.
type ackEvent struct {
	at                       int64
	ackedBytes, ackedPackets int
	lateBytes, latePackets   int

	seen          bool   // anything newly acknowledged at all
	largest       uint64 // largest number newly acknowledged
	largestSentAt int64  // its send time
	newest        int64  // largest number newly acknowledged in flight; negative: none
	newestPacket  sentPacket
	limited       bool
}

// check refuses an ACK as a whole before anything of it is believed.
func (r *Recovery) check(ranges []Range) error {
	if len(ranges) > MaxAckRanges {
		return fmt.Errorf("%w: %d ranges", ErrBadRanges, len(ranges))
	}
	for i, acked := range ranges {
		if acked.First > acked.Last || i > 0 && acked.Last >= ranges[i-1].First {
			return fmt.Errorf("%w: range %d is %d to %d", ErrBadRanges, i, acked.First, acked.Last)
		}
		if acked.Last >= r.sent.next {
			return fmt.Errorf("%w: %d, next is %d", ErrNeverSent, acked.Last, r.sent.next)
		}
		if r.sent.skipped == 0 {
			continue
		}
		for n := max(acked.First, r.sent.head); n <= acked.Last; n++ {
			if r.sent.at(n).state == packetSkipped {
				return fmt.Errorf("%w: %d was left out", ErrNeverSent, n)
			}
		}
	}
	return nil
}

// freshMarks takes the count of congestion marks of an ACK whose newest packet is
// largest, and returns what it adds. One that was overtaken by a later ACK says
// nothing new (RFC 9000 §13.4.2.1).
func (r *Recovery) freshMarks(largest, marked uint64) (int, error) {
	if largest < r.ackedEnd && marked <= r.marked {
		return 0, nil
	}
	if marked < r.marked || marked > largest+1 {
		return 0, fmt.Errorf("%w: %d of %d, after %d", ErrBadMarks, marked, largest+1, r.marked)
	}
	fresh := marked - r.marked
	r.marked = marked
	return int(fresh), nil
}

// ackSent acknowledges the packets of one range that are still in the ring.
func (r *Recovery) ackSent(acked Range, a *ackEvent) {
	for n := max(acked.First, r.sent.head); n <= acked.Last; n++ {
		p := r.sent.at(n)
		if p.state != packetInFlight && p.state != packetUncounted {
			continue
		}
		a.sawLargest(n, p.sentAt)
		if p.state == packetUncounted {
			p.state = packetAcked
			continue
		}
		p.state = packetAcked
		if n < r.ackedEnd {
			r.order.seen(a.at, p.sentAt, r.rtt.expected())
		}
		r.inFlight -= int(p.bytes)
		a.ackedBytes += int(p.bytes)
		a.ackedPackets++
		a.limited = a.limited || n < r.limitedEnd
		if int64(n) > a.newest {
			a.newest, a.newestPacket = int64(n), *p
		}
	}
}

// ackLate finds packets of one range that had been declared lost.
func (r *Recovery) ackLate(acked Range, a *ackEvent) {
	if r.late.size == 0 || acked.First > r.late.nth(r.late.size-1).number {
		return
	}
	for i := r.late.search(acked.First); i < r.late.size; i++ {
		p := r.late.nth(i)
		if p.number > acked.Last {
			return
		}
		if p.acked {
			continue
		}
		p.acked = true
		r.order.seen(a.at, p.sentAt, r.rtt.expected())
		a.lateBytes += int(p.bytes)
		a.latePackets++
		a.sawLargest(p.number, p.sentAt)
	}
}

// sawLargest keeps the largest number newly acknowledged.
func (a *ackEvent) sawLargest(number uint64, sentAt int64) {
	if !a.seen || number > a.largest {
		a.seen, a.largest, a.largestSentAt = true, number, sentAt
	}
}

// fillSample completes the sample of an ACK after its losses are known.
func (r *Recovery) fillSample(s *Sample, a *ackEvent) {
	s.AckedBytes, s.AckedPackets = a.ackedBytes, a.ackedPackets
	s.LateBytes, s.LatePackets = a.lateBytes, a.latePackets
	s.InFlight = r.inFlight
	s.SmoothedRTT, s.MinRTT = r.rtt.Smoothed(), r.rtt.WindowMin()
	s.WindowLimited = a.limited
	s.SentAt = r.moment(a.largestSentAt)
	s.Delivered = r.rate.delivered
	if a.newest < 0 {
		return
	}
	p := &a.newestPacket
	s.SentAt, s.SentInFlight = r.moment(p.sentAt), int(p.inFlight)
	s.AppLimited = p.appLimited
	s.DeliveryRate = r.rate.sample(a.at, p)
	s.RoundStart = r.rate.startsRound(p)
}

// makeRoom keeps the ring within its bound: the oldest packet gives way, lost
// if it was in flight.
func (r *Recovery) makeRoom() {
	if !r.sent.full() {
		return
	}
	if r.sent.at(r.sent.head).state == packetInFlight {
		r.detect(r.moment(r.now), r.now, r.sent.head+1)
	}
	if r.sent.full() {
		r.sent.pop()
	}
}

// detect removes decided packets from the head of the ring and declares losses
// (RFC 9002 §6.1). A packet with a number below giveUpEnd is lost even if no
// later one was acknowledged. Losses come in order of sending, for
// both thresholds are met by every packet before one that meets them; the scan
// therefore ends at the first packet that is not decided.
func (r *Recovery) detect(now time.Time, at int64, giveUpEnd uint64) Result {
	var loss Loss
	r.lossAt = 0
	expected := r.rtt.expected()
	delay := int64(expected + r.order.patience(at, expected))
	numbered := !r.order.happens(at)
	for r.sent.head < r.sent.next {
		n := r.sent.head
		p := r.sent.at(n)
		overtaken := n < r.ackedEnd
		if p.state == packetAcked {
			r.lostRunStarted = false
		}
		if p.state == packetSkipped && !overtaken && n >= giveUpEnd {
			break
		}
		if p.state == packetInFlight {
			lost := n < giveUpEnd ||
				overtaken && (numbered && r.ackedEnd-n > packetThreshold || p.sentAt <= at-delay)
			if !lost {
				if overtaken {
					r.lossAt = max(p.sentAt+delay, 1)
				}
				break
			}
			r.declareLost(n, p, &loss)
		}
		r.sent.pop()
	}
	if loss.Packets == 0 {
		return Result{}
	}
	loss.InFlight = r.inFlight
	r.stats.LostPackets += uint64(loss.Packets)
	r.stats.LostBytes += uint64(loss.Bytes)
	if loss.Persistent {
		r.stats.PersistentCongestion++
		r.lostRunStarted = false
		r.rtt.distrust(at)
	}
	r.controller.Lost(now, loss)
	return Result{LostBytes: loss.Bytes, LostPackets: loss.Packets}
}

func (r *Recovery) declareLost(number uint64, p *sentPacket, loss *Loss) {
	r.inFlight -= int(p.bytes)
	loss.Bytes += int(p.bytes)
	loss.Packets++
	loss.SentAt = r.moment(p.sentAt)
	r.late.add(latePacket{number: number, sentAt: p.sentAt, bytes: p.bytes})
	// Persistent congestion: two packets, so far apart, and nothing between
	// them acknowledged. Packets from before the first sample do not count, for
	// the duration was not known then (RFC 9002 §7.6.2).
	if !r.rtt.Sampled() || p.sentAt < r.firstSampleAt {
		return
	}
	if !r.lostRunStarted {
		r.lostRunStarted, r.lostRunFrom = true, p.sentAt
	}
	if p.sentAt-r.lostRunFrom >= int64(r.persistentDuration()) {
		loss.Persistent = true
	}
}

func (r *Recovery) persistentDuration() time.Duration { return persistentFactor * r.rtt.pto() }

// sentBefore is one above the last packet sent at that moment or before.
func (r *Recovery) sentBefore(at int64) uint64 {
	n := r.sent.head
	for n < r.sent.next && r.sent.at(n).sentAt <= at {
		n++
	}
	return n
}

// probeAt is when the probe time-out strikes (RFC 9002 §6.2.1), doubled for
// every time in a row that it has. It counts from the last packet or probe.
func (r *Recovery) probeAt() int64 {
	interval := r.rtt.pto()
	for range r.probeCount {
		if interval >= maxProbeInterval {
			break
		}
		interval *= 2
	}
	return max(r.lastCountedAt, r.probedAt) + int64(min(interval, max(maxProbeInterval, r.rtt.pto())))
}
