package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/engine/store"
	"shoal/engine/swarm"
	"shoal/internal/wire"
)

func TestWithoutTrackerEverythingComesFromTheCDN(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 300<<10)
	e := w.peer("alone", nil)
	for i := range 3 {
		w.play(e, i)
	}
	st := e.Status()
	require.EqualValues(t, 3*300<<10, st.Bytes.CDN)
	require.EqualValues(t, 3*300<<10, st.Bytes.Played)
	require.Zero(t, st.Bytes.P2P)
	require.Zero(t, st.Bytes.Duplicate)
	require.Zero(t, st.Saving)
	require.EqualValues(t, st.Bytes.CDN, w.origin.mediaBytes(), "no byte was fetched twice")
	var reasons int64
	for _, n := range st.CDNReasons {
		reasons += n
	}
	require.Equal(t, st.Bytes.CDN, reasons, "every CDN byte has a reason")
}

func TestRangesAreWhatTheOriginHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 200_001)
	e := w.peer("ranges", nil)
	f := w.file(e, 0)
	want := w.media(0)
	rapid.Check(t, func(rt *rapid.T) {
		offset := rapid.Int64Range(0, 200_000).Draw(rt, "offset")
		length := rapid.Int64Range(-1, 250_000).Draw(rt, "length")
		end := int64(len(want))
		if length > 0 {
			end = min(end, offset+length)
		}
		got, err := readAll(f, OpenOptions{Offset: offset, Length: length})
		require.NoError(rt, err)
		require.True(rt, bytes.Equal(want[offset:end], got))
	})
	_, err := f.Open(context.Background(), OpenOptions{Offset: 200_001})
	require.ErrorIs(t, err, ErrRange)
}

func TestWriteToWritesTheRangeFromWhereItLies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 5*wire.PieceBytes+1000)
	f := w.file(w.peer("copies", nil), 0)
	open := func(offset int64) *Reader {
		r, err := f.Open(context.Background(), OpenOptions{Offset: offset})
		require.NoError(t, err)
		return r
	}
	r := open(100)
	_, err := io.CopyN(io.Discard, r, 7) // a Read before it counts
	require.NoError(t, err)
	var got bytes.Buffer
	n, err := r.WriteTo(&got)
	require.NoError(t, err)
	require.EqualValues(t, len(w.media(0))-107, n)
	require.True(t, bytes.Equal(w.media(0)[107:], got.Bytes()))
	n, err = r.WriteTo(&got)
	require.NoError(t, err)
	require.Zero(t, n, "nothing is left")
	require.NoError(t, r.Close())

	// A writer that hangs does not hold up Close, and its error ends the copy.
	hung, failed := open(0), errors.New("player gone")
	n, err = hung.WriteTo(writerFunc(func([]byte) (int, error) { return 0, errors.Join(failed, hung.Close()) }))
	require.ErrorIs(t, err, failed)
	require.Zero(t, n)
	_, err = hung.WriteTo(&got)
	require.ErrorIs(t, err, ErrClosed)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestPlayheadFillsTheCacheAheadOfTheReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6, 128<<10)
	e := w.peer("ahead", nil)
	f := w.file(e, 0)
	v := f.Title().Viewer("player")
	v.Report(Playback{Rate: 1})
	_, err := readAll(f, OpenOptions{Viewer: v})
	require.NoError(t, err)
	// Deadlines come near as the playhead moves; each jump is as good as time.
	for i := range 6 {
		v.Report(Playback{Position: time.Duration(i) * segmentTime, Rate: 1})
		w.holds(e, min(2*(i+1), 12))
	}
	require.EqualValues(t, 128<<10, e.Status().Bytes.Played, "the rest was not asked for")
}

func TestFolderWithoutTitleIsAskedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1000)
	e := w.peer("absent", nil)
	for range 3 {
		_, err := e.OpenTitle(context.Background(), "/other/deep/x.ts", nil)
		require.ErrorIs(t, err, ErrNoTitle)
	}
	require.Equal(t, 1, w.origin.hitsOf("/cdn/other/deep/title.shoal"))
	require.Equal(t, 1, w.origin.hitsOf("/cdn/other/title.shoal"))
	require.Equal(t, 1, w.origin.hitsOf("/cdn/title.shoal"))
	require.Zero(t, w.origin.hitsOf("/title.shoal"), "nothing above the prefix is asked for")

	title, err := e.OpenTitle(context.Background(), "/film/master.m3u8", nil)
	require.NoError(t, err)
	require.Equal(t, "film/", title.Path())
	_, err = title.File(context.Background(), "film/master.m3u8")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = e.OpenTitle(context.Background(), "/film/../secret", nil)
	require.ErrorIs(t, err, errBadPath)
}

func TestHostileManifestIsNamedAndNotFatal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1000)
	w.origin.set(func(o *countingOrigin) {
		data := bytes.Clone(o.files["/cdn/film/title.shoal"])
		data[len(data)/4] ^= 1
		o.files["/cdn/film/title.shoal"] = data
	})
	e := w.peer("hostile", nil)
	path := "film/" + segmentPath(0)
	title, err := e.OpenTitle(context.Background(), path, nil)
	if err == nil {
		_, err = title.File(context.Background(), path)
	}
	require.ErrorContains(t, err, "title.shoal")
}

func TestOriginErrorsReachThePlayerWithAStatus(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(o *countingOrigin)
		want   int
	}{
		{"file is gone", func(o *countingOrigin) { delete(o.files, "/cdn/film/"+segmentPath(0)) }, http.StatusNotFound},
		{"origin is broken", func(o *countingOrigin) { o.status = http.StatusInternalServerError }, http.StatusGatewayTimeout},
		{"file is another one", func(o *countingOrigin) {
			path := "/cdn/film/" + segmentPath(0)
			o.files[path] = bytes.Repeat([]byte{7}, len(o.files[path]))
		}, http.StatusBadGateway},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1, 400<<10)
			e := w.peer("errors", nil)
			f := w.file(e, 0)
			w.origin.set(tt.change)
			_, err := readAll(f, OpenOptions{Deadline: time.Now().Add(2 * time.Second)})
			var oe *OriginError
			require.ErrorAs(t, err, &oe)
			require.Equal(t, tt.want, oe.Status)
		})
	}
}

func TestReadEndsWithItsContextAndWithClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 100<<10)
	e := w.peer("patience", nil)
	f := w.file(e, 0)
	w.origin.pause()

	ctx, cancel := context.WithCancel(context.Background())
	r, err := f.Open(ctx, OpenOptions{})
	require.NoError(t, err)
	result := make(chan error, 1)
	go func() { _, err := r.Read(make([]byte, 10)); result <- err }()
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	require.NoError(t, r.Close())

	r, err = f.Open(context.Background(), OpenOptions{})
	require.NoError(t, err)
	go func() { _, err := r.Read(make([]byte, 10)); result <- err }()
	require.NoError(t, r.Close())
	require.ErrorIs(t, <-result, ErrClosed)
	w.eventually("readers are counted", func() bool { return e.Status().Readers == 0 })
}

func TestCloseEndsReaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 100<<10)
	e := w.peer("closing", nil)
	f := w.file(e, 0)
	w.origin.pause()
	r, err := f.Open(context.Background(), OpenOptions{})
	require.NoError(t, err)
	result := make(chan error, 1)
	go func() { _, err := io.ReadAll(r); result <- err }()
	require.NoError(t, e.Close())
	require.ErrorIs(t, <-result, ErrClosed)
	_, err = f.Open(context.Background(), OpenOptions{})
	require.ErrorIs(t, err, ErrClosed)
	require.Equal(t, "closing", e.Status().Name, "status still has what is constant")
}

func TestRestartPlaysFromTheCacheWhatItHasCheckedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 300<<10)
	dir := t.TempDir()
	onDisk := func(c *Config) { c.CacheDir = dir }
	e := w.peer("first", onDisk)
	id := e.Status().PeerID
	w.play(e, 0)
	w.play(e, 1)
	w.holds(e, 2*5)
	require.Zero(t, e.Status().Bytes.Cache)
	require.NoError(t, e.Close())
	before := w.origin.mediaBytes()

	e = w.peer("second", onDisk)
	require.Equal(t, id, e.Status().PeerID, "the identity is kept")
	w.play(e, 0)
	w.play(e, 1)
	st := e.Status()
	require.Equal(t, before, w.origin.mediaBytes(), "nothing is fetched again")
	require.EqualValues(t, 2*300<<10, st.Bytes.Cache)
	require.Zero(t, st.Bytes.CDN)
}

func TestFullDiskDoesNotStopPlayback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 300<<10)
	dir := t.TempDir()
	e := w.peer("full", func(c *Config) { c.CacheDir = dir })
	breakFolder(t, dir)
	w.play(e, 0)
	w.play(e, 1)
	w.holds(e, 2*5)
	require.NotEqual(t, "disk", e.Status().Cache.Mode)
}

func TestFileLargerThanTheCacheIsReadThrough(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 40<<20)
	e := w.peer("small", func(c *Config) { c.CacheBytes = 16 << 20 })
	data, err := readAll(w.file(e, 0), OpenOptions{})
	require.NoError(t, err)
	require.True(t, bytes.Equal(w.media(0), data))
	st := e.Status()
	require.LessOrEqual(t, st.Cache.Bytes, int64(16<<20))
	require.Less(t, w.origin.mediaBytes(), int64(41<<20), "what was read is not fetched again")
	require.Eventually(t, func() bool { return e.Status().Cache.Bytes < 15<<20 }, 5*time.Second, 10*time.Millisecond,
		"the store obeys the core, which keeps more room than the store by itself")
}

func TestCoreGivesUpWholeExtentsOfTheStore(t *testing.T) {
	require.Equal(t, store.ExtentPieces, swarm.ExtentPieces)
}

func TestWhatIsGivenUpIsForgottenWhenItHasGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 300<<10)
	e := w.peer("dropper", nil)
	contents := make([]*content, 2)
	for i := range contents {
		f := w.file(e, i)
		_, err := readAll(f, OpenOptions{})
		require.NoError(t, err)
		contents[i] = f.content
	}
	w.holds(e, 2*5)
	e.store.Protect(contents[0].root, 0, 4, time.Now().Add(time.Hour))
	states := make([]string, 2)
	look := func() {
		for i, c := range contents {
			states[i] = string(e.loop.core.PieceStates(c.handle, 0, c.length, nil))
		}
	}
	require.True(t, e.post(func(time.Time) {
		for range 3 { // the core asks again while the store is at it
			e.loop.dropPieces([]swarm.Drop{{File: contents[0].handle, Count: 5}, {File: contents[1].handle, Count: 5}})
		}
		look()
	}))
	w.eventually("the store drops what it may", func() bool {
		seen := make(chan bool, 1)
		require.True(t, e.post(func(time.Time) { seen <- e.loop.dropping }))
		return !<-seen
	})
	require.Equal(t, []string{"CCCCC", "CCCCC"}, states, "it is still there")
	done := make(chan struct{})
	require.True(t, e.post(func(time.Time) { look(); close(done) }))
	<-done
	require.Equal(t, []string{"CCCCC", "....."}, states, "the playhead's stays")
	require.Equal(t, 5, e.Status().Cache.Pieces, "as the store has it")
}

func TestEventsEndWithContextAndEngine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1000)
	e := w.peer("events", nil)
	ctx, cancel := context.WithCancel(context.Background())
	canceled := e.Events(ctx)
	events := e.Events(context.Background())
	cancel()
	_, open := <-canceled
	require.False(t, open)
	w.file(e, 0)
	ev := <-events
	require.Equal(t, EventTitleOpened, ev.Kind)
	require.Equal(t, "film/", ev.Path)
	require.NoError(t, e.Close())
	for range events {
		continue // the channel ends
	}
	_, open = <-e.Events(context.Background())
	require.False(t, open)
}

func TestFoldersOfAPathGoUpToThePrefix(t *testing.T) {
	for path, want := range map[string][]string{
		"a/b/c.ts":    {"a/b/", "a/", ""},
		"c.ts":        {""},
		"":            {""},
		"a/b/":        {"a/b/", "a/", ""},
		"a b/ü/x.mp4": {"a b/ü/", "a b/", ""},
	} {
		require.Equal(t, want, foldersOf(path), path)
	}
	rapid.Check(t, func(rt *rapid.T) {
		clean, err := cleanPath(rapid.StringMatching(`/?([a-z.]{0,3}/){0,20}[a-z.]{0,3}`).Draw(rt, "path"))
		if err != nil {
			return
		}
		dirs := foldersOf(clean)
		require.LessOrEqual(rt, len(dirs), foldersMax)
		for _, d := range dirs {
			require.True(rt, len(d) <= len(clean) && clean[:len(d)] == d)
			require.NotContains(rt, "/"+d, "/../")
		}
	})
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "Origin is empty")
	_, err = New(Config{Origin: "cdn.example/vod"})
	require.ErrorContains(t, err, "not an http or https URL")
}

func TestResidentsKeepWhatTheStoreHasNotYet(t *testing.T) {
	now := time.Unix(100, 0)
	r := newResidents()
	add := func(i uint32, storing bool) {
		r.add(now, piece(i), store.NewBuffer(wire.PieceBytes), storing)
	}
	add(0, true)
	for i := range uint32(residentPieces) + 50 {
		add(i+1, false)
	}
	require.NotNil(t, r.get(now, piece(0)), "still being stored")
	require.Nil(t, r.get(now, piece(1)), "least recently used")
	require.NotNil(t, r.get(now, piece(residentPieces)))
	require.Len(t, r.byPiece, residentPieces)

	now = now.Add(residentIdle + time.Millisecond)
	require.NotNil(t, r.get(now, piece(residentPieces)))
	r.expire(now)
	require.Len(t, r.byPiece, 2, "what was used now, and what is being stored")
	r.stored(piece(0))
	r.expire(now.Add(time.Hour))
	require.Empty(t, r.byPiece)
}

func piece(i uint32) swarm.Piece { return swarm.Piece{File: 1, Index: i} }
