package transport

import (
	"net/netip"
	"sync/atomic"
	"time"

	"shoal/cc"
)

const (
	// inboxBatches wait for an inbox's reader. Most are small: 256 × 16 KiB
	// bounds them at 4 MiB, and slabs have a bound of their own.
	inboxBatches = 256

	// maxSlabs handed out at once over all inboxes, 8 MiB when all are full. A
	// reader that keeps up leaves them a quarter full: 2 MiB.
	maxSlabs = 32

	// slabPatience is how long the endpoint's reader waits for a slab before it
	// drops what it has read. Meanwhile the socket's own buffer fills, which is
	// larger: an inbox's reader that is off the CPU for a slice of the system's
	// scheduler costs nothing then. One that is stuck delays QUIC by as much,
	// which its timers allow (RFC 9002 §6.2.1: max_ack_delay is 25 ms).
	slabPatience = 10 * time.Millisecond

	// smallBatchBytes: what a read brought is copied when it is at most this,
	// so that a trickle of packets does not pin a slab of 256 KiB each. The
	// copy costs less than one system call.
	smallBatchBytes = 16 << 10
)

// A Packet is one sealed datagram of a session.
type Packet struct {
	Channel *Channel
	Data    []byte
	From    netip.AddrPort

	marked bool // it met congestion on its way (ECN)
}

// A Batch is what one read brought for one inbox. Its memory is valid until
// Release, which the receiver must call once.
type Batch struct {
	Packets []Packet

	endpoint *Endpoint
	slab     *slab  // the packets point into it; nil: into copied
	copied   []byte // capacity smallBatchBytes
	bytes    int
	out      atomic.Bool // handed out and not yet released
}

// Release gives the batch's memory back.
func (b *Batch) Release() {
	if !b.out.CompareAndSwap(true, false) {
		panic("BUG: batch released twice")
	}
	clear(b.Packets) // drop the references to channels
	b.Packets = b.Packets[:0]
	b.bytes = 0
	pools := &b.endpoint.pools
	if b.slab == nil {
		b.copied = b.copied[:0]
		keep(pools.small, b)
		return
	}
	s := b.slab
	b.slab = nil
	keep(pools.big, b)
	pools.unref(s)
}

// pools keep what was once in use, within the bounds above, so that the steady
// state allocates nothing.
type pools struct {
	slabs      chan *slab
	small, big chan *Batch
	messages   chan []byte // of messageSlabBytes, for sending
	slabsOut   atomic.Int32
	returned   chan struct{} // a slab came back; room for one
}

func newPools() pools {
	return pools{
		slabs:    make(chan *slab, maxSlabs),
		small:    make(chan *Batch, inboxBatches),
		big:      make(chan *Batch, maxSlabs),
		messages: make(chan []byte, idleMessages),
		returned: make(chan struct{}, 1),
	}
}

func keep[T any](pool chan T, v T) {
	select {
	case pool <- v:
	default:
	}
}

func (p *pools) slab() *slab {
	select {
	case s := <-p.slabs:
		return s
	default:
		return &slab{buf: make([]byte, slabBytes)}
	}
}

// unref ends one use of a slab that was handed out.
func (p *pools) unref(s *slab) {
	if s.refs.Add(-1) == 0 {
		p.slabsOut.Add(-1)
		keep(p.slabs, s)
		keep(p.returned, struct{}{})
	}
}

// awaitSlab waits until one more slab may be handed out; false: none came back
// in time.
func (e *Endpoint) awaitSlab() bool {
	if e.pools.slabsOut.Load() < maxSlabs {
		return true
	}
	patience := time.NewTimer(slabPatience)
	defer patience.Stop()
	for e.pools.slabsOut.Load() >= maxSlabs {
		select {
		case <-e.pools.returned: // perhaps long ago
		case <-patience.C:
			return false
		case <-e.closing:
			return false
		}
	}
	return true
}

func (p *pools) bigBatch(e *Endpoint) *Batch {
	select {
	case b := <-p.big:
		return b
	default:
		return &Batch{endpoint: e, Packets: make([]Packet, 0, coalescedSlots*maxSegments)}
	}
}

func (p *pools) smallBatch(e *Endpoint) *Batch {
	select {
	case b := <-p.small:
		return b
	default:
		return &Batch{endpoint: e, Packets: make([]Packet, 0, 32), copied: make([]byte, 0, smallBatchBytes)}
	}
}

func (p *pools) message() []byte {
	select {
	case b := <-p.messages:
		return b
	default:
		return make([]byte, messageSlabBytes)
	}
}

// An inbox gathers, during one read, what is for one ALPN, and hands it over.
type inbox struct {
	batches chan *Batch

	// owned by the endpoint's reader
	packets []Packet // of the present read, pointing into its slab
	bytes   int

	// owned by the inbox's reader
	outbox outbox
	group  cc.Group // of its channels
}

func newInbox() *inbox { return &inbox{batches: make(chan *Batch, inboxBatches)} }

func (in *inbox) add(p Packet) {
	in.packets = append(in.packets, p)
	in.bytes += len(p.Data)
}

// handOver ends a read: it copies little, and hands over the slab when there
// is much. It is true when the slab is in use now; first tells that no other
// inbox uses it. The reader holds a reference of its own meanwhile.
func (in *inbox) handOver(e *Endpoint, s *slab, first bool) (slabUsed bool) {
	if len(in.packets) == 0 {
		return false
	}
	defer in.empty()
	var b *Batch
	if in.bytes <= smallBatchBytes {
		b = e.pools.smallBatch(e)
		for _, p := range in.packets {
			at := len(b.copied)
			b.copied = append(b.copied, p.Data...)
			p.Data = b.copied[at:len(b.copied):len(b.copied)]
			b.Packets = append(b.Packets, p)
		}
	} else {
		if first && !e.awaitSlab() {
			e.counters.inboxFull.Add(uint64(len(in.packets)))
			return false
		}
		b = e.pools.bigBatch(e)
		b.Packets, in.packets = in.packets, b.Packets
		b.slab = s
		if first {
			e.pools.slabsOut.Add(1)
		}
		s.refs.Add(1)
		slabUsed = true
	}
	b.out.Store(true)
	select {
	case in.batches <- b:
	default:
		e.counters.inboxFull.Add(uint64(len(b.Packets)))
		b.Release()
	}
	return slabUsed
}

// empty makes the inbox ready for the next read.
func (in *inbox) empty() {
	clear(in.packets) // drop the references to channels
	in.packets, in.bytes = in.packets[:0], 0
}
