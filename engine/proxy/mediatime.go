package proxy

import (
	"sort"
	"time"

	"shoal/engine/manifest"
)

// mediaSpan returns the media time of a byte range, and whether the range is a
// progressive read: one that covers more than a segment, or a part of one, of a
// file that holds several. ok is false where no media time lies (an
// initialization segment, the boxes of an MP4).
func mediaSpan(rec manifest.Record, r byteRange) (from, to time.Duration, progressive, ok bool) {
	if len(rec.Segments) == 0 {
		// Players read a segment file as a whole, or go on with the rest of it.
		return rec.Start, rec.Start + rec.Duration, false, rec.Duration > 0
	}
	end := r.offset + r.length
	found := false
	touched := 0
	exact := false
	i := sort.Search(len(rec.Segments), func(i int) bool { return rec.Segments[i].Offset+rec.Segments[i].Length > r.offset })
	for ; i < len(rec.Segments) && rec.Segments[i].Offset < end; i++ {
		s := rec.Segments[i]
		if s.Duration <= 0 {
			continue
		}
		if !found {
			from = timeWithin(s, r.offset)
			found = true
		}
		to = max(to, timeWithin(s, end))
		touched++
		exact = s.Offset == r.offset && s.Length == r.length
	}
	return from, to, touched > 1 || !exact, found
}

// mediaTime returns the media time of the byte at off, going on from the last
// known one; ok is false when no timed byte lies at or before it.
func mediaTime(rec manifest.Record, off int64) (at time.Duration, ok bool) {
	if len(rec.Segments) == 0 {
		return timeWithin(manifest.Segment{Length: rec.Length, Start: rec.Start, Duration: rec.Duration}, off), rec.Duration > 0
	}
	i := sort.Search(len(rec.Segments), func(i int) bool { return rec.Segments[i].Offset > off }) - 1
	for ; i >= 0; i-- {
		if s := rec.Segments[i]; s.Duration > 0 {
			return timeWithin(s, off), true
		}
	}
	return 0, false
}

// timeWithin interpolates: inside a segment the bitrate counts as constant.
func timeWithin(s manifest.Segment, off int64) time.Duration {
	if s.Length <= 0 || off <= s.Offset {
		return s.Start
	}
	part := min(float64(off-s.Offset)/float64(s.Length), 1)
	return s.Start + time.Duration(part*float64(s.Duration))
}
