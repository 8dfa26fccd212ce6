package transport

import (
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

func (s *side) send(kind uint8, body []byte) {
	s.channel.SendMessage(time.Now(), kind, body)
	s.channel.Flush()
}

// exchangeControl sends a line each way over the control streams.
func exchangeControl(t *testing.T, a, b *side) {
	t.Helper()
	for _, way := range [][2]*side{{a, b}, {b, a}} {
		_, err := way[0].session.Stream().Write([]byte("hello"))
		require.NoError(t, err)
		got := make([]byte, 5)
		_, err = io.ReadFull(way[1].session.Stream(), got)
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
	}
}

func TestSessionSurvivesChangeOfPath(t *testing.T) {
	for _, tt := range []struct {
		name         string
		controlFirst bool
	}{
		{"sealed datagrams notice first", false},
		{"control notices first", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dialer, acceptor, nat := behindNAT(t, Config{})
			exchangeControl(t, dialer, acceptor)
			for range 3 { // twice more than once: NATs may do it again
				fresh := nat.rebind()
				if tt.controlFirst {
					exchangeControl(t, dialer, acceptor)
				}
				dialer.send(wire.KindBusy, wire.AppendBusy(nil, wire.Busy{}))
				run(t, func() bool { return acceptor.session.RemoteAddr() == fresh }, acceptor, dialer)

				dialer.got = nil
				acceptor.channel.SendData(time.Now(), Chunk{}, []byte("by the new path"))
				acceptor.channel.Flush()
				run(t, func() bool { return len(dialer.data()) == 1 }, dialer, acceptor)
				exchangeControl(t, dialer, acceptor)
			}
			require.EqualValues(t, 3, acceptor.endpoint.Stats().PathsMoved)
			require.Zero(t, dialer.endpoint.Stats().PathsMoved, "the inner side saw no change")
			require.NoError(t, acceptor.session.Err())
		})
	}
}

func TestIdleDialerNoticesChangeOfPathByPing(t *testing.T) {
	dialer, acceptor, nat := behindNAT(t, Config{})
	fresh := nat.rebind()
	require.False(t, dialer.channel.Next().IsZero(), "an idle dialer has a timer")
	require.True(t, acceptor.channel.Next().IsZero(), "an idle acceptor has none")
	dialer.channel.Advance(dialer.channel.Next())
	run(t, func() bool { return acceptor.session.RemoteAddr() == fresh }, acceptor, dialer)
}

// A forged source address must not turn us into an amplifier: what goes there
// never exceeds what came from there, and the path stays where it was.
func TestUnprovenAddressGetsNoMoreThanItSent(t *testing.T) {
	dialer, acceptor, nat := behindNAT(t, Config{})
	run(t, func() bool { return acceptor.has(wire.KindPing) }, dialer, func() *side {
		dialer.channel.ping(time.Now())
		dialer.channel.Flush()
		return acceptor
	}())
	home := acceptor.session.RemoteAddr()

	victim := loopbackUDP(t)
	var sent, received, answers atomic.Int64
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		buf := make([]byte, 2048)
		for {
			n, _, err := victim.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			received.Add(int64(n))
			answers.Add(1)
		}
	}()
	// Somebody on the way sends authentic packets on in the victim's name.
	nat.steal(func(b []byte) bool {
		if !wire.IsSealed(b[0]) {
			return false
		}
		sent.Add(int64(len(b)))
		_, _ = victim.WriteToUDPAddrPort(b, nat.target)
		return true
	})
	for i := range 40 {
		before := acceptor.channel.packetsIn
		dialer.send(wire.MaxKind, nil) // the smallest there is
		run(t, func() bool { return acceptor.channel.packetsIn > before }, acceptor, dialer)
		require.LessOrEqual(t, acceptor.channel.candidate.sent, acceptor.channel.candidate.received, "after %d packets", i+1)
		if i == 0 {
			require.Zero(t, acceptor.channel.candidate.sent, "29 bytes came, a PING has 37")
		}
	}
	run(t, func() bool { return answers.Load() > 0 }, acceptor, dialer)
	require.LessOrEqual(t, received.Load(), sent.Load())
	require.Equal(t, home, acceptor.session.RemoteAddr())
	require.Equal(t, home, acceptor.channel.Stats().Path)
	require.NoError(t, victim.Close())
	<-listening
}

func TestPongWithAnotherTokenMovesNothing(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	home := acceptor.channel.path
	now := time.Now()
	elsewhere := netip.MustParseAddrPort("127.0.0.1:9")
	acceptor.channel.seenElsewhere(now, elsewhere, 1000)
	require.Equal(t, elsewhere, acceptor.channel.candidate.addr)

	acceptor.channel.receivedPong(now, wire.AppendPong(nil, wire.Pong{Token: acceptor.channel.candidate.token + 1}))
	require.Equal(t, home, acceptor.channel.path)
	acceptor.channel.receivedPong(now, []byte("short"))
	require.Equal(t, home, acceptor.channel.path)
	require.EqualValues(t, 1, acceptor.endpoint.Stats().DroppedGarbage)

	acceptor.channel.receivedPong(now, wire.AppendPong(nil, wire.Pong{Token: acceptor.channel.candidate.token}))
	require.Equal(t, elsewhere, acceptor.channel.path)
	_ = dialer
}
