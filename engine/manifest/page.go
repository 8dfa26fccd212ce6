package manifest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

const (
	flagSegments        = 1
	flagBytesContiguous = 2
	flagTimesContiguous = 4
	allRecordFlags      = flagSegments | flagBytesContiguous | flagTimesContiguous
)

// pageBuilder encodes records, in order, into one page's payload.
type pageBuilder struct {
	from    int64 // µs
	to      int64
	count   int
	area    int64
	payload []byte
	paths   map[uint16]string // last path of each track
}

func newPageBuilder(from time.Duration) *pageBuilder {
	return &pageBuilder{from: micros(from), to: micros(from), paths: make(map[uint16]string)}
}

func (p *pageBuilder) add(r *Record) {
	start, duration := roundSpan(r.Start, r.Duration)
	last := p.paths[r.Track]
	shared := sharedPrefix(last, r.Path)
	b := binary.AppendUvarint(p.payload, uint64(r.Track))
	b = binary.AppendUvarint(b, uint64(shared))
	b = appendStr(b, r.Path[shared:])
	b = binary.AppendUvarint(b, uint64(r.Length))
	b = append(b, r.Root[:]...)
	b = binary.AppendUvarint(b, uint64(start-p.from))
	b = binary.AppendUvarint(b, uint64(duration))
	p.payload = appendSegments(b, start, r.Segments)
	p.paths[r.Track] = r.Path
	p.to = max(p.to, start+duration)
	p.area += hashAreaBytes(r.Length)
	p.count++
}

func (p *pageBuilder) finish() []byte {
	return append(binary.AppendUvarint(nil, uint64(p.count)), p.payload...)
}

func sharedPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// appendSegments writes the flags and what follows them.
func appendSegments(b []byte, recordStart int64, segments []Segment) []byte {
	if len(segments) == 0 {
		return append(b, 0)
	}
	type span struct{ start, duration int64 }
	spans := make([]span, len(segments))
	flags := byte(allRecordFlags)
	for i, s := range segments {
		spans[i].start, spans[i].duration = roundSpan(s.Start, s.Duration)
		if i > 0 && s.Offset != segments[i-1].Offset+segments[i-1].Length {
			flags &^= flagBytesContiguous
		}
		if i > 0 && spans[i].start != spans[i-1].start+spans[i-1].duration {
			flags &^= flagTimesContiguous
		}
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(len(segments)))
	b = binary.AppendVarint(b, spans[0].start-recordStart)
	b = binary.AppendUvarint(b, uint64(segments[0].Offset))
	for i, s := range segments {
		if i > 0 && flags&flagBytesContiguous == 0 {
			b = binary.AppendUvarint(b, uint64(s.Offset-segments[i-1].Offset-segments[i-1].Length))
		}
		b = binary.AppendUvarint(b, uint64(s.Length))
		if i > 0 && flags&flagTimesContiguous == 0 {
			b = binary.AppendVarint(b, spans[i].start-spans[i-1].start-spans[i-1].duration)
		}
	}
	var before int64
	for i := 0; i < len(spans); {
		run := 1
		for i+run < len(spans) && spans[i+run].duration == spans[i].duration {
			run++
		}
		b = binary.AppendUvarint(b, uint64(run))
		b = binary.AppendVarint(b, spans[i].duration-before)
		before = spans[i].duration
		i += run
	}
	return b
}

// parsePage decodes a page payload. Records come with the place of their hashes in the file.
func parsePage(payload []byte, e pageEntry, tracks map[uint16]bool, where string) ([]Record, error) {
	d := &decoder{b: payload, where: where}
	n := d.count("records", maxPageRecords, minRecordBytes)
	records := make([]Record, 0, n)
	paths := make(map[uint16]string)
	seen := make(map[string]bool, n)
	for i := range n {
		d.where = fmt.Sprintf("%s: record %d", where, i)
		r := parseRecord(d, e, tracks, paths)
		if seen[r.Path] && d.err == nil {
			d.fail("path", "%q twice", r.Path)
		}
		if i > 0 && r.Start < records[i-1].Start {
			d.fail("start", "before the record before")
		}
		if d.err != nil {
			return nil, d.err
		}
		seen[r.Path] = true
		records = append(records, r)
	}
	d.where = where
	if err := d.end(); err != nil {
		return nil, err
	}
	if area := placeHashes(records, e.offset+e.frameBytes()); area != e.areaBytes {
		return nil, &FormatError{
			Where: where + ": hash area",
			What:  fmt.Sprintf("%d bytes, but its files need %d", e.areaBytes, area),
		}
	}
	return records, nil
}

func parseRecord(d *decoder, e pageEntry, tracks map[uint16]bool, paths map[uint16]string) Record {
	var r Record
	r.Track = uint16(d.uvarint("track", 1<<16-1))
	if !tracks[r.Track] {
		d.fail("track", "%d is not in the header", r.Track)
	}
	last := paths[r.Track]
	shared := int(d.uvarint("path", uint64(len(last))))
	r.Path = last[:shared] + string(d.bytes("path", int(d.uvarint("path", maxPathBytes))))
	if d.err == nil {
		if err := CheckPath(r.Path); err != nil {
			d.fail("path", "%v", err)
		}
	}
	paths[r.Track] = r.Path
	r.Length = int64(d.uvarint("length", MaxFileBytes))
	if r.Length == 0 {
		d.fail("length", "is zero")
	}
	copy(r.Root[:], d.bytes("root", len(r.Root)))
	start := micros(e.from) + int64(d.uvarint("start", uint64(maxTimeMicros)))
	duration := int64(d.uvarint("duration", uint64(maxTimeMicros)))
	if start+duration > micros(e.to) {
		d.fail("duration", "beyond the page's span")
	}
	r.Start, r.Duration = fromMicros(start), fromMicros(duration)
	flags := d.u8("flags")
	if flags&^allRecordFlags != 0 || (flags != 0 && flags&flagSegments == 0) {
		d.fail("flags", "unknown flags 0x%02x", flags)
	}
	if flags&flagSegments != 0 {
		r.Segments = parseSegments(d, flags, start, duration, r.Length)
	}
	return r
}

func parseSegments(d *decoder, flags byte, recordStart, recordDuration, fileBytes int64) []Segment {
	n := d.count("segments", MaxSegments, 1)
	if n == 0 {
		d.fail("segments", "there are none")
		return nil
	}
	segments := make([]Segment, n)
	shifts := make([]int64, n) // start minus the end of the segment before
	shifts[0] = d.zigzag("segment start", maxTimeMicros)
	offset := int64(d.uvarint("segment offset", MaxFileBytes))
	for i := range segments {
		if i > 0 && flags&flagBytesContiguous == 0 {
			offset += int64(d.uvarint("segment gap", MaxFileBytes))
		}
		length := int64(d.uvarint("segment length", MaxFileBytes))
		if length == 0 || offset+length > fileBytes {
			d.fail("segment length", "segment %d is empty or ends after the file", i)
			return nil
		}
		segments[i].Offset, segments[i].Length = offset, length
		offset += length
		if i > 0 && flags&flagTimesContiguous == 0 {
			shifts[i] = d.zigzag("segment start", maxTimeMicros)
		}
	}
	end, duration := recordStart, int64(0)
	for i := 0; i < n; {
		run := int(d.uvarint("segment durations", uint64(n-i)))
		duration += d.zigzag("segment duration", maxTimeMicros)
		if run == 0 || duration < 0 || duration > maxTimeMicros {
			d.fail("segment durations", "at segment %d", i)
			return nil
		}
		for range run {
			start := end + shifts[i]
			end = start + duration
			if start < recordStart || end > recordStart+recordDuration {
				d.fail("segment duration", "segment %d is outside of its file's time", i)
				return nil
			}
			segments[i].Start, segments[i].Duration = fromMicros(start), fromMicros(duration)
			i++
		}
	}
	return segments
}

// areaOrder is the order of records in their page's hash area: by track, then as on the page.
func areaOrder(records []Record) []int {
	order := make([]int, len(records))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(records[a].Track) - int(records[b].Track) })
	return order
}

// placeHashes gives each record the place of its hashes, the area beginning at offset, and returns the area's size.
func placeHashes(records []Record, offset int64) int64 {
	begin := offset
	order := areaOrder(records)
	for i := 0; i < len(order); {
		run := i
		for ; i < len(order) && records[order[i]].Track == records[order[run]].Track; i++ {
			r := &records[order[i]]
			r.hashOffset = offset
			offset += hashAreaBytes(r.Length)
		}
		for _, j := range order[run:i] {
			records[j].hashEnd = offset
		}
	}
	return offset - begin
}
