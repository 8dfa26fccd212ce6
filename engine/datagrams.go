package engine

import (
	"time"

	"shoal/engine/swarm"
	"shoal/engine/transport"
	"shoal/internal/wire"
)

// receive opens the datagrams of a batch. DATA goes straight into the buffers
// of pieces; the core hears of each piece once per batch and peer.
func (l *loop) receive(now time.Time, b *transport.Batch) {
	var p *peer
	for i := range b.Packets {
		pkt := &b.Packets[i]
		if p == nil || p.channel != pkt.Channel {
			if p = l.peerOf(pkt.Channel); p == nil {
				continue
			}
		}
		l.packet(now, p, pkt)
	}
	b.Release()
	for i := range l.arrivals {
		x := &l.arrivals[i]
		x.assembly.fresh = 0
		l.core.Arrived(now, x.peer, x.assembly.piece, x.mask)
	}
	l.e.line.fromPeers(now, arrivedBytes(l.arrivals))
	clear(l.arrivals) // drop the references to pieces
	l.arrivals = l.arrivals[:0]
}

// peerOf returns the session of a channel; nil once it was dropped, and before
// the loop has heard of it.
func (l *loop) peerOf(c *transport.Channel) *peer {
	p := l.byID[c.Session().ID()]
	if p == nil || p.channel != c {
		return nil
	}
	return p
}

func (l *loop) packet(now time.Time, p *peer, pkt *transport.Packet) {
	kind, chunk, ok := p.channel.Header(pkt.Data)
	if !ok {
		return // the endpoint has counted it
	}
	if kind == wire.KindData {
		l.data(now, p, pkt, chunk)
		return
	}
	kind, body, err := p.channel.OpenMessage(now, *pkt, l.scratch[:])
	if err != nil {
		return
	}
	p.hear()
	if p.admitted {
		l.message(now, p, kind, body)
	}
}

// data opens a chunk into its place, or into the void when it is of no use: it
// must be opened all the same, to be acknowledged.
func (l *loop) data(now time.Time, p *peer, pkt *transport.Packet, ch transport.Chunk) {
	x, place := l.place(p, ch)
	if x == nil {
		place = l.scratch[:wire.ChunkBytes]
	}
	n, err := p.channel.OpenData(now, *pkt, place)
	if err != nil {
		return
	}
	p.hear()
	switch {
	case x != nil && n == len(place):
		x.mask |= 1 << ch.Chunk
		x.assembly.fresh |= 1 << ch.Chunk
	case p.admitted:
		if x != nil {
			l.garbage["chunk_size"]++
		}
		l.core.Unexpected(now, p.handle, n)
	}
}

// place returns where a chunk of a peer belongs, and where to note it; nil when it
// is of no use, or when the batch has it already from anybody: the buffer must not
// be written twice, or the wrong peer would be blamed for the bytes.
func (l *loop) place(p *peer, ch transport.Chunk) (*arrival, []byte) {
	if !p.admitted {
		return nil, nil
	}
	x := l.arrivalOf(p.handle, ch)
	if x == nil || x.missing&^x.assembly.fresh&(1<<ch.Chunk) == 0 {
		return nil, nil
	}
	piece := x.assembly.buf.Bytes()
	at := int(ch.Chunk) * wire.ChunkBytes
	return x, piece[at:min(at+wire.ChunkBytes, len(piece))]
}

// arrival collects the chunks of one piece from one peer within a batch.
type arrival struct {
	peer     swarm.Peer
	handle   uint16 // of the piece's file, on that peer's channel
	assembly *assembly
	missing  uint64 // before the batch
	mask     uint64
}

// arrivalOf returns where to note the chunks of a piece, and asks the core only
// about the first of them; nil when it does not want the piece.
func (l *loop) arrivalOf(p swarm.Peer, ch transport.Chunk) *arrival {
	for i := len(l.arrivals) - 1; i >= 0; i-- { // as a rule it is the last one
		if x := &l.arrivals[i]; x.peer == p && x.handle == ch.Handle && x.assembly.piece.Index == ch.Piece {
			return x
		}
	}
	pc, missing := l.core.Expect(p, ch.Handle, ch.Piece)
	if missing == 0 {
		return nil
	}
	l.arrivals = append(l.arrivals, arrival{peer: p, handle: ch.Handle, assembly: l.assemble(pc), missing: missing})
	return &l.arrivals[len(l.arrivals)-1]
}

// hear notes that a peer is alive.
func (p *peer) hear() {
	if !p.asked.IsZero() {
		p.asked = time.Time{}
	}
}

// message takes any datagram but DATA. ACK, PING and PONG were the channel's.
func (l *loop) message(now time.Time, p *peer, kind uint8, body []byte) {
	var err error
	switch kind {
	case wire.KindRequest:
		l.requests, err = wire.ParseRequests(l.requests[:0], body)
		for _, r := range l.requests {
			l.core.Requested(now, p.handle, r)
		}
	case wire.KindCancel:
		l.cancels, err = wire.ParseCancels(l.cancels[:0], body)
		for _, c := range l.cancels {
			l.core.Canceled(now, p.handle, c)
		}
	case wire.KindBusy:
		var m wire.Busy
		if m, err = wire.ParseBusy(body); err == nil {
			l.core.Busied(now, p.handle, time.Duration(m.RetryAfterMillis)*time.Millisecond)
		}
	case wire.KindAck, wire.KindPing, wire.KindPong:
	default:
		l.garbage["kind"]++
	}
	if err != nil {
		l.garbage["datagram"]++
	}
}

// sendRequests packs the requests for each peer into as few datagrams as they fit.
func (l *loop) sendRequests(now time.Time, list []swarm.Request) {
	for start := 0; start < len(list); {
		to := list[start].Peer
		l.requests = l.requests[:0]
		end := start
		for end < len(list) && list[end].Peer == to && len(l.requests) < wire.MaxRequests {
			l.requests = append(l.requests, list[end].Request)
			end++
		}
		start = end
		if p := l.peers[to]; p != nil {
			l.body = wire.AppendRequests(l.body[:0], l.requests)
			p.channel.SendMessage(now, wire.KindRequest, l.body)
			if p.asked.IsZero() {
				p.asked = now
			}
		}
	}
}

func (l *loop) sendCancels(now time.Time, list []swarm.CancelRequest) {
	for start := 0; start < len(list); {
		to := list[start].Peer
		l.cancels = l.cancels[:0]
		end := start
		for end < len(list) && list[end].Peer == to && len(l.cancels) < wire.MaxCancels {
			l.cancels = append(l.cancels, list[end].Cancel)
			end++
		}
		start = end
		if p := l.peers[to]; p != nil {
			l.body = wire.AppendCancels(l.body[:0], l.cancels)
			p.channel.SendMessage(now, wire.KindCancel, l.body)
		}
	}
}

func (l *loop) sendBusy(now time.Time, b swarm.Busy) {
	if p := l.peers[b.Peer]; p != nil {
		millis := min(max(b.RetryAfter.Milliseconds(), 0), 1<<32-1)
		l.body = wire.AppendBusy(l.body[:0], wire.Busy{RetryAfterMillis: uint32(millis)})
		p.channel.SendMessage(now, wire.KindBusy, l.body)
	}
}

// capRate tells a seed, with the ACKs, how fast it may send; it counts headers.
func (l *loop) capRate(c swarm.RateCap) {
	if p := l.peers[c.Peer]; p != nil {
		p.channel.SetRateCap(uint64(c.BytesPerSec * wire.DataDatagramBytes / wire.ChunkBytes))
	}
}
