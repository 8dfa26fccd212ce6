package replay

import "time"

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
	evDown                 // p's downlink has carried a burst
	evCDN                  // the CDN sends p a burst
	evStored               // p has hashed and stored a piece
	evDialed               // p's dial of c ends
	evSession              // the other side of c learns of p
	evClosed               // p learns that c is over
	evMessage              // msg comes to p on c
	evBurst                // a burst comes to p's downlink on c
	evAnnounce             // p tells the tracker
	evAnswer               // the tracker's answer comes to p
	evExpire               // the tracker forgets who is silent
)

// event is something that happens to a peer.
type event struct {
	p     *peer
	c     *conn
	msg   any // of a message or an answer; the *fetch of a burst of the CDN
	kind  kind
	piece uint32 // of a burst: as its sender numbers it; else of the rendition
	mask  uint64
	n     int64 // bytes, or whatever the kind needs
}

// entry is an event's place in the heap.
type entry struct {
	at  time.Duration
	seq uint64
	ev  int32
}

func (a entry) before(b entry) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// events is a heap of four children per node: shallower than two, and its
// children share a cache line.
type events struct {
	heap []entry
	pool []event
	free []int32
	seq  uint64
}

// push adds an event. The pointer is valid until the next push.
func (q *events) push(at time.Duration, k kind, p *peer) *event {
	var i int32
	if n := len(q.free); n > 0 {
		i = q.free[n-1]
		q.free = q.free[:n-1]
	} else {
		i = int32(len(q.pool))
		q.pool = append(q.pool, event{})
	}
	e := &q.pool[i]
	e.kind, e.p = k, p
	q.seq++
	q.up(entry{at: at, seq: q.seq, ev: i})
	return e
}

func (q *events) up(e entry) {
	h := append(q.heap, e)
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
	q.heap = h
}

// pop takes the earliest event out.
func (q *events) pop() (time.Duration, event) {
	top := q.heap[0]
	last := len(q.heap) - 1
	e := q.heap[last]
	h := q.heap[:last]
	q.heap = h
	if last > 0 {
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
	}
	ev := q.pool[top.ev]
	q.pool[top.ev] = event{}
	q.free = append(q.free, top.ev)
	return top.at, ev
}
