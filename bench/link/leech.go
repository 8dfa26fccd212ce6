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

// A leech is the receiving end of one channel of a shoal flow.
type leech struct {
	channel *transport.Channel
	asking  asking
}

// leeches are those of one flow.
type leeches struct {
	all []*leech
	buf []byte
}

// leech prepares the receiving end of a shoal flow.
func (e *end) leech() (part, error) {
	endpoint, err := e.listen(cc.NewCubic, nil)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, samples *sampler) error {
		defer func() { _ = endpoint.Close() }()
		if err := e.awaitStart(ctx, samples); err != nil {
			return err
		}
		l := &leeches{buf: make([]byte, wire.ChunkBytes)}
		for range e.Channels {
			session, err := dial(ctx, endpoint, e.Peer)
			if err != nil {
				return err
			}
			l.all = append(l.all, &leech{channel: session.Channel(), asking: asking{heardAt: time.Now()}})
		}
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

// watch is the loop of the leeches' one goroutine.
func (l *leeches) watch(ctx context.Context, inbox <-chan *transport.Batch, samples *sampler) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		if samples.due(now) {
			samples.add(now, sample{UsefulBytes: l.usefulBytes()})
		}
		wake := samples.next
		for _, o := range l.all {
			if session := o.channel.Session(); session.Err() != nil {
				return ended(ctx, session)
			}
			o.ask(now)
			o.channel.Advance(now)
			if at := o.channel.Next(); !at.IsZero() && at.Before(wake) {
				wake = at
			}
		}
		timer.Reset(time.Until(wake))
		select {
		case b := <-inbox:
			if b == nil {
				return transport.ErrClosed
			}
			l.receive(time.Now(), b)
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *leeches) usefulBytes() (sum int64) {
	for _, o := range l.all {
		sum += o.asking.usefulBytes
	}
	return sum
}

func (l *leeches) receive(now time.Time, b *transport.Batch) {
	defer b.Release()
	for _, pkt := range b.Packets {
		i := slices.IndexFunc(l.all, func(o *leech) bool { return o.channel == pkt.Channel })
		if i < 0 {
			continue // still dialing
		}
		o := l.all[i]
		kind, chunk, ok := o.channel.Header(pkt.Data)
		if !ok {
			continue
		}
		if kind != wire.KindData {
			_, _, _ = o.channel.OpenMessage(now, pkt, nil)
			continue
		}
		if n, err := o.channel.OpenData(now, pkt, l.buf); err == nil {
			o.asking.arrived(now, o.channel.RTT(), chunk, n)
		}
	}
}

func (o *leech) ask(now time.Time) {
	requests := o.asking.requests(now, o.channel.RTT()+4*o.channel.RTTVar()+answerSlack)
	for batch := range slices.Chunk(requests, wire.MaxRequests) {
		o.channel.SendMessage(now, wire.KindRequest, wire.AppendRequests(nil, batch))
	}
}
