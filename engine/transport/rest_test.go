package transport

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// parked returns a parked pair of which each side has sent the other a
// message that was acknowledged.
func parked(t *testing.T) (dialer, acceptor *side) {
	t.Helper()
	dialer, acceptor = pair(t, Config{})
	dialer.session.ParkControl()
	run(t, acceptor.session.Parked, acceptor)
	talk(t, dialer, acceptor)
	return dialer, acceptor
}

// talk sends a message each way and ends when nothing is under way.
func talk(t *testing.T, dialer, acceptor *side) {
	t.Helper()
	dialer.got, acceptor.got = nil, nil
	dialer.send(wire.KindHeartbeat, []byte("still here"))
	run(t, func() bool { return acceptor.has(wire.KindHeartbeat) }, acceptor, dialer)
	acceptor.send(wire.KindAlive, []byte("so am I"))
	run(t, func() bool {
		return dialer.has(wire.KindAlive) && dialer.channel.gear == nil && acceptor.channel.gear == nil
	}, dialer, acceptor)
}

func TestParkedChannelRestsBetweenMessages(t *testing.T) {
	dialer, acceptor := parked(t)
	require.Nil(t, acceptor.session.control.Load(), "the QUIC connection is let go")
	require.Empty(t, acceptor.endpoint.byPath)
	rtt, out := acceptor.channel.RTT(), acceptor.channel.Stats().PacketsOut
	require.Positive(t, rtt)
	require.Zero(t, acceptor.channel.Next())
	for range 5 {
		talk(t, dialer, acceptor)
		require.Positive(t, acceptor.channel.RTT())
		require.Greater(t, acceptor.channel.Stats().PacketsOut, out, "numbers go on")
	}
	require.Zero(t, acceptor.channel.Stats().LostPackets)
	require.Zero(t, acceptor.endpoint.Stats().DroppedReplayed+acceptor.endpoint.Stats().DroppedForged)
}

func TestRateCapOutlastsRest(t *testing.T) {
	dialer, acceptor := parked(t)
	dialer.channel.SetRateCap(12345)
	talk(t, dialer, acceptor)
	acceptor.channel.SendBudget(time.Now())
	require.EqualValues(t, 12345, acceptor.channel.Stats().PacingBytesPerSec)
}

func TestReplayedPacketIsRefusedAfterRest(t *testing.T) {
	dialer, acceptor, nat := behindNAT(t, Config{})
	dialer.session.ParkControl()
	run(t, acceptor.session.Parked, acceptor)
	talk(t, dialer, acceptor)
	for _, b := range nat.seen() {
		if wire.IsSealed(b[0]) {
			nat.inject(b)
		}
	}
	run(t, func() bool { return acceptor.endpoint.Stats().DroppedReplayed > 0 }, acceptor, dialer)
	require.Nil(t, acceptor.channel.gear, "what is replayed wakes nobody")
}

func TestOnlyParkedSessionsRest(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	dialer.send(wire.MaxKind, nil)
	run(t, func() bool { return acceptor.has(wire.MaxKind) && dialer.channel.Stats().InFlightBytes == 0 }, dialer, acceptor)
	dialer.channel.Advance(time.Now())
	require.NotNil(t, dialer.channel.gear)
}

func TestChannelAtRestIsSmall(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Channel{})+unsafe.Sizeof(Session{}), uintptr(1024))
}

func TestStreamOfParkedSessionSaysSo(t *testing.T) {
	dialer, _ := parked(t)
	_, err := dialer.session.Stream().Read(nil)
	require.ErrorIs(t, err, ErrParked)
	_, err = dialer.session.Stream().Write(nil)
	require.ErrorIs(t, err, ErrParked)
	require.NoError(t, dialer.session.Stream().Close())
}
