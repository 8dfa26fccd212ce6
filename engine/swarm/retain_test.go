package swarm

import (
	"slices"
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

	keepsAll bool // the store refuses to give up anything
}

func newFilm(t *testing.T, cacheBytes int64) *film {
	f := &film{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	f.core = New(f.now, Config{CacheBytes: cacheBytes})
	f.title = f.core.AddTitle(f.now, [32]byte{1})
	records := make([]Record, 40)
	for i := range records {
		records[i] = Record{Root: [32]byte{2, byte(i)}, Length: ExtentPieces * wire.PieceBytes, Track: 1, Segments: []Segment{
			{Length: ExtentPieces * wire.PieceBytes, Start: time.Duration(i) * 30 * time.Second, Duration: 30 * time.Second},
		}}
	}
	f.files = f.core.Grown(f.now, f.title, []Track{{ID: 1, Kind: "muxed"}}, records)
	return f
}

// watches puts this node's playhead so far into an extent that it needs no other before.
func (f *film) watches(extent int) {
	f.playhead(f.title, time.Duration(extent)*30*time.Second+KeptBehind)
}

func (f *film) playhead(title Title, at time.Duration) {
	f.core.Playhead(f.now, 1, Playhead{Title: title, Position: at, Rate: 1})
}

// leech connects a peer that begins to play an extent.
func (f *film) leech(name string, extent int) Peer {
	slot, ok := f.core.PathUp(f.now, wire.PeerID{name[0]}, 20*time.Millisecond)
	require.True(f.t, ok)
	f.core.Joined(f.now, slot, f.title)
	at := time.Duration(extent) * 30 * time.Second
	f.core.Control(f.now, slot, wire.Interest{
		Title: [32]byte{1}, Active: true, FromMillis: millis(max(at-interestBehind, 0)), ToMillis: millis(at + 3*time.Minute),
	})
	return slot
}

// track adds a file of segments of 4 s each.
func (f *film) track(title Title, id uint16, root byte, lengths []int64) File {
	r := Record{Root: [32]byte{root}, Track: id}
	for i, length := range lengths {
		r.Segments = append(r.Segments, Segment{
			Offset: r.Length, Length: length, Start: time.Duration(i) * 4 * time.Second, Duration: 4 * time.Second,
		})
		r.Length += length
	}
	return f.core.Grown(f.now, title, []Track{{ID: id, Kind: "audio"}}, []Record{r})[0]
}

// announces tells that a peer has the whole of an extent.
func (f *film) announces(slot Peer, handle uint16, extent int) {
	all := roaring.New()
	all.AddRange(0, ExtentPieces)
	b, err := all.ToBytes()
	require.NoError(f.t, err)
	f.core.Control(f.now, slot, wire.Have{
		Handle: handle, Root: [32]byte{2, byte(extent)}, Length: ExtentPieces * wire.PieceBytes, Bitmap: b,
	})
}

// stores puts extents into the cache, in this order, and returns what is given up.
func (f *film) stores(extents ...int) (dropped []int) {
	for _, x := range extents {
		f.put(f.files[x], 0)
		for _, d := range f.advance(refreshEvery) {
			require.Equal(f.t, Drop{File: d.File, Count: ExtentPieces}, d)
			dropped = append(dropped, int(d.File))
		}
	}
	return dropped
}

// put puts an extent of a file into the cache.
func (f *film) put(id File, extent uint32) {
	for i := range uint32(ExtentPieces) {
		f.core.Stored(f.now, Piece{id, extent*ExtentPieces + i})
	}
}

// advance returns what the core gives up after a time, and gives it up.
func (f *film) advance(d time.Duration) []Drop {
	f.now = f.now.Add(d)
	f.core.Advance(f.now)
	f.core.Drain(&f.out)
	drops := slices.Clone(f.out.Drops)
	if !f.keepsAll {
		for _, d := range drops {
			for i := range d.Count {
				f.core.Evicted(f.now, Piece{d.File, d.First + i})
			}
		}
		f.core.Advance(f.now)
	}
	return drops
}

func TestFullCacheGivesUpWhatTheSwarmNeedsLeast(t *testing.T) {
	const elevenExtents = 11*ExtentPieces*wire.PieceBytes + spareLeast // and nine are left when it is full
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
		require.Equal(t, []int{3, 4, 11}, f.stores(played...))
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

func TestWhatHasGoneIsAnnounced(t *testing.T) {
	f := newFilm(t, 9*ExtentPieces*wire.PieceBytes/2)
	f.watches(12)
	slot := f.leech("b", 0)
	f.keepsAll = true
	require.Equal(t, []int{3}, f.stores(0, 1, 2, 3))
	require.True(t, f.core.files[f.files[3]].stored.HasRange(0, ExtentPieces), "the store may have kept it")
	lost := ControlMessage{Peer: slot, Message: wire.HaveDelta{Runs: []wire.HaveRun{{Handle: 3, Change: wire.Evicted, Count: ExtentPieces}}}}
	require.NotContains(t, f.out.Control, lost)
	f.keepsAll = false
	f.advance(refreshEvery)
	f.advance(refreshEvery)
	require.False(t, f.core.files[f.files[3]].stored.HasAny(0, ExtentPieces))
	require.Contains(t, f.out.Control, lost)
}

func TestStoreThatKeepsAllIsNotAskedAtEveryTurn(t *testing.T) {
	f := newFilm(t, 2*ExtentPieces*wire.PieceBytes)
	f.keepsAll = true
	require.Equal(t, []int{0}, f.stores(0, 1))
	f.put(f.files[2], 0)
	f.watches(12) // the needs are worked out at once
	require.Empty(t, f.advance(refreshEvery/2), "it has just been asked")
	require.Equal(t, []Drop{
		{File: f.files[0], Count: ExtentPieces}, {File: f.files[1], Count: ExtentPieces},
	}, f.advance(refreshEvery), "and again")
}

func TestExtentThatIsBeingPlayedStays(t *testing.T) {
	// A track of 128 kbit/s in one file: an extent plays for more than a minute.
	f := newFilm(t, 2*ExtentPieces*wire.PieceBytes)
	audio := f.track(f.title, 2, 3, slices.Repeat([]int64{wire.PieceBytes}, 3*ExtentPieces))
	f.playhead(f.title, 96*time.Second) // in the middle of the second
	for extent := range uint32(3) {
		f.put(audio, extent)
	}
	require.Equal(t, []Drop{{File: audio, Count: ExtentPieces}}, f.advance(refreshEvery))

	t.Run("by somebody else, too", func(t *testing.T) {
		f := newFilm(t, 2*ExtentPieces*wire.PieceBytes)
		audio := f.track(f.title, 2, 3, slices.Repeat([]int64{wire.PieceBytes}, 3*ExtentPieces))
		f.playhead(f.title, time.Hour)
		f.leech("b", 3) // at a minute and a half
		for extent := range uint32(3) {
			f.put(audio, extent)
		}
		require.Equal(t, []Drop{
			{File: audio, Count: ExtentPieces},
			{File: audio, First: 2 * ExtentPieces, Count: ExtentPieces},
		}, f.advance(refreshEvery))
	})
}

func TestTimesOfAFilmAreThoseOfItsSegments(t *testing.T) {
	// Ten minutes in 2 MiB, then as many in 8 MiB.
	segments := slices.Concat(slices.Repeat([]int64{2 << 20 / 150}, 150), slices.Repeat([]int64{8 << 20 / 150}, 150))
	f := newFilm(t, 8*ExtentPieces*wire.PieceBytes)
	film := f.track(f.title, 2, 3, segments)
	f.playhead(f.title, 10*time.Minute+KeptBehind) // the second part begins in the third extent
	for extent := range uint32(8) {
		f.put(film, extent)
	}
	require.Equal(t, []Drop{
		{File: film, Count: ExtentPieces},
		{File: film, First: 7 * ExtentPieces, Count: ExtentPieces},
	}, f.advance(refreshEvery), "what begins to be played is not far ahead")
}

func TestFileInTwoTitlesIsWorthWhatItIsWhereItIsPlayed(t *testing.T) {
	f := newFilm(t, 3*ExtentPieces*wire.PieceBytes)
	second := f.core.AddTitle(f.now, [32]byte{9})
	f.core.Grown(f.now, second, []Track{{ID: 1, Kind: "muxed"}}, []Record{{
		Root: [32]byte{2, 0}, Length: ExtentPieces * wire.PieceBytes, Track: 1, Segments: []Segment{
			{Length: ExtentPieces * wire.PieceBytes, Start: time.Hour, Duration: 30 * time.Second},
		},
	}})
	f.playhead(second, time.Hour+15*time.Second)
	require.Equal(t, []int{1}, f.stores(0, 1, 2))

	t.Run("even if it has no time in the first", func(t *testing.T) {
		f := newFilm(t, 3*ExtentPieces*wire.PieceBytes)
		untimed := Record{Root: [32]byte{4}, Length: ExtentPieces * wire.PieceBytes, Track: 1, Segments: []Segment{{Length: 1}}}
		extra := f.core.Grown(f.now, f.core.AddTitle(f.now, [32]byte{9}), nil, []Record{untimed})[0]
		require.Equal(t, extra, f.track(f.title, 2, 4, []int64{ExtentPieces * wire.PieceBytes}))
		f.watches(12)
		f.put(extra, 0)
		require.Equal(t, []int{int(extra)}, f.stores(11, 10))
	})
}

func TestWhatNobodyHereWatchesGoesFirst(t *testing.T) {
	f := newFilm(t, 3*ExtentPieces*wire.PieceBytes)
	second := f.core.AddTitle(f.now, [32]byte{9})
	f.core.Grown(f.now, second, []Track{{ID: 1, Kind: "muxed"}}, nil)
	older := f.files[0]
	newer := f.track(second, 1, 3, slices.Repeat([]int64{wire.PieceBytes}, 2*ExtentPieces))
	f.put(older, 0)
	f.put(newer, 0)
	f.put(newer, 1)
	f.playhead(second, time.Hour)
	require.Equal(t, []Drop{{File: older, Count: ExtentPieces}}, f.advance(refreshEvery))
}

func TestSmallCacheIsUsed(t *testing.T) {
	f := newFilm(t, 4<<20)
	f.watches(12)
	require.Empty(t, f.stores(1, 2, 3))
	require.Equal(t, []int{1}, f.stores(4))
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

	t.Run("and of an index, where the playhead is", func(t *testing.T) {
		f := newFilm(t, 0)
		film := f.core.Grown(f.now, f.title, nil, []Record{{Root: [32]byte{3}, Length: 100 << 20, Track: 1, Segments: []Segment{
			{Offset: 1 << 20, Length: 99 << 20, Duration: 2 * time.Hour},
		}}})[0]
		f.core.Want(f.now, Want{ID: 1, File: film, Length: 1 << 20})
		in := f.core.interestIn(f.now, f.title)
		require.Equal(t, 2*time.Hour+defaultAhead+interestAhead, in.to, "it may be anywhere")
		f.playhead(f.title, time.Hour)
		in = f.core.interestIn(f.now, f.title)
		require.Equal(t, time.Hour-interestBehind, in.from)
		require.Equal(t, time.Hour+defaultAhead+interestAhead, in.to)
	})
}
