package transport

import "net/netip"

const (
	// messageSlabBytes holds the largest message.
	messageSlabBytes = 64 << 10

	// outboxSlabs before it flushes by itself: four full messages, 240 datagrams,
	// in one system call.
	outboxSlabs = 4

	// idleMessages are kept for reuse, 2 MiB.
	idleMessages = 32
)

// An outbox gathers sealed datagrams into messages: runs of datagrams of one size
// to one address, of which the last may be shorter. All channels of an inbox
// share one, so that a packet or two for each of many leeches cost one system
// call; like the channels it belongs to the goroutine that reads the inbox.
type outbox struct {
	slabs   [][]byte
	used    int // bytes of the last slab
	out     []Outgoing
	packets int  // of the last message
	ended   bool // the last message takes no more
}

// fits tells whether a datagram can be added without a flush.
func (o *outbox) fits(size int) bool {
	return len(o.slabs) < outboxSlabs || messageSlabBytes-o.used >= size
}

// add reserves a datagram; the caller writes size bytes there. It must fit.
func (o *outbox) add(p *pools, to netip.AddrPort, size int) []byte {
	room := len(o.slabs) > 0 && messageSlabBytes-o.used >= size
	if last := len(o.out) - 1; last >= 0 && room && o.extends(&o.out[last], to, size) {
		m := &o.out[last]
		at := len(m.Data)
		m.Data = m.Data[:at+size]
		o.used += size
		o.packets++
		o.ended = size < m.SegmentBytes
		return m.Data[at:]
	}
	if !room {
		o.slabs = append(o.slabs, p.message())
		o.used = 0
	}
	slab := o.slabs[len(o.slabs)-1]
	data := slab[o.used : o.used+size]
	o.used += size
	o.out = append(o.out, Outgoing{Addr: to, Data: data, SegmentBytes: size})
	o.packets, o.ended = 1, false
	return data
}

func (o *outbox) extends(m *Outgoing, to netip.AddrPort, size int) bool {
	return !o.ended && m.Addr == to && size <= m.SegmentBytes &&
		o.packets < maxSegments && len(m.Data)+size <= maxMessageBytes
}

// flush sends everything; a closed socket is noticed elsewhere.
func (o *outbox) flush(e *Endpoint) {
	if len(o.out) == 0 {
		return
	}
	_ = e.Send(o.out)
	o.discard(&e.pools)
}

func (o *outbox) discard(p *pools) {
	for i, slab := range o.slabs {
		keep(p.messages, slab)
		o.slabs[i] = nil
	}
	clear(o.out)
	o.slabs, o.out = o.slabs[:0], o.out[:0]
	o.used, o.packets, o.ended = 0, 0, false
}
