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

// A leech is the receiving end of a shoal flow.
type leech struct {
	channel *transport.Channel
	asking  asking
	buf     []byte
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
		l := &leech{channel: session.Channel(), asking: asking{heardAt: time.Now()}, buf: make([]byte, wire.ChunkBytes)}
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
			samples.add(now, sample{UsefulBytes: l.asking.usefulBytes})
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
			l.asking.arrived(now, l.channel.RTT(), chunk, n)
		}
	}
}

func (l *leech) ask(now time.Time) {
	requests := l.asking.requests(now, l.channel.RTT()+4*l.channel.RTTVar()+answerSlack)
	for batch := range slices.Chunk(requests, wire.MaxRequests) {
		l.channel.SendMessage(now, wire.KindRequest, wire.AppendRequests(nil, batch))
	}
}
