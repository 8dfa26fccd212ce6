package manifest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/internal/wire"
)

// testKey is the same publisher in every test.
func testKey() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("publisher"))
	return ed25519.NewKeyFromSeed(seed[:])
}

// randomPieces are the piece hashes of a file whose content does not matter.
func randomPieces(rng *rand.Rand, fileBytes int64) []Hash {
	out := make([]Hash, wire.PieceCount(fileBytes))
	for i := range out {
		for j := 0; j < len(out[i]); j += 8 {
			binary.LittleEndian.PutUint64(out[i][j:], rng.Uint64())
		}
	}
	return out
}

// countingSource counts the bytes and reads that a Title asks of it.
type countingSource struct {
	r     *bytes.Reader
	bytes atomic.Int64
	reads atomic.Int64
}

func (s *countingSource) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	n, err := s.r.ReadAt(p, off)
	s.bytes.Add(int64(n))
	s.reads.Add(1)
	return n, err
}

func encode(t testing.TB, c Content) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, Write(&b, testKey(), c))
	return b.Bytes()
}

func open(t testing.TB, b []byte) (*Title, *countingSource) {
	t.Helper()
	src := &countingSource{r: bytes.NewReader(b)}
	title, err := Open(t.Context(), src)
	require.NoError(t, err)
	return title, src
}

// featureFile is featureFilm encoded once for all tests that only read it.
var featureFile = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	if err := Write(&b, testKey(), featureFilm()); err != nil {
		panic(err)
	}
	return b.Bytes()
})

// featureFilm is two hours in 8 tracks of 2 s segments, each track with an initialization segment.
func featureFilm() Content {
	rng := rand.New(rand.NewPCG(1, 2))
	c := Content{Name: "feature"}
	for track := range 8 {
		kind := KindVideo
		if track >= 6 {
			kind = KindAudio
		}
		c.Tracks = append(c.Tracks, Track{
			ID: uint16(track), Kind: kind, Name: fmt.Sprintf("rendition %d", track), Codecs: "avc1.64001f",
			BandwidthBitsPerSec: uint32(800_000 * (track + 1)), Language: "en",
		})
		add := func(path string, length int64, start, duration time.Duration) {
			c.Files = append(c.Files, File{
				Record: Record{Path: path, Length: length, Track: uint16(track), Start: start, Duration: duration},
				Pieces: randomPieces(rng, length),
			})
		}
		add(fmt.Sprintf("video/rendition_%d/init.mp4", track), 900, 0, 0)
		for i := range 3600 {
			length := int64(200_000*(track+1)) + rng.Int64N(50_000)
			add(fmt.Sprintf("video/rendition_%d/segment_%05d.m4s", track, i), length, time.Duration(i)*2*time.Second, 2*time.Second)
		}
	}
	return c
}

const firstPieceBudget = 64 << 10

func TestFirstPieceOfAnyTrackCosts64KiB(t *testing.T) {
	b := featureFile()
	for track := range 8 {
		for _, segment := range []int{0, 1800, 3599} {
			title, src := open(t, b)
			for _, path := range []string{
				fmt.Sprintf("video/rendition_%d/init.mp4", track),
				fmt.Sprintf("video/rendition_%d/segment_%05d.m4s", track, segment),
			} {
				r, ok, err := title.Lookup(t.Context(), path)
				require.NoError(t, err)
				require.True(t, ok, path)
				hashes, err := title.Hashes(t.Context(), r, 0)
				require.NoError(t, err)
				require.Equal(t, r.Root, FileRoot(hashes))
			}
			require.LessOrEqual(t, src.bytes.Load(), int64(firstPieceBudget), "track %d segment %d", track, segment)
			if segment == 0 {
				require.LessOrEqual(t, src.reads.Load(), int64(3), "start-up must not wait for many round trips")
				t.Logf("track %d from its start: %d bytes in %d reads of %d", track, src.bytes.Load(), src.reads.Load(), len(b))
			}
		}
	}
}

func TestFirstPiecesOfAllTracksTogetherCost64KiBPlusTheirHashes(t *testing.T) {
	title, src := open(t, featureFile())
	for track := range 8 {
		for _, name := range []string{"init.mp4", "segment_00000.m4s"} {
			_, ok, err := title.Lookup(t.Context(), fmt.Sprintf("video/rendition_%d/%s", track, name))
			require.NoError(t, err)
			require.True(t, ok)
		}
	}
	require.LessOrEqual(t, src.bytes.Load(), int64(firstPieceBudget))
	require.LessOrEqual(t, src.reads.Load(), int64(2))
}

// byteRangeFilm is the same film with one file per track.
func byteRangeFilm() Content {
	rng := rand.New(rand.NewPCG(3, 4))
	c := Content{Name: "ranges"}
	for track := range 8 {
		c.Tracks = append(c.Tracks, Track{ID: uint16(track), Kind: KindVideo, Name: fmt.Sprint(track)})
		f := File{Record: Record{Path: fmt.Sprintf("track_%d.mp4", track), Track: uint16(track)}}
		f.Segments = append(f.Segments, Segment{Length: 900})
		f.Length = 900
		for i := range 3600 {
			length := int64(1_000_000) + rng.Int64N(500_000)
			f.Segments = append(f.Segments, Segment{
				Offset: f.Length, Length: length,
				Start: time.Duration(i) * 2002 * time.Millisecond, Duration: 2002 * time.Millisecond,
			})
			f.Length += length
		}
		f.Pieces = randomPieces(rng, f.Length)
		c.Files = append(c.Files, f)
	}
	return c
}

func TestFirstPieceOfALargeFileCosts64KiB(t *testing.T) {
	c := byteRangeFilm()
	b := encode(t, c)
	for track := range 8 {
		for _, group := range []uint32{0, 40} {
			title, src := open(t, b)
			r, ok, err := title.Lookup(t.Context(), fmt.Sprintf("track_%d.mp4", track))
			require.NoError(t, err)
			require.True(t, ok)
			hashes, err := title.Hashes(t.Context(), r, group)
			require.NoError(t, err)
			require.Equal(t, c.Files[track].Pieces[group*1024:group*1024+1024], hashes)
			require.LessOrEqual(t, src.bytes.Load(), int64(firstPieceBudget), "track %d group %d", track, group)
		}
	}
}

func TestAViewerWhoGoesOnReadsHashesInBatches(t *testing.T) {
	title, src := open(t, featureFile())
	const segments = 60
	for i := range segments {
		r, ok, err := title.Lookup(t.Context(), fmt.Sprintf("video/rendition_3/segment_%05d.m4s", i))
		require.NoError(t, err)
		require.True(t, ok)
		_, err = title.Hashes(t.Context(), r, 0)
		require.NoError(t, err)
	}
	require.Less(t, src.reads.Load(), int64(segments), "less than one request per segment, pages and index included")
}

func TestUnknownPathCostsOneIndexFrame(t *testing.T) {
	title, src := open(t, featureFile())
	before := src.bytes.Load()
	for range 3 {
		_, ok, err := title.Lookup(t.Context(), "video/rendition_1/playlist.m3u8")
		require.NoError(t, err)
		require.False(t, ok)
	}
	require.Less(t, src.bytes.Load()-before, int64(8<<10))
	for _, path := range []string{"", "/", "../x", "a/../b", "a\x00b"} {
		_, ok, err := title.PageFor(t.Context(), path)
		require.NoError(t, err)
		require.False(t, ok)
	}
}

func TestSameContentGivesSameBytesInAnyOrder(t *testing.T) {
	c := smallTitle()
	first := encode(t, c)
	rand.New(rand.NewPCG(5, 6)).Shuffle(len(c.Files), func(i, j int) { c.Files[i], c.Files[j] = c.Files[j], c.Files[i] })
	require.Equal(t, sha256.Sum256(first), sha256.Sum256(encode(t, c)))
}

func TestAddingATrackKeepsTheTitleAndChangesTheEdition(t *testing.T) {
	c := smallTitle()
	all, _ := open(t, encode(t, c))
	c.Tracks = c.Tracks[:1]
	var files []File
	for _, f := range c.Files {
		if f.Track < 1 {
			files = append(files, f)
		}
	}
	c.Files = files
	fewer, _ := open(t, encode(t, c))
	require.Equal(t, all.ID(), fewer.ID())
	require.Equal(t, TitleIDOf(all.Publisher(), "small"), all.ID())
	require.NotEqual(t, all.Edition(), fewer.Edition())
}

// drawContent makes titles of every shape: whole files and byte ranges, gaps in bytes and time, long and tiny files.
func drawContent(rt *rapid.T) Content {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
	c := Content{Name: rapid.StringMatching(`[a-zé ]{1,20}`).Draw(rt, "name")}
	tracks := rapid.IntRange(1, 5).Draw(rt, "tracks")
	for i := range tracks {
		c.Tracks = append(c.Tracks, Track{ID: uint16(i * 7), Kind: Kind(1 + i%5), Name: "t", BandwidthBitsPerSec: rng.Uint32()})
	}
	files := rapid.IntRange(1, 150).Draw(rt, "files")
	for i := range files {
		f := File{Record: Record{
			Path:   fmt.Sprintf("d%d/%d_%x", rng.IntN(3), i, rng.Uint32()),
			Track:  uint16(7 * rng.IntN(tracks)),
			Length: 1 + rng.Int64N(300_000),
		}}
		if i == 77 {
			f.Length = 65 << 20 // two groups
		}
		switch rng.IntN(3) {
		case 0:
			f.Start = time.Duration(rng.Int64N(int64(time.Hour/time.Microsecond))) * time.Microsecond
			f.Duration = time.Duration(rng.IntN(10_000_000)) * time.Microsecond
		case 1:
			f.Segments = drawSegments(rng, f.Length)
		}
		f.Pieces = randomPieces(rng, f.Length)
		c.Files = append(c.Files, f)
	}
	return c
}

func drawSegments(rng *rand.Rand, fileBytes int64) []Segment {
	var out []Segment
	gaps, jumps := rng.IntN(2) == 0, rng.IntN(2) == 0
	offset, end := int64(0), time.Duration(rng.IntN(1000))*time.Second
	for len(out) < 40 {
		if gaps {
			offset += rng.Int64N(100)
		}
		length := 1 + rng.Int64N(10_000)
		if offset+length > fileBytes {
			break
		}
		if jumps {
			end = time.Duration(rng.IntN(2000_000)) * time.Millisecond
		}
		s := Segment{Offset: offset, Length: length, Start: end, Duration: time.Duration(rng.IntN(3)) * time.Second}
		out = append(out, s)
		offset, end = offset+length, s.Start+s.Duration
	}
	return out
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawContent(rt)
		var b bytes.Buffer
		require.NoError(rt, Write(&b, testKey(), c))
		title, err := Open(context.Background(), ReaderAtSource(bytes.NewReader(b.Bytes())))
		require.NoError(rt, err)
		require.Equal(rt, c.Tracks, title.Tracks())
		require.Equal(rt, c.Name, title.Name())

		byPath := make(map[string]Record)
		for i := range title.PageCount() {
			records, err := title.Page(context.Background(), i)
			require.NoError(rt, err)
			from, to := title.PageSpan(i)
			for _, r := range records {
				require.LessOrEqual(rt, from, r.Start)
				require.GreaterOrEqual(rt, to, r.Start+r.Duration)
				byPath[r.Path] = r
			}
		}
		require.Len(rt, byPath, len(c.Files))
		fresh, err := Open(context.Background(), ReaderAtSource(bytes.NewReader(b.Bytes())))
		require.NoError(rt, err)
		for _, f := range c.Files {
			r, ok, err := fresh.Lookup(context.Background(), f.Path)
			require.NoError(rt, err)
			require.True(rt, ok, f.Path)
			require.Equal(rt, byPath[f.Path], r)
			require.Equal(rt, f.Length, r.Length)
			require.Equal(rt, f.Segments, r.Segments)
			if len(f.Segments) == 0 {
				require.Equal(rt, f.Start, r.Start)
				require.Equal(rt, f.Duration, r.Duration)
			}
			checkHashes(rt, fresh, r, f.Pieces)
		}
	})
}

// checkHashes reads all groups of a file, and sends each as a peer would.
func checkHashes(t require.TestingT, title *Title, r Record, want []Hash) {
	var got []Hash
	for group := range GroupCount(r.Length) {
		hashes, err := title.Hashes(context.Background(), r, group)
		require.NoError(t, err)
		got = append(got, hashes...)
		data, ok := title.HashBytes(r, group)
		require.True(t, ok)
		verified, err := VerifyHashes(Record{Length: r.Length, Root: r.Root}, group, data)
		require.NoError(t, err)
		require.Equal(t, hashes, verified)
		data[len(data)/2] ^= 1
		_, err = VerifyHashes(r, group, data)
		require.ErrorIs(t, err, ErrHashes)
	}
	require.Equal(t, want, got)
}

func TestHashesFromAPeerNeedNoRead(t *testing.T) {
	c := byteRangeFilm()
	c.Files = c.Files[:1]
	b := encode(t, c)
	giver, _ := open(t, b)
	r, _, err := giver.Lookup(t.Context(), "track_0.mp4")
	require.NoError(t, err)
	_, ok := giver.HashBytes(r, 3)
	require.False(t, ok, "nothing is read for a peer")
	_, err = giver.Hashes(t.Context(), r, 3)
	require.NoError(t, err)
	data, ok := giver.HashBytes(r, 3)
	require.True(t, ok)

	taker, src := open(t, b)
	r, _, err = taker.Lookup(t.Context(), "track_0.mp4")
	require.NoError(t, err)
	before := src.bytes.Load()
	_, err = taker.AddHashes(r, 3, data)
	require.NoError(t, err)
	hashes, err := taker.Hashes(t.Context(), r, 3)
	require.NoError(t, err)
	require.Equal(t, c.Files[0].Pieces[3*1024:4*1024], hashes)
	again, ok := taker.HashBytes(r, 3)
	require.True(t, ok)
	require.Equal(t, data, again, "the proof is passed on")
	require.Equal(t, before, src.bytes.Load())
	_, err = taker.AddHashes(r, 4, data)
	require.ErrorIs(t, err, ErrHashes)
}

// slowSource blocks the first read of pages until released.
type slowSource struct {
	Source
	entered chan struct{}
	release chan struct{}
	reads   atomic.Int64
}

func (s *slowSource) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if off > 0 {
		s.reads.Add(1)
		s.entered <- struct{}{}
		select {
		case <-s.release:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return s.Source.ReadAt(ctx, p, off)
}

func TestReadersOfTheSamePageShareOneRead(t *testing.T) {
	src := &slowSource{
		Source:  ReaderAtSource(bytes.NewReader(featureFile())),
		entered: make(chan struct{}, 10), release: make(chan struct{}),
	}
	title, err := Open(t.Context(), src)
	require.NoError(t, err)

	cancelled, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := title.Page(cancelled, 50); first <- err }()
	<-src.entered
	others := make(chan error, 4)
	for range cap(others) {
		go func() { _, err := title.Page(t.Context(), 50); others <- err }()
	}
	cancel() // the one who reads gives up: another takes over
	require.ErrorIs(t, <-first, context.Canceled)
	<-src.entered
	close(src.release)
	for range cap(others) {
		require.NoError(t, <-others)
	}
	require.Equal(t, int64(2), src.reads.Load())
}

func TestOnlyAnEndOfFileIsAFormatError(t *testing.T) {
	_, err := Open(t.Context(), brokenSource{})
	var bad *FormatError
	require.NotErrorAs(t, err, &bad)
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

type brokenSource struct{}

func (brokenSource) ReadAt(context.Context, []byte, int64) (int, error) { return 0, io.ErrClosedPipe }
