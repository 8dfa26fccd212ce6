package replay

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/replay/trace"
	"shoal/internal/wire"
)

// homely is a viewer of a film of one minute on a fast line. Its ten segments
// of 6 s at 699 kbit/s have eight pieces each: 80 pieces.
func homely(id string, start, linger time.Duration) Session {
	s := trace.NewSession(id, start, "film", 70*time.Second)
	s.Kind, s.BitrateKbps, s.TitleLength, s.Position = trace.VOD, 699, time.Minute, 0
	s.DownKbps, s.UpKbps, s.RTT, s.NAT, s.Linger = 100_000, 100_000, 10*time.Millisecond, trace.NATOpen, linger
	return Session{Session: s}
}

// threePeers watch the same film: a from the beginning, b when a has all of it,
// and c, who comes last. Worked out by hand:
//
// a is alone. Its first segment (8 pieces) is its start-up: with 6 s in its
// buffer the core calls that safe (4 s). The other 72 pieces it brings into the
// swarm as first copies. 80 from the CDN, 0 from peers.
//
// b and c come when a has all of it. Before a player's first GET lie four round
// trips of 30 ms to the CDN: 120 ms. To know what a has takes the tracker's
// answer (30 ms), two round trips of 30 ms until the session stands (91 ms with
// the reading of it), one for interest and announcement (123 ms): 3 ms too long.
// So at its first GET the core knows of nobody and takes from the CDN what that
// carries in 400 ms at the rate that is assumed of an unknown one, 1 MB/s:
// pieces until 400,000 bytes are reached, which the seventh does. The eighth
// and all that follows, 73 pieces, comes from peers.
//
// The uplinks' queues have room for all of it: nothing is lost.
//
// The twin takes 3 × 80 pieces from the CDN. Of what was played, one copy must
// come from there, and the uplinks are no bound: 160 ÷ 240 at most.
func threePeers(t *testing.T, lastComes time.Duration) (a, b, c SessionResult) {
	sessions := []Session{homely("a", 0, 5*time.Minute), homely("b", 2*time.Minute, 0), homely("c", lastComes, 0)}
	results, err := Run(context.Background(), Config{Seed: 1, Policies: []string{"shoal", "cdn-only"}, UplinkQueue: 4 << 20}, sessions, nil)
	require.NoError(t, err)
	shoal, twin := results[0], results[1]
	a, b, c = shoal.PerSession[0], shoal.PerSession[1], shoal.PerSession[2]

	require.Equal(t, [4]int64{bytesOf(8), bytesOf(72), 0, 0}, a.CDN)
	require.Zero(t, a.P2P)
	for _, s := range []SessionResult{b, c} {
		require.Equal(t, [4]int64{bytesOf(7), 0, 0, 0}, s.CDN, s.Session)
		require.Equal(t, bytesOf(73), s.P2P, s.Session)
		require.Equal(t, bytesOf(73)+s.Duplicate, s.Received, s.Session)
		require.Equal(t, time.Minute, s.Played, s.Session)
	}
	require.Zero(t, b.Duplicate, "b has a alone")
	require.Zero(t, c.Sent)
	require.Zero(t, shoal.WastedBytes)
	require.Zero(t, shoal.CacheBytes)
	require.Zero(t, shoal.Stalls)

	require.Equal(t, bytesOf(240), twin.CDNBytes)
	require.Equal(t, bytesOf(80+14), shoal.CDNBytes)
	require.InDelta(t, 146.0/240, shoal.Saving, 1e-12)
	require.InDelta(t, 146.0/240, shoal.NetSaving, 1e-12)
	require.InDelta(t, 160.0/240, shoal.Bound, 1e-12)
	require.InDelta(t, 146.0/160, shoal.SavingOverBound, 1e-12)
	return a, b, c
}

func bytesOf(n int64) int64 { return n * wire.PieceBytes }

// b has left at 3:10, when c comes: a serves both, and nothing comes twice.
func TestThreePeersGetExactlyTheseBytes(t *testing.T) {
	a, b, c := threePeers(t, 3*time.Minute+20*time.Second)
	require.Equal(t, bytesOf(2*73), a.Sent)
	require.Zero(t, b.Sent)
	require.Zero(t, c.Duplicate)
}

// c comes while b is still there, and is served by both. Both begin slowly, so
// that what one has been asked for may look late, be asked of the other, and come
// twice: chunks of the segment at hand. How many is a matter of the controller.
func TestThirdOfThreePeersIsServedByBoth(t *testing.T) {
	a, b, c := threePeers(t, 2*time.Minute+40*time.Second)
	require.Equal(t, bytesOf(2*73)+c.Duplicate, a.Sent+b.Sent)
	require.Greater(t, a.Sent, bytesOf(73), "c takes from both")
	require.NotZero(t, b.Sent)
	require.Less(t, c.Duplicate, bytesOf(8))
}

// The CDN's first byte is there after 30 ms and 5 ms of thinking; the first
// segment, 8 × 64 KiB with 4 % on top, comes at 100 Mbit/s, which its ramp
// reaches after two more round trips.
func TestTwinStartsWhenItsFirstSegmentIsThere(t *testing.T) {
	results, err := Run(context.Background(), Config{Seed: 1, Policies: []string{"cdn-only"}}, []Session{homely("a", 0, 0)}, nil)
	require.NoError(t, err)
	s := results[0].PerSession[0]
	rate := 12.5e6
	line := time.Duration(8 * wire.PieceBytes * cdnOverhead / rate * float64(time.Second))
	require.Greater(t, s.Startup, 120*time.Millisecond+35*time.Millisecond+line)
	require.Less(t, s.Startup, 120*time.Millisecond+35*time.Millisecond+line+3*30*time.Millisecond)
	require.Zero(t, s.Stalls)
	require.Equal(t, time.Minute, s.Played)
}
