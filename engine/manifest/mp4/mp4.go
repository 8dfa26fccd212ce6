// Package mp4 reads the time map of an MP4 file: which byte range plays when.
//
// It reads boxes (ISO/IEC 14496-12) and nothing of the media in them: the
// sample tables of a plain MP4, wherever its moov lies, the segment index
// (sidx) of a fragmented one, or failing that its fragments' own times. It
// changes nothing, decodes nothing, and holds at most one moov of 64 MiB.
// Parse may be called from any goroutine.
package mp4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	maxMoovBytes = 64 << 20 // 20 hours of 60 fps video with audio
	maxMoofBytes = 4 << 20  // one fragment's tables
	maxBoxes     = 1 << 18  // top-level boxes: 36 hours of 1 s fragments, two boxes each
	maxTracks    = 64
	maxEvents    = 1 << 22 // chunks and sync samples: 19 hours of 60 fps in chunks of one frame
	maxSegments  = 1 << 16 // what a manifest takes
	maxMediaTime = (1 << 32) * time.Millisecond

	// targetSegment is the shortest segment cut: long enough to be worth a deadline of its own, short enough for a seek.
	targetSegment = 2 * time.Second
	// jump is further than audio and video of one moment ever lie apart in an interleaved file.
	jump = 10 * time.Second
)

// ErrNoMedia is returned for a well-formed file that cannot play by itself: an initialization segment, or a media segment.
var ErrNoMedia = errors.New("no movie with samples, only a part of one")

// Segment is a byte range and the media time in it. One of no duration holds boxes that are needed from the start.
type Segment struct {
	Offset, Length  int64
	Start, Duration time.Duration
}

// Info is the time map of a file. The segments cover it from its first byte to its last.
type Info struct {
	Duration time.Duration
	HasVideo bool
	HasAudio bool
	Codecs   string // RFC 6381 as far as the boxes tell it without parsing codec data; comma-separated
	Segments []Segment
}

// Parse reads the time map of a file of size bytes.
func Parse(r io.ReaderAt, size int64) (Info, error) {
	p := &parser{r: r, size: size}
	if err := p.topLevel(); err != nil {
		return Info{}, err
	}
	if p.movie == nil {
		for _, b := range p.boxes {
			if b.kind == "moof" {
				return Info{}, ErrNoMedia // a fragment without its beginning
			}
		}
		return Info{}, errors.New("moov: there is none; not an MP4 file")
	}
	info := p.movie.info()
	events, err := p.movie.events()
	if err != nil {
		return Info{}, err
	}
	if len(events) == 0 {
		if events, err = p.fragments(); err != nil {
			return Info{}, err
		}
	}
	if len(events) == 0 {
		return Info{}, ErrNoMedia
	}
	for target := targetSegment; ; target *= 2 {
		if info.Segments = cut(events, p.movie.lead(), target, p.dataEnd, size); len(info.Segments) <= maxSegments {
			break
		}
		if target > maxMediaTime {
			return Info{}, fmt.Errorf("its media lie out of order: more than %d jumps in time", maxSegments)
		}
	}
	for _, s := range info.Segments {
		info.Duration = max(info.Duration, s.Start+s.Duration)
	}
	return info, nil
}

// box is a box's place in the file.
type box struct {
	kind      string
	offset    int64 // of its header
	headBytes int64
	length    int64 // with its header
}

func (b box) end() int64 { return b.offset + b.length }

type parser struct {
	r       io.ReaderAt
	size    int64
	boxes   []box // top-level, in order
	movie   *movie
	index   *segmentIndex
	dataEnd func(offset int64) int64
}

// topLevel lists the boxes and reads moov and the first sidx.
func (p *parser) topLevel() error {
	for offset := int64(0); offset < p.size; {
		b, err := p.box(offset)
		if err != nil {
			return err
		}
		if len(p.boxes) >= maxBoxes {
			return fmt.Errorf("more than %d boxes", maxBoxes)
		}
		p.boxes = append(p.boxes, b)
		switch {
		case b.kind == "moov" && p.movie == nil:
			body, err := p.body(b, maxMoovBytes)
			if err != nil {
				return err
			}
			if p.movie, err = parseMovie(body); err != nil {
				return err
			}
		case b.kind == "sidx" && p.index == nil:
			body, err := p.body(b, maxMoofBytes)
			if err != nil {
				return err
			}
			if p.index, err = parseIndex(body, b.end()); err != nil {
				return err
			}
			// A file of many fragments is not walked when its index says all.
			if p.movie != nil && len(p.boxes) < 8 && p.index.end > b.end() && p.index.end <= p.size {
				offset = p.index.end
				continue
			}
		}
		offset = b.end()
	}
	p.dataEnd = func(at int64) int64 {
		for _, b := range p.boxes {
			if b.kind == "mdat" && b.offset <= at && at < b.end() {
				return b.end()
			}
		}
		return p.size
	}
	return nil
}

func (p *parser) box(offset int64) (box, error) {
	var head [16]byte
	n := min(int64(len(head)), p.size-offset)
	if n < 8 {
		return box{}, fmt.Errorf("byte %d: %d bytes are too few for a box", offset, n)
	}
	if _, err := io.ReadFull(io.NewSectionReader(p.r, offset, n), head[:n]); err != nil {
		return box{}, fmt.Errorf("byte %d: %w", offset, err)
	}
	b := box{kind: string(head[4:8]), offset: offset, headBytes: 8, length: int64(binary.BigEndian.Uint32(head[:4]))}
	switch b.length {
	case 0: // to the end of the file
		b.length = p.size - offset
	case 1:
		if n < 16 {
			return box{}, fmt.Errorf("byte %d: box ends early", offset)
		}
		b.headBytes, b.length = 16, int64(binary.BigEndian.Uint64(head[8:]))
	}
	if !isBoxKind(b.kind) {
		return box{}, fmt.Errorf("byte %d: not an MP4 box", offset)
	}
	if b.length < b.headBytes || b.length > p.size-offset {
		return box{}, fmt.Errorf("byte %d: box %q of %d bytes does not fit into the file", offset, b.kind, b.length)
	}
	return b, nil
}

// isBoxKind tells a four-character code from bytes that are no MP4: printable, or Apple's leading ©.
func isBoxKind(kind string) bool {
	for i := range len(kind) {
		if c := kind[i]; (c < 0x20 || c > 0x7e) && c != 0xa9 {
			return false
		}
	}
	return true
}

func (p *parser) body(b box, limit int64) ([]byte, error) {
	n := b.length - b.headBytes
	if n > limit {
		return nil, fmt.Errorf("%s of %d bytes: more than %d", b.kind, n, limit)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(p.r, b.offset+b.headBytes, n), body); err != nil {
		return nil, fmt.Errorf("%s: %w", b.kind, err)
	}
	return body, nil
}

// children calls f with each box inside b; names are for errors.
func children(b []byte, parent string, f func(kind string, body []byte) error) error {
	for len(b) > 0 {
		if len(b) < 8 {
			return fmt.Errorf("%s: ends inside a box", parent)
		}
		head, length := uint64(8), uint64(binary.BigEndian.Uint32(b))
		switch length {
		case 0:
			length = uint64(len(b))
		case 1:
			if len(b) < 16 {
				return fmt.Errorf("%s: ends inside a box", parent)
			}
			head, length = 16, binary.BigEndian.Uint64(b[8:])
		}
		if length < head || length > uint64(len(b)) {
			return fmt.Errorf("%s: box %q of %d bytes does not fit", parent, b[4:8], length)
		}
		if err := f(string(b[4:8]), b[head:length]); err != nil {
			return err
		}
		b = b[length:]
	}
	return nil
}

// fields reads the fixed fields of a full box. Reading beyond the end sets short.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) skip(n int) {
	if n > len(f.b) {
		f.b, f.short = nil, true
		return
	}
	f.b = f.b[n:]
}

func (f *fields) u16() uint16 { return uint16(f.uint(2)) }
func (f *fields) u32() uint32 { return uint32(f.uint(4)) }
func (f *fields) u64() uint64 { return f.uint(8) }

func (f *fields) uint(n int) (v uint64) {
	if n > len(f.b) {
		f.b, f.short = nil, true
		return 0
	}
	for _, c := range f.b[:n] {
		v = v<<8 | uint64(c)
	}
	f.b = f.b[n:]
	return v
}

// version reads a full box's version and flags.
func (f *fields) version() (version byte, flags uint32) {
	v := f.u32()
	return byte(v >> 24), v & 0xffffff
}

// scaled converts a time of a timescale, false when it is beyond all media times.
func scaled(v uint64, timescale uint32) (time.Duration, bool) {
	if timescale == 0 {
		return 0, false
	}
	seconds := v / uint64(timescale)
	if seconds > uint64(maxMediaTime/time.Second) {
		return 0, false
	}
	rest := v % uint64(timescale)
	return time.Duration(seconds)*time.Second + time.Duration(rest*uint64(time.Second)/uint64(timescale)), true
}
