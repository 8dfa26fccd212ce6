package transport

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// rings tells whether the runtime's poller would hear the doorbell now.
func rings(t *testing.T, d *doorbell) (is bool) {
	t.Helper()
	require.NoError(t, d.raw.Control(func(instance uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(instance), Events: unix.POLLIN}}, 0)
		require.NoError(t, err)
		is = n == 1
	}))
	return is
}

func TestDoorbellRingsForWhatArrivesWhileSomebodyWaits(t *testing.T) {
	e, c := listen(t, Config{}), loopbackUDP(t)
	defer func() { require.NoError(t, c.Close()) }()
	s := newSocket(loopbackUDP(t), new(counters), e.log, false).(*linuxSocket)
	to, err := unix.Getsockname(s.fd)
	require.NoError(t, err)
	port := to.(*unix.SockaddrInet4).Port
	send := func() {
		_, err := c.WriteToUDP(make([]byte, 40), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		require.NoError(t, err)
	}
	p := newPools()
	read := make(chan int)
	readOne := func() {
		n, _, err := s.read(p.slab())
		require.NoError(t, err)
		read <- n
	}

	send()
	require.False(t, rings(t, s.bell), "nobody has waited yet")
	go readOne()
	require.Equal(t, 1, <-read)

	go readOne() // finds nothing and waits
	require.NoError(t, s.write([]Outgoing{{Addr: addrOf(c), Data: make([]byte, 30)}}))
	gather(t, c, 1)
	require.False(t, rings(t, s.bell), "what leaves is not for the reader")
	send()
	require.Equal(t, 1, <-read)

	s.pause(time.Nanosecond)
	send()
	require.False(t, rings(t, s.bell), "what comes gathers")
	go readOne()
	require.Equal(t, 1, <-read)

	go readOne()
	send()
	require.Equal(t, 1, <-read, "armed again")

	ended := make(chan error)
	go func() {
		_, _, err := s.read(p.slab())
		ended <- err
	}()
	require.NoError(t, s.close())
	require.ErrorIs(t, <-ended, net.ErrClosed)
	require.ErrorIs(t, s.write([]Outgoing{{Addr: addrOf(c), Data: make([]byte, 30)}}), net.ErrClosed)
}
