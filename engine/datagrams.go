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
		pkt := b.Packets[i]
		if p == nil || p.channel != pkt.Channel {
			if p = l.peerOf(pkt.Channel); p == nil {
				continue
			}
		}
		l.packet(now, p, pkt)
	}
	b.Release()
	for _, x := range l.arrivals {
		l.core.Arrived(now, x.peer, x.piece, x.mask)
	}
	l.e.line.fromPeers(now, arrivedBytes(l.arrivals))
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

func (l *loop) packet(now time.Time, p *peer, pkt transport.Packet) {
	kind, chunk, ok := p.channel.Header(pkt.Data)
	if !ok {
		return // the endpoint has counted it
	}
	if kind == wire.KindData {
		l.data(now, p, pkt, chunk)
		return
	}
	kind, body, err := p.channel.OpenMessage(now, pkt, l.scratch[:])
	if err != nil {
		return
	}
	l.hear(now, p)
	if p.admitted {
		l.message(now, p, kind, body)
	}
}

// data opens a chunk into its place, or into the void when it is of no use: it
// must be opened all the same, to be acknowledged.
func (l *loop) data(now time.Time, p *peer, pkt transport.Packet, ch transport.Chunk) {
	if p.admitted {
		if pc, ok := l.core.Expect(p.handle, ch.Handle, ch.Piece, ch.Chunk); ok {
			if x := l.arrivalOf(p.handle, pc, ch.Chunk); x != nil {
				l.open(now, p, pkt, ch, pc, x)
				return
			}
		}
	}
	n, err := p.channel.OpenData(now, pkt, l.scratch[:wire.ChunkBytes])
	if err != nil {
		return
	}
	l.hear(now, p)
	if p.admitted {
		l.core.Unexpected(now, p.handle, n)
	}
}

func (l *loop) open(now time.Time, p *peer, pkt transport.Packet, ch transport.Chunk, pc swarm.Piece, x *arrival) {
	a := l.assemble(pc)
	at := int(ch.Chunk) * wire.ChunkBytes
	piece := a.buf.Bytes()
	want := min(wire.ChunkBytes, len(piece)-at)
	n, err := p.channel.OpenData(now, pkt, piece[at:at+want])
	if err != nil {
		return
	}
	l.hear(now, p)
	if n != want {
		l.garbage["chunk_size"]++
		l.core.Unexpected(now, p.handle, n)
		return
	}
	x.mask |= 1 << ch.Chunk
}

// arrival collects the chunks of one piece from one peer within a batch.
type arrival struct {
	peer  swarm.Peer
	piece swarm.Piece
	mask  uint64
}

// arrivalOf returns where to note a chunk; nil when the batch has it already
// from anybody: the buffer must not be written twice, or the wrong peer would
// be blamed for the bytes.
func (l *loop) arrivalOf(p swarm.Peer, pc swarm.Piece, chunk uint8) *arrival {
	found := -1
	for i := len(l.arrivals) - 1; i >= 0; i-- {
		x := &l.arrivals[i]
		if x.piece != pc {
			continue
		}
		if x.mask&(1<<chunk) != 0 {
			return nil
		}
		if x.peer == p {
			found = i
		}
	}
	if found < 0 {
		l.arrivals = append(l.arrivals, arrival{peer: p, piece: pc})
		found = len(l.arrivals) - 1
	}
	return &l.arrivals[found]
}

// hear notes that a peer is alive.
func (l *loop) hear(now time.Time, p *peer) {
	p.heard = now
	p.asked = time.Time{}
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
