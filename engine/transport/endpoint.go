package transport

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// ErrClosed is returned once the endpoint has been closed.
var ErrClosed = errors.New("transport: endpoint closed")

// ErrParked is returned by the control stream of a parked session.
var ErrParked = errors.New("transport: control connection parked")

// An Endpoint is one UDP socket and everything that lives on it. Its methods
// may be called from any goroutine.
type Endpoint struct {
	// constant after Listen
	cfg       Config
	log       *slog.Logger
	local     netip.AddrPort
	socket    socket
	quic      *quicConn
	transport *quic.Transport
	listener  *quic.Listener // nil: dial only
	accepted  chan *Session
	closing   chan struct{}
	stop      context.CancelFunc // ends accepting and what is in progress

	counters counters
	pools    pools

	// owned by the reader
	touched []*inbox

	mu            sync.RWMutex // guards what follows
	closed        bool
	byIndex       map[uint32]*Session
	byPath        map[netip.AddrPort]*virtualAddr
	inboxes       map[string]*inbox
	inboxesClosed bool

	wg sync.WaitGroup // every goroutine of this package
}

// Listen opens the socket and begins to read it.
func Listen(cfg Config) (*Endpoint, error) {
	if cfg.Identity.key == nil {
		return nil, errors.New("transport: no identity: use NewIdentity or LoadOrCreateIdentity")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = DefaultMaxSessions
	}
	if cfg.idle == 0 {
		cfg.idle = idleTimeout
	}
	conn, err := listenUDP(cfg.Listen)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{
		cfg: cfg, log: cfg.Logger, local: unmapped(conn.LocalAddr().(*net.UDPAddr).AddrPort()), pools: newPools(),
		accepted: make(chan *Session, maxAccepted), closing: make(chan struct{}),
		byIndex: make(map[uint32]*Session), byPath: make(map[netip.AddrPort]*virtualAddr),
		inboxes: make(map[string]*inbox),
	}
	if cfg.portable {
		e.socket = newPortableSocket(conn, &e.counters)
	} else {
		e.socket = newSocket(conn, &e.counters, cfg.Logger, cfg.DisableOffload)
	}
	if err := e.startQUIC(); err != nil {
		return nil, errors.Join(err, e.socket.close())
	}
	return e, nil
}

func (e *Endpoint) startQUIC() error {
	// A restarted peer answers datagrams of connections it has forgotten, so
	// that the other side need not wait for its time-out (RFC 9000 §10.3). The
	// key must survive the restart and tell nothing about the identity's.
	reset, err := hkdf.Key(sha256.New, e.cfg.Identity.key.Seed(), nil, "shoal stateless reset", 32)
	if err != nil {
		return fmt.Errorf("derive reset key: %w", err)
	}
	resetKey := quic.StatelessResetKey(reset)
	e.quic = newQUICConn(e)
	e.transport = &quic.Transport{
		Conn:               e.quic,
		ConnectionIDLength: 8,
		StatelessResetKey:  &resetKey,
		ConnContext:        e.admit,
		VerifySourceAddress: func(net.Addr) bool {
			return e.counters.handshakes.Load() >= retryHandshakes
		},
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	if len(e.cfg.ALPN) > 0 {
		e.listener, err = e.transport.Listen(serverTLS(e.cfg), e.quicConfig(true))
		if err != nil {
			stop()
			return fmt.Errorf("listen for QUIC: %w", err)
		}
		e.wg.Add(1)
		go e.acceptLoop(ctx)
	}
	e.wg.Add(1)
	go e.readLoop()
	return nil
}

// quicConfig is for a control connection: one stream, opened by the dialer,
// with frames of at most 256 KiB.
func (e *Endpoint) quicConfig(accepting bool) *quic.Config {
	cfg := &quic.Config{
		HandshakeIdleTimeout: handshakeTimeout,
		MaxIdleTimeout:       e.cfg.idle,
		KeepAlivePeriod:      keepAlivePeriod,
		// Our datagrams fit 1,280 bytes of IP, and so does control.
		InitialPacketSize:              1200,
		DisablePathMTUDiscovery:        true,
		MaxIncomingStreams:             -1,
		MaxIncomingUniStreams:          -1,
		InitialStreamReceiveWindow:     64 << 10,
		MaxStreamReceiveWindow:         512 << 10,
		InitialConnectionReceiveWindow: 64 << 10,
		MaxConnectionReceiveWindow:     512 << 10,
	}
	if accepting {
		cfg.MaxIncomingStreams = 1
	}
	return cfg
}

// LocalAddr is the socket's address.
func (e *Endpoint) LocalAddr() netip.AddrPort { return e.local }

// maxAddrs is the most local addresses that are worth announcing.
const maxAddrs = 8

// Addrs are the addresses at which peers might reach this endpoint: that of
// the socket, or those of the machine when it listens on all of them. Loopback
// is named only where there is nothing else.
func (e *Endpoint) Addrs() []netip.AddrPort {
	local := e.LocalAddr()
	if !local.Addr().IsUnspecified() {
		return []netip.AddrPort{local}
	}
	var found, loopback []netip.AddrPort
	all, err := net.InterfaceAddrs()
	if err != nil {
		e.log.Warn("listing local addresses failed", slog.String("error", err.Error()))
	}
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := prefix.Addr().Unmap()
		switch {
		case local.Addr().Is4() && !ip.Is4():
		case ip.IsLoopback():
			loopback = append(loopback, netip.AddrPortFrom(ip, local.Port()))
		case ip.IsGlobalUnicast() && len(found) < maxAddrs: // private ones too, link-local ones not
			found = append(found, netip.AddrPortFrom(ip, local.Port()))
		}
	}
	if len(found) == 0 {
		return loopback
	}
	return found
}

// Inbox delivers the sealed datagrams of sessions with that ALPN. It has one
// reader, who owns the channels of these sessions and releases every batch. It
// is closed with the endpoint.
func (e *Endpoint) Inbox(alpn string) <-chan *Batch { return e.inboxOf(alpn).batches }

func (e *Endpoint) inboxOf(alpn string) *inbox {
	e.mu.Lock()
	defer e.mu.Unlock()
	in := e.inboxes[alpn]
	if in == nil {
		in = newInbox()
		e.inboxes[alpn] = in
		if e.inboxesClosed {
			close(in.batches)
		}
	}
	return in
}

func (e *Endpoint) closeInboxes() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inboxesClosed = true
	for _, in := range e.inboxes {
		close(in.batches)
	}
}

// Send sends datagrams that are ready. What the system refuses is counted and
// not reported: loss is normal. The error is ErrClosed.
func (e *Endpoint) Send(out []Outgoing) error {
	if err := e.socket.write(out); err != nil {
		return ErrClosed
	}
	return nil
}

// Stats returns the counters.
func (e *Endpoint) Stats() Stats {
	st := e.counters.stats()
	e.socket.fill(&st)
	e.mu.RLock()
	st.Sessions = len(e.byIndex)
	e.mu.RUnlock()
	return st
}

// Close closes every session, then the socket, and waits for all goroutines.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		e.wg.Wait()
		return nil
	}
	e.closed = true
	sessions := make([]*Session, 0, len(e.byIndex))
	for _, s := range e.byIndex {
		sessions = append(sessions, s)
	}
	e.mu.Unlock()
	close(e.closing)
	e.stop()
	var closers sync.WaitGroup
	for _, s := range sessions {
		closers.Go(func() { s.Close("endpoint closed") })
	}
	closers.Wait()
	err := e.transport.Close()
	err = errors.Join(err, e.quic.Close(), e.socket.close())
	e.wg.Wait()
	if err != nil {
		return fmt.Errorf("close endpoint: %w", err)
	}
	return nil
}

// begin enters a goroutine or a callback that Close is to wait for; false when
// the endpoint is closed.
func (e *Endpoint) begin() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return false
	}
	e.wg.Add(1)
	return true
}

// withTimeout is the context of one handshake.
func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, handshakeTimeout, errHandshakeTimeout)
}

var errHandshakeTimeout = fmt.Errorf("no answer within %v", handshakeTimeout.Round(time.Second))
