package mp4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// box writes a box of the given parts.
func boxOf(kind string, parts ...any) []byte {
	var body []byte
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			body = append(body, p...)
		case string:
			body = append(body, p...)
		case uint16:
			body = binary.BigEndian.AppendUint16(body, p)
		case uint32:
			body = binary.BigEndian.AppendUint32(body, p)
		case int:
			body = binary.BigEndian.AppendUint32(body, uint32(p))
		case uint64:
			body = binary.BigEndian.AppendUint64(body, p)
		default:
			panic(fmt.Sprintf("BUG: %T in a box", p))
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+8)), append([]byte(kind), body...)...)
}

// testTrack describes a track in samples of equal duration, some of them in each chunk.
type testTrack struct {
	handler         string
	timescale       int
	samples         int
	sampleDuration  int
	sampleBytes     int // 0: 90 + 1 for every tenth
	samplesPerChunk int
	syncEvery       int // 0: all
	delay           int // of an empty edit, in movie units (1/1000 s)
	wide            bool
}

func (t testTrack) size(i int) int {
	if t.sampleBytes > 0 {
		return t.sampleBytes
	}
	return 90 + i%10/9
}

func (t testTrack) chunks() int { return (t.samples + t.samplesPerChunk - 1) / t.samplesPerChunk }

func (t testTrack) chunkBytes(chunk int) (n int) {
	for i := chunk * t.samplesPerChunk; i < min((chunk+1)*t.samplesPerChunk, t.samples); i++ {
		n += t.size(i)
	}
	return n
}

func (t testTrack) box(id int, offsets []int) []byte {
	sizes := boxOf("stsz", 0, t.sampleBytes, t.samples)
	if t.sampleBytes == 0 {
		for i := range t.samples {
			sizes = append(sizes, boxOf("", t.size(i))[4:]...)
		}
		binary.BigEndian.PutUint32(sizes, uint32(len(sizes)))
	}
	chunkKind, width := "stco", 4
	if t.wide {
		chunkKind, width = "co64", 8
	}
	var chunkTable []byte
	for _, o := range offsets {
		chunkTable = append(chunkTable, make([]byte, width-4)...)
		chunkTable = binary.BigEndian.AppendUint32(chunkTable, uint32(o))
	}
	var sync []byte
	if t.syncEvery > 0 {
		var numbers []byte
		n := 0
		for i := 0; i < t.samples; i += t.syncEvery {
			numbers = binary.BigEndian.AppendUint32(numbers, uint32(i+1))
			n++
		}
		sync = boxOf("stss", 0, n, numbers)
	}
	codec := boxOf("mp4a", make([]byte, 28))
	if t.handler == "vide" {
		codec = boxOf("avc1", make([]byte, 78), boxOf("avcC", []byte{1, 0x64, 0, 0x1f, 0xff}))
	}
	var edits []byte
	if t.delay > 0 {
		edits = boxOf("edts", boxOf("elst", 0, 1, t.delay, uint32(1<<32-1), 0x10000))
	}
	table := boxOf("stbl",
		boxOf("stsd", 0, 1, codec),
		boxOf("stts", 0, 1, t.samples, t.sampleDuration), sync,
		boxOf("stsc", 0, 1, 1, t.samplesPerChunk, 1),
		sizes, boxOf(chunkKind, 0, len(offsets), chunkTable))
	return boxOf("trak", boxOf("tkhd", 0, 0, 0, id), edits,
		boxOf("mdia", boxOf("mdhd", 0, 0, 0, t.timescale, 0), boxOf("hdlr", 0, 0, t.handler), boxOf("minf", table)))
}

// movieFile writes ftyp, moov and mdat in the given order of boxes, the chunks in the order that next gives.
func movieFile(moovFirst bool, tracks []testTrack, order [][2]int) []byte {
	ftyp := boxOf("ftyp", "isom", 0)
	var media []byte
	offsets := make([][]int, len(tracks))
	for i, t := range tracks {
		offsets[i] = make([]int, t.chunks())
	}
	for _, c := range order {
		offsets[c[0]][c[1]] = len(media)
		media = append(media, bytes.Repeat([]byte{byte(c[0])}, tracks[c[0]].chunkBytes(c[1]))...)
	}
	moov := func(base int) []byte {
		parts := []any{boxOf("mvhd", 0, 0, 0, 1000, 0)}
		for i, t := range tracks {
			at := make([]int, len(offsets[i]))
			for j := range at {
				at[j] = base + offsets[i][j]
			}
			parts = append(parts, t.box(i+1, at))
		}
		return boxOf("moov", parts...)
	}
	mdat := boxOf("mdat", media)
	if moovFirst {
		size := len(moov(0))
		return bytes.Join([][]byte{ftyp, moov(len(ftyp) + size + 8), mdat}, nil)
	}
	return bytes.Join([][]byte{ftyp, mdat, moov(len(ftyp) + 8)}, nil)
}

// interleaved lists the chunks of all tracks by their time.
func interleaved(tracks []testTrack) (order [][2]int) {
	next := make([]int, len(tracks))
	for {
		best, bestTime := -1, 0.0
		for i, t := range tracks {
			if next[i] < t.chunks() {
				at := float64(next[i]*t.samplesPerChunk*t.sampleDuration) / float64(t.timescale)
				if best < 0 || at < bestTime {
					best, bestTime = i, at
				}
			}
		}
		if best < 0 {
			return order
		}
		order = append(order, [2]int{best, next[best]})
		next[best]++
	}
}

func oneAfterTheOther(tracks []testTrack) (order [][2]int) {
	for i, t := range tracks {
		for chunk := range t.chunks() {
			order = append(order, [2]int{i, chunk})
		}
	}
	return order
}

func parse(t *testing.T, b []byte) Info {
	t.Helper()
	info, err := Parse(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	at := int64(0)
	for i, s := range info.Segments {
		require.Equal(t, at, s.Offset, "segment %d begins where the one before ended", i)
		require.Positive(t, s.Length)
		at += s.Length
	}
	require.Equal(t, int64(len(b)), at, "the segments cover the file")
	return info
}

// film is 60 s: 25 fps with a key frame every 2.5 s that is not the first of its chunk, and 48 kHz audio in frames of 1024.
func film() []testTrack {
	return []testTrack{
		{handler: "soun", timescale: 48000, samples: 2813, sampleDuration: 1024, samplesPerChunk: 20, sampleBytes: 40},
		{handler: "vide", timescale: 12800, samples: 1500, sampleDuration: 512, samplesPerChunk: 8, syncEvery: 60},
	}
}

// timeAt is the media time that the map gives for a byte.
func timeAt(info Info, offset int64) (from, to time.Duration) {
	for _, s := range info.Segments {
		if offset >= s.Offset && offset < s.Offset+s.Length {
			return s.Start, s.Start + s.Duration
		}
	}
	return -1, -1
}

func TestPlainMP4IsCutAtItsSyncSamples(t *testing.T) {
	for _, moovFirst := range []bool{true, false} {
		tracks := film()
		b := movieFile(moovFirst, tracks, interleaved(tracks))
		info := parse(t, b)
		require.True(t, info.HasVideo)
		require.True(t, info.HasAudio)
		require.Equal(t, "mp4a,avc1.64001f", info.Codecs)
		require.InDelta(t, 60, info.Duration.Seconds(), 0.1)

		segments := info.Segments
		require.Equal(t, Segment{Length: segments[0].Length}, segments[0], "what lies before the media is needed first")
		segments = segments[1:]
		if !moovFirst {
			last := segments[len(segments)-1]
			require.Zero(t, last.Start)
			require.Zero(t, last.Duration)
			require.Equal(t, "moov", string(b[last.Offset+4:last.Offset+8]), "and the boxes at the end too")
			segments = segments[:len(segments)-1]
		}
		// A key frame every 60 samples = 2.4 s.
		require.Len(t, segments, 25)
		for i, s := range segments {
			require.InDelta(t, float64(i)*2.4, s.Start.Seconds(), 1e-6)
			if i < 24 {
				require.InDelta(t, 2.4, s.Duration.Seconds(), 1e-6)
			}
			if i > 0 {
				require.Equal(t, byte(1), b[s.Offset], "a segment begins with video")
			}
		}
	}
}

// The deadline of a byte may be early, but must not be later than the time at which a player needs it.
func TestNoByteIsSaidToBeNeededLaterThanItIs(t *testing.T) {
	tracks := film()
	for name, order := range map[string][][2]int{"interleaved": interleaved(tracks), "one after the other": oneAfterTheOther(tracks)} {
		b := movieFile(true, tracks, order)
		info := parse(t, b)
		at := int64(bytes.Index(b, []byte("mdat")) + 4)
		for _, c := range order {
			track := tracks[c[0]]
			start := time.Duration(c[1]*track.samplesPerChunk*track.sampleDuration) * time.Second / time.Duration(track.timescale)
			from, to := timeAt(info, at)
			// Audio and video of a chunk boundary may be one chunk apart (0.43 s of audio).
			require.LessOrEqual(t, from, start+500*time.Millisecond, "%s: chunk %v", name, c)
			require.Greater(t, to, start-3*time.Second, "%s: chunk %v", name, c)
			at += int64(track.chunkBytes(c[1]))
		}
	}
}

func TestVariantsOfTheTables(t *testing.T) {
	audio := testTrack{handler: "soun", timescale: 44100, samples: 4410000, sampleDuration: 1, sampleBytes: 4, samplesPerChunk: 44100}
	info := parse(t, movieFile(true, []testTrack{audio}, oneAfterTheOther([]testTrack{audio})))
	require.False(t, info.HasVideo)
	require.InDelta(t, 100, info.Duration.Seconds(), 0.001)
	require.Len(t, info.Segments, 51, "PCM audio is cut at chunks, every 2 s")

	wide := film()
	for i := range wide {
		wide[i].wide = true
	}
	require.Equal(t, parse(t, movieFile(false, film(), interleaved(film()))).Duration, parse(t, movieFile(false, wide, interleaved(wide))).Duration)

	late := []testTrack{{handler: "vide", timescale: 1000, samples: 100, sampleDuration: 40, samplesPerChunk: 5, delay: 7000}}
	require.Equal(t, 7*time.Second, parse(t, movieFile(true, late, interleaved(late))).Segments[1].Start)

	intra := []testTrack{{handler: "vide", timescale: 1000, samples: 500, sampleDuration: 40, samplesPerChunk: 5}}
	require.Len(t, parse(t, movieFile(true, intra, interleaved(intra))).Segments, 11, "without stss every sample is a sync sample")

	long := []testTrack{
		{handler: "vide", timescale: 1000, samples: 1000, sampleDuration: 40, samplesPerChunk: 5, syncEvery: 1000},
		{handler: "soun", timescale: 1000, samples: 1000, sampleDuration: 40, samplesPerChunk: 5},
	}
	for _, s := range parse(t, movieFile(true, long, interleaved(long))).Segments {
		require.LessOrEqual(t, s.Duration, 8200*time.Millisecond, "one key frame in 40 s must not make one segment of 40 s")
	}
}

// fragmented writes an initialization segment and fragments of 3 s; index says how they are indexed.
func fragmented(index string) []byte {
	video := testTrack{handler: "vide", timescale: 1000, samplesPerChunk: 1}
	moov := boxOf("moov", boxOf("mvhd", 0, 0, 0, 1000, 0), video.box(1, nil),
		boxOf("mvex", boxOf("trex", 0, 1, 1, 40, 0, 0)))
	var fragments [][]byte
	for i := range 10 {
		traf := boxOf("traf", boxOf("tfhd", 0x020000, 1), boxOf("tfdt", 0x01000000, uint64(i*3000)), boxOf("trun", 0, 75))
		fragment := append(boxOf("moof", boxOf("mfhd", 0, i), traf), boxOf("mdat", bytes.Repeat([]byte{1}, 1000+i))...)
		fragments = append(fragments, append(boxOf("styp", "msdh"), fragment...))
	}
	head := append(boxOf("ftyp", "iso5", 0), moov...)
	sidx := func(from, to int) []byte {
		parts := []any{0, 1, 1000, from * 3000, 0, uint16(0), uint16(to - from)}
		for _, f := range fragments[from:to] {
			parts = append(parts, len(f), 3000, 0x90000000)
		}
		return boxOf("sidx", parts...)
	}
	out := append([]byte(nil), head...)
	if index == "global" {
		out = append(out, sidx(0, len(fragments))...)
	}
	for i, f := range fragments {
		if index == "each" {
			out = append(out, sidx(i, i+1)...)
		}
		out = append(out, f...)
	}
	return append(out, boxOf("mfra", make([]byte, 20))...)
}

func TestFragmentedMP4IsCutAtItsFragments(t *testing.T) {
	for _, index := range []string{"global", "each", "none"} {
		b := fragmented(index)
		info := parse(t, b)
		require.Equal(t, 30*time.Second, info.Duration, index)
		require.Len(t, info.Segments, 12, index)
		for i, s := range info.Segments[1:11] {
			require.Equal(t, time.Duration(i)*3*time.Second, s.Start, index)
			require.Equal(t, 3*time.Second, s.Duration, index)
		}
		require.Zero(t, info.Segments[11].Duration)
		require.Equal(t, "mfra", string(b[info.Segments[11].Offset+4:][:4]), index)
	}
}

// countingReader counts reads, which are requests when the file is remote.
type countingReader struct {
	*bytes.Reader
	reads int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	return c.Reader.ReadAt(p, off)
}

func TestAnIndexedFileIsNotWalked(t *testing.T) {
	b := fragmented("global")
	r := &countingReader{Reader: bytes.NewReader(b)}
	_, err := Parse(r, int64(len(b)))
	require.NoError(t, err)
	require.Less(t, r.reads, 10)
}

func TestAPartOfAMovieHasNoMedia(t *testing.T) {
	video := testTrack{handler: "vide", timescale: 1000, samplesPerChunk: 1}
	b := boxOf("moov", boxOf("mvhd", 0, 0, 0, 1000, 0), video.box(1, nil))
	_, err := Parse(bytes.NewReader(b), int64(len(b)))
	require.ErrorIs(t, err, ErrNoMedia)
	segment := append(boxOf("styp", "msdh"), append(boxOf("moof", boxOf("mfhd", 0, 1)), boxOf("mdat", []byte("x"))...)...)
	_, err = Parse(bytes.NewReader(segment), int64(len(segment)))
	require.ErrorIs(t, err, ErrNoMedia)
}

func TestBadFilesAreNamedByBox(t *testing.T) {
	good := movieFile(true, film(), interleaved(film()))
	change := func(kind string, at int, v uint32) []byte {
		b := bytes.Clone(good)
		i := bytes.LastIndex(b, []byte(kind))
		binary.BigEndian.PutUint32(b[i+at:], v)
		return b
	}
	for want, b := range map[string][]byte{
		"moov: there is none":    boxOf("ftyp", "isom", 0, "isom"),
		"byte 0: not an MP4 box": []byte("\x00\x00\x00\x20\x00\x01\x02\x03 something else entirely"),
		"too few for a box":      good[:3],
		"does not fit into":      good[:len(good)-1],
		"stsz: ends early":       change("stsz", 12, 1<<30),
		"stts: ends early":       change("stts", 8, 1<<30),
		"stco: ends early":       change("stco", 8, 1<<30),
		"mdhd: timescale":        change("mdhd", 16, 0),
		"beyond 49 days":         change("stts", 16, 1<<31),
		"moov: no tracks":        boxOf("moov", boxOf("mvhd", 0, 0, 0, 1000, 0)),
		"more than 67108864":     hugeMoov(),
	} {
		_, err := Parse(sparse{b}, sparse{b}.size())
		require.ErrorContains(t, err, want)
	}
}

// sparse reads as zeros behind its bytes, up to what its first box claims.
type sparse struct{ b []byte }

func (s sparse) size() int64 {
	if len(s.b) == 16 { // a large box alone
		return int64(binary.BigEndian.Uint64(s.b[8:]))
	}
	return int64(len(s.b))
}

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(s.b)) {
		copy(p, s.b[off:])
	}
	if off+int64(len(p)) > s.size() {
		return int(max(0, s.size()-off)), io.EOF
	}
	return len(p), nil
}

func TestLongFilesHaveFewerSegmentsAndScatteredOnesNone(t *testing.T) {
	var events []event
	for i := range 3 * maxSegments {
		at := time.Duration(i) * 2 * time.Second
		events = append(events, event{offset: int64(i) * 100, start: at, end: at + 2*time.Second, cutHere: true})
	}
	whole := func(int64) int64 { return int64(len(events)) * 100 }
	require.Len(t, cut(events, 0, 8*time.Second, whole, whole(0)), 3*maxSegments/4)

	// Two tracks of 65,537 samples, taking turns a minute apart.
	tracks := []testTrack{
		{handler: "vide", timescale: 1000, samples: maxSegments + 1, sampleDuration: 1, samplesPerChunk: 1, sampleBytes: 1},
		{handler: "soun", timescale: 1000, samples: maxSegments + 1, sampleDuration: 1, samplesPerChunk: 1, sampleBytes: 1, delay: 120_000},
	}
	var order [][2]int
	for i := range maxSegments + 1 {
		order = append(order, [2]int{0, i}, [2]int{1, i})
	}
	b := movieFile(true, tracks, order)
	_, err := Parse(bytes.NewReader(b), int64(len(b)))
	require.ErrorContains(t, err, "out of order")
}

func hugeMoov() []byte {
	return binary.BigEndian.AppendUint64(append([]byte{0, 0, 0, 1}, "moov"...), 1<<33)
}

func FuzzParse(f *testing.F) {
	small := []testTrack{
		{handler: "soun", timescale: 48000, samples: 300, sampleDuration: 1024, samplesPerChunk: 20, sampleBytes: 4, delay: 50},
		{handler: "vide", timescale: 1000, samples: 100, sampleDuration: 50, samplesPerChunk: 8, syncEvery: 30, wide: true},
	}
	f.Add(movieFile(true, small, interleaved(small)))
	f.Add(movieFile(false, small, oneAfterTheOther(small)))
	f.Add(fragmented("global"))
	f.Add(fragmented("each"))
	f.Add(fragmented("none"))
	f.Add(hugeMoov())
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Parse(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		at := int64(0)
		for _, s := range info.Segments {
			if s.Offset != at || s.Length <= 0 || s.Start < 0 || s.Duration < 0 || s.Start+s.Duration > 2*maxMediaTime {
				t.Fatalf("%+v after byte %d", s, at)
			}
			at += s.Length
		}
		if at != int64(len(b)) {
			t.Fatalf("%d of %d bytes covered", at, len(b))
		}
	})
}
