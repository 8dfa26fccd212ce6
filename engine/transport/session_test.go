package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestWrongPinnedPeerIsRefused(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{})
	want := newIdentity(t).ID()
	_, err := a.Dial(patient(t), DialConfig{ALPN: testALPN, Addrs: []netip.AddrPort{b.LocalAddr()}, Verify: Verify{ID: want}})
	var wrong *WrongPeerError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, WrongPeerError{Want: want, Got: b.cfg.Identity.ID()}, *wrong)
	require.ErrorContains(t, err, "expected "+want.Hex())
	require.ErrorContains(t, err, b.LocalAddr().String())
	require.Zero(t, a.Stats().Sessions)
}

func TestAnyPeerIsWelcomeWithoutAPin(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{})
	s, err := a.Dial(patient(t), DialConfig{ALPN: testALPN, Addrs: []netip.AddrPort{b.LocalAddr()}})
	require.NoError(t, err)
	require.Equal(t, b.cfg.Identity.ID(), s.ID())
	require.True(t, b.cfg.Identity.PublicKey().Equal(s.PublicKey()))
}

func TestUnknownProtocolIsRefused(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{})
	_, err := a.Dial(patient(t), DialConfig{ALPN: "other/1", Addrs: []netip.AddrPort{b.LocalAddr()}})
	require.ErrorContains(t, err, "no application protocol")
}

// namedCertificate is what a tracker with a domain has: not Ed25519, and
// confirmed by an authority.
func namedCertificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}

func TestServerNameIsConfirmedByRoots(t *testing.T) {
	cert, roots := namedCertificate(t, "tracker.example")
	a, b := listen(t, Config{}), listen(t, Config{Certificate: &cert})
	dial := func(v Verify) (*Session, error) {
		return a.Dial(patient(t), DialConfig{ALPN: testALPN, Addrs: []netip.AddrPort{b.LocalAddr()}, Verify: v})
	}
	s, err := dial(Verify{ServerName: "tracker.example", Roots: roots})
	require.NoError(t, err)
	require.Equal(t, FingerprintOf(cert.Leaf), s.ID())
	require.Nil(t, s.PublicKey())
	_, err = dial(Verify{ServerName: "other.example", Roots: roots})
	require.ErrorContains(t, err, "other.example")
	_, err = dial(Verify{ServerName: "tracker.example", Roots: x509.NewCertPool()})
	require.ErrorContains(t, err, "unknown authority")
	_, err = dial(Verify{ID: FingerprintOf(cert.Leaf)})
	require.NoError(t, err, "the same certificate, pinned")
}

func TestPeersMayDialEachOtherAtOnce(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{})
	var wg sync.WaitGroup
	sessions := make([]*Session, 4)
	errs := make([]error, 4)
	ctx := patient(t)
	for i, e := range []*Endpoint{a, b} {
		other := []*Endpoint{b, a}[i]
		wg.Go(func() {
			sessions[i], errs[i] = e.Dial(ctx, DialConfig{ALPN: testALPN, Addrs: []netip.AddrPort{other.LocalAddr()}, Verify: Verify{ID: other.cfg.Identity.ID()}})
		})
		wg.Go(func() { sessions[i+2], errs[i+2] = e.Accept(ctx) })
	}
	wg.Wait()
	for i, s := range sessions {
		require.NoError(t, errs[i])
		require.NoError(t, s.Err())
	}
	exchangeControl(t, newSide(t, a, sessions[0]), newSide(t, b, sessions[3]))
	exchangeControl(t, newSide(t, b, sessions[1]), newSide(t, a, sessions[2]))
}

func TestDialTriesAllAddresses(t *testing.T) {
	silent := loopbackUDP(t)
	defer func() { _ = silent.Close() }()
	a, b := listen(t, Config{}), listen(t, Config{})
	s, err := a.Dial(patient(t), DialConfig{
		ALPN:  testALPN,
		Addrs: []netip.AddrPort{addrOf(silent), netip.MustParseAddrPort("[2001:db8::1]:1"), {}, b.LocalAddr()},
	})
	require.NoError(t, err)
	require.Equal(t, b.LocalAddr(), s.RemoteAddr())
}

func TestDialEndsWithItsContext(t *testing.T) {
	silent := loopbackUDP(t)
	defer func() { _ = silent.Close() }()
	a := listen(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := a.Dial(ctx, DialConfig{ALPN: testALPN, Addrs: []netip.AddrPort{addrOf(silent)}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = a.Dial(t.Context(), DialConfig{ALPN: testALPN})
	require.ErrorContains(t, err, "no address")
}

func TestMoreSessionsThanAllowedAreRefused(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{MaxSessions: 1})
	dc := DialConfig{ALPN: testALPN, Addrs: []netip.AddrPort{b.LocalAddr()}}
	first, err := a.Dial(patient(t), dc)
	require.NoError(t, err)
	_, err = a.Dial(patient(t), dc)
	require.Error(t, err)
	require.NotZero(t, b.Stats().RefusedSessions, "and counted, once for every try")
	accepted, err := b.Accept(patient(t))
	require.NoError(t, err)
	first.Close("done")
	<-accepted.Done()
	_, err = a.Dial(patient(t), dc)
	require.NoError(t, err, "there is room again")
}

func TestCloseTellsTheOtherSideWhy(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	dialer.session.Close("seen enough")
	<-acceptor.session.Done()
	require.Equal(t, &CloseError{Reason: "seen enough", Remote: true}, acceptor.session.Err())
	require.Equal(t, &CloseError{Reason: "seen enough"}, dialer.session.Err())
	_, err := acceptor.session.Stream().Read(make([]byte, 1))
	require.Error(t, err)
	require.Zero(t, dialer.endpoint.Stats().Sessions)
	require.Zero(t, acceptor.endpoint.Stats().Sessions)
}

func TestEndpointCloseEndsEverything(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	require.NoError(t, acceptor.endpoint.Close())
	<-acceptor.session.Done()
	<-dialer.session.Done()
	require.ErrorContains(t, dialer.session.Err(), "endpoint closed")
	_, err := acceptor.endpoint.Accept(t.Context())
	require.ErrorIs(t, err, ErrClosed)
	_, err = acceptor.endpoint.Dial(t.Context(), DialConfig{ALPN: testALPN, Addrs: []netip.AddrPort{dialer.endpoint.LocalAddr()}})
	require.ErrorIs(t, err, ErrClosed)
	for b := range acceptor.inbox { // closed, with what was still in it
		b.Release()
	}
	_, open := <-acceptor.endpoint.Inbox("another/1")
	require.False(t, open)
	require.ErrorIs(t, acceptor.endpoint.Send([]Outgoing{{Addr: dialer.endpoint.LocalAddr(), Data: []byte{0x20}}}), ErrClosed)
	require.NoError(t, acceptor.endpoint.Close(), "twice is harmless")
}

func TestCloseWaitsForDial(t *testing.T) {
	silent := loopbackUDP(t)
	defer func() { _ = silent.Close() }()
	a := listen(t, Config{})
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		close(started)
		_, err := a.Dial(context.Background(), DialConfig{ALPN: testALPN, Addrs: []netip.AddrPort{addrOf(silent)}})
		ended <- err
	}()
	<-started
	buf := make([]byte, 2048)
	_, _, err := silent.ReadFromUDPAddrPort(buf) // the dial is on its way
	require.NoError(t, err)
	require.NoError(t, a.Close())
	require.ErrorIs(t, <-ended, ErrClosed)
}

func TestParkedSessionKeepsItsChannel(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	dialer.session.ParkControl()
	_, err := io.ReadAll(acceptor.session.Stream())
	require.Error(t, err)
	run(t, acceptor.session.Parked, acceptor)
	for _, way := range [][2]*side{{dialer, acceptor}, {acceptor, dialer}} {
		way[0].channel.SendMessage(time.Now(), 20, []byte("heartbeat"))
		way[0].channel.Flush()
		run(t, func() bool { return way[1].has(20) }, dialer, acceptor)
		require.NoError(t, way[0].session.Err())
	}
	dialer.session.Close("no more")
	require.Equal(t, &CloseError{Reason: "no more"}, dialer.session.Err())
	require.NoError(t, acceptor.session.Err(), "nobody told it")
	acceptor.session.Close("silence")
	<-acceptor.session.Done()
}

// kill ends an endpoint as SIGKILL does: without a word.
func kill(t *testing.T, e *Endpoint) {
	require.NoError(t, e.socket.close())
}

func TestKilledPeerIsNoticed(t *testing.T) {
	dialer, acceptor := pair(t, Config{idle: 300 * time.Millisecond})
	kill(t, acceptor.endpoint)
	select {
	case <-dialer.session.Done():
		require.ErrorContains(t, dialer.session.Err(), acceptor.endpoint.cfg.Identity.ID().String())
	case <-time.After(patience):
		require.FailNow(t, "not noticed")
	}
}

func TestRestartedPeerEndsTheOldSession(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	addr, identity := acceptor.endpoint.LocalAddr(), acceptor.endpoint.cfg.Identity
	kill(t, acceptor.endpoint)
	listen(t, Config{Listen: addr.String(), Identity: identity})
	_, err := dialer.session.Stream().Write([]byte("are you there?"))
	require.NoError(t, err)
	select {
	case <-dialer.session.Done():
		require.ErrorContains(t, dialer.session.Err(), "stateless reset")
	case <-time.After(patience):
		require.FailNow(t, "not noticed")
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	a := listen(t, Config{})
	_, err := Listen(Config{Listen: a.LocalAddr().String(), Identity: newIdentity(t)})
	require.ErrorContains(t, err, a.LocalAddr().String()+" is in use")
	require.ErrorContains(t, err, "--udp HOST:PORT")
	_, err = Listen(Config{Listen: "127.0.0.1", Identity: newIdentity(t)})
	require.ErrorContains(t, err, "HOST:PORT")
	_, err = Listen(Config{})
	require.ErrorContains(t, err, "identity")
}

func TestAddrsNamePlacesToReach(t *testing.T) {
	a := listen(t, Config{})
	require.Equal(t, []netip.AddrPort{a.LocalAddr()}, a.Addrs())
	all := listen(t, Config{Listen: ":0"})
	require.NotEmpty(t, all.Addrs())
	for _, addr := range all.Addrs() {
		require.Equal(t, all.LocalAddr().Port(), addr.Port())
		require.False(t, addr.Addr().IsUnspecified())
	}
}

func TestIdentityIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new folder", "identity.pem")
	first, err := LoadOrCreateIdentity(path)
	require.NoError(t, err)
	again, err := LoadOrCreateIdentity(path)
	require.NoError(t, err)
	require.Equal(t, first.ID(), again.ID())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "for its owner alone")
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".identity-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	require.NoError(t, os.WriteFile(path, []byte("not a key"), 0o600))
	_, err = LoadOrCreateIdentity(path)
	require.ErrorContains(t, err, path)
	_, err = NewIdentity(ed25519.PrivateKey("short"))
	require.Error(t, err)
	require.Nil(t, Identity{}.PublicKey())
	require.Len(t, first.ID().String(), 16)
	require.NotEqual(t, wire.PeerID{}, first.ID())
}
