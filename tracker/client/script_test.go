package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine/transport"
	"shoal/internal/wire"
	"shoal/tracker"
)

// patience bounds every wait for something that takes milliseconds: the machine
// may be busy with other things.
const patience = 40 * time.Second

var film, series = [32]byte{'f'}, [32]byte{'s'}

// heard is one message of the client as a script sees it.
type heard struct {
	kind     uint8
	announce wire.Announce
	leave    wire.TrackerLeave
	report   wire.TrackerReport
	number   uint32
	at       time.Time
	reply    func(kind uint8, body []byte)
}

// script is a tracker that says what the test wants, on a real endpoint.
type script struct {
	*testing.T
	endpoint *transport.Endpoint
	identity transport.Identity
	joins    chan wire.TrackerJoin
	messages chan heard
	answer   func(h heard) // runs on the script's goroutine, for each message; may be nil
	refuse   func() *wire.TrackerRefused
	welcome  wire.TrackerWelcome
}

func identityOf(t *testing.T, seed byte) transport.Identity {
	t.Helper()
	id, err := transport.NewIdentity(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	require.NoError(t, err)
	return id
}

func endpointOf(t *testing.T, cfg transport.Config) *transport.Endpoint {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	e, err := transport.Listen(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func newScript(t *testing.T, answer func(h heard)) *script {
	t.Helper()
	s := &script{
		T: t, identity: identityOf(t, 1), answer: answer,
		joins: make(chan wire.TrackerJoin, 64), messages: make(chan heard, 1024),
	}
	s.welcome = wire.TrackerWelcome{Version: wire.TrackerVersion, Interval: 20 * time.Second}
	copy(s.welcome.TicketKey[:], s.identity.PublicKey())
	s.endpoint = endpointOf(t, transport.Config{Identity: s.identity, ALPN: []string{wire.TrackerALPN}})
	return s
}

// play starts the script's goroutines; they end before the test does.
func (s *script) play() {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			session, err := s.endpoint.Accept(ctx)
			if err != nil {
				return
			}
			wait.Go(func() { s.greet(session) })
		}
	})
	wait.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case batch := <-s.endpoint.Inbox(wire.TrackerALPN):
				if batch != nil {
					s.listen(batch)
				}
			}
		}
	})
	s.Cleanup(func() { cancel(); _ = s.endpoint.Close(); wait.Wait() })
}

func (s *script) greet(session *transport.Session) {
	frame, err := wire.ReadTrackerFrame(session.Stream())
	join, ok := frame.(*wire.TrackerJoin)
	if err != nil || !ok {
		return
	}
	var reply any
	if s.refuse != nil {
		if r := s.refuse(); r != nil {
			reply = r
		}
	}
	if reply == nil {
		w := s.welcome
		w.Observed = session.RemoteAddr()
		reply = &w
	}
	_, _ = session.Stream().Write(wire.AppendTrackerFrame(nil, reply))
	s.joins <- *join
}

func (s *script) listen(batch *transport.Batch) {
	defer batch.Release()
	now := time.Now()
	for _, pkt := range batch.Packets {
		kind, body, err := pkt.Channel.OpenMessage(now, pkt, make([]byte, 2048))
		if err != nil || kind < wire.KindHeartbeat {
			continue
		}
		h := heard{kind: kind, at: now, reply: func(kind uint8, body []byte) { pkt.Channel.SendMessage(now, kind, body) }}
		switch kind {
		case wire.KindAnnounce:
			err = wire.ParseAnnounce(&h.announce, body)
			h.number = h.announce.Request
		case wire.KindTrackerLeave:
			err = wire.ParseTrackerLeave(&h.leave, body)
			h.number = h.leave.Request
		case wire.KindTrackerReport:
			err = wire.ParseTrackerReport(&h.report, body)
			h.number = h.report.Request
		default:
			h.number, err = wire.ParseRequest(body)
		}
		if err != nil {
			s.Errorf("the client sent garbage: %v", err)
			continue
		}
		if s.answer != nil {
			s.answer(h)
		}
		pkt.Channel.Advance(now)
		pkt.Channel.Flush()
		s.messages <- h
	}
}

func (s *script) url() string {
	local := s.endpoint.LocalAddr()
	return tracker.URL{Host: local.Addr().String(), Port: local.Port(), Fingerprint: s.identity.ID()}.String()
}

func (s *script) wantJoin() {
	s.Helper()
	select {
	case <-s.joins:
	case <-time.After(patience):
		s.Fatal("nobody joined")
	}
}

func (s *script) want(kind uint8) heard {
	s.Helper()
	select {
	case h := <-s.messages:
		require.Equal(s, kind, h.kind)
		return h
	case <-time.After(patience):
		s.Fatal("no message came")
		return heard{}
	}
}

// viewer is a client with its endpoint, its log and its updates.
type viewer struct {
	*testing.T
	client  *Client
	updates chan Update
	log     *logBook

	mu     sync.Mutex
	titles [][32]byte // guarded by mu
}

func newViewer(t *testing.T, url string, change func(*Config), titles ...[32]byte) *viewer {
	t.Helper()
	v := &viewer{T: t, updates: make(chan Update, 256), log: &logBook{}, titles: titles}
	cfg := Config{
		URL: url, Endpoint: endpointOf(t, transport.Config{Identity: identityOf(t, 2)}),
		Logger: slog.New(slog.NewTextHandler(v.log, nil)),
		Announce: func() []Announcement {
			v.mu.Lock()
			defer v.mu.Unlock()
			var all []Announcement
			for _, title := range v.titles {
				all = append(all, Announcement{
					Title: title, Position: time.Minute, HoldFrom: time.Second, HoldTo: time.Hour,
					HeldPermille: 5000, Connections: 1 << 20, Uploads: true,
				})
			}
			return all
		},
		OnUpdate:       func(u Update) { v.updates <- u },
		Interval:       time.Hour,
		RequestTimeout: patience, // what is answered is not asked again, however late
		BackoffMin:     10 * time.Millisecond, BackoffMax: 50 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	client, err := Start(cfg)
	require.NoError(t, err)
	v.client = client
	t.Cleanup(client.Close)
	return v
}

// hasty is for clients that shall not be answered. A busy machine still answers
// in time what they are to be answered.
func hasty(c *Config) { c.RequestTimeout = 300 * time.Millisecond }

func (v *viewer) watch(titles ...[32]byte) {
	v.mu.Lock()
	v.titles = titles
	v.mu.Unlock()
	v.client.Kick()
}

func (v *viewer) wantUpdate() Update {
	v.Helper()
	select {
	case u := <-v.updates:
		return u
	case <-time.After(patience):
		v.Fatal("no update came")
		return Update{}
	}
}

func (v *viewer) eventually(what string, condition func() bool) {
	v.Helper()
	require.Eventually(v, condition, patience, 2*time.Millisecond, what)
}

// logBook is a log that can be read while it is written.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}
