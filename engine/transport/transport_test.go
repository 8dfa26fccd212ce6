package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

const testALPN = "shoal-test/1"

// patience bounds every wait; nothing waits that long when all is well.
const patience = 40 * time.Second

func newIdentity(tb testing.TB) Identity {
	tb.Helper()
	id, err := NewIdentity(nil)
	require.NoError(tb, err)
	return id
}

func listen(tb testing.TB, cfg Config) *Endpoint {
	tb.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Identity.key == nil {
		cfg.Identity = newIdentity(tb)
	}
	if cfg.ALPN == nil {
		cfg.ALPN = []string{testALPN}
	}
	e, err := Listen(cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		if err := e.Close(); !errors.Is(err, net.ErrClosed) { // that is what kill does
			require.NoError(tb, err)
		}
	})
	return e
}

// A side is one end of a session under test, and the one goroutine that owns
// its channel.
type side struct {
	tb       testing.TB
	endpoint *Endpoint
	session  *Session
	channel  *Channel
	inbox    <-chan *Batch
	got      []opened // data and messages, in order of arrival
	scratch  []byte
}

type opened struct {
	kind  uint8
	chunk Chunk
	body  string
}

func newSide(tb testing.TB, e *Endpoint, s *Session) *side {
	return &side{tb: tb, endpoint: e, session: s, channel: s.Channel(), inbox: e.Inbox(testALPN), scratch: make([]byte, wire.MaxDatagramBytes)}
}

// connect dials b from a at addr.
func connect(tb testing.TB, a, b *Endpoint, addr netip.AddrPort) (dialer, acceptor *side) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dialed, err := a.Dial(ctx, DialConfig{ALPN: testALPN, Addrs: []netip.AddrPort{addr}, Verify: Verify{ID: b.cfg.Identity.ID()}})
	require.NoError(tb, err)
	accepted, err := b.Accept(ctx)
	require.NoError(tb, err)
	return newSide(tb, a, dialed), newSide(tb, b, accepted)
}

func pair(tb testing.TB, cfg Config) (dialer, acceptor *side) {
	tb.Helper()
	a, b := listen(tb, cfg), listen(tb, cfg)
	return connect(tb, a, b, b.LocalAddr())
}

// take opens what one batch brings.
func (s *side) take(b *Batch) {
	now := time.Now()
	for _, p := range b.Packets {
		kind, chunk, ok := p.Channel.Header(p.Data)
		if !ok || p.Channel != s.channel {
			continue
		}
		if kind == wire.KindData {
			if n, err := s.channel.OpenData(now, p, s.scratch); err == nil {
				s.got = append(s.got, opened{kind, chunk, string(s.scratch[:n])})
			}
			continue
		}
		if kind, body, err := s.channel.OpenMessage(now, p, s.scratch); err == nil {
			s.got = append(s.got, opened{kind, chunk, string(body)})
		}
	}
	b.Release()
	s.channel.Advance(now)
}

// run drives sides, each by its inbox and its timers, until done.
func run(tb testing.TB, done func() bool, sides ...*side) {
	tb.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !done() {
		next := time.Now().Add(2 * time.Millisecond) // done may watch something else
		for _, s := range sides {
			s.channel.Advance(time.Now())
			if at := s.channel.Next(); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		timer := time.NewTimer(time.Until(next))
		var second <-chan *Batch
		if len(sides) > 1 {
			second = sides[1].inbox
		}
		select {
		case b := <-sides[0].inbox:
			sides[0].take(b)
		case b := <-second:
			sides[1].take(b)
		case <-timer.C:
		case <-limit.C:
			require.FailNow(tb, "nothing more happens")
		}
		timer.Stop()
	}
}

// data returns the DATA received so far.
func (s *side) data() []opened {
	var all []opened
	for _, o := range s.got {
		if o.kind == wire.KindData {
			all = append(all, o)
		}
	}
	return all
}

func (s *side) has(kind uint8) bool {
	for _, o := range s.got {
		if o.kind == kind {
			return true
		}
	}
	return false
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func TestChannelsOfAnInboxShareSystemCalls(t *testing.T) {
	a := listen(t, Config{})
	var leeches, seeds []*side
	for range 3 {
		b := listen(t, Config{})
		seed, leech := connect(t, a, b, b.LocalAddr())
		seeds, leeches = append(seeds, seed), append(leeches, leech)
	}
	payload := randomBytes(wire.ChunkBytes)
	for i, s := range seeds {
		s.channel.SendData(time.Now(), Chunk{Piece: uint32(i)}, payload)
	}
	out := &seeds[0].session.inbox.outbox
	require.Len(t, out.out, len(seeds), "a message for each")
	require.Len(t, out.slabs, 1, "in one slab")
	seeds[2].channel.Flush()
	require.Empty(t, out.out, "one flush is that of all")
	for i, l := range leeches {
		run(t, func() bool { return len(l.data()) == 1 }, l)
		require.Equal(t, Chunk{Piece: uint32(i)}, l.data()[0].chunk)
	}
}

func TestSessionCarriesControlAndDataBothWays(t *testing.T) {
	for _, tt := range []struct{ name, listen string }{
		{"IPv4", "127.0.0.1:0"},
		{"IPv6", "[::1]:0"},
		{"all addresses", ":0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := listen(t, Config{Listen: tt.listen}), listen(t, Config{Listen: tt.listen})
			addr := b.LocalAddr()
			if addr.Addr().IsUnspecified() {
				addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port())
			}
			dialer, acceptor := connect(t, a, b, addr)

			require.Equal(t, b.cfg.Identity.ID(), dialer.session.ID())
			require.Equal(t, a.cfg.Identity.ID(), acceptor.session.ID())
			require.Equal(t, testALPN, acceptor.session.ALPN())
			require.True(t, dialer.session.Dialed())
			require.False(t, acceptor.session.Dialed())

			_, err := dialer.session.Stream().Write([]byte("ping"))
			require.NoError(t, err)
			got := make([]byte, 4)
			_, err = io.ReadFull(acceptor.session.Stream(), got)
			require.NoError(t, err)
			require.Equal(t, "ping", string(got))

			payload := randomBytes(wire.ChunkBytes)
			chunk := Chunk{Handle: 7, Piece: 1 << 20, Chunk: 63}
			request := wire.AppendRequests(nil, []wire.Request{{Handle: 7, Piece: 3, Mask: 5}})
			for _, s := range []*side{dialer, acceptor} {
				now := time.Now()
				require.Positive(t, s.channel.SendBudget(now))
				s.channel.SendData(now, chunk, payload)
				s.channel.SendMessage(now, wire.KindRequest, request)
				s.channel.Flush()
			}
			run(t, func() bool {
				return len(dialer.data()) == 1 && len(acceptor.data()) == 1 &&
					dialer.has(wire.KindRequest) && acceptor.has(wire.KindRequest) &&
					dialer.channel.RTT() > 0 && acceptor.channel.RTT() > 0
			}, dialer, acceptor)
			want := opened{wire.KindData, chunk, string(payload)}
			require.Equal(t, []opened{want}, dialer.data())
			require.Equal(t, []opened{want}, acceptor.data())
			require.Zero(t, a.Stats().DroppedForged+b.Stats().DroppedForged)
		})
	}
}
