package manifest

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// smallTitle has every part of the format: two tracks, two pages, segments, one file of two groups.
func smallTitle() Content {
	rng := rand.New(rand.NewPCG(7, 7))
	c := Content{Name: "small", Tracks: []Track{{ID: 0, Kind: KindVideo, Name: "v"}, {ID: 1, Kind: KindAudio, Name: "a"}}}
	for i := range 150 {
		length := int64(100_000)
		r := Record{Path: "v/" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26)), Length: length}
		r.Track, r.Start, r.Duration = uint16(i%2), time.Duration(i)*time.Second, time.Second
		c.Files = append(c.Files, File{Record: r, Pieces: randomPieces(rng, length)})
	}
	big := Record{Path: "big.mp4", Length: 70 << 20, Segments: []Segment{
		{Length: 100},
		{Offset: 100, Length: 1 << 20, Duration: 3 * time.Second},
		{Offset: 2 << 20, Length: 68 << 20, Start: 9 * time.Second, Duration: time.Minute},
	}}
	c.Files = append(c.Files, File{Record: big, Pieces: randomPieces(rng, big.Length)})
	return c
}

// readAll uses everything that a manifest has and returns the first error.
func readAll(b []byte) error {
	ctx := context.Background()
	title, err := Open(ctx, ReaderAtSource(bytes.NewReader(b)))
	if err != nil {
		return err
	}
	for i := range title.PageCount() {
		records, err := title.Page(ctx, i)
		if err != nil {
			return err
		}
		for _, r := range records {
			for group := range GroupCount(r.Length) {
				if _, err := title.Hashes(ctx, r, group); err != nil {
					return err
				}
			}
		}
	}
	for i := range title.header.buckets {
		if _, err := title.bucket(ctx, i); err != nil {
			return err
		}
	}
	_, _, err = title.Lookup(ctx, "nothing/here")
	return err
}

// oneLine is what a person must get for a bad manifest: the file, the part, what is wrong.
func oneLine(t *testing.T, err error, what ...any) {
	t.Helper()
	var bad *FormatError
	require.ErrorAs(t, err, &bad, what...)
	require.Regexp(t, `^title\.shoal: [a-z][^\n]*: [^\n]+$`, err.Error(), what...)
}

func TestEveryTruncationIsNamed(t *testing.T) {
	b := encode(t, smallTitle())
	require.NoError(t, readAll(b))
	for n := 0; n < len(b); n += 1 + n/20 {
		oneLine(t, readAll(b[:n]), "cut to %d of %d bytes", n, len(b))
	}
}

func TestEveryForgedByteIsNamed(t *testing.T) {
	b := encode(t, smallTitle())
	for i := 0; i < len(b); i += 1 + i/29 {
		forged := bytes.Clone(b)
		forged[i] ^= 0x10
		oneLine(t, readAll(forged), "byte %d", i)
	}
}

func TestFramesCannotBeMovedBetweenEditions(t *testing.T) {
	c := smallTitle()
	b := encode(t, c)
	c.Files[3].Pieces[0][0] ^= 1 // another edition with the same sizes
	other := encode(t, c)
	require.Len(t, other, len(b))
	title, _ := open(t, b)
	mixed := bytes.Clone(other)
	copy(mixed, b[:title.header.pages[0].offset])
	oneLine(t, readAll(mixed))
}

// signed makes a manifest whose header and first page are signed by an attacker who writes what he likes.
func signed(header, page []byte) []byte {
	key := testKey()
	b := append([]byte(magic), 0, formatVersion)
	b = appendFrame(b, key, seal{}, kindHeader, 0, header, 0)
	h, err := parseHeader(header, int64(len(b)))
	if err != nil || len(h.pages) == 0 {
		return b
	}
	return appendFrame(b, key, h.seal(), kindPage, 0, page, h.pages[0].areaBytes)
}

func hostileHeader(rest ...byte) []byte {
	key := testKey()
	b := append([]byte(nil), key[32:]...)
	b = append(b, make([]byte, 16)...)
	b = append(b, 0, 1, 'n')
	return append(b, rest...)
}

func uvarints(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func TestAbsurdSignedCountsCostNothing(t *testing.T) {
	oneTrack := append([]byte{1}, 0, 1, 0, 0, 0, 0)
	headers := map[string][]byte{
		"header: tracks: 300":        hostileHeader(uvarints(300)...),
		"header: tracks: 200":        hostileHeader(uvarints(200)...),
		"header: tracks: there":      hostileHeader(0),
		"header: track kind":         hostileHeader(1, 0, 9, 0, 0, 0, 0),
		"header: track ID: 4":        hostileHeader(2, 4, 1, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0),
		"header: pages: 1000000":     hostileHeader(append(oneTrack, uvarints(1_000_000)...)...),
		"header: pages: 16000":       hostileHeader(append(oneTrack, uvarints(16_000)...)...),
		"header: page bytes":         hostileHeader(append(oneTrack, uvarints(1, 0, 1<<30, 0, 0, 0, 0)...)...),
		"header: page hash area":     hostileHeader(append(oneTrack, uvarints(1, 0, 1, 1<<60, 0, 0, 0)...)...),
		"header: page span":          hostileHeader(append(oneTrack, uvarints(1, 0, 1, 0, uint64(maxTimeMicros), 1, 0)...)...),
		"header: path index: 1 do":   hostileHeader(append(oneTrack, uvarints(0, 1)...)...),
		"header: path index: 100000": hostileHeader(append(oneTrack, uvarints(0, 100_000)...)...),
		"header: end":                hostileHeader(append(oneTrack, 0, 0, 0)...),
	}
	for want, header := range headers {
		_, err := Open(t.Context(), ReaderAtSource(bytes.NewReader(signed(header, nil))))
		oneLine(t, err, want)
		require.Contains(t, err.Error(), want)
	}

	record := func(tail ...uint64) []byte { // track 0, path "a", then what follows the root
		b := append([]byte{1, 0, 0, 1, 'a'}, uvarints(70_000)...)
		b = append(b, make([]byte, 32)...)
		return append(b, uvarints(tail...)...)
	}
	pages := map[string][]byte{
		"page 0: records: 4000":               uvarints(4000),
		"page 0: records: 9999":               uvarints(9999),
		"record 0: track":                     append([]byte{1, 7, 0, 1, 'a'}, make([]byte, 60)...),
		"record 0: path":                      append([]byte{1, 0, 0, 4, '/', 'e', 't', 'c'}, make([]byte, 60)...),
		"record 0: path: path \"../x\"":       append([]byte{1, 0, 0, 4, '.', '.', '/', 'x'}, make([]byte, 60)...),
		"record 0: path: 3 is more":           append([]byte{1, 0, 3, 1, 'x'}, make([]byte, 60)...),
		"record 0: length: is zero":           append([]byte{1, 0, 0, 1, 'a', 0}, make([]byte, 60)...),
		"record 0: length: 72057594037927936": append(append([]byte{1, 0, 0, 1, 'a'}, uvarints(1<<56)...), make([]byte, 60)...),
		"record 0: duration: beyond":          record(5, 99_000_000, 0),
		"record 0: flags":                     record(0, 0, 0x80),
		"record 0: segments: 65536 do":        record(0, 0, 7, 65536),
		"record 0: segments: 70000 is":        record(0, 0, 7, 70000),
		"record 0: segments: there":           record(0, 0, 7, 0),
		"record 0: segment length":            record(0, 0, 7, 1, 0, 0, 80_000, 0),
		"record 0: segment durations":         record(0, 0, 7, 1, 0, 0, 1, 0, 0),
		"record 0: segment duration":          record(0, 5, 7, 1, 0, 0, 1, 1, 1000),
		"page 0: hash area":                   record(0, 0, 0),
		"page 0: end":                         append(record(0, 0, 0), 0),
	}
	for want, page := range pages {
		header := hostileHeader(append(oneTrack, uvarints(1, 0, uint64(len(page)), 0, 0, 10_000_000, 0)...)...)
		err := readAll(signed(header, page))
		oneLine(t, err, want)
		require.Contains(t, err.Error(), want)
	}
}

func TestABadIntroductionIsNamed(t *testing.T) {
	b := encode(t, smallTitle())
	for want, change := range map[string]func([]byte){
		"magic":          func(b []byte) { copy(b, "GIF89a") },
		"version":        func(b []byte) { b[7] = 9 },
		"header: kind":   func(b []byte) { b[8] = 'X' },
		"header: index":  func(b []byte) { b[15] = 1 },
		"header: length": func(b []byte) { binary.BigEndian.PutUint32(b[16:], 1<<31) },
	} {
		bad := bytes.Clone(b)
		change(bad)
		err := readAll(bad)
		oneLine(t, err, want)
		require.Contains(t, err.Error(), want)
	}
}

// endless answers any read with the same byte and counts: what a hostile server can make us take.
type endless struct{ bytes int64 }

func (e *endless) ReadAt(_ context.Context, p []byte, _ int64) (int, error) {
	e.bytes += int64(len(p))
	return len(p), nil
}

func TestAnEndlessFileIsLeftAtOnce(t *testing.T) {
	src := &endless{}
	_, err := Open(t.Context(), src)
	oneLine(t, err)
	require.LessOrEqual(t, src.bytes, int64(openReadBytes))
}

func TestMemoryStaysBoundedOverAWholeTitle(t *testing.T) {
	title, _ := open(t, featureFile())
	for i := range title.PageCount() {
		records, err := title.Page(t.Context(), i)
		require.NoError(t, err)
		for j := 0; j < len(records); j += 3 {
			_, err := title.Hashes(t.Context(), records[j], 0)
			require.NoError(t, err)
		}
	}
	title.mu.Lock()
	defer title.mu.Unlock()
	require.LessOrEqual(t, title.pages.bytes, pageCacheBytes)
	require.LessOrEqual(t, title.hashes.bytes, hashCacheBytes)
	require.Less(t, len(title.pages.entries), title.PageCount(), "the title is larger than the cache")
	require.LessOrEqual(t, title.buckets.bytes, bucketCacheBytes)
	paths := 0
	for _, e := range title.pages.entries {
		paths += len(e.Value.(*lruEntry[int, []Record]).value)
	}
	require.Len(t, title.paths, paths, "no path outlives its page")
}

func TestWriteRefusesWhatCannotBeRead(t *testing.T) {
	for want, change := range map[string]func(*Content){
		"title name":     func(c *Content) { c.Name = "" },
		"tracks":         func(c *Content) { c.Tracks = nil },
		"no files":       func(c *Content) { c.Files = nil },
		"unknown track":  func(c *Content) { c.Files[0].Track = 99 },
		"twice":          func(c *Content) { c.Files[1].Path = c.Files[0].Path },
		"not a plain":    func(c *Content) { c.Files[0].Path = "../x" },
		"piece hashes":   func(c *Content) { c.Files[0].Pieces = nil },
		"length 0":       func(c *Content) { c.Files[0].Length = 0 },
		"within 49 days": func(c *Content) { c.Files[0].Start = -time.Second },
		"segment 0":      func(c *Content) { c.Files[0].Segments = []Segment{{Offset: 99_999, Length: 2}} },
		"segment 1":      func(c *Content) { c.Files[0].Segments = []Segment{{Length: 9}, {Offset: 8, Length: 1}} },
	} {
		c := smallTitle()
		change(&c)
		err := Write(&bytes.Buffer{}, testKey(), c)
		require.ErrorContains(t, err, want)
	}
}

func FuzzOpen(f *testing.F) {
	b := fuzzSeed(f)
	f.Add(b)
	f.Add(b[:300])
	f.Add([]byte(magic))
	f.Fuzz(func(_ *testing.T, b []byte) { _ = readAll(b) })
}

// FuzzHeader and FuzzPage go past the signature, as an attacker does who has a key of his own.
func FuzzHeader(f *testing.F) {
	title, err := Open(context.Background(), ReaderAtSource(bytes.NewReader(fuzzSeed(f))))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendHeader(nil, title.header))
	f.Add(hostileHeader(uvarints(300)...))
	f.Fuzz(func(t *testing.T, payload []byte) {
		h, err := parseHeader(payload, 100)
		if err != nil {
			return
		}
		if len(h.tracks) > MaxTracks || len(h.pages) > maxPages || len(h.buckets) > maxBuckets {
			t.Fatal("limits do not hold")
		}
		again, err := parseHeader(appendHeader(nil, h), 100)
		if err != nil || len(again.pages) != len(h.pages) || again.name != h.name {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}

func FuzzPage(f *testing.F) {
	title, err := Open(context.Background(), ReaderAtSource(bytes.NewReader(fuzzSeed(f))))
	if err != nil {
		f.Fatal(err)
	}
	for i, e := range title.header.pages {
		payload, err := title.frame(context.Background(), kindPage, i, e.extent, "page")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	tracks := map[uint16]bool{0: true, 1: true}
	f.Fuzz(func(t *testing.T, payload []byte) {
		e := pageEntry{extent: extent{offset: 100, payloadBytes: uint32(len(payload))}, to: time.Hour}
		records, err := parsePage(payload, e, tracks, "page 0")
		var area *FormatError
		if err != nil && !strings.Contains(err.Error(), "hash area") {
			require.ErrorAs(t, err, &area)
			return
		}
		for _, r := range records {
			require.NoError(t, CheckPath(r.Path))
			end := int64(0)
			for _, s := range r.Segments {
				require.GreaterOrEqual(t, s.Offset, end)
				end = s.Offset + s.Length
			}
			require.LessOrEqual(t, end, r.Length)
			require.LessOrEqual(t, r.Start+r.Duration, time.Hour)
		}
	})
}

func FuzzBucket(f *testing.F) {
	f.Add(appendBucket(nil, []indexEntry{{fingerprint: 5, page: 1}, {fingerprint: 9, page: 0}}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		entries, err := parseBucket(payload, 3, "path index 0")
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.page >= 3 || len(pagesOf(entries, e.fingerprint)) == 0 {
				t.Fatalf("entry %+v", e)
			}
		}
	})
}

func fuzzSeed(f *testing.F) []byte {
	c := smallTitle()
	c.Files = append(c.Files[:12], c.Files[len(c.Files)-1])
	var b bytes.Buffer
	if err := Write(&b, testKey(), c); err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}

func TestLargestSegmentTableIsReadInBoundedMemory(t *testing.T) {
	f := File{Record: Record{Path: "long.mp4", Length: MaxSegments * 10}}
	for i := range MaxSegments {
		f.Segments = append(f.Segments, Segment{Offset: int64(i) * 10, Length: 10, Start: time.Duration(i) * time.Second, Duration: time.Second})
	}
	f.Pieces = randomPieces(rand.New(rand.NewPCG(1, 1)), f.Length)
	b := encode(t, Content{Name: "long", Tracks: []Track{{Kind: KindMuxed}}, Files: []File{f}})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.NoError(t, readAll(b))
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
	require.Equal(t, uint32(10), wire.PieceCount(f.Length))
	f.Segments = append(f.Segments, Segment{Offset: f.Length, Length: 1})
	require.ErrorContains(t, Write(&bytes.Buffer{}, testKey(), Content{Name: "x", Tracks: []Track{{Kind: KindMuxed}}, Files: []File{f}}), "segments")
}
