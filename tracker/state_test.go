package tracker

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
	"shoal/tracker/store"
)

var film, series = store.TitleID{0: 'f'}, store.TitleID{0: 's'}

// town is a tracker with its clock and its peers, for stories.
type town struct {
	*testing.T
	state *State
	now   time.Time
}

func newTown(t *testing.T, cfg Config) *town {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	return &town{T: t, state: New(rng, store.NewMemory(), cfg), now: time.Date(2026, 1, 2, 20, 15, 0, 0, time.UTC)}
}

func (w *town) advance(d time.Duration) { w.now = w.now.Add(d) }

func peerID(i int) wire.PeerID {
	var id wire.PeerID
	binary.BigEndian.PutUint32(id[:], uint32(i))
	return id
}

// home gives every peer a public address of its own.
func home(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), 4711)
}

func (w *town) join(i int) {
	w.Helper()
	require.NoError(w, w.state.Join(w.now, peerID(i), home(i)))
}

// seed is a viewer of the film that holds all of it and uploads fast.
func seed() Announcement {
	return Announcement{Title: film, HeldPermille: 1000, UpBytesPerSec: 10_000_000, Uploads: true}
}

// leech is a viewer that holds nothing yet.
func leech(position time.Duration) Announcement {
	return Announcement{Title: film, Position: position, HoldFrom: position, HoldTo: position, Uploads: true}
}

func (w *town) announce(i int, a Announcement) Answer {
	w.Helper()
	answer, err := w.state.Announce(w.now, peerID(i), home(i), a)
	require.NoError(w, err)
	return answer
}

func (w *town) joinAs(i int, a Announcement) Answer {
	w.Helper()
	w.join(i)
	return w.announce(i, a)
}

func (w *town) expire() []wire.PeerID {
	w.Helper()
	gone, err := w.state.Expire(w.now)
	require.NoError(w, err)
	return gone
}

func peersOf(a Answer) map[wire.PeerID]Grade {
	m := map[wire.PeerID]Grade{}
	for _, c := range a.Candidates {
		m[c.Peer] = c.Grade
	}
	return m
}

func TestFirstViewerIsAlone(t *testing.T) {
	w := newTown(t, Config{})
	answer := w.joinAs(1, leech(0))
	require.Equal(t, 1, answer.SwarmSize)
	require.Empty(t, answer.Candidates)
}

func TestAnnounceNeedsAJoin(t *testing.T) {
	w := newTown(t, Config{})
	_, err := w.state.Announce(w.now, peerID(1), home(1), leech(0))
	require.ErrorIs(t, err, ErrUnknown)
	require.False(t, w.state.Heartbeat(w.now, peerID(1), home(1)))
	require.NoError(t, w.state.Leave(w.now, peerID(1), film))
	require.NoError(t, w.state.LeaveAll(peerID(1)))
}

func TestSmallSwarmIsHandedOutWholeWhateverItHolds(t *testing.T) {
	w := newTown(t, Config{})
	const viewers = 20
	for i := range viewers {
		w.joinAs(i, leech(time.Duration(i)*10*time.Minute))
	}
	for i := range viewers {
		answer := w.announce(i, leech(time.Duration(i)*10*time.Minute))
		require.Equal(t, viewers, answer.SwarmSize)
		got := peersOf(answer)
		require.Len(t, got, viewers-1)
		require.NotContains(t, got, peerID(i), "itself")
	}
}

func TestOtherTitlesStaySeparate(t *testing.T) {
	w := newTown(t, Config{})
	w.joinAs(1, seed())
	other := seed()
	other.Title = series
	answer := w.joinAs(2, other)
	require.Equal(t, 1, answer.SwarmSize)
	require.Empty(t, answer.Candidates)
}

func TestFilterDropsWhoCannotServe(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Announcement)
		want   bool
	}{
		"a seed":                     {func(*Announcement) {}, true},
		"uploads off":                {func(a *Announcement) { a.Uploads = false }, false},
		"all connections taken":      {func(a *Announcement) { a.Connections, a.ConnectionsMax = 60, 60 }, false},
		"a connection left":          {func(a *Announcement) { a.Connections, a.ConnectionsMax = 59, 60 }, true},
		"number of places is secret": {func(a *Announcement) { a.Connections = 5000 }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, Config{})
			a := seed()
			c.change(&a)
			w.joinAs(1, a)
			answer := w.joinAs(2, leech(0))
			require.Equal(t, 2, answer.SwarmSize, "counted as a viewer either way")
			require.Equal(t, c.want, len(answer.Candidates) == 1)
		})
	}
}

func TestGradesFollowNeedUplinkAndOnlineTime(t *testing.T) {
	w := newTown(t, Config{})
	w.join(1)
	w.join(2)
	w.join(3)
	for range 100 { // half an hour of heartbeats
		w.advance(Interval)
		for i := 1; i <= 3; i++ {
			require.True(t, w.state.Heartbeat(w.now, peerID(i), home(i)))
		}
	}
	hasNext := Announcement{Title: film, HoldFrom: 10 * time.Minute, HoldTo: 12 * time.Minute, Uploads: true}
	elsewhere := Announcement{Title: film, HoldFrom: time.Hour, HoldTo: 2 * time.Hour, Uploads: true, UpBytesPerSec: 10_000_000}
	w.announce(1, seed())
	w.announce(2, elsewhere)
	w.joinAs(4, hasNext)
	w.joinAs(5, leech(0))
	got := peersOf(w.joinAs(6, leech(10*time.Minute)))
	require.Equal(t, map[wire.PeerID]Grade{
		peerID(1): GradeA, // old, fast, holds everything
		peerID(2): GradeC, // old and fast, but holds another part
		peerID(4): GradeB, // new, unknown uplink, holds what is needed next
		peerID(5): GradeD, // new and empty
	}, got)
}

func TestBestGradeComesFirst(t *testing.T) {
	w := newTown(t, Config{})
	for i := range 30 {
		if i%2 == 0 {
			w.joinAs(i, leech(0))
		} else {
			w.joinAs(i, seed())
		}
	}
	answer := w.joinAs(99, leech(0))
	require.Len(t, answer.Candidates, 30)
	for i := 1; i < 30; i++ {
		require.LessOrEqual(t, answer.Candidates[i-1].Grade, answer.Candidates[i].Grade)
	}
	require.Less(t, answer.Candidates[0].Grade, answer.Candidates[29].Grade)
}

func TestBestSeedsAreNotStampeded(t *testing.T) {
	w := newTown(t, Config{})
	for i := range 10 {
		w.joinAs(i, seed())
	}
	first := map[wire.PeerID]int{}
	for range 200 {
		first[w.joinAs(100, leech(0)).Candidates[0].Peer]++
		w.advance(Interval / 2)
		for j := range 10 {
			w.announce(j, seed())
		}
	}
	require.Len(t, first, 10, "every seed of the grade came first at times")
}

func TestSimultaneousViewersMeetInALargeSwarm(t *testing.T) {
	w := newTown(t, Config{})
	for i := range 1000 {
		w.joinAs(i, seed()) // all at position 0 and better than any leech
	}
	const friends = 6
	for i := range friends {
		w.joinAs(2000+i, leech(time.Hour))
	}
	for i := range friends {
		answer := w.announce(2000+i, leech(time.Hour))
		got := peersOf(answer)
		require.Len(t, got, CandidatesMax)
		for j := range friends {
			if j != i {
				require.Contains(t, got, peerID(2000+j))
			}
		}
	}
}

func TestCompanionsLeaveRoomForSeeds(t *testing.T) {
	w := newTown(t, Config{})
	for i := range 500 {
		w.joinAs(i, leech(time.Hour))
	}
	for i := range 500 {
		w.joinAs(1000+i, seed())
	}
	answer := w.joinAs(5000, leech(time.Hour))
	seeds := 0
	for _, c := range answer.Candidates {
		if c.Grade <= GradeB {
			seeds++
		}
	}
	require.Len(t, answer.Candidates, CandidatesMax)
	require.GreaterOrEqual(t, seeds, CandidatesMax-companionsMax)
	require.Less(t, seeds, CandidatesMax)
}

func TestThreeMissedHeartbeatsEndMembership(t *testing.T) {
	w := newTown(t, Config{})
	w.joinAs(1, seed())
	w.joinAs(2, seed())
	w.advance(Interval)
	w.advance(Interval)
	require.True(t, w.state.Heartbeat(w.now, peerID(2), home(2)))
	w.announce(2, seed())
	require.Empty(t, w.expire())
	w.advance(Interval)
	require.Empty(t, w.expire(), "exactly three intervals: the third heartbeat may be on its way")
	w.advance(time.Millisecond)
	require.Equal(t, []wire.PeerID{peerID(1)}, w.expire())
	answer := w.announce(2, seed())
	require.Equal(t, 1, answer.SwarmSize)
	require.Empty(t, answer.Candidates)
	require.Equal(t, uint64(1), w.state.Stats().Expired)
	require.Equal(t, 1, w.state.Stats().Peers)
}

func TestExpiredPeerIsNoCandidateEvenBeforeTheSweep(t *testing.T) {
	w := newTown(t, Config{})
	w.joinAs(1, seed())
	w.advance(w.state.Expiry() + time.Second)
	require.Empty(t, w.joinAs(2, leech(0)).Candidates)
}

func TestTitleNoLongerAnnouncedIsLeft(t *testing.T) {
	w := newTown(t, Config{})
	w.joinAs(1, seed())
	for range 4 {
		w.advance(Interval)
		require.True(t, w.state.Heartbeat(w.now, peerID(1), home(1)))
	}
	require.Empty(t, w.expire(), "the peer lives")
	require.Equal(t, 1, w.joinAs(2, leech(0)).SwarmSize)
}

func TestLeaveAndLeaveAll(t *testing.T) {
	w := newTown(t, Config{TitlesPerPeerMax: 1})
	w.joinAs(1, seed())
	require.NoError(t, w.state.Leave(w.now, peerID(1), film))
	require.Equal(t, 1, w.joinAs(2, leech(0)).SwarmSize)
	other := seed()
	other.Title = series
	w.announce(1, other) // the place of the title it left is free
	require.NoError(t, w.state.LeaveAll(peerID(1)))
	other.Uploads = false
	_, err := w.state.Announce(w.now, peerID(2), home(2), other)
	require.ErrorIs(t, err, ErrTitles)
	require.NoError(t, w.state.Leave(w.now, peerID(2), film))
	require.Equal(t, 1, w.announce(2, other).SwarmSize)
}

func TestBoundsOnPeersAndAddresses(t *testing.T) {
	w := newTown(t, Config{PeersMax: 3, PeersPerAddressMax: 2})
	here := netip.MustParseAddrPort("203.0.113.5:1000")
	require.NoError(t, w.state.Join(w.now, peerID(1), here))
	require.NoError(t, w.state.Join(w.now, peerID(2), netip.AddrPortFrom(here.Addr(), 1001)))
	require.ErrorIs(t, w.state.Join(w.now, peerID(3), netip.AddrPortFrom(here.Addr(), 1002)), ErrPerAddress)
	require.NoError(t, w.state.Join(w.now, peerID(2), here), "joining again takes no second place")
	w.join(7)
	require.ErrorIs(t, w.state.Join(w.now, peerID(8), home(8)), ErrFull)
	require.NoError(t, w.state.LeaveAll(peerID(1)))
	require.NoError(t, w.state.Join(w.now, peerID(3), here), "a place became free")
	require.ErrorIs(t, w.state.Join(w.now, peerID(7), here), ErrPerAddress, "moving in is bounded too")
}

func TestHouseholdIsAnIPv6Network(t *testing.T) {
	w := newTown(t, Config{PeersPerAddressMax: 1})
	require.NoError(t, w.state.Join(w.now, peerID(1), netip.MustParseAddrPort("[2001:db8:1:2::1]:9")))
	require.ErrorIs(t, w.state.Join(w.now, peerID(2), netip.MustParseAddrPort("[2001:db8:1:2:ffff::2]:9")), ErrPerAddress)
	require.NoError(t, w.state.Join(w.now, peerID(3), netip.MustParseAddrPort("[2001:db8:1:3::1]:9")))
}

func TestAnnounceRateIsBounded(t *testing.T) {
	w := newTown(t, Config{AnnouncesPerSec: 2})
	w.join(1)
	for range announceBurst {
		w.announce(1, leech(0))
	}
	_, err := w.state.Announce(w.now, peerID(1), home(1), leech(0))
	var tooOften *TooOftenError
	require.ErrorAs(t, err, &tooOften)
	require.InDelta(t, 500, tooOften.RetryAfter.Milliseconds(), 1)
	w.advance(tooOften.RetryAfter)
	w.announce(1, leech(0))
}

func TestRejoinKeepsOnlineTimeAndTitles(t *testing.T) {
	w := newTown(t, Config{})
	w.joinAs(1, seed())
	for range 100 {
		w.advance(Interval)
		w.announce(1, seed())
	}
	w.join(1)
	require.Equal(t, GradeA, peersOf(w.joinAs(2, leech(0)))[peerID(1)], "still an old peer")
}

func TestAnnouncedNonsenseIsClamped(t *testing.T) {
	w := newTown(t, Config{})
	a := Announcement{Title: film, Position: -time.Hour, HoldFrom: time.Minute, HoldTo: time.Second, HeldPermille: 1 << 30, Connections: -1, ConnectionsMax: -1, Uploads: true}
	w.joinAs(1, a)
	c := w.joinAs(2, leech(0)).Candidates[0]
	require.Equal(t, time.Minute, c.HoldFrom)
	require.Equal(t, time.Minute, c.HoldTo)
	require.Equal(t, GradeB, c.Grade, "as good as a peer that holds everything, not better")
}

func TestPositionIsStableAndUniform(t *testing.T) {
	w := newTown(t, Config{Secret: [32]byte{1}})
	again := newTown(t, Config{Secret: [32]byte{1}})
	other := newTown(t, Config{Secret: [32]byte{2}})
	var tenths [10]int
	const peers = 5000
	for i := range peers {
		u := w.state.position(peerID(i), film)
		require.True(t, u >= 0 && u < 1)
		require.Equal(t, u, again.state.position(peerID(i), film), "survives a restart with the same secret")
		require.NotEqual(t, u, other.state.position(peerID(i), film))
		require.NotEqual(t, u, w.state.position(peerID(i), series))
		tenths[int(u*10)]++
	}
	for _, n := range tenths {
		require.InDelta(t, peers/10, n, 100)
	}
}

// The same seed and the same story give the same answers, byte for byte.
func TestSameSeedSameAnswers(t *testing.T) {
	story := func() uint64 {
		w, digest := newTown(t, Config{}), fnv.New64a()
		for i := range 300 {
			a := leech(time.Duration(i%50) * time.Minute)
			if i%3 == 0 {
				a = seed()
			}
			answer := w.joinAs(i, a)
			_, _ = fmt.Fprintf(digest, "%v", answer)
			if i%7 == 0 {
				_ = w.state.LeaveAll(peerID(i / 2))
			}
			w.advance(150 * time.Millisecond)
			_, _ = fmt.Fprint(digest, w.expire())
		}
		return digest.Sum64()
	}
	first := story()
	for range 3 {
		require.Equal(t, first, story())
	}
}

func BenchmarkAnnounce(b *testing.B) {
	for _, peers := range []int{20, 1000, 100_000} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			s := New(rand.New(rand.NewPCG(1, 2)), store.NewMemory(), Config{AnnouncesPerSec: 1e12, PeersMax: peers})
			now := time.Date(2026, 1, 2, 20, 15, 0, 0, time.UTC)
			for i := range peers {
				require.NoError(b, s.Join(now, peerID(i), home(i)))
				_, err := s.Announce(now, peerID(i), home(i), leech(time.Duration(i%7200)*time.Second))
				require.NoError(b, err)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				now = now.Add(time.Microsecond)
				i = (i + 7919) % peers
				if _, err := s.Announce(now, peerID(i), home(i), leech(time.Duration(i%7200)*time.Second)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "announces/s")
		})
	}
}
