package engine

import (
	"sync/atomic"
	"time"

	"shoal/engine/swarm"
	"shoal/internal/pace"
)

// Playback is what a player tells, or what is guessed from its requests.
type Playback struct {
	Position time.Duration // media time being shown
	Buffer   time.Duration // media time held beyond Position
	Rate     float64       // 1 playing, 0 paused
	// Progressive players read byte by byte and show each piece as it comes;
	// others append whole segments.
	Progressive bool
	// Stalled: the player ran dry since its last report (CMCD "bs").
	Stalled bool
	// At is when the player measured this. Zero: now.
	At time.Time
}

const (
	// viewersMax bounds the viewing sessions of one title; the one that was
	// silent longest gives way.
	viewersMax = 32

	// viewerIdle ends a session that neither reported nor read: a tab that was
	// closed says nothing. Players in pause ask for nothing for minutes.
	viewerIdle = 10 * time.Minute

	// maxExtrapolation bounds how old a report may be and still be moved to
	// now: beyond it, clocks are wrong rather than reports late.
	maxExtrapolation = time.Minute

	// trackRecent is how long a rendition counts as being played after the
	// last read of it: two long segments.
	trackRecent = 30 * time.Second
)

// Viewer is one viewing session of a title. A node serves several, e.g. two
// browser tabs.
type Viewer struct {
	// constant
	title  *Title
	id     string
	handle swarm.Viewer
	began  uint32 // Engine.stamp

	stalls      atomic.Int64
	playedBytes atomic.Int64
	cachedBytes atomic.Int64
	lastUsed    atomic.Int64 // Unix nanoseconds

	// owned by the loop
	last   Playback // At is set
	known  bool     // last came from a report
	closed bool
	tracks map[uint16]time.Time // renditions read lately
}

// Viewer returns the session with this ID, and begins it when it is new. The ID
// is the player's (CMCD sid) or of the caller's choice.
func (t *Title) Viewer(id string) *Viewer {
	now := time.Now()
	var oldest *Viewer
	t.mu.Lock()
	v := t.viewers[id]
	if v == nil {
		if len(t.viewers) >= viewersMax {
			oldest = t.removeOldestViewer()
		}
		v = &Viewer{
			title: t, id: id,
			handle: swarm.Viewer(t.engine.lastViewer.Add(1)),
			began:  t.engine.stamp(now),
			tracks: make(map[uint16]time.Time),
		}
		t.viewers[id] = v
	}
	v.lastUsed.Store(now.UnixNano())
	t.mu.Unlock()
	if oldest != nil {
		oldest.end()
	}
	return v
}

// anonymous is the session of reads that name none.
func (t *Title) anonymous() *Viewer { return t.Viewer("") }

// removeOldestViewer makes room; the caller holds t.mu.
func (t *Title) removeOldestViewer() *Viewer {
	var oldest *Viewer
	for _, v := range t.viewers {
		if oldest == nil || v.lastUsed.Load() < oldest.lastUsed.Load() {
			oldest = v
		}
	}
	if oldest != nil {
		delete(t.viewers, oldest.id)
	}
	return oldest
}

// ID returns the session's ID.
func (v *Viewer) ID() string { return v.id }

// Report tells where the player is. The engine extrapolates between reports.
func (v *Viewer) Report(p Playback) {
	now := time.Now()
	v.lastUsed.Store(now.UnixNano())
	if p.At.IsZero() || p.At.After(now) {
		p.At = now
	}
	if p.Stalled {
		v.stalls.Add(1)
	}
	e := v.title.engine
	_ = e.post(func(now time.Time) { e.loop.playhead(now, v, p) })
}

// Close ends the session: nothing is downloaded ahead for it any more.
func (v *Viewer) Close() {
	v.title.removeViewer(v)
	v.end()
}

func (t *Title) removeViewer(v *Viewer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.viewers[v.id] == v {
		delete(t.viewers, v.id)
	}
}

func (v *Viewer) end() {
	e := v.title.engine
	_ = e.post(func(now time.Time) { e.loop.viewerGone(now, v) })
}

// played counts bytes handed to the player.
func (v *Viewer) played(n int, cached bool) {
	v.playedBytes.Add(int64(n))
	v.title.engine.playedBytes.Add(int64(n))
	if cached {
		v.cachedBytes.Add(int64(n))
		v.title.engine.cachedBytes.Add(int64(n))
	}
}

// at returns the playback moved from its report to now.
func (p Playback) at(now time.Time) Playback {
	passed := min(max(now.Sub(p.At), 0), maxExtrapolation)
	moved := min(time.Duration(float64(passed)*max(p.Rate, 0)), max(p.Buffer, 0))
	p.Position += moved
	p.Buffer -= moved
	p.At = now
	return p
}

// seekJump is the distance from the expected position that makes a seek: more
// than reports are ever off.
const seekJump = 5 * time.Second

// playhead takes a player's report.
func (l *loop) playhead(now time.Time, v *Viewer, p Playback) {
	if v.closed {
		return
	}
	p = p.at(now)
	first := !v.known
	jump := false
	if v.known {
		d := p.Position - v.last.at(now).Position
		jump = d > seekJump || d < -seekJump
	}
	if p.Stalled {
		l.emit(Event{At: now, Kind: EventStalled, Title: v.title.id.String(), Reason: "player ran dry"})
	}
	v.last, v.known = p, true
	s := l.titleOf(v.title)
	s.viewers[v.handle] = v
	s.position = p.Position
	play := swarm.Playhead{Title: s.handle, Position: p.Position, Buffer: p.Buffer, Rate: p.Rate, Progressive: p.Progressive}
	if !p.Progressive {
		play.Append = pace.Append
	}
	l.core.Playhead(now, v.handle, play)
	if first || jump {
		l.upkeepTitle(now, s)
		l.kickTracker()
	}
}

// viewerReads notes that a session reads a file, and so plays its rendition.
func (l *loop) viewerReads(now time.Time, r *Reader) {
	v := r.viewer
	v.tracks[r.file.record.Track] = now
	if !v.closed {
		l.titleOf(v.title).viewers[v.handle] = v
	}
}

func (l *loop) viewerGone(now time.Time, v *Viewer) {
	if v.closed {
		return
	}
	v.closed = true
	delete(l.titleOf(v.title).viewers, v.handle)
	if v.known {
		l.core.ViewerGone(now, v.handle)
	}
}

// expireViewers ends sessions that went silent.
func (l *loop) expireViewers(now time.Time, s *titleState) {
	for _, v := range s.viewers {
		if now.Sub(time.Unix(0, v.lastUsed.Load())) <= viewerIdle || l.reading(v) {
			continue
		}
		l.viewerGone(now, v)
		v.title.removeViewer(v)
	}
	for _, v := range s.viewers {
		for track, at := range v.tracks {
			if now.Sub(at) > trackRecent && len(v.tracks) > 1 && !l.reading(v) {
				delete(v.tracks, track)
			}
		}
	}
}

func (l *loop) reading(v *Viewer) bool {
	for _, r := range l.readers {
		if r.viewer == v {
			return true
		}
	}
	return false
}
