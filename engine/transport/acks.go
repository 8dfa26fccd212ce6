package transport

import (
	"time"

	"shoal/internal/wire"
)

const (
	// ackEvery packets an ACK is due: one per batch costs least, and a batch
	// is at most 64 segments of one message.
	ackEvery = 64

	// maxAckDelay is what the sender's loss timers assume (RFC 9002 §5.3).
	maxAckDelay = 25 * time.Millisecond

	// loneAckShare: a packet's ACK waits for a second packet by at most this part
	// of a round trip.
	loneAckShare = 4

	// busyAckShare: once there are two, it waits for more by at most this part. To
	// a sender whose window is full, the wait makes the path longer: with a quarter
	// of a round trip, our Cubic had half of what the kernel's had beside it.
	busyAckShare = 16

	// minAckDelay: below it a timer costs more than the ACK that it saves.
	minAckDelay = time.Millisecond

	// eagerPackets at the beginning are acknowledged two by two (RFC 9000
	// §13.2.2): the first windows are smaller than ackEvery, and slow start
	// would wait for the timer in every round.
	eagerPackets = 128
	eagerEvery   = 2

	// maxTold is how many ACKs name a range after it last changed. A lost packet
	// is never sent again under its number, so that its gap stays for ever, and
	// without this every ACK of a path that has lost 64 packets would have 64
	// ranges: as much as half of what a thin uplink carries. That so many ACKs in
	// a row are lost while packets arrive means that the way back is down; the
	// sender then takes packets for lost that were not, and backs off.
	maxTold = 8
)

// A reportedRange is a run of packet numbers that arrived, and how many ACKs
// have named it as it is.
type reportedRange struct {
	wire.AckRange
	told int
}

// An ackTracker remembers what arrived and when to say so.
type ackTracker struct {
	ranges    []reportedRange // newest first, at most wire.MaxAckRanges
	largestAt time.Time       // when ranges[0].Last arrived
	unacked   int             // packets since the last ACK that want one
	total     int             // packets that wanted one, up to eagerPackets
	dueAt     time.Time       // zero: nothing to say
	marked    uint32          // packets that want an ACK and met congestion (ECN)
	roundTrip time.Duration   // 0: unknown
}

// received notes an authenticated packet that was not seen before. urgent
// asks for an ACK at once.
func (t *ackTracker) received(now time.Time, number uint64, wantsAck, urgent bool) {
	gap := t.insert(now, number)
	if !wantsAck {
		return
	}
	t.unacked++
	every := ackEvery
	if t.total < eagerPackets {
		t.total++
		every = eagerEvery
	}
	switch {
	case urgent || gap || t.unacked >= every:
		t.dueAt = now
	case t.dueAt.IsZero():
		t.dueAt = now.Add(t.delay(loneAckShare))
	default:
		if soon := now.Add(t.delay(busyAckShare)); soon.Before(t.dueAt) {
			t.dueAt = soon
		}
	}
}

// delay is a share of the round trip, so that waiting for ACKs does not make
// a short path a long one, within the bounds.
func (t *ackTracker) delay(share time.Duration) time.Duration {
	if t.roundTrip <= 0 {
		return maxAckDelay
	}
	return min(max(t.roundTrip/share, minAckDelay), maxAckDelay)
}

// due tells whether an ACK should leave now.
func (t *ackTracker) due(now time.Time) bool { return !t.dueAt.IsZero() && !now.Before(t.dueAt) }

// fill writes what to say into a, reusing its Ranges; the caller sends it. What
// has been said often enough is forgotten, all but the newest range.
func (t *ackTracker) fill(now time.Time, a *wire.Ack) {
	a.Ranges = a.Ranges[:0]
	kept := t.ranges[:0]
	for i, r := range t.ranges {
		a.Ranges = append(a.Ranges, r.AckRange)
		r.told++
		if i == 0 || r.told < maxTold {
			kept = append(kept, r)
		}
	}
	t.ranges = kept
	a.Delay = max(now.Sub(t.largestAt), 0)
	a.CEPackets = t.marked
	t.unacked = 0
	t.dueAt = time.Time{}
}

// insert adds a number to the ranges and tells whether it lies off the newest
// end: a new gap, or an old one being filled. Either is news for the sender.
func (t *ackTracker) insert(now time.Time, number uint64) (offEnd bool) {
	if len(t.ranges) == 0 {
		t.open(0, number)
		t.largestAt = now
		return number != 0
	}
	newest := &t.ranges[0]
	if number == newest.Last+1 {
		newest.Last, newest.told = number, 0
		t.largestAt = now
		return false
	}
	if number > newest.Last {
		t.open(0, number)
		t.largestAt = now
		return true
	}
	for i := range t.ranges {
		r := &t.ranges[i]
		switch {
		case number > r.Last+1:
			t.open(i, number)
			return true
		case number == r.Last+1:
			r.Last, r.told = number, 0
			t.join(i - 1)
			return true
		case number >= r.First:
			return false // the replay filter lets no such number through
		case number == r.First-1:
			r.First, r.told = number, 0
			t.join(i)
			return true
		}
	}
	t.open(len(t.ranges), number)
	return true
}

// open inserts a range of one at i, forgetting the oldest when there are too
// many: the sender gave those packets up long ago.
func (t *ackTracker) open(i int, number uint64) {
	if i >= wire.MaxAckRanges {
		return
	}
	if len(t.ranges) < wire.MaxAckRanges {
		t.ranges = append(t.ranges, reportedRange{})
	}
	copy(t.ranges[i+1:], t.ranges[i:])
	t.ranges[i] = reportedRange{AckRange: wire.AckRange{First: number, Last: number}}
}

// join merges range i with the next older one if nothing is between them.
func (t *ackTracker) join(i int) {
	if i < 0 || i+1 >= len(t.ranges) || t.ranges[i].First != t.ranges[i+1].Last+1 {
		return
	}
	t.ranges[i].First, t.ranges[i].told = t.ranges[i+1].First, 0
	t.ranges = append(t.ranges[:i+1], t.ranges[i+2:]...)
}
