// Package server is the network side of a tracker.
//
// Peers join over QUIC (ALPN shoal-tracker/1, mutual TLS) on the server's one
// UDP socket. The connection is then parked, and heartbeats and announces come
// as sealed datagrams keyed from it, so that an idle peer costs no QUIC
// connection with its timers and keep-alives. Every answer is a function of
// package tracker's State; this package adds sessions, tickets, and HTTP for
// operators: the swarm view at /, which polls /api/swarms, and /healthz,
// /metrics, /stats.
//
// Start, URL and Close may be called from any goroutine. Inside, one goroutine
// (run) owns the State, the sessions and their channels; others hand it
// functions to run.
package server

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	randv2 "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"shoal/cc"
	"shoal/engine/transport"
	"shoal/internal/wire"
	"shoal/tracker"
	"shoal/tracker/store"
	"shoal/tracker/ticket"
)

const (
	// joinsMax bounds the peers between handshake and WELCOME. Each takes two
	// round trips, so 256 admit more than 1,000 a second at 200 ms.
	joinsMax = 256

	// joinTimeout is what a peer may take from handshake to WELCOME, and
	// parkTimeout from there to parking.
	joinTimeout = 10 * time.Second
	parkTimeout = 5 * time.Second

	// callsMax bounds the functions that wait for the owner: one per joining
	// peer and some HTTP requests.
	callsMax = joinsMax + 16

	// sweepEvery is how often the absent are looked for: a fraction of the
	// minute after which they expire.
	sweepEvery = time.Second

	// tick is the least time between two turns of one channel: the granularity
	// of its timers (RFC 9002 §6.1.2).
	tick = time.Millisecond

	// keyFile holds the tracker's private key in the state folder.
	keyFile = "tracker.key"
)

// Config of a Server. The zero value listens on any free port with a key that
// lives as long as the process.
type Config struct {
	// Listen is the UDP address "HOST:PORT". Default: all addresses, any port.
	Listen string

	// HTTP is the TCP address of the swarm view, /healthz, /metrics and /stats.
	// Default: none.
	HTTP string

	// AllowHosts are names by which the swarm view and /stats may be asked for,
	// beside addresses and localhost.
	AllowHosts []string

	// Titles are the names of titles, for the swarm view.
	Titles map[store.TitleID]string

	// StateDir keeps the tracker's key, so that its fingerprint, its tickets and
	// its peers' positions survive a restart. Default: kept nowhere.
	StateDir string

	// Certificate, with its key, is shown to peers that trust the system roots
	// instead of a fingerprint. Default: self-signed, pinned by fingerprint.
	Certificate *tls.Certificate

	// Logger. Default: discard.
	Logger *slog.Logger

	// Bounds of the state; its Secret is derived from the tracker's key.
	Bounds tracker.Config

	// Store of swarms. Default: memory.
	Store store.Store

	// TicketLifetime. Default: one hour.
	TicketLifetime time.Duration
}

// Server is a running tracker.
type Server struct {
	cfg       Config
	identity  transport.Identity
	endpoint  *transport.Endpoint
	listener  net.Listener // of HTTP; nil without
	web       *http.Server
	metrics   *metrics
	started   time.Time
	cancel    context.CancelFunc
	ctx       context.Context // ends in Close; for the goroutines below
	waitGroup sync.WaitGroup
	joins     chan struct{} // one token per joining peer
	calls     chan func(now time.Time)
	stopped   chan struct{} // closed when run has returned

	// owned by run
	state    *tracker.State
	store    store.Store
	sessions map[*transport.Channel]*member
	byPeer   map[wire.PeerID]*member
	timers   timers
	announce wire.Announce // scratch of one datagram
	leave    wire.TrackerLeave
	reported wire.TrackerReport

	views views
}

// Start listens and serves until Close.
func Start(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.TicketLifetime = cmp.Or(cfg.TicketLifetime, ticket.Lifetime)
	cfg.Bounds.Interval = cmp.Or(cfg.Bounds.Interval, tracker.Interval)
	if cfg.Store == nil {
		cfg.Store = store.NewMemory()
	}
	path := ""
	if cfg.StateDir != "" {
		path = filepath.Join(cfg.StateDir, keyFile)
	}
	identity, err := transport.LoadOrCreateIdentity(path)
	if err != nil {
		return nil, fmt.Errorf("tracker key: %w", err)
	}
	if cfg.Bounds.Secret, err = secretOf(identity); err != nil {
		return nil, err
	}
	endpoint, err := transport.Listen(transport.Config{
		Listen: cfg.Listen, Identity: identity, ALPN: []string{wire.TrackerALPN}, Logger: cfg.Logger,
		Certificate: cfg.Certificate, MaxSessions: sessionsMax(cfg.Bounds),
		// Tens of thousands of viewers who get a packet now and then are no cc.Group.
		NewController: func(now time.Time) cc.Controller { return cc.NewTiered(now, cc.Fast) },
	})
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, identity: identity, endpoint: endpoint, started: time.Now(),
		joins: make(chan struct{}, joinsMax), calls: make(chan func(time.Time), callsMax),
		stopped: make(chan struct{}),
		state:   tracker.New(seededRand(), cfg.Store, cfg.Bounds), store: cfg.Store,
		sessions: map[*transport.Channel]*member{}, byPeer: map[wire.PeerID]*member{},
		views: views{kept: map[store.TitleID]keptView{}},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.metrics = newMetrics(prometheus.NewRegistry(), s)
	if err := s.listenHTTP(); err != nil {
		s.cancel()
		return nil, errors.Join(err, endpoint.Close())
	}
	s.waitGroup.Go(s.accept)
	s.waitGroup.Go(s.run)
	if s.web != nil {
		s.waitGroup.Go(s.serveHTTP)
	}
	return s, nil
}

// URL is how peers name this tracker. A tracker that listens on all addresses
// names the first that others may reach.
func (s *Server) URL() tracker.URL {
	local := s.endpoint.LocalAddr()
	u := tracker.URL{Port: local.Port()}
	if s.cfg.Certificate != nil && s.cfg.Certificate.Leaf != nil && len(s.cfg.Certificate.Leaf.DNSNames) > 0 {
		u.Host = s.cfg.Certificate.Leaf.DNSNames[0]
		return u
	}
	u.Fingerprint = s.identity.ID()
	host, _, err := net.SplitHostPort(s.cfg.Listen)
	if ip, notIP := netip.ParseAddr(host); err == nil && host != "" && (notIP != nil || !ip.IsUnspecified()) {
		u.Host = host
		return u
	}
	u.Host = "127.0.0.1"
	for _, a := range s.endpoint.Addrs() {
		if ip := a.Addr(); !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			u.Host = ip.String()
			break
		}
	}
	return u
}

// HTTPAddr is where HTTP is answered; empty without it.
func (s *Server) HTTPAddr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// ViewURL is where a browser on this machine finds the swarm view; empty
// without HTTP.
func (s *Server) ViewURL() string {
	addr, err := netip.ParseAddrPort(s.HTTPAddr())
	if err != nil {
		return ""
	}
	ip := addr.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // [::] listens there as well
	}
	return "http://" + netip.AddrPortFrom(ip.WithZone(""), addr.Port()).String() + "/"
}

// Close stops serving and waits for all goroutines.
func (s *Server) Close() error {
	s.cancel()
	var err error
	if s.web != nil {
		err = s.web.Close()
	}
	err = errors.Join(err, s.endpoint.Close())
	s.waitGroup.Wait()
	return err
}

// run owns the state: datagrams, calls of other goroutines and the sweep are
// handled one after another.
func (s *Server) run() {
	defer close(s.stopped)
	inbox := s.endpoint.Inbox(wire.TrackerALPN)
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	var scratch [2048]byte
	for {
		if next := s.timers.next(); next.IsZero() {
			alarm.Stop()
		} else {
			alarm.Reset(max(time.Until(next), 0))
		}
		select {
		case <-s.ctx.Done():
			return
		case batch, ok := <-inbox:
			if !ok {
				return
			}
			s.receive(time.Now(), batch, scratch[:])
			batch.Release()
		case call := <-s.calls:
			call(time.Now())
		case <-alarm.C:
			now := time.Now()
			for m := s.timers.due(now); m != nil; m = s.timers.due(now) {
				s.advance(now, m)
			}
		case <-sweep.C:
			s.sweep(time.Now())
		}
	}
}

// do runs f on the owner's goroutine and waits for it. It reports false if the
// server is closing or ctx ends before f was accepted.
func (s *Server) do(ctx context.Context, f func(now time.Time)) bool {
	done := make(chan struct{})
	call := func(now time.Time) { defer close(done); f(now) }
	select {
	case s.calls <- call:
	case <-ctx.Done():
		return false
	case <-s.stopped:
		return false
	}
	select {
	case <-done:
		return true
	case <-s.stopped:
		return false // or done as the last call: the caller is closing either way
	}
}

// sweep forgets the peers that stayed away and closes their sessions.
func (s *Server) sweep(now time.Time) {
	gone, err := s.state.Expire(now)
	if err != nil {
		s.cfg.Logger.Error("sweep failed", slog.String("err", err.Error()))
	}
	for _, id := range gone {
		s.drop(id, "expired")
	}
}

// advance gives a channel its time: it sends the acknowledgements and probes
// that are due and what is queued.
func (s *Server) advance(now time.Time, m *member) {
	channel := m.session.Channel()
	channel.Advance(now)
	next := channel.Next()
	if soonest := now.Add(tick); !next.IsZero() && next.Before(soonest) {
		next = soonest
	}
	s.timers.set(m, next)
}

// drop closes the session of a peer and forgets it.
func (s *Server) drop(id wire.PeerID, reason string) {
	m := s.byPeer[id]
	if m == nil {
		return
	}
	delete(s.byPeer, id)
	delete(s.sessions, m.session.Channel())
	s.timers.set(m, time.Time{})
	m.session.Close(reason)
}

// sessionsMax leaves room for peers that join again before their old session
// is dropped.
func sessionsMax(bounds tracker.Config) int {
	return cmp.Or(bounds.PeersMax, tracker.PeersMax) + joinsMax
}

// secretOf derives the secret behind the peers' positions from the key, so that
// there is one thing to keep and it cannot be half lost (RFC 5869).
func secretOf(identity transport.Identity) (secret [32]byte, err error) {
	derived, err := hkdf.Key(sha256.New, identity.PrivateKey().Seed(), nil, "shoal tracker: position in the swarm", len(secret))
	if err != nil {
		return secret, fmt.Errorf("derive tracker secret: %w", err)
	}
	return [32]byte(derived), nil
}

func seededRand() *randv2.Rand {
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // never fails since Go 1.24
	return randv2.New(randv2.NewPCG(binary.BigEndian.Uint64(seed[:8]), binary.BigEndian.Uint64(seed[8:])))
}
