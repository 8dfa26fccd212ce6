package transport

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// refuseOffload makes a system that refuses segmentation offload with an error.
func refuseOffload(e *Endpoint, refusal error) *linuxSocket {
	s := e.socket.(*linuxSocket)
	send := s.sendBatch
	s.sendBatch = func(ms []ipv4.Message, flags int) (int, error) {
		for i := range ms {
			if len(ms[i].OOB) == 0 {
				continue
			}
			if i == 0 {
				return 0, refusal
			}
			return send(ms[:i], flags) // as sendmmsg: what is before it leaves
		}
		return send(ms, flags)
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
		raw, err := listen(t, Config{Listen: tt.listen}).conn.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			got, err := unix.GetsockoptInt(int(fd), tt.level, tt.option)
			require.NoError(t, err)
			require.Equal(t, tt.want, got, tt.listen)
		}))
	}
}

func TestSocketBuffersAreLarge(t *testing.T) {
	// The kernel reports twice what was set, and without privilege no more
	// than its limit; the default is 208 KiB.
	require.GreaterOrEqual(t, listen(t, Config{}).Stats().ReceiveBufferBytes, 212_992)
}
