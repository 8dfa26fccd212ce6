package transport

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// modes are the ways in which a socket can work on this system.
func modes() map[string]Config {
	return map[string]Config{
		"offload":    {},
		"no offload": {DisableOffload: true},
		"portable":   {portable: true},
	}
}

// Whatever the two sides use, the same datagrams arrive.
func TestEveryModeCarriesTheSame(t *testing.T) {
	const chunks = 3 * wire.ChunksPerPiece
	payload := randomBytes(wire.ChunkBytes)
	for fromName, from := range modes() {
		for toName, to := range modes() {
			t.Run(fromName+" to "+toName, func(t *testing.T) {
				a, b := listen(t, from), listen(t, to)
				dialer, acceptor := connect(t, a, b, b.LocalAddr())
				sent := 0
				run(t, func() bool {
					now := time.Now()
					for sent < chunks && dialer.channel.SendBudget(now) > 0 {
						// Sizes differ now and then, so that messages end early and begin anew.
						size := len(payload) - sent%7/6*100
						dialer.channel.SendData(now, Chunk{Handle: 1, Piece: uint32(sent), Chunk: uint8(sent % 64)}, payload[:size])
						sent++
					}
					dialer.channel.Flush()
					return len(acceptor.data()) == chunks
				}, acceptor, dialer)
				arrived := map[uint32]bool{}
				for _, o := range acceptor.data() {
					size := len(payload) - int(o.chunk.Piece)%7/6*100
					require.Equal(t, Chunk{Handle: 1, Piece: o.chunk.Piece, Chunk: uint8(o.chunk.Piece % 64)}, o.chunk)
					require.Equal(t, string(payload[:size]), o.body)
					arrived[o.chunk.Piece] = true
				}
				require.Len(t, arrived, chunks)
				require.Zero(t, b.Stats().DroppedForged+b.Stats().DroppedGarbage)
			})
		}
	}
}

// Between reads the endpoint pauses, unless more may be waiting: as little comes of a
// read where the system does not coalesce, a pause after each was 40 Mbit/s at most.
func TestReadTellsWhetherMoreWaits(t *testing.T) {
	open := map[string]func(*net.UDPConn) socket{
		"offload":    func(c *net.UDPConn) socket { return newSocket(c, new(counters), slog.Default(), false) },
		"no offload": func(c *net.UDPConn) socket { return newSocket(c, new(counters), slog.Default(), true) },
		"portable":   func(c *net.UDPConn) socket { return newPortableSocket(c, new(counters)) },
	}
	const datagrams = datagramSlots + 3
	for name, open := range open {
		t.Run(name, func(t *testing.T) {
			conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			require.NoError(t, err)
			to := conn.LocalAddr().(*net.UDPAddr)
			s, from := open(conn), loopbackUDP(t)
			defer func() { require.NoError(t, errors.Join(s.close(), from.Close())) }()
			for i := range datagrams {
				_, err := from.WriteToUDP(make([]byte, 1+i), to)
				require.NoError(t, err)
			}
			p := newPools()
			full := true
			for arrived := 0; arrived < datagrams; {
				require.True(t, full, "%d of %d have arrived", arrived, datagrams)
				var n int
				n, full, err = s.read(p.slab())
				require.NoError(t, err)
				arrived += n
			}
			require.Equal(t, name == "portable", full, "it cannot tell; the others know that they have room")
		})
	}
}

func TestOutboxFormsMessages(t *testing.T) {
	p := newPools()
	here, there := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")
	type message struct{ segments, bytes int }
	for _, tt := range []struct {
		name  string
		sizes []int
		to    []netip.AddrPort
		want  []message
	}{
		{"equal sizes are one message", []int{100, 100, 100}, nil, []message{{3, 300}}},
		{"a shorter one ends it", []int{100, 100, 50, 50, 50}, nil, []message{{3, 250}, {2, 100}}},
		{"a longer one begins another", []int{50, 100}, nil, []message{{1, 50}, {1, 100}}},
		{"another address begins another", []int{100, 100, 100}, []netip.AddrPort{here, there, there}, []message{{1, 100}, {2, 200}}},
		{"at most 60", repeat(100, 61), nil, []message{{60, 6000}, {1, 100}}},
		{"at most what a datagram holds", repeat(1200, 60), nil, []message{{54, 54 * 1200}, {6, 7200}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var o outbox
			for i, size := range tt.sizes {
				to := here
				if tt.to != nil {
					to = tt.to[i]
				}
				require.True(t, o.fits(size))
				require.Len(t, o.add(&p, to, size), size)
			}
			var got []message
			for i := range o.out {
				got = append(got, message{o.out[i].segments(), len(o.out[i].Data)})
			}
			require.Equal(t, tt.want, got)
			o.discard(&p)
			require.Empty(t, o.out)
		})
	}
	var full outbox
	for full.fits(1000) {
		full.add(&p, here, 1000)
	}
	require.Len(t, full.slabs, outboxSlabs)
}

func repeat(v, n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = v
	}
	return all
}

// gather receives datagrams on a plain socket until all that are expected came.
func gather(t *testing.T, c *net.UDPConn, n int) (sizes []int) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 64<<10)
	for range n {
		got, _, err := c.ReadFromUDPAddrPort(buf)
		require.NoError(t, err)
		sizes = append(sizes, got)
	}
	return sizes
}

func TestSendCutsIntoDatagrams(t *testing.T) {
	for name, cfg := range modes() {
		t.Run(name, func(t *testing.T) {
			e, c := listen(t, cfg), loopbackUDP(t)
			defer func() { _ = c.Close() }()
			require.NoError(t, e.Send([]Outgoing{
				{Addr: addrOf(c), Data: make([]byte, 250), SegmentBytes: 100},
				{Addr: netip.MustParseAddrPort("[2001:db8::1]:1"), Data: make([]byte, 7)}, // refused: the others still leave
				{Addr: addrOf(c), Data: make([]byte, 300)},
				{Addr: addrOf(c), Data: make([]byte, 100), SegmentBytes: 100},
			}))
			require.ElementsMatch(t, []int{100, 100, 50, 300, 100}, gather(t, c, 5))
			require.EqualValues(t, 5, e.Stats().PacketsOut)
			require.EqualValues(t, 1, e.Stats().SendErrors)
		})
	}
}

func TestRateCapReachesTheSender(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	const bytesPerSec = 12_345
	dialer.channel.SetRateCap(bytesPerSec)
	acceptor.send(wire.MaxKind, nil)
	acceptor.send(wire.MaxKind, nil)
	run(t, func() bool { return acceptor.channel.Stats().PacingBytesPerSec == bytesPerSec }, acceptor, dialer)
	dialer.channel.SetRateCap(0)
	acceptor.send(wire.MaxKind, nil)
	acceptor.send(wire.MaxKind, nil)
	run(t, func() bool { return acceptor.channel.Stats().PacingBytesPerSec > bytesPerSec }, acceptor, dialer)
}
