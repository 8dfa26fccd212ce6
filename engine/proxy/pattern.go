package proxy

import (
	"time"

	"shoal/engine"
	"shoal/engine/manifest"
)

// A pattern infers the playhead of a player from which media time it requests,
// and when. The model:
//
//   - A player fetches forward. The end of what it has been given is its
//     frontier, one per kind of track; buffer = nearest frontier − playhead.
//   - It starts, or starts again after a seek, when the first media arrives at
//     the place that it asked for, and then plays in real time, unless its
//     buffer is empty.
//   - It asks for the next segment at once while its buffer is filling. When
//     its buffer is full it waits until that has fallen to its low water, which
//     is learned from the first such wait and calibrates every later one.
//   - When a wait lasts longer than playing could make it, the player is
//     paused. Its playhead stands still where its buffer holds the low water.
//   - A request beyond the frontier, or for what was played already, is a seek.
//     One between playhead and frontier is a change of rendition.
//
// What the player says itself (CMCD) overrides what is inferred. Where the model
// must guess, it guesses a later playhead: too small a buffer costs CDN bytes,
// too large a one costs the picture.
//
// A pattern reads no clock and is owned by its session.
type pattern struct {
	state    patternState
	position time.Duration // at the time at
	at       time.Time
	rate     float64 // of the player when it plays

	frontiers [frontierCount]frontier
	open      int       // GETs in flight
	quiet     time.Time // since when none was in flight, or progressed

	lowWater    time.Duration
	lowKnown    bool
	segment     time.Duration // length of the last segment asked for
	progressive bool
}

func newPattern() pattern { return pattern{rate: 1} }

type patternState uint8

const (
	patternIdle     patternState = iota // nothing asked for yet
	patternStarting                     // waits for the first media after start or seek
	patternPlaying
	patternStalled // played all that it was given
	patternPaused
)

// Video and muxed tracks replace each other; text and images do not hold up
// playback and are not followed.
const (
	frontierVideo = iota
	frontierAudio
	frontierCount
)

type frontier struct {
	known bool
	end   time.Duration
	asked time.Time
}

// span is the media time of a GET.
type span struct {
	kind       manifest.Kind
	start, end time.Duration
}

func (s span) duration() time.Duration { return s.end - s.start }

const (
	// frontierRecent is how long a track counts as being played after its last
	// request: two of the longest segments in use, so that an audio track that
	// was switched off does not hold the frontier back.
	frontierRecent = 30 * time.Second

	// seekTolerance is the smallest jump that makes a seek. Audio and video
	// segments of one instant begin up to a frame group apart, and players skip
	// gaps of a second without calling it a seek.
	seekTolerance = 2 * time.Second

	// idleMin is the shortest pause between GETs that shows a full buffer; the
	// parsing and appending of a segment takes less.
	idleMin = 300 * time.Millisecond

	// pauseSlack is how much later than expected a request must be before the
	// player is taken for paused: scheduling ticks of players are 0.1–1 s.
	pauseSlack = 2 * time.Second

	// progressivePause is the same for players that read on as their buffer
	// empties: they read in bursts, browsers some seconds apart.
	progressivePause = 10 * time.Second
)

func frontierOf(k manifest.Kind) (int, bool) {
	switch k {
	case manifest.KindVideo, manifest.KindMuxed:
		return frontierVideo, true
	case manifest.KindAudio:
		return frontierAudio, true
	default:
		return 0, false
	}
}

// request tells that a GET for s was received, and what the player said with it.
func (p *pattern) request(now time.Time, s span, progressive bool, c cmcd) {
	i, follows := frontierOf(s.kind)
	p.advance(now)
	idle := p.open == 0 && now.Sub(p.quiet) > idleMin
	p.open++
	p.quiet = now
	if !follows {
		return
	}
	p.progressive = progressive
	switch {
	case p.state == patternIdle || p.isSeek(i, s):
		p.seek(now, s.start)
	case p.state == patternStarting:
		// A second track, or the other rendition that is tried at the start.
	case idle && c.bufferLength < 0:
		p.calibrate(now)
	case p.state == patternPaused:
		p.state = patternPlaying
	}
	if !progressive {
		p.segment = s.duration()
	}
	f := &p.frontiers[i]
	f.asked = now
	if !f.known {
		f.known, f.end = true, s.start
	}
	p.told(now, f, s, c)
	if idle && c.bufferLength > 0 {
		p.lowWater, p.lowKnown = c.bufferLength, true
	}
}

// jumps tells whether a progressive read for sp would count as a seek.
func (p *pattern) jumps(now time.Time, sp span) bool {
	i, follows := frontierOf(sp.kind)
	p.advance(now)
	return follows && p.state != patternIdle && p.isSeek(i, sp)
}

// told takes the player's own word: media held ahead of the playhead at the
// moment of its request for s, and the speed.
func (p *pattern) told(now time.Time, f *frontier, s span, c cmcd) {
	if c.playbackRate >= 0 {
		p.rate = c.playbackRate
	}
	if c.startup && c.bufferLength < 0 {
		c.bufferLength = 0
	}
	if c.bufferLength < 0 {
		return
	}
	held := s.start
	if f.end > held && held >= p.position {
		held = f.end // it replaces a part of its buffer by another rendition
	} else {
		f.end = held
	}
	p.position, p.at = max(held-c.bufferLength, 0), now
	if c.bufferLength == 0 {
		p.position, f.end = s.start, s.start
		p.state = patternStarting
		return
	}
	p.state = patternPlaying
}

// delivered tells that the media of a track was handed over up to a time.
func (p *pattern) delivered(now time.Time, k manifest.Kind, upTo time.Duration) {
	i, follows := frontierOf(k)
	if !follows {
		return
	}
	p.advance(now)
	f := &p.frontiers[i]
	if f.known && upTo > f.end {
		f.end = upTo
	}
	p.quiet = now
	if p.state == patternPaused && p.progressive {
		p.state = patternPlaying // it reads again
	}
	if (p.state == patternStarting || p.state == patternStalled) && p.edge() > p.position {
		p.state = patternPlaying
	}
}

// finished tells that a GET ended, however.
func (p *pattern) finished(now time.Time) {
	p.advance(now)
	p.open = max(p.open-1, 0)
	p.quiet = now
}

// estimate is the player's state at now, as the engine wants it.
func (p *pattern) estimate(now time.Time) engine.Playback {
	p.advance(now)
	rate := p.rate
	if p.state == patternPaused {
		rate = 0
	}
	return engine.Playback{
		Position: p.position, Buffer: max(p.edge()-p.position, 0),
		Rate: rate, Progressive: p.progressive, At: now,
	}
}

// advance moves the playhead to now.
func (p *pattern) advance(now time.Time) {
	if p.state == patternPlaying {
		if pauseAt := p.pauseTime(); now.After(pauseAt) {
			p.move(pauseAt)
			p.state = patternPaused
		}
	}
	p.move(now)
}

func (p *pattern) move(now time.Time) {
	if p.state == patternPlaying {
		passed := max(now.Sub(p.at), 0)
		p.position += time.Duration(float64(passed) * p.rate)
		if edge := p.edge(); p.position >= edge {
			p.position = edge
			p.state = patternStalled
			if p.open == 0 {
				// A player that ran dry waits for an answer. This one asks for
				// nothing: it is paused, or at the end of the title.
				p.state = patternPaused
			}
		}
	}
	p.at = now
}

// pauseTime is when a playing player would have asked for more at the latest.
func (p *pattern) pauseTime() time.Time {
	switch {
	case p.progressive:
		return p.quiet.Add(progressivePause)
	case p.open > 0:
		return p.at.Add(1 << 62) // it waits for us
	case p.lowKnown:
		// Down to the low water, at the present speed.
		surplus := max(p.edge()-p.position-p.lowWater, 0)
		expected := p.at.Add(time.Duration(float64(surplus) / max(p.rate, 0.1)))
		return latest(expected, p.quiet).Add(p.segment/2 + pauseSlack)
	default:
		// A full buffer makes room for a segment while one is played.
		return p.quiet.Add(2*p.segment + pauseSlack)
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// calibrate is called at a request that follows a wait: the buffer stands at
// its low water now.
func (p *pattern) calibrate(now time.Time) {
	buffer := max(p.edge()-p.position, 0)
	if p.lowKnown {
		// It may have played slower (short pauses) or skipped inside its buffer.
		p.position = max(p.edge()-p.lowWater, 0)
	} else if buffer > 0 {
		p.lowWater, p.lowKnown = buffer, true
	}
	p.at = now
	if p.state == patternPaused {
		p.state = patternPlaying
	}
}

// isSeek tells whether a request continues neither the playhead nor the buffer.
func (p *pattern) isSeek(i int, s span) bool {
	end := p.frontiers[i].end
	if !p.frontiers[i].known {
		end = max(p.position, p.frontiers[frontierVideo].end, p.frontiers[frontierAudio].end)
	}
	if p.progressive {
		return s.start > end+seekTolerance || s.start < p.position-seekTolerance
	}
	tolerance := min(max(s.duration(), seekTolerance), 4*seekTolerance)
	return s.start > end+tolerance || s.end+seekTolerance <= p.position
}

func (p *pattern) seek(now time.Time, to time.Duration) {
	p.frontiers = [frontierCount]frontier{}
	p.position, p.at = to, now
	p.state = patternStarting
}

// edge is the nearest frontier of the tracks being played.
func (p *pattern) edge() time.Duration {
	var newest time.Time
	for _, f := range p.frontiers {
		if f.known {
			newest = latest(newest, f.asked)
		}
	}
	var edge time.Duration
	found := false
	for _, f := range p.frontiers {
		if f.known && newest.Sub(f.asked) <= frontierRecent+p.segment && (!found || f.end < edge) {
			edge, found = f.end, true
		}
	}
	return edge
}
