package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"shoal/cc"
	"shoal/engine/transport"
	"shoal/internal/wire"
)

const (
	// piecesAsked at a time: 16 MiB, more than any window here, so that the
	// seed's controller is the only limit.
	piecesAsked = 256

	// patienceMin is the least time after which a chunk that was overtaken by
	// a later piece counts as missing: a jitter of the receiver's own.
	patienceMin = 5 * time.Millisecond

	// answerSlack is added to the round trip that a repeated request may take:
	// the ACK that measures a round trip may be delayed by as much.
	answerSlack = 25 * time.Millisecond

	// silence after which everything is asked for again: the requests themselves
	// may be lost.
	silence = time.Second
)

// A leech keeps the seed busy: it always has piecesAsked pieces outstanding, asks
// again for the chunks that are missing, and counts each once. The decisions of
// a viewer's scheduler (from whom, how urgent) have no place here.
type leech struct {
	channel *transport.Channel

	next        uint32  // the first piece not asked for yet
	outstanding []asked // by ascending piece
	heardAt     time.Time
	requests    []wire.Request // to be sent

	usefulBytes int64
	buf         []byte
}

// asked is a piece that has been asked for.
type asked struct {
	piece   uint32
	missing uint64
	again   bool      // it has been asked for more than once
	due     time.Time // when what is missing is asked for again; zero: not yet
}

// leech prepares the receiving end of a shoal flow.
func (e *end) leech() (part, error) {
	endpoint, err := e.listen(cc.NewCubic)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, samples *sampler) error {
		defer func() { _ = endpoint.Close() }()
		if err := e.awaitStart(ctx, samples); err != nil {
			return err
		}
		session, err := dial(ctx, endpoint, e.Peer)
		if err != nil {
			return err
		}
		l := &leech{channel: session.Channel(), heardAt: time.Now(), buf: make([]byte, wire.ChunkBytes)}
		return l.watch(ctx, endpoint.Inbox(alpn), samples)
	}, nil
}

// dial tries until it succeeds: the link may lose the whole handshake.
func dial(ctx context.Context, e *transport.Endpoint, to netip.AddrPort) (*transport.Session, error) {
	for {
		session, err := e.Dial(ctx, transport.DialConfig{ALPN: alpn, Addrs: []netip.AddrPort{to}})
		if err == nil {
			return session, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("no connection until the run's end: %w", err)
		}
	}
}

// watch is the loop of the leech's one goroutine.
func (l *leech) watch(ctx context.Context, inbox <-chan *transport.Batch, samples *sampler) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		l.ask(now)
		l.channel.Advance(now)
		if samples.due(now) {
			samples.add(now, sample{UsefulBytes: l.usefulBytes})
		}
		wake := samples.next
		if at := l.channel.Next(); !at.IsZero() && at.Before(wake) {
			wake = at
		}
		timer.Reset(time.Until(wake))
		select {
		case b := <-inbox:
			if b == nil {
				return l.channel.Session().Err()
			}
			l.receive(time.Now(), b)
		case <-timer.C:
		case <-l.channel.Session().Done():
			return ended(ctx, l.channel.Session())
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *leech) receive(now time.Time, b *transport.Batch) {
	defer b.Release()
	l.heardAt = now
	for _, pkt := range b.Packets {
		kind, chunk, ok := l.channel.Header(pkt.Data)
		if !ok {
			continue
		}
		if kind != wire.KindData {
			_, _, _ = l.channel.OpenMessage(now, pkt, nil)
			continue
		}
		if n, err := l.channel.OpenData(now, pkt, l.buf); err == nil {
			l.arrived(now, chunk, n)
		}
	}
}

// arrived counts a chunk. The seed sends the first pieces first: those before it
// that miss something have been overtaken.
func (l *leech) arrived(now time.Time, c transport.Chunk, bytes int) {
	patience := max(l.channel.RTT()/2, patienceMin)
	for i := range l.outstanding {
		a := &l.outstanding[i]
		if a.piece > c.Piece {
			break
		}
		if a.piece == c.Piece {
			if bit := uint64(1) << c.Chunk; a.missing&bit != 0 {
				a.missing &^= bit
				l.usefulBytes += int64(bytes)
			}
			if a.missing == 0 {
				l.outstanding = slices.Delete(l.outstanding, i, i+1)
			}
			break
		}
		if !a.again && a.due.IsZero() {
			a.due = now.Add(patience)
		}
	}
}

// ask asks for what is missing and for further pieces.
func (l *leech) ask(now time.Time) {
	l.requests = l.requests[:0]
	silent := now.Sub(l.heardAt) > silence
	if silent {
		l.heardAt = now
	}
	answer := l.channel.RTT() + 4*l.channel.RTTVar() + answerSlack
	for i := range l.outstanding {
		a := &l.outstanding[i]
		if silent || !a.due.IsZero() && !now.Before(a.due) {
			a.again, a.due = true, now.Add(answer)
			l.requests = append(l.requests, wire.Request{Handle: handle, Piece: a.piece, Mask: a.missing})
		}
	}
	for len(l.outstanding) < piecesAsked {
		l.outstanding = append(l.outstanding, asked{piece: l.next, missing: ^uint64(0)})
		l.requests = append(l.requests, wire.Request{Handle: handle, Piece: l.next, Mask: ^uint64(0)})
		l.next++
	}
	for batch := range slices.Chunk(l.requests, wire.MaxRequests) {
		l.channel.SendMessage(now, wire.KindRequest, wire.AppendRequests(nil, batch))
	}
}
