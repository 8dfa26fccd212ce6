package player

import "time"

// visibleStall is the shortest interruption that counts: a segment that is
// appended within two frames of the last picture (25 fps) is not seen.
const visibleStall = 80 * time.Millisecond

// trackBuffer is what was appended of one track. Tracks are appended in order
// and without gaps, so that the end says all.
type trackBuffer struct {
	begun bool
	start time.Duration
	end   time.Duration
	done  bool // everything there will ever be is appended
}

// playback is the media element: buffers in, time out. The Player's mu guards it.
type playback struct {
	state        State
	firstGet     time.Time
	startup      time.Duration
	position     time.Duration
	at           time.Time // when position was true
	tracks       []trackBuffer
	stalls       int
	stalled      time.Duration
	stalledSince time.Time
	starved      bool // ran dry since the last request told so (CMCD bs)
}

func (b *playback) begin(now time.Time) {
	b.state, b.firstGet, b.at = Loading, now, now
}

// edge is where the track that has least ends, of those that go on.
func (b *playback) edge() time.Duration {
	edge, open := time.Duration(0), false
	last := time.Duration(0)
	for _, t := range b.tracks {
		last = max(last, t.end)
		if !t.done && (!open || t.end < edge) {
			edge, open = t.end, true
		}
	}
	if !open {
		return last
	}
	return edge
}

// buffered is what is held beyond the playhead, of one track or (−1) of all.
func (b *playback) buffered(track int) time.Duration {
	edge := b.edge()
	if track >= 0 {
		edge = b.tracks[track].end
	}
	return max(edge-b.position, 0)
}

func (b *playback) allDone() bool {
	for _, t := range b.tracks {
		if !t.done {
			return false
		}
	}
	return len(b.tracks) > 0
}

// advance plays until now.
func (b *playback) advance(now time.Time) {
	if b.state == Playing {
		b.position += now.Sub(b.at)
		if edge := b.edge(); b.position >= edge {
			dryAt := now.Add(edge - b.position)
			b.position = edge
			if b.allDone() {
				b.state = Ended
			} else {
				b.state, b.stalledSince = Stalled, dryAt
			}
		}
	}
	if b.state == Stalled && b.allDone() {
		b.resume(now)
		b.state = Ended
	}
	b.at = now
}

// appended extends a track by a segment.
func (b *playback) appended(now time.Time, track int, start, duration time.Duration) {
	b.advance(now)
	t := &b.tracks[track]
	if !t.begun {
		t.begun, t.start, t.end = true, start, start
	}
	t.end += duration
	switch b.state {
	case Loading:
		for _, t := range b.tracks {
			if !t.begun {
				return
			}
			b.position = max(b.position, t.start)
		}
		b.state, b.startup, b.at = Playing, now.Sub(b.firstGet), now
	case Stalled:
		if b.edge() > b.position {
			b.resume(now)
			b.state = Playing
		}
	default:
	}
}

// resume accounts for the stall that ends.
func (b *playback) resume(now time.Time) {
	if d := now.Sub(b.stalledSince); d >= visibleStall {
		b.stalls++
		b.stalled += d
		b.starved = true
	}
}

func (b *playback) finishTrack(now time.Time, track int) {
	b.advance(now)
	b.tracks[track].done = true
}
