// Package storetest is the conformance suite of tracker/store: what a tracker
// may expect of any Store. An implementation's test calls Run with a function
// that makes an empty store. Tests only.
package storetest

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
	"shoal/tracker/store"
)

var (
	start  = time.Date(2026, 1, 2, 20, 15, 0, 0, time.UTC)
	film   = store.TitleID{0: 'f', 31: 1}
	series = store.TitleID{0: 's', 31: 2}
)

// Run checks that the stores returned by open behave as the tracker expects.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, store.Store){
		"empty store knows nobody":                         emptyStore,
		"put inserts once and replaces":                    putReplaces,
		"all fields survive":                               fieldsSurvive,
		"titles are separate":                              titlesAreSeparate,
		"remove forgets one presence":                      removeForgets,
		"expire removes what was not seen":                 expireRemoves,
		"small swarm is sampled whole":                     smallSwarmWhole,
		"large swarm is sampled to the limit":              largeSwarmBounded,
		"sample finds the few at and ahead of the viewer":  sampleFindsNear,
		"sample reaches all of a large swarm in the end":   sampleReachesAll,
		"same operations and seed give the same sample":    sampleDeterministic(open),
		"titles are counted and the largest come first":    titlesCounted,
		"a peer that moves is found at its new position":   movedPeerIsFound,
		"sample appends to what the caller already has":    sampleAppends,
		"an emptied title can be filled again":             refillTitle,
		"expire keeps what was seen exactly at the border": expireBorder,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func peer(i int) wire.PeerID {
	return wire.PeerID{0: byte(i), 1: byte(i >> 8), 2: byte(i >> 16), 31: 0xee}
}

func presence(i int, title store.TitleID, position time.Duration) *store.Presence {
	return &store.Presence{Peer: peer(i), Title: title, Position: position, Uploads: true, Joined: start, Seen: start}
}

func seeded() *rand.Rand { return rand.New(rand.NewPCG(7, 11)) }

func sample(t *testing.T, s store.Store, title store.TitleID, around time.Duration, limit int) map[wire.PeerID]*store.Presence {
	t.Helper()
	return sampleWith(t, s, seeded(), title, around, limit)
}

func sampleWith(t *testing.T, s store.Store, rng *rand.Rand, title store.TitleID, around time.Duration, limit int) map[wire.PeerID]*store.Presence {
	t.Helper()
	got, err := s.Sample(nil, rng, title, around, limit)
	require.NoError(t, err)
	byPeer := map[wire.PeerID]*store.Presence{}
	for _, p := range got {
		require.Equal(t, title, p.Title)
		byPeer[p.Peer] = p
	}
	require.Len(t, byPeer, len(got), "sample has duplicates")
	return byPeer
}

func put(t *testing.T, s store.Store, ps ...*store.Presence) {
	t.Helper()
	for _, p := range ps {
		require.NoError(t, s.Put(p))
	}
}

func size(t *testing.T, s store.Store, title store.TitleID) int {
	t.Helper()
	n, err := s.Size(title)
	require.NoError(t, err)
	return n
}

func emptyStore(t *testing.T, s store.Store) {
	require.Zero(t, size(t, s, film))
	require.Empty(t, sample(t, s, film, 0, 10))
	require.NoError(t, s.Remove(film, peer(1)))
	n, err := s.Expire(start)
	require.NoError(t, err)
	require.Zero(t, n)
	largest, titles, presences, err := s.Titles(10)
	require.NoError(t, err)
	require.Empty(t, largest)
	require.Zero(t, titles)
	require.Zero(t, presences)
}

func putReplaces(t *testing.T, s store.Store) {
	put(t, s, presence(1, film, 0), presence(1, film, time.Hour))
	require.Equal(t, 1, size(t, s, film))
	require.Equal(t, time.Hour, sample(t, s, film, 0, 10)[peer(1)].Position)
}

func fieldsSurvive(t *testing.T, s store.Store) {
	p := &store.Presence{
		Peer: peer(3), Title: film,
		Position: 61 * time.Second, HoldFrom: time.Minute, HoldTo: 2 * time.Minute, HeldPermille: 17,
		UpBytesPerSec: 1 << 40, Uploads: true, Connections: 3, ConnectionsMax: 60,
		Observed: netip.MustParseAddrPort("198.51.100.7:4711"),
		Addrs:    []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:9"), netip.MustParseAddrPort("[2001:db8::1]:10")},
		Joined:   start.Add(-time.Hour), Seen: start,
	}
	put(t, s, p)
	got := sample(t, s, film, 0, 10)[peer(3)]
	require.True(t, p.Joined.Equal(got.Joined) && p.Seen.Equal(got.Seen))
	same := *got
	same.Joined, same.Seen = p.Joined, p.Seen
	require.Equal(t, *p, same)
}

func titlesAreSeparate(t *testing.T, s store.Store) {
	put(t, s, presence(1, film, 0), presence(1, series, 0), presence(2, series, 0))
	require.Equal(t, 1, size(t, s, film))
	require.Equal(t, 2, size(t, s, series))
	require.NoError(t, s.Remove(series, peer(1)))
	require.Equal(t, 1, size(t, s, film))
	require.Equal(t, 1, size(t, s, series))
}

func removeForgets(t *testing.T, s store.Store) {
	for i := range 5 {
		put(t, s, presence(i, film, 0))
	}
	require.NoError(t, s.Remove(film, peer(2)))
	require.NoError(t, s.Remove(film, peer(2)))
	got := sample(t, s, film, 0, 10)
	require.Len(t, got, 4)
	require.NotContains(t, got, peer(2))
}

func expireRemoves(t *testing.T, s store.Store) {
	old, fresh := presence(1, film, 0), presence(2, film, 0)
	again := presence(1, film, 0)
	fresh.Seen, again.Seen = start.Add(time.Minute), start.Add(2*time.Minute)
	put(t, s, old, fresh, again)
	n, err := s.Expire(start.Add(90 * time.Second))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	got := sample(t, s, film, 0, 10)
	require.Contains(t, got, peer(1), "was seen again")
	require.NotContains(t, got, peer(2))
	require.Equal(t, 1, size(t, s, film))
}

func expireBorder(t *testing.T, s store.Store) {
	put(t, s, presence(1, film, 0))
	n, err := s.Expire(start)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = s.Expire(start.Add(time.Millisecond))
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func smallSwarmWhole(t *testing.T, s store.Store) {
	for i := range 32 {
		put(t, s, presence(i, film, time.Duration(i)*time.Hour))
	}
	require.Len(t, sample(t, s, film, 0, 32), 32)
}

func largeSwarmBounded(t *testing.T, s store.Store) {
	for i := range 500 {
		put(t, s, presence(i, film, time.Duration(i)*time.Second))
	}
	require.Len(t, sample(t, s, film, 200*time.Second, 64), 64)
	require.Len(t, sample(t, s, film, 100*time.Hour, 64), 64, "nobody near")
	require.Empty(t, sample(t, s, film, 0, 0))
}

func sampleFindsNear(t *testing.T, s store.Store) {
	for i := range 2000 {
		put(t, s, presence(i, film, 3*time.Hour))
	}
	put(t, s, presence(5000, film, 10*time.Minute), presence(5001, film, 11*time.Minute))
	got := sample(t, s, film, 10*time.Minute, 64)
	require.Contains(t, got, peer(5000), "beside the viewer")
	require.Contains(t, got, peer(5001), "a minute ahead of the viewer")
}

func sampleReachesAll(t *testing.T, s store.Store) {
	for i := range 300 {
		put(t, s, presence(i, film, time.Duration(i)*time.Minute))
	}
	rng, found := seeded(), map[wire.PeerID]bool{}
	for range 200 {
		for id := range sampleWith(t, s, rng, film, 0, 64) {
			found[id] = true
		}
	}
	require.Len(t, found, 300)
}

func sampleDeterministic(open func(t *testing.T) store.Store) func(*testing.T, store.Store) {
	return func(t *testing.T, a store.Store) {
		b := open(t)
		for _, s := range []store.Store{a, b} {
			for i := range 300 {
				put(t, s, presence(i, film, time.Duration(i)*time.Second))
			}
			for i := range 50 {
				require.NoError(t, s.Remove(film, peer(i*5)))
			}
		}
		first, err := a.Sample(nil, seeded(), film, time.Minute, 40)
		require.NoError(t, err)
		second, err := b.Sample(nil, seeded(), film, time.Minute, 40)
		require.NoError(t, err)
		require.Len(t, second, len(first))
		for i := range first {
			require.Equal(t, first[i].Peer, second[i].Peer)
		}
	}
}

func titlesCounted(t *testing.T, s store.Store) {
	put(t, s, presence(1, film, 0), presence(1, series, 0), presence(2, series, 0))
	largest, titles, presences, err := s.Titles(10)
	require.NoError(t, err)
	require.Equal(t, []store.TitleSize{{Title: series, Peers: 2}, {Title: film, Peers: 1}}, largest)
	require.Equal(t, 2, titles)
	require.Equal(t, 3, presences)
	largest, titles, _, err = s.Titles(1)
	require.NoError(t, err)
	require.Equal(t, []store.TitleSize{{Title: series, Peers: 2}}, largest)
	require.Equal(t, 2, titles)
}

func movedPeerIsFound(t *testing.T, s store.Store) {
	for i := range 2000 {
		put(t, s, presence(i, film, 3*time.Hour))
	}
	put(t, s, presence(77, film, time.Minute))
	require.Equal(t, 2000, size(t, s, film))
	require.Contains(t, sample(t, s, film, time.Minute, 64), peer(77))
}

func sampleAppends(t *testing.T, s store.Store) {
	put(t, s, presence(1, film, 0))
	have := []*store.Presence{presence(9, series, 0)}
	got, err := s.Sample(have, seeded(), film, 0, 10)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, peer(9), got[0].Peer)
	require.Equal(t, peer(1), got[1].Peer)
}

func refillTitle(t *testing.T, s store.Store) {
	put(t, s, presence(1, film, 0))
	require.NoError(t, s.Remove(film, peer(1)))
	require.Zero(t, size(t, s, film))
	put(t, s, presence(2, film, 0))
	require.Contains(t, sample(t, s, film, 0, 10), peer(2))
}
