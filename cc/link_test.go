package cc

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"
)

// A small packet-level model on virtual time: senders that always have work,
// one bottleneck (drop-tail or a policer, of a capacity that may change), a path
// with delay, jitter and losses, and receivers that acknowledge as the
// transport's do, or every second packet.

const (
	modelPacketBytes = 1087 // a full DATA datagram on IPv4
	modelAckDelay    = 5 * time.Millisecond
	jitterStep       = 20 * time.Millisecond
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
	flows  []*flow

	// the bottleneck
	rateBytesPerSec float64
	queueBytes      int
	queued          []int // bytes, oldest first
	queuedBytes     int
	busy            bool
	waiting         []func() // what happens to each queued packet when it leaves
	queueDrops      int
	cutUntil        time.Time // everything is lost until then

	// policer instead of a queue
	bucketBytes float64 // 0: none
	tokens      float64
	tokensAt    time.Time
}

func newWorld(mbitPerSec float64, queueBytes int) *world {
	return &world{
		now: modelStart, rng: rand.New(rand.NewPCG(1, 2)),
		rateBytesPerSec: mbitPerSec * 1e6 / 8, queueBytes: queueBytes,
	}
}

func newPolicer(mbitPerSec float64, bucketBytes int) *world {
	w := newWorld(mbitPerSec, 0)
	w.bucketBytes, w.tokens, w.tokensAt = float64(bucketBytes), float64(bucketBytes), w.now
	return w
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

// arrive brings a packet to the bottleneck; leave is called when it has passed.
func (w *world) arrive(bytes int, leave func()) {
	switch {
	case w.now.Before(w.cutUntil):
	case w.bucketBytes > 0:
		w.tokens = min(w.bucketBytes, w.tokens+w.rateBytesPerSec*w.now.Sub(w.tokensAt).Seconds())
		w.tokensAt = w.now
		if w.tokens < float64(bytes) {
			w.queueDrops++
			return
		}
		w.tokens -= float64(bytes)
		leave()
	case w.queuedBytes+bytes > w.queueBytes:
		w.queueDrops++
	default:
		w.queued, w.waiting = append(w.queued, bytes), append(w.waiting, leave)
		w.queuedBytes += bytes
		if !w.busy {
			w.serve()
		}
	}
}

// serve transmits the oldest packet of the queue, at the present capacity.
func (w *world) serve() {
	w.busy = true
	w.at(w.now.Add(time.Duration(float64(w.queued[0])/w.rateBytesPerSec*float64(time.Second))), func() {
		leave := w.waiting[0]
		w.queuedBytes -= w.queued[0]
		w.queued, w.waiting = w.queued[1:], w.waiting[1:]
		w.busy = false
		if len(w.queued) > 0 {
			w.serve()
		}
		leave()
	})
}

// queueDelay is how long a packet that arrives now will wait.
func (w *world) queueDelay() time.Duration {
	return time.Duration(float64(w.queuedBytes) / w.rateBytesPerSec * float64(time.Second))
}

type flow struct {
	w       *world
	r       *Recovery
	next    uint64
	wake    time.Time
	sending bool

	// the path
	rtt       time.Duration // when it is empty
	lossRate  float64
	burstLoss int // packets that are lost together; 0 or 1: single ones
	burstLeft int
	jitter    time.Duration // ± around rtt, changing within jitterStep; keeps the order
	shake     time.Duration // ± around rtt, anew for every packet: reorders
	jitterNow [2]float64    // at the beginning and the end of the present step
	jitterAt  time.Time
	lastAt    time.Time // when the last packet arrived
	stall     time.Time // the receiver does not run before

	// the receiver
	batchedAcks bool // as engine/transport: a quarter of the round trip, or 64
	claimsDelay bool // and tells how long the newest packet waited for its ACK
	newestAt    time.Time
	received    []Range // newest first
	unacked     int
	ackArmed    bool

	// a dishonest receiver, and what the sender does about it
	lie     func(f *flow, honest []Range) []Range
	claimed time.Duration // delay of its ACKs, as it says
	skips   bool          // numbers are left out now and then, unpredictably
	skipAt  uint64        // the next of them
	refused error         // why the sender closed the channel

	delivered int
	lost      int
	probes    int
	delays    []time.Duration // in the queue, of every packet that left it
}

func (w *world) addFlow(c Controller, rtt time.Duration) *flow {
	f := &flow{w: w, r: NewRecovery(w.now, c), rtt: rtt, sending: true, jitterAt: w.now}
	w.flows = append(w.flows, f)
	w.at(w.now, f.send)
	return f
}

// addTiered adds a flow with the acknowledgements that Tiered meets in use.
func (w *world) addTiered(t Tier, rtt time.Duration) (*flow, *Tiered) {
	c := NewTiered(w.now, t)
	f := w.addFlow(c, rtt)
	f.batchedAcks = true
	return f, c
}

func (f *flow) transmit() {
	if f.skips && f.next >= f.skipAt {
		f.skipAt = f.next + 64 + f.w.rng.Uint64N(min(f.next+64, 2048)) // as engine/transport
		f.next++
	}
	number := f.next
	f.next++
	f.r.Sent(f.w.now, number, modelPacketBytes)
	entered := f.w.now
	f.w.arrive(modelPacketBytes, func() {
		f.delays = append(f.delays, f.w.now.Sub(entered))
		if f.drop() {
			return
		}
		f.w.at(f.arrival(), func() { f.receive(number) })
	})
}

// drop decides on a random loss, behind the bottleneck.
func (f *flow) drop() bool {
	if f.burstLeft > 0 {
		f.burstLeft--
		return true
	}
	if f.w.rng.Float64() >= f.lossRate/float64(max(f.burstLoss, 1)) {
		return false
	}
	f.burstLeft = max(f.burstLoss, 1) - 1
	return true
}

// arrival is when a packet that leaves the bottleneck now reaches the receiver.
func (f *flow) arrival() time.Time {
	at := f.w.now.Add(f.rtt / 2)
	if at.Before(f.stall) {
		at = f.stall
	}
	if f.shake > 0 {
		return at.Add(time.Duration((2*f.w.rng.Float64() - 1) * float64(f.shake)))
	}
	if f.jitter == 0 {
		return at
	}
	for f.w.now.Sub(f.jitterAt) >= jitterStep {
		f.jitterAt = f.jitterAt.Add(jitterStep)
		f.jitterNow = [2]float64{f.jitterNow[1], 2*f.w.rng.Float64() - 1}
	}
	x := float64(f.w.now.Sub(f.jitterAt)) / float64(jitterStep)
	at = at.Add(time.Duration(float64(f.jitter) * (f.jitterNow[0] + x*(f.jitterNow[1]-f.jitterNow[0]))))
	if at.Before(f.lastAt) {
		at = f.lastAt
	}
	f.lastAt = at
	return at
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
	inOrder := f.insert(number)
	if f.received[0].Last == number {
		f.newestAt = f.w.now
	}
	f.unacked++
	every, delay := 2, modelAckDelay
	if f.batchedAcks && f.next > 128 {
		every, delay = 64, max(f.rtt/16, time.Millisecond)
	}
	if f.unacked >= every || !inOrder {
		f.ack()
	} else if !f.ackArmed {
		f.ackArmed = true
		f.w.at(f.w.now.Add(delay), func() {
			f.ackArmed = false
			if f.unacked > 0 {
				f.ack()
			}
		})
	}
}

// insert notes an arrival and tells whether it continues the newest range.
func (f *flow) insert(number uint64) (inOrder bool) {
	i, found := slices.BinarySearchFunc(f.received, number, func(r Range, n uint64) int {
		switch {
		case n+1 < r.First:
			return -1
		case n > r.Last+1:
			return 1
		}
		return 0
	})
	if !found {
		inOrder = len(f.received) == 0
		f.received = slices.Insert(f.received, i, Range{number, number})
		f.received = f.received[:min(len(f.received), MaxAckRanges)]
		return inOrder
	}
	r := &f.received[i]
	inOrder = i == 0 && number == r.Last+1
	r.First, r.Last = min(r.First, number), max(r.Last, number)
	if i+1 < len(f.received) && f.received[i+1].Last+1 >= r.First {
		r.First = f.received[i+1].First
		f.received = slices.Delete(f.received, i+1, i+2)
	}
	return inOrder
}

func (f *flow) ack() {
	f.unacked = 0
	ranges, delay := slices.Clone(f.received), f.claimed
	if f.claimsDelay {
		delay = f.w.now.Sub(f.newestAt)
	}
	if f.lie != nil {
		ranges = f.lie(f, ranges)
	}
	f.w.at(f.w.now.Add(f.rtt/2), func() {
		if f.refused != nil {
			return
		}
		result, err := f.r.Ack(f.w.now, ranges, delay)
		if err != nil {
			f.refused, f.sending = err, false
			return
		}
		f.lost += result.LostPackets
		f.send()
	})
}

// share is the part of the link that the flow's bytes took since a moment.
func (f *flow) share(sinceBytes int, d time.Duration) float64 {
	return float64(f.delivered-sinceBytes) / (f.w.rateBytesPerSec * d.Seconds())
}
