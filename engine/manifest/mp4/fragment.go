package mp4

import (
	"errors"
	"fmt"
	"time"
)

// segmentIndex is a sidx (ISO/IEC 14496-12 §8.16.3).
type segmentIndex struct {
	events []event
	end    int64 // of the bytes that it covers
}

// parseIndex reads a sidx whose box ends at anchor.
func parseIndex(b []byte, anchor int64) (*segmentIndex, error) {
	f := fields{b: b}
	version, _ := f.version()
	f.skip(4)
	timescale := f.u32()
	var at, first uint64
	if version == 0 {
		at, first = uint64(f.u32()), uint64(f.u32())
	} else {
		at, first = f.u64(), f.u64()
	}
	f.skip(2)
	n := int(f.u16())
	if f.short || len(f.b) < n*12 || first > 1<<40 || at > 1<<62 {
		return nil, errors.New("sidx: ends early or has absurd values")
	}
	x := &segmentIndex{end: anchor + int64(first)}
	for range n {
		size := int64(f.u32() & (1<<31 - 1))
		start, ok := scaled(at, timescale)
		at += uint64(f.u32())
		end, ok2 := scaled(at, timescale)
		f.skip(4)
		if !ok || !ok2 {
			return nil, errors.New("sidx: times beyond 49 days")
		}
		x.events = append(x.events, event{offset: x.end, start: start, end: end, cutHere: true})
		x.end += size
	}
	return x, nil
}

// fragments lists the fragments of a file: by its sidx when that covers all of them, else by their own headers.
func (p *parser) fragments() ([]event, error) {
	if p.index != nil && len(p.index.events) > 0 && p.index.end <= p.size {
		complete := true
		for _, b := range p.boxes {
			if b.kind == "moof" && b.offset >= p.index.end {
				complete = false
			}
		}
		if complete {
			end := p.index.end
			p.dataEnd = func(int64) int64 { return end }
			return p.index.events, nil
		}
		if err := p.rescan(); err != nil {
			return nil, err
		}
	}
	var out []event
	for i, b := range p.boxes {
		if b.kind != "moof" {
			continue
		}
		body, err := p.body(b, maxMoofBytes)
		if err != nil {
			return nil, err
		}
		e, ok, err := p.movie.fragment(body)
		if err != nil {
			return nil, fmt.Errorf("moof at byte %d: %w", b.offset, err)
		}
		if !ok {
			continue
		}
		e.offset = b.offset
		// What announces a fragment belongs to it.
		for j := i - 1; j >= 0 && (p.boxes[j].kind == "styp" || p.boxes[j].kind == "sidx" || p.boxes[j].kind == "prft"); j-- {
			e.offset = p.boxes[j].offset
		}
		out = append(out, e)
	}
	if len(out) > 0 {
		last := out[len(out)-1].offset
		p.dataEnd = func(int64) int64 {
			for _, b := range p.boxes {
				if b.kind == "mdat" && b.offset > last {
					return b.end()
				}
			}
			return p.size
		}
	}
	return out, nil
}

// rescan lists all boxes of a file whose index turned out to cover only a part.
func (p *parser) rescan() error {
	p.boxes, p.index = nil, &segmentIndex{}
	return p.topLevel()
}

// fragment reads the times of a moof: the earliest of its tracks.
func (m *movie) fragment(b []byte) (e event, found bool, err error) {
	err = children(b, "moof", func(kind string, body []byte) error {
		if kind != "traf" {
			return nil
		}
		start, end, ok, err := m.trackFragment(body)
		if err != nil || !ok {
			return err
		}
		if !found || start < e.start {
			e.start = start
		}
		e.end = max(e.end, end)
		found = true
		return nil
	})
	e.cutHere = true
	return e, found, err
}

func (m *movie) trackFragment(b []byte) (start, end time.Duration, ok bool, err error) {
	var t *track
	var base, length uint64
	var sampleDuration uint32
	var timed bool
	err = children(b, "traf", func(kind string, body []byte) error {
		f := fields{b: body}
		version, flags := f.version()
		switch kind {
		case "tfhd":
			id := f.u32()
			for _, candidate := range m.tracks {
				if candidate.id == id {
					t, sampleDuration = candidate, candidate.defaultDuration
				}
			}
			if flags&0x1 != 0 {
				f.skip(8)
			}
			if flags&0x2 != 0 {
				f.skip(4)
			}
			if flags&0x8 != 0 {
				sampleDuration = f.u32()
			}
		case "tfdt":
			timed = true
			if version == 1 {
				base = f.u64()
			} else {
				base = uint64(f.u32())
			}
		case "trun":
			length += runDuration(&f, flags, sampleDuration)
		}
		if f.short {
			return fmt.Errorf("%s: ends early", kind)
		}
		return nil
	})
	if err != nil || t == nil || !timed {
		return 0, 0, false, err
	}
	start, ok = scaled(base, t.timescale)
	end, ok2 := scaled(base+length, t.timescale)
	if !ok || !ok2 || end < start {
		return 0, 0, false, errors.New("tfdt: times beyond 49 days")
	}
	return start, end, true, nil
}

// runDuration sums the durations of a trun's samples.
func runDuration(f *fields, flags, sampleDuration uint32) (sum uint64) {
	count := f.u32()
	if flags&0x1 != 0 {
		f.skip(4)
	}
	if flags&0x4 != 0 {
		f.skip(4)
	}
	if flags&0x100 == 0 {
		return uint64(count) * uint64(sampleDuration)
	}
	perSample := 4
	for _, flag := range []uint32{0x200, 0x400, 0x800} {
		if flags&flag != 0 {
			perSample += 4
		}
	}
	for range count {
		sum += uint64(f.u32())
		f.skip(perSample - 4)
		if f.short {
			return 0
		}
	}
	return sum
}
