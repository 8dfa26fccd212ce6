//go:build e2e

package e2e

import (
	"context"
	"net/url"
	"path"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/player"
)

const (
	// leanCache makes a peer fetch only 10 s ahead of its viewer, so that a
	// fault early in the playback is felt in the test: half of the cache
	// must hold what is fetched ahead, at 12 Mbit/s.
	leanCache = "30MB"

	// leanBuffer of the player, for the same reason.
	leanBuffer = 6 * time.Second

	// enough is how much a viewer plays after a fault: more than all that could
	// have been there before it.
	enough = 20 * time.Second
)

// viewing is a player model that plays a title through a peer in real time and
// compares every body with the origin's.
type viewing struct {
	t       *testing.T
	peer    *peer
	player  *player.Player
	stop    context.CancelFunc
	ended   chan struct{}
	err     error // valid after ended
	late    *lateness
	mu      sync.Mutex
	strange []string // guarded by mu: bodies that are not the origin's
}

// watch starts to play.
func watch(t *testing.T, p *peer, title *title) *viewing {
	t.Helper()
	v := &viewing{t: t, peer: p, ended: make(chan struct{}), late: measureLateness(t)}
	v.player = player.New(player.Config{
		URL: p.url + "/" + title.name + "/master.m3u8", Fixed: 1, MaxBuffer: leanBuffer, SessionID: p.name,
		OnBody: func(from, _ string, body []byte) {
			u, err := url.Parse(from)
			name := path.Base(u.Path)
			if err != nil || string(title.read(t, name)) != string(body) {
				v.mu.Lock()
				v.strange = append(v.strange, from)
				v.mu.Unlock()
			}
		},
	})
	ctx, stop := context.WithCancel(context.Background())
	v.stop = stop
	go func() {
		defer close(v.ended)
		_, v.err = v.player.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-v.ended })
	return v
}

// until waits until the viewer has seen so much.
func (v *viewing) until(position time.Duration) {
	v.t.Helper()
	require.Eventually(v.t, func() bool {
		select {
		case <-v.ended:
			return true
		default:
			return v.player.Report().Position >= position
		}
	}, position+patience, look)
	select {
	case <-v.ended:
		require.Failf(v.t, "the playback has ended", "%v", v.err)
	default:
	}
}

// more waits until the viewer has seen so much more.
func (v *viewing) more(film time.Duration) {
	v.t.Helper()
	v.until(v.player.Report().Position + film)
}

// undisturbed checks that the viewer saw every byte as it is, and no stall but
// one for which the machine stood still.
func (v *viewing) undisturbed() {
	v.t.Helper()
	seen, late := v.player.Report(), v.late.total()
	v.t.Logf("%s: %+v; the machine was %v late", v.peer.name, seen, late)
	if late < lateMin {
		require.Zero(v.t, seen.Stalls, "stalls: %+v", seen)
		require.Zero(v.t, seen.Errors, "failed requests: %+v", seen)
	} else {
		require.LessOrEqual(v.t, seen.Stalled, late+lateMin, "stalls: %+v", seen)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	require.Empty(v.t, v.strange, "bodies that are not the origin's")
}

// swarm is an origin, a tracker, and seeds that hold the serial.
type swarm struct {
	title      *title
	origin     *nginx
	tracker    *process
	trackerURL string
	seeds      []*peer
}

// startSwarm has two ports of the origin left for others than seeds.
func startSwarm(t *testing.T, seeds int) *swarm {
	t.Helper()
	lib := titles(t)
	w := &swarm{title: lib.serial, origin: startNginx(t, lib.www, seeds+2)}
	w.tracker, w.trackerURL = startTracker(t)
	for i := range seeds {
		p := startPeer(t, "seed-"+string(rune('a'+i)), w.origin.url(i), w.trackerURL, t.TempDir())
		p.watchAll(w.title)
		p.holdsAll(w.title)
		w.seeds = append(w.seeds, p)
	}
	return w
}

// viewer is one more peer, on the origin's i-th free port.
func (w *swarm) viewer(t *testing.T, i int, more ...string) *peer {
	t.Helper()
	return startPeer(t, "viewer", w.origin.url(len(w.seeds)+i), w.trackerURL, t.TempDir(), more...)
}

func TestTrackerDiesAndThePictureGoesOn(t *testing.T) {
	w := startSwarm(t, 2)
	viewer := w.viewer(t, 0, "--cache-bytes", leanCache)
	v := watch(t, viewer, w.title)
	v.until(2 * time.Second)
	viewer.seeds(2)
	w.tracker.kill()
	before := viewer.status().Bytes
	v.more(enough)
	v.undisturbed()
	after := viewer.status().Bytes
	require.Less(t, before.P2P, w.title.bytes*2/3, "the tracker died in the middle")
	require.Greater(t, after.P2P-before.P2P, w.title.bytes/10, "peers go on sharing")
	require.Equal(t, before.CDN, after.CDN, "nothing had to come from the CDN: %+v", viewer.status().CDNReasons)
}

func TestOriginPausesWhilePeersHoldTheTitle(t *testing.T) {
	w := startSwarm(t, 2)
	viewer := w.viewer(t, 0, "--cache-bytes", leanCache)
	v := watch(t, viewer, w.title)
	v.until(2 * time.Second)
	viewer.seeds(2)
	w.origin.signal(syscall.SIGSTOP)
	before := viewer.status().Bytes
	v.more(enough)
	v.undisturbed()
	after := viewer.status().Bytes
	require.Less(t, before.P2P, w.title.bytes*2/3, "the origin paused in the middle")
	require.Greater(t, after.P2P-before.P2P, w.title.bytes/10, "peers have it all")
	w.origin.signal(syscall.SIGCONT)
}

func TestSeedIsKilledInMidTransfer(t *testing.T) {
	w := startSwarm(t, 2)
	viewer := w.viewer(t, 0) // with a large cache, that fetches a minute at once
	v := watch(t, viewer, w.title)
	victim := w.seeds[0]
	id := victim.status().PeerID
	var got, outstanding int64
	viewer.eventually(func() bool {
		for _, s := range viewer.status().Seeds {
			if s.ID == id && s.Outstanding > 0 && s.ReceivedBytes > 0 {
				got, outstanding = s.ReceivedBytes, int64(s.Outstanding)
				return true
			}
		}
		return false
	}, "the viewer takes from the seed")
	victim.kill()
	t.Logf("killed after %d bytes, while %d were asked for", got, outstanding)
	atDeath := viewer.status().Bytes
	require.Less(t, atDeath.P2P+atDeath.CDN, w.title.bytes/2, "in mid-transfer")
	v.until(12 * time.Second)
	v.undisturbed()
	viewer.eventually(func() bool {
		b := viewer.status().Bytes
		return b.P2P+b.CDN > w.title.bytes*2/3
	}, "the rest comes from the other seed")
	require.Greater(t, viewer.status().Saving, 0.8)
	viewer.eventually(func() bool {
		for _, s := range viewer.status().Seeds {
			if s.ID == id {
				return false
			}
		}
		return true
	}, "the dead seed is given up")
}
