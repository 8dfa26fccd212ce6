package transport

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"shoal/internal/wire"
)

// Application error codes of the control connection.
const (
	codeClosed  quic.ApplicationErrorCode = 0 // with the reason in words
	codeParked  quic.ApplicationErrorCode = 1 // the session lives on without it
	codeRefused quic.ApplicationErrorCode = 2 // never became a session
)

// maxReasonBytes keeps a reason within one packet.
const maxReasonBytes = 256

// A CloseError is the end of a session that somebody wanted.
type CloseError struct {
	Reason string
	Remote bool // the other side closed it
}

// Error is part of error.
func (e *CloseError) Error() string {
	if e.Remote {
		return "session closed by the other side: " + e.Reason
	}
	return "session closed: " + e.Reason
}

// A Session is one authenticated peer on an endpoint. Its methods may be
// called from any goroutine; its Channel belongs to one.
type Session struct {
	// constant once handed out
	endpoint *Endpoint
	dialed   bool
	id       wire.PeerID
	public   ed25519.PublicKey // nil: the other side's key is of another kind
	alpn     string
	inbox    *inbox
	ownIndex uint32
	channel  *Channel

	addr    *virtualAddr
	ready   atomic.Bool             // channel is set
	control atomic.Pointer[control] // nil: parked
	dead    atomic.Bool             // the channel sends nothing any more
	done    chan struct{}
	once    sync.Once
	err     error // set before done is closed
}

// control is the QUIC connection of a session and its one stream.
type control struct {
	conn   *quic.Conn
	stream *quic.Stream
}

// ID names the other side; see [FingerprintOf] where its key is not Ed25519.
func (s *Session) ID() wire.PeerID { return s.id }

// PublicKey is the other side's Ed25519 key; nil if its key is of another kind.
func (s *Session) PublicKey() ed25519.PublicKey { return s.public }

// ALPN is the session's protocol.
func (s *Session) ALPN() string { return s.alpn }

// Dialed tells whether this side dialed.
func (s *Session) Dialed() bool { return s.dialed }

// Stream is the control stream. Reads and writes may run side by side, but not
// two of either. A write blocks while the other side does not read; the value
// also has SetReadDeadline and SetWriteDeadline. Closing it ends our direction.
// A parked session has none: what is returned then fails with [ErrParked].
func (s *Session) Stream() io.ReadWriteCloser {
	if c := s.control.Load(); c != nil {
		return c.stream
	}
	return noStream{}
}

// Channel is the data plane.
func (s *Session) Channel() *Channel { return s.channel }

// RemoteAddr is where the other side is now.
func (s *Session) RemoteAddr() netip.AddrPort { return *s.addr.path.Load() }

// RTT is the shortest round trip that the control connection has seen; 0 once
// it is parked. It is known before the channel has measured one of its own.
func (s *Session) RTT() time.Duration {
	if c := s.control.Load(); c != nil {
		return c.conn.ConnectionStats().MinRTT
	}
	return 0
}

// Done is closed when the session has ended. A parked session ends only by Close.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err tells why the session ended; nil while it lives.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close ends the session and tells the other side why.
func (s *Session) Close(reason string) {
	reason = reason[:min(len(reason), maxReasonBytes)]
	s.finish(&CloseError{Reason: reason})
	if c := s.control.Load(); c != nil {
		_ = c.conn.CloseWithError(codeClosed, reason) // an error means that it has ended already
	}
}

// ParkControl closes the control connection on both sides and keeps keys and
// channels. Nothing notices a parked peer's death but silence.
func (s *Session) ParkControl() {
	if c := s.park(); c != nil {
		_ = c.conn.CloseWithError(codeParked, "parked")
	}
}

// Parked tells whether the control connection has been closed by ParkControl,
// here or on the other side.
func (s *Session) Parked() bool { return s.control.Load() == nil }

// park lets go of the control connection and returns it; nil if that has
// happened before.
func (s *Session) park() *control {
	c := s.control.Swap(nil)
	if c != nil {
		s.endpoint.unlabel(s)
	}
	return c
}

// noStream stands for the control stream of a parked session.
type noStream struct{}

func (noStream) Read([]byte) (int, error)         { return 0, ErrParked }
func (noStream) Write([]byte) (int, error)        { return 0, ErrParked }
func (noStream) Close() error                     { return nil }
func (noStream) SetReadDeadline(time.Time) error  { return nil }
func (noStream) SetWriteDeadline(time.Time) error { return nil }

// finish ends the session on this side, once.
func (s *Session) finish(err error) {
	s.once.Do(func() {
		s.err = err
		s.dead.Store(true)
		s.endpoint.forget(s)
		close(s.done)
	})
}

// controlEnded is called when the control connection has ended.
func (s *Session) controlEnded(cause error) {
	var app *quic.ApplicationError
	if errors.As(cause, &app) {
		if app.ErrorCode == codeParked {
			s.park()
			return
		}
		s.finish(&CloseError{Reason: app.ErrorMessage, Remote: app.Remote})
		return
	}
	s.finish(fmt.Errorf("control connection to %s: %w", s.id, cause))
}

// establish makes a session of a fresh control connection: both sides say where
// they want sealed datagrams, and keys are derived. On error the connection is
// closed.
func (e *Endpoint) establish(ctx context.Context, conn *quic.Conn, dialed bool) (*Session, error) {
	s, err := e.newSession(conn, dialed)
	if err == nil {
		if err = s.shakeHands(ctx, conn); err == nil && !s.watch(conn) {
			err = ErrClosed
		}
		if err != nil {
			s.finish(err)
		}
	}
	if err != nil {
		_ = conn.CloseWithError(codeRefused, err.Error()[:min(len(err.Error()), maxReasonBytes)])
		return nil, err
	}
	return s, nil
}

func (e *Endpoint) newSession(conn *quic.Conn, dialed bool) (*Session, error) {
	addr, ok := conn.RemoteAddr().(*virtualAddr)
	if !ok {
		panic("BUG: QUIC connection to an address that is not ours")
	}
	state := conn.ConnectionState().TLS
	if len(state.PeerCertificates) == 0 {
		return nil, errNoCertificate
	}
	leaf := state.PeerCertificates[0]
	public, _ := leaf.PublicKey.(ed25519.PublicKey)
	s := &Session{
		endpoint: e, dialed: dialed, id: FingerprintOf(leaf),
		public: slices.Clone(public), // of its own: the key is a part of the certificate's memory
		alpn:   state.NegotiatedProtocol, inbox: e.inboxOf(state.NegotiatedProtocol),
		addr: addr, done: make(chan struct{}),
	}
	s.control.Store(&control{conn: conn})
	return s, e.register(s)
}

// register gives a session its receiver index and its address.
func (e *Endpoint) register(s *Session) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	if len(e.byIndex) >= e.cfg.MaxSessions {
		e.counters.refused.Add(1)
		return fmt.Errorf("too many sessions (%d)", e.cfg.MaxSessions)
	}
	for {
		// Unpredictable, so that an old peer's packets do not meet a new session.
		s.ownIndex = rand.Uint32()
		if _, taken := e.byIndex[s.ownIndex]; !taken {
			break
		}
	}
	e.byIndex[s.ownIndex] = s
	s.addr.proven.Store(true)
	e.byPath[*s.addr.path.Load()] = s.addr
	return nil
}

func (e *Endpoint) forget(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byIndex[s.ownIndex] == s {
		delete(e.byIndex, s.ownIndex)
	}
	if path := *s.addr.path.Load(); e.byPath[path] == s.addr {
		delete(e.byPath, path)
	}
}

// unlabel takes a session's address from QUIC, which needs it no more.
func (e *Endpoint) unlabel(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if path := *s.addr.path.Load(); e.byPath[path] == s.addr {
		delete(e.byPath, path)
	}
}

// movePath puts a session's virtual address on another path.
func (e *Endpoint) movePath(s *Session, to netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byIndex[s.ownIndex] != s {
		return // ended meanwhile
	}
	if from := *s.addr.path.Load(); e.byPath[from] == s.addr {
		delete(e.byPath, from)
	}
	s.addr.path.Store(&to)
	if !s.Parked() {
		e.byPath[to] = s.addr
	}
	e.counters.pathsMoved.Add(1)
}

// shakeHands exchanges channel hellos on the control stream. The acceptor is
// ready before it answers, for the dialer may send as soon as it has the answer.
func (s *Session) shakeHands(ctx context.Context, conn *quic.Conn) (err error) {
	c := &control{conn: conn}
	if s.dialed {
		c.stream, err = conn.OpenStreamSync(ctx)
	} else {
		c.stream, err = conn.AcceptStream(ctx)
	}
	if err != nil {
		return fmt.Errorf("open control stream: %w", err)
	}
	s.control.Store(c)
	// A context ends a wait, a deadline a read or a write.
	stop := context.AfterFunc(ctx, func() { _ = c.stream.SetDeadline(time.Unix(1, 0)) })
	own := wire.ChannelHello{Receiver: s.ownIndex, AES: hasAES}
	if s.dialed {
		err = errors.Join(c.sayHello(own), s.hearHello(c, own))
	} else {
		if err = s.hearHello(c, own); err == nil {
			err = c.sayHello(own)
		}
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return err
}

func (c *control) sayHello(own wire.ChannelHello) error {
	if _, err := c.stream.Write(wire.AppendChannelHello(nil, own)); err != nil {
		return fmt.Errorf("send channel hello: %w", err)
	}
	return nil
}

func (s *Session) hearHello(c *control, own wire.ChannelHello) error {
	var b [wire.ChannelHelloBytes]byte
	if _, err := io.ReadFull(c.stream, b[:]); err != nil {
		return fmt.Errorf("receive channel hello: %w", err)
	}
	theirs, err := wire.ParseChannelHello(b[:])
	if err != nil {
		return err
	}
	state := c.conn.ConnectionState().TLS
	send, receive, err := deriveKeys(&state, s.dialed, own, theirs)
	if err != nil {
		return err
	}
	s.channel = newChannel(time.Now(), s, theirs.Receiver, send, receive)
	s.ready.Store(true)
	return nil
}

// watch follows the control connection's end; false when the endpoint is closed.
func (s *Session) watch(conn *quic.Conn) bool {
	if !s.endpoint.begin() {
		return false
	}
	context.AfterFunc(conn.Context(), func() {
		defer s.endpoint.wg.Done()
		s.controlEnded(context.Cause(conn.Context()))
	})
	return true
}
