package swarm

import (
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// film is a node that watches a title in files of an extent and 30 s each.
type film struct {
	t     *testing.T
	core  *Core
	now   time.Time
	title Title
	files []File
	out   Output
}

func newFilm(t *testing.T, cacheBytes int64) *film {
	f := &film{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	f.core = New(f.now, Config{CacheBytes: cacheBytes})
	f.title = f.core.AddTitle(f.now, [32]byte{1})
	records := make([]Record, 40)
	for i := range records {
		records[i] = Record{Root: [32]byte{2, byte(i)}, Length: extentPieces * wire.PieceBytes, Track: 1, Segments: []Segment{
			{Length: extentPieces * wire.PieceBytes, Start: time.Duration(i) * 30 * time.Second, Duration: 30 * time.Second},
		}}
	}
	f.files = f.core.Grown(f.now, f.title, []Track{{ID: 1, Kind: "muxed"}}, records)
	return f
}

// watches puts this node's playhead at the beginning of an extent.
func (f *film) watches(extent int) {
	f.core.Playhead(f.now, 1, Playhead{Title: f.title, Position: time.Duration(extent) * 30 * time.Second, Rate: 1})
}

// leech connects a peer whose playhead comes to an extent in a quarter of a minute.
func (f *film) leech(name string, extent int) Peer {
	slot, ok := f.core.PathUp(f.now, wire.PeerID{name[0]}, 20*time.Millisecond)
	require.True(f.t, ok)
	f.core.Joined(f.now, slot, f.title)
	at := max(time.Duration(extent)*30*time.Second-15*time.Second, 0)
	f.core.Control(f.now, slot, wire.Interest{
		Title: [32]byte{1}, Active: true, FromMillis: millis(max(at-interestBehind, 0)), ToMillis: millis(at + 3*time.Minute),
	})
	return slot
}

// announces tells that a peer has the whole of an extent.
func (f *film) announces(slot Peer, handle uint16, extent int) {
	all := roaring.New()
	all.AddRange(0, extentPieces)
	b, err := all.ToBytes()
	require.NoError(f.t, err)
	f.core.Control(f.now, slot, wire.Have{
		Handle: handle, Root: [32]byte{2, byte(extent)}, Length: extentPieces * wire.PieceBytes, Bitmap: b,
	})
}

// stores puts extents into the cache, in this order, and returns what is given up.
func (f *film) stores(extents ...int) (dropped []int) {
	for _, x := range extents {
		for i := range uint32(extentPieces) {
			f.core.Stored(f.now, Piece{f.files[x], i})
		}
		f.now = f.now.Add(refreshEvery)
		f.core.Advance(f.now)
		f.core.Drain(&f.out)
		for _, d := range f.out.Drops {
			require.Equal(f.t, Drop{File: d.File, Count: extentPieces}, d)
			dropped = append(dropped, int(d.File))
		}
	}
	return dropped
}

func TestFullCacheGivesUpWhatTheSwarmNeedsLeast(t *testing.T) {
	const elevenExtents = 11*extentPieces*wire.PieceBytes + spareLeast // and nine are left when it is full
	played := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}

	t.Run("the oldest, when nobody is known who would want any of it", func(t *testing.T) {
		f := newFilm(t, elevenExtents)
		f.watches(12)
		require.Equal(t, []int{0, 1, 2}, f.stores(played...))
	})
	t.Run("what everybody has passed, and then what is wanted last", func(t *testing.T) {
		f := newFilm(t, elevenExtents)
		f.watches(12)
		f.leech("b", 2)
		require.Equal(t, []int{0, 1, 11}, f.stores(played...))
	})
	t.Run("what somebody behind this node has, too, before what only this node has", func(t *testing.T) {
		f := newFilm(t, elevenExtents)
		f.watches(12)
		f.leech("b", 0)
		middle := f.leech("c", 5)
		f.announces(middle, 0, 3)
		f.announces(middle, 1, 20)
		require.Equal(t, []int{0, 1, 2}, f.stores(played...), "it uploads, and has just played them")
	})
	t.Run("not what somebody behind this node has given up himself", func(t *testing.T) {
		f := newFilm(t, elevenExtents)
		f.watches(12)
		f.leech("b", 0)
		middle := f.leech("c", 5)
		for i, x := range []int{0, 1, 2, 3} {
			f.announces(middle, uint16(i), x)
		}
		for handle := range uint16(3) {
			f.core.Control(f.now, middle, wire.HaveDelta{Runs: []wire.HaveRun{{Handle: handle, Change: wire.Evicted, Count: 1}}})
		}
		require.Equal(t, []int{0, 3, 4}, f.stores(played...), "all have passed the first")
	})
	t.Run("what somebody before this node has is kept: he drops it first", func(t *testing.T) {
		f := newFilm(t, elevenExtents)
		f.watches(12)
		f.leech("b", 2)
		f.announces(f.leech("c", 20), 0, 5)
		require.Equal(t, []int{0, 1, 11}, f.stores(played...))
	})
	t.Run("never what is being read", func(t *testing.T) {
		f := newFilm(t, elevenExtents)
		f.core.Want(f.now, Want{ID: 1, File: f.files[1], Length: wire.PieceBytes})
		require.Equal(t, []int{0, 2, 3}, f.stores(played...))
	})
	t.Run("never what is about to be played, or has just been", func(t *testing.T) {
		f := newFilm(t, elevenExtents)
		f.watches(0)
		require.Equal(t, []int{11, 10, 9}, f.stores(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1), "the farthest ahead goes, for it is wanted last")
	})
	t.Run("nothing where the shell decides alone", func(t *testing.T) {
		f := newFilm(t, 0)
		f.watches(12)
		require.Empty(t, f.stores(played...))
	})
}

func TestWhatIsGivenUpIsAnnounced(t *testing.T) {
	f := newFilm(t, 3*extentPieces*wire.PieceBytes+spareLeast)
	f.watches(12)
	slot := f.leech("b", 2)
	require.Equal(t, []int{0, 1, 3}, f.stores(0, 1, 2, 3))
	require.False(t, f.core.files[f.files[0]].stored.HasAny(0, extentPieces))
	lost := func(handle uint16) wire.HaveRun {
		return wire.HaveRun{Handle: handle, Change: wire.Evicted, Count: extentPieces}
	}
	require.Contains(t, f.out.Control, ControlMessage{Peer: slot, Message: wire.HaveDelta{Runs: []wire.HaveRun{lost(0), lost(1)}}})
}

func TestInterestOfAReadIsWhatItReads(t *testing.T) {
	f := newFilm(t, 0)
	film := f.core.Grown(f.now, f.title, nil, []Record{{Root: [32]byte{3}, Length: 100 << 20, Track: 1, Segments: []Segment{
		{Length: 50 << 20, Start: time.Hour, Duration: time.Minute},
		{Offset: 50 << 20, Length: 50 << 20, Start: time.Hour + time.Minute, Duration: time.Minute},
	}}})[0]
	f.core.Want(f.now, Want{ID: 1, File: film, Offset: 60 << 20, Length: 1 << 20})
	in := f.core.interestIn(f.now, f.title)
	require.Equal(t, time.Hour+time.Minute-interestBehind, in.from, "where the playhead is can be told from it")
	require.Equal(t, time.Hour+2*time.Minute+defaultAhead+interestAhead, in.to)
}
