package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine/transport"
	"shoal/internal/wire"
	"shoal/tracker"
	"shoal/tracker/client"
	"shoal/tracker/server"
	"shoal/tracker/store"
	"shoal/tracker/ticket"
)

// patience bounds every wait for something that takes milliseconds: the machine
// may be busy with other things.
const patience = 40 * time.Second

var film = [32]byte{'f'}

func start(t testing.TB, cfg server.Config) *server.Server {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.HTTP == "" {
		cfg.HTTP = "127.0.0.1:0"
	}
	cfg.Bounds.AnnouncesPerSec = 10_000
	s, err := server.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func identityOf(t *testing.T, seed byte) transport.Identity {
	t.Helper()
	id, err := transport.NewIdentity(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	require.NoError(t, err)
	return id
}

func endpointOf(t *testing.T, seed byte) *transport.Endpoint {
	t.Helper()
	e, err := transport.Listen(transport.Config{Listen: "127.0.0.1:0", Identity: identityOf(t, seed)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// viewer is a real peer of the tracker.
type viewer struct {
	*testing.T
	id       wire.PeerID
	endpoint *transport.Endpoint
	client   *client.Client
	updates  chan client.Update
}

func newViewer(t *testing.T, url string, seed byte, change func(*client.Config)) *viewer {
	t.Helper()
	v := &viewer{T: t, id: identityOf(t, seed).ID(), endpoint: endpointOf(t, seed), updates: make(chan client.Update, 1024)}
	cfg := client.Config{
		URL: url, Endpoint: v.endpoint, Logger: slog.New(slog.DiscardHandler),
		Announce: func() []client.Announcement {
			return []client.Announcement{{Title: film, Uploads: true, HeldPermille: 1000, HoldTo: time.Minute}}
		},
		OnUpdate: func(u client.Update) { v.updates <- u },
		Interval: 30 * time.Millisecond, RequestTimeout: 500 * time.Millisecond,
		BackoffMin: 10 * time.Millisecond, BackoffMax: 50 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := client.Start(cfg)
	require.NoError(t, err)
	v.client = c
	t.Cleanup(c.Close)
	return v
}

// wantUpdate waits for an update that satisfies the condition.
func (v *viewer) wantUpdate(what string, condition func(client.Update) bool) client.Update {
	v.Helper()
	deadline := time.After(patience)
	for {
		select {
		case u := <-v.updates:
			if condition(u) {
				return u
			}
		case <-deadline:
			v.Fatalf("no update with %s; last error: %v", what, v.client.Err())
		}
	}
}

func anything(client.Update) bool { return true }

func knows(id wire.PeerID) func(client.Update) bool {
	return func(u client.Update) bool {
		for _, c := range u.Candidates {
			if c.ID == id {
				return true
			}
		}
		return false
	}
}

func get(t testing.TB, s *server.Server, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + s.HTTPAddr() + path)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func statsOf(t testing.TB, s *server.Server) (stats server.Stats) {
	t.Helper()
	code, body := get(t, s, "/stats")
	require.Equal(t, http.StatusOK, code)
	require.NoError(t, json.Unmarshal([]byte(body), &stats))
	return stats
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, what)
}

func TestTwoViewersFindEachOther(t *testing.T) {
	s := start(t, server.Config{})
	alice := newViewer(t, s.URL().String(), 1, nil)
	first := alice.wantUpdate("an answer", anything)
	require.Equal(t, 1, first.SwarmSize)
	require.Empty(t, first.Candidates)
	require.True(t, first.U >= 0 && first.U < 1)

	bob := newViewer(t, s.URL().String(), 2, nil)
	u := bob.wantUpdate("alice", knows(alice.id))
	require.Equal(t, 2, u.SwarmSize)
	require.Len(t, u.Candidates, 1)
	c := u.Candidates[0]
	require.Equal(t, []netip.AddrPort{alice.endpoint.LocalAddr()}, c.Addrs, "observed, for she announced none")
	require.Equal(t, time.Minute, c.HoldTo)
	require.Equal(t, byte(tracker.GradeB), c.Grade)

	again := alice.wantUpdate("bob", knows(bob.id))
	require.Equal(t, first.U, again.U, "stable")
	require.Equal(t, s.URL().Fingerprint, transport.PeerIDOf(alice.client.Key()))
}

func TestTicketsAdmitTheirPeerAndNobodyElse(t *testing.T) {
	s := start(t, server.Config{})
	alice := newViewer(t, s.URL().String(), 1, nil)
	u := alice.wantUpdate("a ticket", func(u client.Update) bool { return u.Ticket != nil })
	verifier := ticket.Verifier{TrackerKey: alice.client.Key()}
	now := time.Now()
	require.NoError(t, verifier.Verify(u.Ticket, alice.id, film, now))
	require.ErrorIs(t, verifier.Verify(u.Ticket, identityOf(t, 2).ID(), film, now), ticket.ErrOtherPeer)
	require.ErrorIs(t, verifier.Verify(u.Ticket, alice.id, [32]byte{'x'}, now), ticket.ErrOtherTitle)
	require.ErrorIs(t, verifier.Verify(u.Ticket, alice.id, film, now.Add(ticket.Lifetime+2*ticket.Leeway)), ticket.ErrExpired)
	forged := bytes.Clone(u.Ticket)
	at := len(forged) - 10
	forged[at] = map[bool]byte{true: 'B', false: 'A'}[forged[at] == 'A'] // still base64
	require.ErrorIs(t, verifier.Verify(forged, alice.id, film, now), ticket.ErrForged)

	next := alice.wantUpdate("an answer", anything)
	require.Nil(t, next.Ticket, "the present one is good for an hour")
}

func TestTicketIsRenewedInAnAnnounce(t *testing.T) {
	s := start(t, server.Config{TicketLifetime: 4 * time.Second})
	alice := newViewer(t, s.URL().String(), 1, nil)
	withTicket := func(u client.Update) bool { return u.Ticket != nil }
	first := alice.wantUpdate("a ticket", withTicket)
	second := alice.wantUpdate("another ticket", withTicket)
	require.True(t, ticket.RenewAt(second.Ticket).After(ticket.RenewAt(first.Ticket)))
}

func TestSilentPeerExpires(t *testing.T) {
	s := start(t, server.Config{Bounds: tracker.Config{Interval: 100 * time.Millisecond}})
	alice := newViewer(t, s.URL().String(), 1, nil)
	bob := newViewer(t, s.URL().String(), 2, nil)
	bob.wantUpdate("alice", knows(alice.id))
	require.NoError(t, alice.endpoint.Close()) // a crash: no goodbye
	bob.wantUpdate("bob alone", func(u client.Update) bool { return u.SwarmSize == 1 })
	stats := statsOf(t, s)
	require.Equal(t, 1, stats.Peers)
	require.Equal(t, uint64(1), stats.Expired)
}

func TestLeavingPeerIsForgottenAtOnce(t *testing.T) {
	s := start(t, server.Config{})
	alice := newViewer(t, s.URL().String(), 1, nil)
	bob := newViewer(t, s.URL().String(), 2, nil)
	bob.wantUpdate("alice", knows(alice.id))
	alice.client.Close()
	bob.wantUpdate("bob alone", func(u client.Update) bool { return u.SwarmSize == 1 })
	require.Zero(t, statsOf(t, s).Expired)
}

func TestClientRejoinsARestartedTracker(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	cfg := server.Config{StateDir: state, HTTP: "127.0.0.1:0", Listen: steadyAddr(t)}
	s, err := server.Start(cfg)
	require.NoError(t, err)
	url := s.URL()
	alice := newViewer(t, url.String(), 1, nil)
	before := alice.wantUpdate("an answer", anything)
	require.NoError(t, s.Close())
	eventually(t, "the client to notice", func() bool { return !alice.client.Connected() })
	require.NotNil(t, alice.client.Key(), "tickets can still be verified")

	again := start(t, cfg)
	require.Equal(t, url, again.URL(), "the fingerprint survives")
	for len(alice.updates) > 0 {
		<-alice.updates
	}
	after := alice.wantUpdate("an answer", anything)
	require.Equal(t, before.U, after.U, "the position survives")
	require.True(t, alice.client.Connected())
}

func TestTrackerThatComesLateIsJoined(t *testing.T) {
	addr, state := steadyAddr(t), t.TempDir()
	identity, err := transport.LoadOrCreateIdentity(filepath.Join(state, "tracker.key"))
	require.NoError(t, err)
	var log syncBuffer
	alice := newViewer(t, "quic://"+addr+"#"+identity.ID().Hex(), 1, func(c *client.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	eventually(t, "a failed attempt", func() bool { return alice.client.Err() != nil })
	start(t, server.Config{StateDir: state, Listen: addr})
	alice.wantUpdate("an answer", anything)
	require.Equal(t, 1, strings.Count(log.String(), "tracker is away"))
	require.Equal(t, 1, strings.Count(log.String(), "tracker is back"))
}

func TestPeerThatJoinsAgainReplacesItsSession(t *testing.T) {
	s := start(t, server.Config{})
	alice := newViewer(t, s.URL().String(), 1, nil)
	alice.wantUpdate("an answer", anything)
	require.NoError(t, alice.endpoint.Close())
	again := newViewer(t, s.URL().String(), 1, nil)
	require.Equal(t, 1, again.wantUpdate("an answer", anything).SwarmSize)
	require.Equal(t, 1, statsOf(t, s).Peers)
}

func TestLargeAnswerTakesSeveralDatagrams(t *testing.T) {
	swarms := store.NewMemory()
	now := time.Now()
	for i := range 100 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 4711)
		require.NoError(t, swarms.Put(&store.Presence{
			Peer: wire.PeerID{0xff, byte(i)}, Title: film, Uploads: true, Joined: now, Seen: now, Observed: addr,
			Addrs: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:2")},
		}))
	}
	s := start(t, server.Config{Store: swarms})
	u := newViewer(t, s.URL().String(), 1, nil).wantUpdate("an answer", anything)
	require.Equal(t, 101, u.SwarmSize)
	require.Len(t, u.Candidates, tracker.CandidatesMax)
	require.NotNil(t, u.Ticket)
	require.Len(t, u.Candidates[0].Addrs, 3)
}

func TestFullTrackerSaysSo(t *testing.T) {
	s := start(t, server.Config{Bounds: tracker.Config{PeersPerAddressMax: 1}})
	newViewer(t, s.URL().String(), 1, nil).wantUpdate("an answer", anything)
	bob := newViewer(t, s.URL().String(), 2, nil)
	eventually(t, "a refusal", func() bool {
		err := bob.client.Err()
		return err != nil && strings.Contains(err.Error(), "too many peers at this address")
	})
	_, metrics := get(t, s, "/metrics")
	require.Regexp(t, `shoal_tracker_refused_total\{reason="per_address"\} [1-9]`, metrics)
}

// raw joins by hand, to say what no client says.
func raw(t *testing.T, s *server.Server, seed byte, frame []byte) (*transport.Session, any) {
	t.Helper()
	return rawFrom(t, s, endpointOf(t, seed), frame)
}

func rawFrom(t testing.TB, s *server.Server, from *transport.Endpoint, frame []byte) (*transport.Session, any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	session, err := from.Dial(ctx, transport.DialConfig{
		ALPN: wire.TrackerALPN, Addrs: []netip.AddrPort{netip.MustParseAddrPort(s.URL().HostPort())},
		Verify: transport.Verify{ID: s.URL().Fingerprint},
	})
	require.NoError(t, err)
	_, err = session.Stream().Write(frame)
	require.NoError(t, err)
	reply, _ := wire.ReadTrackerFrame(session.Stream())
	return session, reply
}

func TestUnknownVersionIsRefused(t *testing.T) {
	s := start(t, server.Config{})
	_, reply := raw(t, s, 1, wire.AppendTrackerFrame(nil, &wire.TrackerJoin{Version: 99}))
	refused, ok := reply.(*wire.TrackerRefused)
	require.True(t, ok)
	require.Equal(t, wire.TrackerVersionNo, refused.Code)
	require.Contains(t, refused.Text, "update shoal")
}

func TestGarbageIsCountedAndTheTrackerLivesOn(t *testing.T) {
	s := start(t, server.Config{})
	// To the socket, from nobody.
	conn, err := net.Dial("udp", s.URL().HostPort())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	for first := range 256 {
		_, err := conn.Write(append([]byte{byte(first)}, bytes.Repeat([]byte{7}, 60)...))
		require.NoError(t, err)
	}
	// To the join stream.
	_, reply := raw(t, s, 1, []byte{0xff, 0xff, 0xff, 0xff})
	require.Nil(t, reply)
	_, reply = raw(t, s, 2, wire.AppendTrackerFrame(nil, &wire.TrackerWelcome{}))
	require.Nil(t, reply)
	// To the sealed session of a member.
	session, reply := raw(t, s, 3, wire.AppendTrackerFrame(nil, &wire.TrackerJoin{Version: wire.TrackerVersion}))
	require.IsType(t, &wire.TrackerWelcome{}, reply)
	now := time.Now()
	for kind := wire.KindHeartbeat; kind <= 31; kind++ {
		session.Channel().SendMessage(now, kind, bytes.Repeat([]byte{0xff}, 300))
	}
	session.Channel().Flush()

	eventually(t, "the drops to be counted", func() bool {
		_, metrics := get(t, s, "/metrics")
		return strings.Contains(metrics, `shoal_tracker_dropped_total{reason="join"} 2`) &&
			strings.Contains(metrics, `shoal_tracker_dropped_total{reason="malformed"} 4`) &&
			strings.Contains(metrics, `shoal_tracker_dropped_total{reason="kind"} 12`)
	})
	newViewer(t, s.URL().String(), 4, nil).wantUpdate("an answer", anything)
}

func TestWithoutASessionNothingIsAnswered(t *testing.T) {
	s := start(t, server.Config{})
	join := wire.AppendTrackerFrame(nil, &wire.TrackerJoin{Version: wire.TrackerVersion})
	endpoint := endpointOf(t, 1)
	session, _ := rawFrom(t, s, endpoint, join)
	session.ParkControl()
	leave := wire.AppendTrackerLeave(nil, &wire.TrackerLeave{})
	session.Channel().SendMessage(time.Now(), wire.KindTrackerLeave, leave)
	session.Channel().Flush()
	eventually(t, "the peer to be gone", func() bool { return statsOf(t, s).Peers == 0 })
	const unknown = `shoal_tracker_datagrams_dropped_total\{reason="unknown"\}`
	before := metric(t, s, unknown)
	for range 5 {
		session.Channel().SendMessage(time.Now(), wire.KindHeartbeat, wire.AppendRequest(nil, 1))
		session.Channel().Flush()
	}
	eventually(t, "the datagrams to be dropped", func() bool { return metric(t, s, unknown) == before+5 })
	// What the tracker sends now comes behind any answer to those.
	_, reply := rawFrom(t, s, endpoint, join)
	require.IsType(t, &wire.TrackerWelcome{}, reply)
	require.Empty(t, endpoint.Inbox(wire.TrackerALPN))
}

func TestOperatorsSeeWhatHappens(t *testing.T) {
	s := start(t, server.Config{})
	code, body := get(t, s, "/healthz")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ok\n", body)
	newViewer(t, s.URL().String(), 1, nil).wantUpdate("an answer", anything)
	stats := statsOf(t, s)
	require.Equal(t, 1, stats.Peers)
	require.Equal(t, 1, stats.Titles)
	require.Equal(t, 1, stats.Viewers)
	require.Equal(t, []server.SwarmStats{{Title: fmt.Sprintf("%x", film), Peers: 1}}, stats.Swarms)
	require.Equal(t, s.URL().String(), stats.URL)
	require.Equal(t, 1, metric(t, s, "shoal_tracker_peers"))
	require.Equal(t, 1, metric(t, s, "shoal_tracker_tickets_total"))
	require.Positive(t, metric(t, s, "shoal_tracker_announces_total"))
	_, text := get(t, s, "/metrics")
	require.NotContains(t, text, "shoal_tracker_refused_total{", "nobody was refused")
	require.Contains(t, text, "go_memstats_heap_inuse_bytes")
	code, _ = get(t, s, "/other")
	require.Equal(t, http.StatusNotFound, code)
}

func TestCertificateOfTheSystemRootsNeedsNoFingerprint(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"tracker.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	s := start(t, server.Config{Certificate: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}})
	require.False(t, s.URL().Pinned())
	require.Equal(t, "tracker.example", s.URL().Host)
	// The certificate is what is shown: pinning its key works, the identity's does not.
	pinned := tracker.URL{Host: "127.0.0.1", Port: s.URL().Port, Fingerprint: transport.FingerprintOf(leaf)}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = endpointOf(t, 1).Dial(ctx, transport.DialConfig{
		ALPN: wire.TrackerALPN, Addrs: []netip.AddrPort{netip.MustParseAddrPort(pinned.HostPort())},
		Verify: transport.Verify{ID: pinned.Fingerprint},
	})
	require.NoError(t, err)
}

func TestURLNamesAnAddressThatPeersCanDial(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		s := start(t, server.Config{Listen: listen})
		u, err := tracker.ParseURL(s.URL().String())
		require.NoError(t, err, listen)
		ip, err := netip.ParseAddr(u.Host)
		require.NoError(t, err, listen)
		require.False(t, ip.IsUnspecified(), listen)
	}
	require.Equal(t, "localhost", start(t, server.Config{Listen: "localhost:0"}).URL().Host)
}

func TestTakenPortsSayWhich(t *testing.T) {
	s := start(t, server.Config{})
	_, err := server.Start(server.Config{Listen: s.URL().HostPort()})
	require.ErrorContains(t, err, s.URL().HostPort())
	_, err = server.Start(server.Config{Listen: "127.0.0.1:0", HTTP: s.HTTPAddr()})
	require.ErrorContains(t, err, s.HTTPAddr())
	require.ErrorContains(t, err, "--http")
}
