package cc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRestKeepsWhatOutlastsAPause(t *testing.T) {
	now := modelStart
	r := NewRecovery(now, NewCubic(now))
	for n := range uint64(5) {
		r.Sent(now, n, modelPacketBytes)
	}
	_, ok := r.Rest()
	require.False(t, ok, "packets are in flight")
	now = now.Add(40 * time.Millisecond)
	_, err := r.Ack(now, []Range{{0, 4}}, 0)
	require.NoError(t, err)
	r.Sent(now, 5, 0)
	kept, ok := r.Rest()
	require.True(t, ok, "nobody acknowledges an ACK")
	require.Equal(t, 40*time.Millisecond, kept.RTT().Smoothed())

	now = now.Add(time.Minute)
	r = Resume(now, NewCubic(now), kept)
	require.Equal(t, 40*time.Millisecond, r.RTT().Smoothed())
	require.Equal(t, kept.Stats(), r.Stats())
	require.Positive(t, r.Budget(now))
	_, err = r.Ack(now, []Range{{0, 5}}, 0)
	require.NoError(t, err, "an ACK that comes late is no lie")
	_, err = r.Ack(now, []Range{{6, 6}}, 0)
	require.ErrorIs(t, err, ErrNeverSent)
	r.Sent(now, 6, modelPacketBytes)
	require.WithinDuration(t, now.Add(r.RTT().pto()), r.Next(), 0, "the estimate serves the probe")
	now = now.Add(60 * time.Millisecond)
	result, err := r.Ack(now, []Range{{6, 6}}, 0)
	require.NoError(t, err)
	require.Equal(t, 1, result.AckedPackets)
	require.Equal(t, 42500*time.Microsecond, r.RTT().Smoothed())
	require.Zero(t, r.Stats().LostPackets)
}
