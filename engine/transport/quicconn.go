package transport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxQUICDatagram is what quic-go reads at most.
	maxQUICDatagram = 1452

	// quicQueue datagrams wait for quic-go: its own queues beneath hold 256.
	quicQueue = 512
)

// A virtualAddr is what QUIC takes for an address. Its name is the address
// that the session began with; path is where it is now.
type virtualAddr struct {
	name netip.AddrPort
	path atomic.Pointer[netip.AddrPort]
	// proven: a session lives here, and passing errors of the network no
	// longer end it.
	proven atomic.Bool
}

func newVirtualAddr(a netip.AddrPort) *virtualAddr {
	v := &virtualAddr{name: a}
	v.path.Store(&a)
	return v
}

// Network is part of net.Addr.
func (v *virtualAddr) Network() string { return "udp" }

// String is part of net.Addr. QUIC compares addresses by it.
func (v *virtualAddr) String() string { return v.name.String() }

// A quicConn is the net.PacketConn that quic-go reads and writes.
type quicConn struct {
	endpoint *Endpoint
	packets  chan quicPacket
	buffers  sync.Pool // of *[maxQUICDatagram]byte
	wake     chan struct{}
	closed   chan struct{}
	once     sync.Once
}

type quicPacket struct {
	buf  *[maxQUICDatagram]byte
	n    int
	from *virtualAddr
}

var _ net.PacketConn = (*quicConn)(nil)

func newQUICConn(e *Endpoint) *quicConn {
	return &quicConn{
		endpoint: e,
		packets:  make(chan quicPacket, quicQueue),
		buffers:  sync.Pool{New: func() any { return new([maxQUICDatagram]byte) }},
		wake:     make(chan struct{}, 1),
		closed:   make(chan struct{}),
	}
}

// deliver copies a datagram into the queue; called by the reader.
func (q *quicConn) deliver(b []byte, from *virtualAddr) {
	if len(b) > maxQUICDatagram {
		q.endpoint.counters.oversize.Add(1)
		return
	}
	p := quicPacket{buf: q.buffers.Get().(*[maxQUICDatagram]byte), n: len(b), from: from}
	copy(p.buf[:], b)
	select {
	case q.packets <- p:
	default:
		q.buffers.Put(p.buf)
		q.endpoint.counters.quicFull.Add(1)
	}
}

// ReadFrom is part of net.PacketConn.
func (q *quicConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-q.packets:
		n := copy(b, p.buf[:p.n])
		q.buffers.Put(p.buf)
		return n, p.from, nil
	case <-q.wake:
		return 0, nil, os.ErrDeadlineExceeded
	case <-q.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo is part of net.PacketConn.
func (q *quicConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	v, ok := addr.(*virtualAddr)
	if !ok {
		panic("BUG: QUIC writes to an address that is not ours")
	}
	c := &q.endpoint.counters
	c.sendCalls.Add(1)
	err := q.endpoint.socket.writeOne(b, *v.path.Load())
	if err == nil {
		c.packetsOut.Add(1)
		c.bytesOut.Add(uint64(len(b)))
		return len(b), nil
	}
	c.sendErr.Add(1)
	// quic-go ends a connection on any error here. While dialing that is
	// right: no route to the address, try the next. A living session sees
	// a loss instead, and times out if it lasts.
	if errors.Is(err, net.ErrClosed) || !v.proven.Load() && isUnreachable(err) {
		return 0, err
	}
	return len(b), nil
}

func isUnreachable(err error) bool {
	var addrErr *net.AddrError // an IPv6 address on an IPv4 socket
	return errors.As(err, &addrErr) || errors.Is(err, syscall.ENETUNREACH) ||
		errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// Close is part of net.PacketConn.
func (q *quicConn) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// LocalAddr is part of net.PacketConn.
func (q *quicConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(q.endpoint.local) }

// SetDeadline is part of net.PacketConn.
func (q *quicConn) SetDeadline(t time.Time) error { return q.SetReadDeadline(t) }

// SetReadDeadline is part of net.PacketConn. quic-go uses it for one thing: to
// wake its reader when it closes.
func (q *quicConn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// SetWriteDeadline is part of net.PacketConn; writes do not block for long.
func (q *quicConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer tells quic-go that buffers are taken care of.
func (q *quicConn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer tells quic-go that buffers are taken care of.
func (q *quicConn) SetWriteBuffer(int) error { return nil }
