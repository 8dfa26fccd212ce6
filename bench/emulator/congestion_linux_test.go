package emulator

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Every kernel has Reno, and lets anybody use it.
func TestAcceptedConnectionsHaveTheListenersCongestionControl(t *testing.T) {
	config := net.ListenConfig{Control: Congestion("reno")}
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	var d net.Dialer
	dialed, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer func() { _ = dialed.Close() }()
	accepted, err := l.Accept()
	require.NoError(t, err)
	defer func() { _ = accepted.Close() }()
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	var name string
	var nameErr error
	require.NoError(t, raw.Control(func(fd uintptr) {
		name, nameErr = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	}))
	require.NoError(t, nameErr)
	require.Equal(t, "reno", name)
}

func TestUnknownCongestionControlIsNamed(t *testing.T) {
	config := net.ListenConfig{Control: Congestion("nonesuch")}
	_, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.ErrorContains(t, err, "modprobe tcp_nonesuch")
}
