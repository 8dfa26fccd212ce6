package transport

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// A relay is a NAT between one inner endpoint and an outer one: the outer side
// sees the address of the relay's outer socket, which rebind changes.
type relay struct {
	tb     testing.TB
	target netip.AddrPort
	front  *net.UDPConn

	mu     sync.Mutex
	outer  *net.UDPConn
	inner  netip.AddrPort
	sealed [][]byte                    // sealed datagrams from inside that have passed
	out    func(b []byte) (stole bool) // sees what comes from inside first

	wg sync.WaitGroup
}

func loopbackUDP(tb testing.TB) *net.UDPConn {
	tb.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(tb, err)
	return c
}

func addrOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func newRelay(tb testing.TB, target netip.AddrPort) *relay {
	r := &relay{tb: tb, target: target, front: loopbackUDP(tb)}
	r.rebind()
	r.wg.Go(r.outwards)
	tb.Cleanup(func() {
		_ = r.front.Close()
		r.mu.Lock()
		_ = r.outer.Close()
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

func (r *relay) addr() netip.AddrPort { return addrOf(r.front) }

// rebind gives the inner endpoint another outer address, as a NAT does that
// forgot the mapping: nothing reaches the old one any more.
func (r *relay) rebind() netip.AddrPort {
	fresh := loopbackUDP(r.tb)
	r.mu.Lock()
	old := r.outer
	r.outer = fresh
	r.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	r.wg.Go(func() { r.inwards(fresh) })
	return addrOf(fresh)
}

func (r *relay) outwards() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := r.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		b := buf[:n]
		r.mu.Lock()
		r.inner = from
		stole := r.out != nil && r.out(b)
		if wire.IsSealed(b[0]) && !stole {
			r.sealed = append(r.sealed, append([]byte(nil), b...))
		}
		if !stole {
			_, _ = r.outer.WriteToUDPAddrPort(b, r.target)
		}
		r.mu.Unlock()
	}
}

func (r *relay) inwards(c *net.UDPConn) {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		inner := r.inner
		r.mu.Unlock()
		_, _ = r.front.WriteToUDPAddrPort(buf[:n], inner)
	}
}

// inject sends a datagram outwards as if it came from inside.
func (r *relay) inject(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.outer.WriteToUDPAddrPort(b, r.target)
}

func (r *relay) seen() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.sealed...)
}

func (r *relay) steal(out func(b []byte) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out = out
}

// behindNAT connects a dialer behind a relay to an acceptor.
func behindNAT(tb testing.TB, cfg Config) (dialer, acceptor *side, nat *relay) {
	a, b := listen(tb, cfg), listen(tb, cfg)
	nat = newRelay(tb, b.LocalAddr())
	dialer, acceptor = connect(tb, a, b, nat.addr())
	return dialer, acceptor, nat
}
