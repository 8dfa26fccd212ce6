package replay

import (
	"math"
	"math/bits"
	"time"
)

// kind says what an event does.
type kind uint8

const (
	evArrive   kind = iota // p comes online
	evPlay                 // p's player asks for its first segment
	evPlayer               // p's player looks whether to load on
	evSeek                 // p's viewer jumps
	evLeave                // p's viewer leaves
	evGone                 // p goes offline
	evCycle                // p's node has something due
	evUp                   // p's uplink may send again
	evDown                 // p's downlink has carried a burst, and the CDN waits for that
	evCDN                  // the CDN sends p a burst
	evStored               // p has hashed and stored a piece
	evDialed               // p's dial of c ends
	evSession              // the other side of c learns of p
	evClosed               // p learns that c is over
	evAnnounce             // p tells the tracker
	evAnswer               // the tracker's answer comes to p
	evExpire               // the tracker forgets who is silent
)

// event is something that happens to a peer.
type event struct {
	p     *peer
	c     *conn
	msg   any // an answer
	kind  kind
	piece uint32 // of the rendition
	n     int64  // whatever the kind needs
}

// entry is an event's place in the queue.
type entry struct {
	at  time.Duration
	seq uint64
	ev  int32
}

func (a entry) before(b entry) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

const (
	// slotBits is the length of the wheel's slots, in bits of nanoseconds: an
	// eighth of a millisecond, in which a large swarm has a few events.
	slotBits = 17
	// wheelSlots reach half a second ahead: beyond lie only the events of which
	// there are few.
	wheelSlots = 1 << 12
)

// events is a queue by time: a heap of what is due in the slot that is being
// emptied, a wheel of lists for the next half second, and a heap of what lies
// beyond it. Most events pass through the wheel, where they cost the same
// however many there are.
type events struct {
	near  heap4
	far   heap4
	wheel [wheelSlots]int32 // first of a list of events, plus one
	busy  [wheelSlots / 64]uint64
	slot  int64 // what lies in it and before is in near
	spun  int   // events in the wheel
	pool  []pooled
	free  int32 // first of the list of unused places in pool, plus one
	seq   uint64
}

// pooled is an event that waits, or an unused place.
type pooled struct {
	event
	at   time.Duration
	seq  uint64
	next int32 // in its list, plus one
}

func (q *events) empty() bool { return len(q.near)+len(q.far)+q.spun == 0 }

// push adds an event. The pointer is valid until the next push.
func (q *events) push(at time.Duration, k kind, p *peer) *event {
	i := q.free
	if i == 0 {
		q.pool = append(q.pool, pooled{})
		i = int32(len(q.pool))
	}
	e := &q.pool[i-1]
	q.free = e.next
	q.seq++
	e.kind, e.p, e.at, e.seq = k, p, at, q.seq
	switch slot := int64(at >> slotBits); {
	case slot <= q.slot:
		q.near.push(entry{at: at, seq: q.seq, ev: i})
	case slot < q.slot+wheelSlots:
		w := slot % wheelSlots
		e.next, q.wheel[w] = q.wheel[w], i
		q.busy[w/64] |= 1 << (w % 64)
		q.spun++
	default:
		q.far.push(entry{at: at, seq: q.seq, ev: i})
	}
	return &e.event
}

// pop takes the earliest event out.
func (q *events) pop() (time.Duration, event) {
	if len(q.near) == 0 {
		q.turn()
	}
	top := q.near.pop()
	e := &q.pool[top.ev-1]
	ev := e.event
	e.event, e.next, q.free = event{}, q.free, top.ev
	return top.at, ev
}

// turn moves the next slot that has events into near.
func (q *events) turn() {
	next := int64(math.MaxInt64)
	if q.spun > 0 {
		next = q.nextBusy()
	}
	if len(q.far) > 0 {
		next = min(next, int64(q.far[0].at>>slotBits))
	}
	q.slot = next
	w := next % wheelSlots
	for i := q.wheel[w]; i != 0; i = q.pool[i-1].next {
		q.near.push(entry{at: q.pool[i-1].at, seq: q.pool[i-1].seq, ev: i})
		q.spun--
	}
	q.wheel[w] = 0
	q.busy[w/64] &^= 1 << (w % 64)
	for len(q.far) > 0 && int64(q.far[0].at>>slotBits) <= next {
		q.near.push(q.far.pop())
	}
}

// nextBusy returns the first slot after the present one that has events in the
// wheel, which is not empty.
func (q *events) nextBusy() int64 {
	slot := q.slot + 1
	for {
		w := slot % wheelSlots
		if set := q.busy[w/64] >> (w % 64); set != 0 {
			return slot + int64(bits.TrailingZeros64(set))
		}
		slot += 64 - w%64
	}
}

// heap4 is a heap of four children per node: shallower than two, and its
// children share a cache line.
type heap4 []entry

func (q *heap4) push(e entry) {
	h := append(*q, e)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !e.before(h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = e
	*q = h
}

func (q *heap4) pop() entry {
	top := (*q)[0]
	last := len(*q) - 1
	e := (*q)[last]
	h := (*q)[:last]
	*q = h
	if last == 0 {
		return top
	}
	i := 0
	for {
		first := 4*i + 1
		if first >= last {
			break
		}
		least := first
		for c := first + 1; c < min(first+4, last); c++ {
			if h[c].before(h[least]) {
				least = c
			}
		}
		if !h[least].before(e) {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = e
	return top
}
