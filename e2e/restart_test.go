//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKilledPeerServesFromItsCacheAgain kills a peer as a power cut would, and
// starts it again on the same cache.
func TestKilledPeerServesFromItsCacheAgain(t *testing.T) {
	lib := titles(t)
	premiere := lib.premiere
	origin := startNginx(t, lib.www, 3)
	_, tracker := startTracker(t)
	cache := t.TempDir()
	first := startPeer(t, "first run", origin.url(0), tracker, cache)
	first.watchAll(premiere)
	first.holdsAll(premiere)
	id := first.status().PeerID
	first.kill()

	second := startPeer(t, "second run", origin.url(1), tracker, cache)
	require.Equal(t, id, second.status().PeerID, "it is the same peer")
	second.watchAll(premiere)
	s := second.status()
	_, media := origin.sent(1)
	require.Zero(t, media, "the origin was asked for media: %+v", origin.hits(1))
	require.Zero(t, s.Bytes.CDN)
	require.Equal(t, "disk", s.Cache.Mode)
	var playlists int64
	for _, name := range []string{"index.m3u8", "master.m3u8"} {
		playlists += int64(len(premiere.read(t, name)))
	}
	require.Equal(t, premiere.bytes-playlists, s.Bytes.Cache, "all of it came from the cache of the earlier run")
	second.kill()

	// What the disk gives back is believed only after it was verified.
	damaged := damage(t, cache)
	require.GreaterOrEqual(t, damaged, premiere.pieces)
	third := startPeer(t, "third run", origin.url(2), tracker, cache)
	third.watchAll(premiere)
	third.eventually(func() bool { return strings.Contains(third.log.String(), "cached piece is damaged") }, "it says so")
	third.eventually(func() bool {
		_, media = origin.sent(2)
		return media >= premiere.bytes-playlists
	}, "all of it had to come anew")
	require.Zero(t, third.status().Bytes.Cache)
}
