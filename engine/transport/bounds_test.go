package transport

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

func TestHandshakesInProgressAreBounded(t *testing.T) {
	e := listen(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range maxHandshakes {
		_, err := e.admit(ctx, nil)
		require.NoError(t, err)
	}
	_, err := e.admit(ctx, nil)
	require.ErrorIs(t, err, errTooBusy)
	require.Equal(t, maxHandshakes, e.Stats().HandshakesNow)
	require.EqualValues(t, 1, e.Stats().RefusedSessions)

	cancel() // every one of them fails
	require.Eventually(t, func() bool { return e.Stats().HandshakesNow == 0 }, patience, time.Millisecond)
	_, err = e.admit(t.Context(), nil)
	require.NoError(t, err)
}

func TestHandshakeEndsCounting(t *testing.T) {
	_, acceptor := pair(t, Config{})
	require.Zero(t, acceptor.endpoint.Stats().HandshakesNow)
	require.Equal(t, 1, acceptor.endpoint.Stats().Sessions)
}

// Under load an address must prove itself before it costs a handshake.
func TestBusyEndpointAsksForProofOfAddress(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{})
	b.counters.handshakes.Store(retryHandshakes)
	defer b.counters.handshakes.Store(0)
	s, err := a.Dial(patient(t), DialConfig{ALPN: testALPN, Addrs: []netip.AddrPort{b.LocalAddr()}})
	require.NoError(t, err, "an honest dialer gets through by Retry")
	require.NoError(t, s.Err())
}

func TestQUICQueueIsBounded(t *testing.T) {
	e := listen(t, Config{})
	q := newQUICConn(e) // nobody reads this one
	from := newVirtualAddr(e.LocalAddr())
	for range quicQueue {
		q.deliver([]byte{0x40}, from)
	}
	require.Zero(t, e.Stats().DroppedQUICFull)
	q.deliver([]byte{0x40}, from)
	require.EqualValues(t, 1, e.Stats().DroppedQUICFull)
	n, addr, err := q.ReadFrom(make([]byte, 10))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, from, addr)
}

// Strangers' addresses live in no table.
func TestUnprovenAddressesTakeNoMemory(t *testing.T) {
	e := listen(t, Config{})
	for port := range uint16(1000) {
		from := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)
		label := e.label(from)
		require.Equal(t, from.String(), label.String())
		require.Equal(t, label.String(), e.label(from).String(), "two labels of one address are equal to QUIC")
	}
	require.Empty(t, e.byPath)
}

func TestEndedSessionsLeaveNothing(t *testing.T) {
	dialer, acceptor, nat := behindNAT(t, Config{})
	fresh := nat.rebind()
	dialer.channel.ping(time.Now())
	run(t, func() bool { return acceptor.session.RemoteAddr() == fresh }, acceptor, dialer)
	dialer.session.Close("done")
	<-acceptor.session.Done()
	for _, e := range []*Endpoint{dialer.endpoint, acceptor.endpoint} {
		require.Empty(t, e.byIndex)
		require.Empty(t, e.byPath)
	}
}

func TestSteadyStateSealsWithoutAllocating(t *testing.T) {
	dialer, _ := pair(t, Config{portable: true})
	payload, now := randomBytes(wire.ChunkBytes), time.Now()
	round := func() {
		for range 64 {
			dialer.channel.SendData(now, Chunk{}, payload)
		}
		dialer.channel.Flush()
	}
	for range 600 { // until the ring of sent packets has its full size
		round()
	}
	require.Zero(t, testing.AllocsPerRun(50, round))
}

func TestBothCiphersOpenWhatTheySeal(t *testing.T) {
	material := randomBytes(keyBytes + saltBytes)
	sealed := map[bool][]byte{}
	for _, useAES := range []bool{true, false} {
		key := newSecret(material, useAES)
		send, receive := key.half(), key.half()
		header, body := []byte("header"), []byte("body")
		sealed[useAES] = send.aead.Seal(nil, send.nonceFor(7), body, header)
		require.Len(t, sealed[useAES], len(body)+wire.TagBytes)
		_, err := receive.aead.Open(nil, receive.nonceFor(8), sealed[useAES], header)
		require.Error(t, err, "another number")
		_, err = receive.aead.Open(nil, receive.nonceFor(7), sealed[useAES], []byte("other"))
		require.Error(t, err, "another header")
		got, err := receive.aead.Open(nil, receive.nonceFor(7), sealed[useAES], header)
		require.NoError(t, err)
		require.Equal(t, body, got)
	}
	require.NotEqual(t, sealed[true], sealed[false])
}

func TestKeysDifferByDirectionAndAgreeBetweenSides(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	require.Equal(t, dialer.channel.sendKey, acceptor.channel.receiveKey)
	require.Equal(t, dialer.channel.receiveKey, acceptor.channel.sendKey)
	require.NotEqual(t, dialer.channel.sendKey.key, dialer.channel.receiveKey.key)
}
