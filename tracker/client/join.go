package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"shoal/engine/transport"
	"shoal/internal/wire"
)

// joinTimeout bounds one attempt: name lookup, handshake with two
// retransmissions, and the exchange of two frames.
const joinTimeout = 10 * time.Second

// addrsMax bounds how many addresses of the tracker's name are tried.
const addrsMax = 8

// errUnanswered is why a session with the tracker is given up.
var errUnanswered = errors.New("the tracker no longer answers")

// errInboxClosed: the endpoint was closed beneath the client.
var errInboxClosed = errors.New("the peer's socket is closed")

// membership is what a client knows while it is joined, and the tickets and
// titles that outlive a session.
type membership struct {
	session  *transport.Session
	channel  *transport.Channel
	observed netip.AddrPort // where the tracker sees this peer
	interval time.Duration

	request  uint32     // number of the latest request
	pending  []*request // unanswered
	announce time.Time  // when to announce next
	latest   time.Time  // announce, by which kicks are limited
	heard    time.Time  // the tracker's latest answer

	sessions   int       // joined so far
	report     time.Time // when to report next
	reportedAt time.Time // in this session; zero: not yet
	reported   Report

	titles  map[[32]byte]struct{} // announced and not left
	swarms  map[[32]byte]int      // sizes of their swarms, as answered latest
	tickets map[[32]byte][]byte   // present ticket per title
}

// join dials the tracker, introduces the peer, and parks the connection.
func (c *Client) join(ctx context.Context, m *membership) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	addrs, err := c.lookUp(ctx)
	if err != nil {
		return err
	}
	verify := transport.Verify{ID: c.url.Fingerprint}
	if !c.url.Pinned() {
		verify.ServerName = c.url.Host
	}
	session, err := c.cfg.Endpoint.Dial(ctx, transport.DialConfig{ALPN: wire.TrackerALPN, Addrs: addrs, Verify: verify})
	if err != nil {
		var wrong *transport.WrongPeerError
		if errors.As(err, &wrong) {
			return fmt.Errorf("the tracker's key has the fingerprint %s, not the one in its URL; "+
				"take the URL that the tracker prints: %w", wrong.Got.Hex(), err)
		}
		return fmt.Errorf("dial tracker: %w", err)
	}
	welcome, err := introduce(ctx, session)
	if err == nil && c.url.Pinned() && transport.PeerIDOf(welcome.TicketKey[:]) != c.url.Fingerprint {
		err = errors.New("the tracker signs tickets with another key than its own")
	}
	if err != nil {
		session.Close("join failed")
		return err
	}
	// The keys stay; the 60 KiB of a QUIC connection do not.
	session.ParkControl()
	c.enter(m, session, welcome)
	return nil
}

// introduce exchanges JOIN and WELCOME on the control stream.
func introduce(ctx context.Context, session *transport.Session) (*wire.TrackerWelcome, error) {
	// The stream has no deadline of its own: closing the session ends it.
	stop := context.AfterFunc(ctx, func() { session.Close("join timed out") })
	defer stop()
	stream := session.Stream()
	if _, err := stream.Write(wire.AppendTrackerFrame(nil, &wire.TrackerJoin{Version: wire.TrackerVersion, Agent: agent()})); err != nil {
		return nil, fmt.Errorf("join tracker: %w", err)
	}
	frame, err := wire.ReadTrackerFrame(stream)
	if err != nil {
		return nil, fmt.Errorf("join tracker: %w", err)
	}
	switch m := frame.(type) {
	case *wire.TrackerWelcome:
		return m, nil
	case *wire.TrackerRefused:
		return nil, fmt.Errorf("the tracker refuses this peer: %s", m.Text)
	default:
		return nil, fmt.Errorf("join tracker: %w: unexpected %T", wire.ErrTrackerMessage, m)
	}
}

func (c *Client) enter(m *membership, session *transport.Session, welcome *wire.TrackerWelcome) {
	now := time.Now()
	m.session, m.channel = session, session.Channel()
	m.observed = welcome.Observed
	m.pending = nil
	m.announce, m.latest, m.heard = now, time.Time{}, now
	m.sessions++
	m.report, m.reportedAt = now, time.Time{}
	// A tracker that asks for a flood or for silence is not obeyed.
	m.interval = min(max(welcome.Interval, time.Second), 10*time.Minute)
	if c.cfg.Interval > 0 {
		m.interval = c.cfg.Interval
	}
	if key := ed25519.PublicKey(welcome.TicketKey[:]); !key.Equal(c.Key()) {
		// Tickets of another key are worth nothing now.
		clear(m.tickets)
		c.key.Store(&key)
	}
}

func (c *Client) lookUp(ctx context.Context) ([]netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(c.url.Host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(ip, c.url.Port)}, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", c.url.Host)
	if err != nil {
		return nil, fmt.Errorf("look up tracker: %w", err)
	}
	addrs := make([]netip.AddrPort, 0, addrsMax)
	for _, ip := range ips[:min(len(ips), addrsMax)] {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), c.url.Port))
	}
	return addrs, nil
}

// agent names the program and its version, for the tracker's logs.
func agent() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return "shoal " + info.Main.Version
	}
	return "shoal"
}
