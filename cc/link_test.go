package cc

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// A small packet-level model on virtual time: senders that always have work,
// one drop-tail bottleneck, a path with a fixed delay and random loss, and
// receivers that acknowledge every second packet, gaps at once.

const (
	modelPacketBytes = 1087 // a full DATA datagram on IPv4
	modelAckDelay    = 5 * time.Millisecond
)

var modelStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type event struct {
	at  time.Time
	seq int
	do  func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

type world struct {
	now    time.Time
	events eventHeap
	seq    int
	rng    *rand.Rand

	// the bottleneck
	rateBytesPerSec float64
	queueBytes      int
	freeAt          time.Time
	queueDrops      int
	cutUntil        time.Time // everything is lost until then
}

func newWorld(mbitPerSec float64, queueBytes int) *world {
	return &world{
		now: modelStart, freeAt: modelStart, rng: rand.New(rand.NewPCG(1, 2)),
		rateBytesPerSec: mbitPerSec * 1e6 / 8, queueBytes: queueBytes,
	}
}

func (w *world) at(t time.Time, do func()) {
	w.seq++
	heap.Push(&w.events, event{t, w.seq, do})
}

func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.events) > 0 && !w.events[0].at.After(end) {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

// transmit returns when a packet leaves the bottleneck; false: no room in its queue.
func (w *world) transmit(bytes int) (time.Time, bool) {
	if w.now.Before(w.cutUntil) {
		return time.Time{}, false
	}
	start := w.freeAt
	if start.Before(w.now) {
		start = w.now
	}
	if int(start.Sub(w.now).Seconds()*w.rateBytesPerSec)+bytes > w.queueBytes {
		w.queueDrops++
		return time.Time{}, false
	}
	w.freeAt = start.Add(time.Duration(float64(bytes) / w.rateBytesPerSec * float64(time.Second)))
	return w.freeAt, true
}

type flow struct {
	w        *world
	r        *Recovery
	rtt      time.Duration // of the empty path
	lossRate float64
	next     uint64
	wake     time.Time
	sending  bool

	received  []Range // newest first
	unacked   int
	ackArmed  bool
	delivered int
	lost      int
	probes    int
}

func (w *world) addFlow(c Controller, rtt time.Duration) *flow {
	f := &flow{w: w, r: NewRecovery(w.now, c), rtt: rtt, sending: true}
	f.send()
	return f
}

func (f *flow) transmit() {
	number := f.next
	f.next++
	f.r.Sent(f.w.now, number, modelPacketBytes)
	left, ok := f.w.transmit(modelPacketBytes)
	if !ok || f.w.rng.Float64() < f.lossRate {
		return
	}
	f.w.at(left.Add(f.rtt/2), func() { f.receive(number) })
}

func (f *flow) send() {
	f.probe(f.r.Advance(f.w.now)) // at any moment: spurious calls are harmless
	for f.sending {
		budget := f.r.Budget(f.w.now)
		if budget < modelPacketBytes {
			break
		}
		for ; budget >= modelPacketBytes; budget -= modelPacketBytes {
			f.transmit()
		}
	}
	f.arm(f.r.Next())
	if f.sending {
		f.arm(f.r.NextSend(f.w.now))
	}
}

func (f *flow) probe(result Result) {
	f.lost += result.LostPackets
	if result.Probe {
		f.probes++
		f.transmit()
	}
}

func (f *flow) arm(t time.Time) {
	if t.IsZero() || f.wake.After(f.w.now) && !t.Before(f.wake) {
		return
	}
	f.wake = t
	f.w.at(t, func() {
		if f.wake.Equal(t) {
			f.wake = time.Time{}
		}
		f.send()
	})
}

func (f *flow) receive(number uint64) {
	f.delivered += modelPacketBytes
	inOrder := len(f.received) == 0 || number == f.received[0].Last+1
	if inOrder && len(f.received) > 0 {
		f.received[0].Last = number
	} else {
		f.received = append([]Range{{number, number}}, f.received...)
		f.received = f.received[:min(len(f.received), MaxAckRanges)]
	}
	f.unacked++
	if f.unacked >= 2 || !inOrder {
		f.ack()
	} else if !f.ackArmed {
		f.ackArmed = true
		f.w.at(f.w.now.Add(modelAckDelay), func() {
			f.ackArmed = false
			if f.unacked > 0 {
				f.ack()
			}
		})
	}
}

func (f *flow) ack() {
	f.unacked = 0
	ranges := append([]Range(nil), f.received...)
	f.w.at(f.w.now.Add(f.rtt/2), func() {
		result, err := f.r.Ack(f.w.now, ranges, 0)
		if err != nil {
			panic(err)
		}
		f.lost += result.LostPackets
		f.send()
	})
}

// share is the part of the link that the flow's bytes took since a moment.
func (f *flow) share(sinceBytes int, d time.Duration) float64 {
	return float64(f.delivered-sinceBytes) / (f.w.rateBytesPerSec * d.Seconds())
}
