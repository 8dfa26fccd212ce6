package cc

const (
	// minTrackedPackets is the ring's first size: a question and its answer,
	// which is all that a channel without data ever has in flight.
	minTrackedPackets = 8

	// maxTrackedPackets bounds the ring: 32,768 packets of 40 bytes each are
	// 1.3 MB for a channel at its very fastest (see MaxWindowBytes), and a
	// channel that never runs that fast never allocates them.
	maxTrackedPackets = 1 << 15

	// maxSkippedPackets bounds the packet numbers that a sender may leave out
	// at once, each of which takes a place in the ring.
	maxSkippedPackets = 64

	// maxLatePackets bounds the memory of packets declared lost: 6 KiB, which
	// a channel without losses never allocates. A burst of losses larger than
	// four maximal bursts of the pacer is not judged spurious as a whole anyway.
	maxLatePackets = 256
)

type packetState uint8

const (
	packetSkipped   packetState = iota // number never used: an ACK of it is a lie
	packetUncounted                    // sent, but outside congestion control
	packetInFlight
	packetAcked
)

// A sentPacket is the state that RFC 9002 (appendix A.1) and the delivery-rate
// draft (§3.1.1) keep for a packet; moments in nanoseconds from Recovery.epoch.
type sentPacket struct {
	sentAt      int64
	firstSentAt int64 // send time of the flight's first packet
	deliveredAt int64
	delivered   uint64
	inFlight    uint32 // just after sending it
	bytes       uint16
	state       packetState
	appLimited  bool
}

// sentRing holds the packets with numbers [head, next) that are not yet
// decided, in a ring indexed by packet number.
type sentRing struct {
	packets    []sentPacket // length is a power of two
	head, next uint64
	skipped    int // packets in state packetSkipped
}

func (r *sentRing) at(number uint64) *sentPacket {
	return &r.packets[number&uint64(len(r.packets)-1)]
}

func (r *sentRing) len() int { return int(r.next - r.head) }

// full tells that the next push needs the caller to pop the head first.
func (r *sentRing) full() bool { return r.len() == maxTrackedPackets }

// push appends the packet with number next; the ring must not be full.
func (r *sentRing) push(p sentPacket) {
	if r.len() == len(r.packets) {
		r.grow()
	}
	if p.state == packetSkipped {
		r.skipped++
	}
	*r.at(r.next) = p
	r.next++
}

func (r *sentRing) pop() {
	if r.at(r.head).state == packetSkipped {
		r.skipped--
	}
	r.head++
}

// grow doubles the ring: amortised over the packets that made it necessary,
// nothing is allocated per packet.
func (r *sentRing) grow() {
	old := *r
	r.packets = make([]sentPacket, max(2*len(old.packets), minTrackedPackets))
	for n := old.head; n < old.next; n++ {
		*r.at(n) = *old.at(n)
	}
}

// A latePacket was declared lost; its ACK may still come.
type latePacket struct {
	number uint64
	sentAt int64
	bytes  uint16
	acked  bool
}

// lateList remembers the last packets declared lost, by ascending number.
type lateList struct {
	packets     []latePacket // nil before the first
	first, size int
}

func (l *lateList) nth(i int) *latePacket { return &l.packets[(l.first+i)%maxLatePackets] }

func (l *lateList) add(p latePacket) {
	if l.packets == nil {
		l.packets = make([]latePacket, maxLatePackets)
	}
	if l.size == maxLatePackets {
		l.first = (l.first + 1) % maxLatePackets
		l.size--
	}
	l.size++
	*l.nth(l.size - 1) = p
}

// search returns the index of the first packet with at least that number.
func (l *lateList) search(number uint64) int {
	low, high := 0, l.size
	for low < high {
		mid := (low + high) / 2
		if l.nth(mid).number < number {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}
