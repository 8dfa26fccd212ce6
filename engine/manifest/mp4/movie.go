package mp4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// movie is what a moov says.
type movie struct {
	timescale uint32
	tracks    []*track
}

// track keeps its sample tables as bytes of the moov: they are walked once.
type track struct {
	id        uint32
	timescale uint32
	handler   string
	codec     string
	shift     time.Duration // from leading empty edits

	stts, stsc, stss, stsz, stco []byte // entries only
	offsetBytes                  int    // 4 (stco) or 8 (co64)
	sampleBytes                  uint32 // constant size, 0 = table
	sizeBits                     int    // of a table entry: 4, 8, 16, 32
	sampleCount                  uint32
	hasSync                      bool
	defaultDuration              uint32 // from trex
}

func parseMovie(b []byte) (*movie, error) {
	m := &movie{}
	defaults := make(map[uint32]uint32)
	err := children(b, "moov", func(kind string, body []byte) error {
		switch kind {
		case "mvhd":
			f := fields{b: body}
			if v, _ := f.version(); v == 1 {
				f.skip(16)
			} else {
				f.skip(8)
			}
			m.timescale = f.u32()
		case "trak":
			if len(m.tracks) >= maxTracks {
				return fmt.Errorf("moov: more than %d tracks", maxTracks)
			}
			t := &track{}
			m.tracks = append(m.tracks, t)
			return t.parse(body, m.timescale)
		case "mvex":
			return children(body, "mvex", func(kind string, body []byte) error {
				if kind == "trex" {
					f := fields{b: body}
					f.skip(4)
					id := f.u32()
					f.skip(4)
					defaults[id] = f.u32()
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(m.tracks) == 0 {
		return nil, errors.New("moov: no tracks")
	}
	for _, t := range m.tracks {
		t.defaultDuration = defaults[t.id]
	}
	return m, nil
}

func (t *track) parse(b []byte, movieTimescale uint32) error {
	return children(b, "trak", func(kind string, body []byte) error {
		switch kind {
		case "tkhd":
			f := fields{b: body}
			if v, _ := f.version(); v == 1 {
				f.skip(16)
			} else {
				f.skip(8)
			}
			t.id = f.u32()
		case "edts":
			return children(body, "edts", func(kind string, body []byte) error {
				if kind == "elst" {
					t.parseEdits(body, movieTimescale)
				}
				return nil
			})
		case "mdia":
			return children(body, "mdia", t.parseMedia)
		}
		return nil
	})
}

// parseEdits takes the delay of leading empty edits (media time -1); trims of the beginning are no more than a few frames
// and make deadlines earlier, never later.
func (t *track) parseEdits(b []byte, movieTimescale uint32) {
	f := fields{b: b}
	version, _ := f.version()
	for range min(f.u32(), 16) {
		var duration uint64
		var empty bool
		if version == 1 {
			duration, empty = f.u64(), f.u64() == 1<<64-1
		} else {
			duration, empty = uint64(f.u32()), f.u32() == 1<<32-1
		}
		f.skip(4)
		if f.short || !empty {
			return
		}
		if d, ok := scaled(duration, movieTimescale); ok {
			t.shift += d
		}
	}
}

func (t *track) parseMedia(kind string, body []byte) error {
	f := fields{b: body}
	switch kind {
	case "mdhd":
		if v, _ := f.version(); v == 1 {
			f.skip(16)
		} else {
			f.skip(8)
		}
		if t.timescale = f.u32(); t.timescale == 0 {
			return errors.New("mdhd: timescale is zero")
		}
	case "hdlr":
		f.skip(8)
		t.handler = string(f.b[:min(4, len(f.b))])
	case "minf":
		return children(body, "minf", func(kind string, body []byte) error {
			if kind == "stbl" {
				return children(body, "stbl", t.parseTable)
			}
			return nil
		})
	}
	return nil
}

func (t *track) parseTable(kind string, body []byte) (err error) {
	f := fields{b: body}
	f.skip(4)
	switch kind {
	case "stsd":
		f.skip(4)
		t.codec = codecOf(f.b)
	case "stts":
		t.stts, err = entries(&f, kind, 8)
	case "stsc":
		t.stsc, err = entries(&f, kind, 12)
	case "stss":
		t.hasSync = true
		t.stss, err = entries(&f, kind, 4)
	case "stco":
		t.offsetBytes = 4
		t.stco, err = entries(&f, kind, 4)
	case "co64":
		t.offsetBytes = 8
		t.stco, err = entries(&f, kind, 8)
	case "stsz":
		if t.sampleBytes = f.u32(); t.sampleBytes != 0 {
			t.sampleCount = f.u32()
			return nil
		}
		t.sizeBits = 32
		t.stsz, err = entries(&f, kind, 4)
		t.sampleCount = uint32(len(t.stsz) / 4)
	case "stz2":
		t.sizeBits = int(f.u32() & 0xff)
		if t.sizeBits != 4 && t.sizeBits != 8 && t.sizeBits != 16 {
			return fmt.Errorf("stz2: entries of %d bits", t.sizeBits)
		}
		t.sampleCount = f.u32()
		t.stsz = f.b
		if uint64(len(t.stsz))*8 < uint64(t.sampleCount)*uint64(t.sizeBits) {
			return errors.New("stz2: ends early")
		}
	}
	return err
}

// entries returns the entries of a table whose count comes first.
func entries(f *fields, kind string, entryBytes int) ([]byte, error) {
	n := uint64(f.u32()) * uint64(entryBytes)
	if f.short || n > uint64(len(f.b)) {
		return nil, fmt.Errorf("%s: ends early", kind)
	}
	return f.b[:n], nil
}

// codecOf names the codec of the first sample entry as far as its boxes tell.
func codecOf(b []byte) string {
	if len(b) < 8 || !isBoxKind(string(b[4:8])) {
		return ""
	}
	codec := strings.TrimSpace(string(b[4:8]))
	if codec == "avc1" || codec == "avc3" {
		// A visual sample entry has 78 bytes before its boxes (ISO/IEC 14496-12 §12.1.3).
		size := min(uint64(binary.BigEndian.Uint32(b)), uint64(len(b)))
		if size > 86 {
			_ = children(b[86:size], codec, func(kind string, body []byte) error {
				if kind == "avcC" && len(body) >= 4 {
					codec = fmt.Sprintf("%s.%02x%02x%02x", codec[:4], body[1], body[2], body[3])
				}
				return nil
			})
		}
	}
	return codec
}

func (m *movie) info() Info {
	var info Info
	var codecs []string
	for _, t := range m.tracks {
		switch t.handler {
		case "vide":
			info.HasVideo = true
		case "soun":
			info.HasAudio = true
		}
		if t.codec != "" && !slices.Contains(codecs, t.codec) {
			codecs = append(codecs, t.codec)
		}
	}
	info.Codecs = strings.Join(codecs, ",")
	return info
}

// lead is the track that is cut: the first video, else the first audio. A fragmented file's events are all of track 0.
func (m *movie) lead() int {
	for _, handler := range []string{"vide", "soun"} {
		for i, t := range m.tracks {
			if t.handler == handler && t.sampleCount > 0 {
				return i
			}
		}
	}
	return 0
}

// event is a place in the file where the media time is known.
type event struct {
	offset  int64
	start   time.Duration
	end     time.Duration // of the samples known to follow, at least start
	track   int
	cutHere bool // a decoder can start here
}

// events lists the chunks and sync samples of all tracks in file order. None: the file is fragmented.
func (m *movie) events() ([]event, error) {
	var all []event
	for i, t := range m.tracks {
		if t.handler != "vide" && t.handler != "soun" {
			continue // text and metadata are tiny and lie between the others
		}
		events, err := t.events(i)
		if err != nil {
			return nil, fmt.Errorf("track %d: %w", t.id, err)
		}
		if all = append(all, events...); len(all) > maxEvents {
			return nil, fmt.Errorf("track %d: more than %d chunks", t.id, maxEvents)
		}
	}
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.offset, b.offset) })
	return all, nil
}

func (t *track) events(index int) ([]event, error) {
	chunks := 0
	if t.offsetBytes > 0 {
		chunks = len(t.stco) / t.offsetBytes
	}
	if chunks == 0 || t.sampleCount == 0 {
		return nil, nil
	}
	if t.timescale == 0 || len(t.stsc) == 0 || len(t.stts) == 0 {
		return nil, errors.New("its sample tables are not complete")
	}
	if chunks > maxEvents {
		return nil, fmt.Errorf("more than %d chunks", maxEvents)
	}
	clock := sampleClock{stts: t.stts}
	video := t.handler == "vide"
	var out []event
	var sample uint64 // index of the chunk's first
	sync, run := 0, 0
	for chunk := range chunks {
		for run+1 < len(t.stsc)/12 && binary.BigEndian.Uint32(t.stsc[(run+1)*12:]) <= uint32(chunk+1) {
			run++
		}
		count := uint64(binary.BigEndian.Uint32(t.stsc[run*12+4:]))
		count = min(count, uint64(t.sampleCount)-sample)
		e, err := t.event(index, t.chunkOffset(chunk), clock.at(sample), clock.peek(sample+count))
		if err != nil {
			return nil, err
		}
		e.cutHere = !video || !t.hasSync
		out = append(out, e)
		// Video is cut at its sync samples, which may lie inside of a chunk.
		at := sample
		for offset := e.offset; video && sync < len(t.stss)/4; sync++ {
			number := uint64(binary.BigEndian.Uint32(t.stss[sync*4:]))
			if number == 0 || number-1 < at {
				continue // out of order
			}
			if number-1 >= sample+count {
				break
			}
			offset += t.bytesOf(at, number-1)
			at = number - 1
			s, err := t.event(index, offset, clock.at(at), clock.peek(sample+count))
			if err != nil {
				return nil, err
			}
			s.cutHere = true
			out = append(out, s)
		}
		if sample += count; sample >= uint64(t.sampleCount) {
			break
		}
	}
	return out, nil
}

func (t *track) event(index int, offset int64, from, to uint64) (event, error) {
	start, ok := scaled(from, t.timescale)
	end, ok2 := scaled(to, t.timescale)
	if !ok || !ok2 || start+t.shift > maxMediaTime {
		return event{}, errors.New("stts: times beyond 49 days")
	}
	if offset < 0 {
		return event{}, errors.New("co64: offset beyond all files")
	}
	return event{offset: offset, start: start + t.shift, end: end + t.shift, track: index}, nil
}

func (t *track) chunkOffset(chunk int) int64 {
	if t.offsetBytes == 8 {
		return int64(binary.BigEndian.Uint64(t.stco[chunk*8:]))
	}
	return int64(binary.BigEndian.Uint32(t.stco[chunk*4:]))
}

// bytesOf sums the sizes of the samples from ≤ i < to.
func (t *track) bytesOf(from, to uint64) (sum int64) {
	if t.sampleBytes != 0 {
		return int64(t.sampleBytes) * int64(to-from)
	}
	for i := from; i < to; i++ {
		switch t.sizeBits {
		case 32:
			sum += int64(binary.BigEndian.Uint32(t.stsz[i*4:]))
		case 16:
			sum += int64(binary.BigEndian.Uint16(t.stsz[i*2:]))
		case 8:
			sum += int64(t.stsz[i])
		case 4:
			sum += int64(t.stsz[i/2] >> (4 * (1 - i%2)) & 0xf)
		}
	}
	return sum
}

// sampleClock sums sample durations, run by run.
type sampleClock struct {
	stts   []byte
	sample uint64 // first sample of the run at the head of stts
	time   uint64 // its time
}

// at is the decoding time of a sample; samples must be asked for in ascending order.
func (c *sampleClock) at(sample uint64) uint64 {
	for len(c.stts) > 8 {
		count, delta := c.head()
		if sample < c.sample+count {
			break
		}
		c.sample += count
		c.time += count * delta
		c.stts = c.stts[8:]
	}
	_, delta := c.head()
	return c.time + (sample-c.sample)*delta
}

// peek is at without moving on.
func (c *sampleClock) peek(sample uint64) uint64 {
	ahead := *c
	return ahead.at(sample)
}

func (c *sampleClock) head() (count, delta uint64) {
	return uint64(binary.BigEndian.Uint32(c.stts)), uint64(binary.BigEndian.Uint32(c.stts[4:]))
}
