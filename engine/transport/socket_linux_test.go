package transport

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"shoal/cc"
	"shoal/internal/wire"
)

// refuseOffload makes a system that refuses segmentation offload with an error.
func refuseOffload(e *Endpoint, refusal error) *linuxSocket {
	s := e.socket.(*linuxSocket)
	send := s.sendBatch
	s.sendBatch = func(headers []unix.Mmsghdr) (int, error) {
		for i := range headers {
			if headers[i].Hdr.Controllen == 0 {
				continue
			}
			if i == 0 {
				return 0, refusal
			}
			return send(headers[:i]) // as sendmmsg: what is before it leaves
		}
		return send(headers)
	}
	return s
}

func TestRefusedOffloadFallsBack(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refusal error
		sends   int // until offload is given up
	}{
		{"a device without it", syscall.EIO, 1},
		{"a path with a small MTU, again and again", syscall.EINVAL, maxSegmentRefusals},
		{"message too long", syscall.EMSGSIZE, maxSegmentRefusals},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			e, c := listen(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}), loopbackUDP(t)
			defer func() { _ = c.Close() }()
			require.True(t, e.Stats().OffloadSend)
			require.True(t, e.Stats().OffloadReceive)
			refuseOffload(e, tt.refusal)
			for i := range tt.sends + 1 {
				require.Equal(t, i < tt.sends, e.Stats().OffloadSend, "before send %d", i)
				require.NoError(t, e.Send([]Outgoing{
					{Addr: addrOf(c), Data: make([]byte, 30)},
					{Addr: addrOf(c), Data: make([]byte, 250), SegmentBytes: 100},
					{Addr: addrOf(c), Data: make([]byte, 40)},
				}))
				require.ElementsMatch(t, []int{30, 100, 100, 50, 40}, gather(t, c, 5))
			}
			require.False(t, e.Stats().OffloadSend)
			require.Zero(t, e.Stats().SendErrors)
			require.EqualValues(t, 5*(tt.sends+1), e.Stats().PacketsOut)
			require.Equal(t, 1, strings.Count(log.String(), "refuses UDP segmentation offload"), "one line: %s", &log)
		})
	}
}

func TestOneSmallPathDoesNotEndOffload(t *testing.T) {
	e, c := listen(t, Config{}), loopbackUDP(t)
	defer func() { _ = c.Close() }()
	s := e.socket.(*linuxSocket)
	send := s.sendBatch
	for range 3 * maxSegmentRefusals {
		refuseOffload(e, syscall.EINVAL)
		require.NoError(t, e.Send([]Outgoing{{Addr: addrOf(c), Data: make([]byte, 250), SegmentBytes: 100}}))
		s.sendBatch = send
		require.NoError(t, e.Send([]Outgoing{{Addr: addrOf(c), Data: make([]byte, 250), SegmentBytes: 100}}))
		gather(t, c, 6)
	}
	require.True(t, e.Stats().OffloadSend)
}

func TestOtherSendErrorsAreLosses(t *testing.T) {
	e, c := listen(t, Config{}), loopbackUDP(t)
	defer func() { _ = c.Close() }()
	refuseOffload(e, errors.New("no buffers"))
	require.NoError(t, e.Send([]Outgoing{{Addr: addrOf(c), Data: make([]byte, 250), SegmentBytes: 100}}))
	require.EqualValues(t, 3, e.Stats().SendErrors)
	require.True(t, e.Stats().OffloadSend)
}

func TestDatagramsAreNotFragmented(t *testing.T) {
	for _, tt := range []struct {
		listen        string
		level, option int
		want          int
	}{
		{"127.0.0.1:0", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
		{"[::1]:0", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
		{":0", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
		{":0", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
	} {
		fd := listen(t, Config{Listen: tt.listen}).socket.(*linuxSocket).fd
		got, err := unix.GetsockoptInt(fd, tt.level, tt.option)
		require.NoError(t, err)
		require.Equal(t, tt.want, got, tt.listen)
	}
}

// markHears counts what a controller hears of congestion marks.
type markHears struct {
	cc.Controller
	packets, marks int
}

func (m *markHears) Acked(now time.Time, s cc.Sample) {
	m.packets += s.AckedPackets
	m.marks += s.CEPackets
	m.Controller.Acked(now, s)
}

func TestCongestionMarksReachTheSendersController(t *testing.T) {
	for _, tt := range []struct {
		name, listen string
		level        int
		option       int
	}{
		{"IPv4", "127.0.0.1:0", unix.IPPROTO_IP, unix.IP_TOS},
		{"IPv6", "[::1]:0", unix.IPPROTO_IPV6, unix.IPV6_TCLASS},
		{"IPv4 on a socket for both", ":0", unix.IPPROTO_IP, unix.IP_TOS},
	} {
		t.Run(tt.name, func(t *testing.T) {
			heard := &markHears{}
			a := listen(t, Config{Listen: tt.listen, NewController: func(now time.Time) cc.Controller {
				heard.Controller = cc.NewTiered(now, cc.Fast)
				return heard
			}})
			b := listen(t, Config{Listen: tt.listen})
			addr := b.LocalAddr()
			if addr.Addr().IsUnspecified() {
				addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port())
			}
			dialer, acceptor := connect(t, a, b, addr)
			send := func(packets int) {
				want := heard.packets + packets
				for range packets {
					dialer.channel.SendData(time.Now(), Chunk{}, make([]byte, wire.ChunkBytes))
				}
				dialer.channel.Flush()
				run(t, func() bool { return heard.packets >= want }, dialer, acceptor)
			}
			send(3)
			require.Zero(t, heard.marks)

			fd := a.socket.(*linuxSocket).fd // as if a router had marked all
			class, err := unix.GetsockoptInt(fd, tt.level, tt.option)
			require.NoError(t, err)
			require.Equal(t, ecnCapable, class)
			require.NoError(t, unix.SetsockoptInt(fd, tt.level, tt.option, ecnCongestion))
			send(5)
			require.Equal(t, 5, heard.marks)
			require.EqualValues(t, 5, acceptor.channel.Stats().MarkedPackets)
			require.Zero(t, dialer.channel.Stats().MarkedPackets)
		})
	}
}

func TestSocketBuffersAreLarge(t *testing.T) {
	// The kernel reports twice what was set, and without privilege no more than twice
	// its limit; 208 KiB are both the limit and what a socket has that sets nothing.
	require.Greater(t, listen(t, Config{}).Stats().ReceiveBufferBytes, 212_992)
}
