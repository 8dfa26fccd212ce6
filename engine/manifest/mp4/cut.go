package mp4

import "time"

// cut makes segments of at least target of events in file order, at the sync samples of track lead. They cover the file:
// what lies before the first event and behind the last media data (a moov at the end) are segments of no duration at
// time zero.
func cut(events []event, lead int, target time.Duration, dataEnd func(int64) int64, fileBytes int64) []Segment {
	var out []Segment
	var known time.Duration // latest end of media in the segment
	if first := events[0].offset; first > 0 && first < fileBytes {
		out = append(out, Segment{Length: first})
	}
	open := -1 // index of the segment being grown
	begin := func(e event) {
		out = append(out, Segment{Offset: e.offset, Start: e.start})
		open, known = len(out)-1, e.end
	}
	last := time.Duration(0)
	for _, e := range events {
		if e.offset >= fileBytes || (open >= 0 && e.offset <= out[open].Offset) {
			if open >= 0 && e.offset == out[open].Offset {
				known = max(known, e.end)
			}
			continue
		}
		if open < 0 {
			begin(e)
			last = e.start
			continue
		}
		s := &out[open]
		long := e.start - s.Start
		jumped := e.start < s.Start-jump || e.start > last+jump
		switch {
		case jumped:
			// Not interleaved: another track's data begin here.
			s.Length, s.Duration = e.offset-s.Offset, max(0, known-s.Start)
			begin(e)
			lead = e.track
		case e.cutHere && long >= target && (e.track == lead || long >= 4*target):
			s.Length, s.Duration = e.offset-s.Offset, long
			begin(e)
			lead = e.track
		default:
			known = max(known, e.end)
		}
		last = e.start
	}
	if open < 0 {
		return []Segment{{Length: fileBytes}}
	}
	s := &out[open]
	end := max(min(dataEnd(s.Offset), fileBytes), s.Offset+1)
	s.Length, s.Duration = end-s.Offset, max(0, known-s.Start)
	if end < fileBytes {
		out = append(out, Segment{Offset: end, Length: fileBytes - end})
	}
	return out
}
