package replay

import (
	"slices"
	"time"
)

// visibleStall is the shortest interruption that counts: a segment that is
// appended within two frames of the last picture (25 fps) is not seen.
const visibleStall = 80 * time.Millisecond

// loadGrain is how long a player waits at least when its buffer is full.
const loadGrain = 50 * time.Millisecond

type playState uint8

const (
	stateIdle    playState = iota // asks for playlists, or has left
	stateLoading                  // no picture yet, after the start or a seek
	statePlaying
	stateStalled
	stateEnded
)

// viewer is a player and the one who watches.
type viewer struct {
	state    playState
	position time.Duration // media time shown, at the time at
	at       time.Duration
	edge     time.Duration // media time appended
	seg      int           // being loaded, or next
	getting  bool
	first    uint32 // pieces of seg
	end      uint32
	missing  int    // of them
	frontier uint32 // the first that is missing
	loadAt   time.Duration
	shown    int // the next segment to be shown
	since    time.Duration
	starved  bool         // ran dry since its last request
	seeking  bool         // loads after a seek: no start-up
	loaded   []*rendition // of the segments from shown on, the one being loaded included
	adapting *adapting    // nil: stays on its rendition
}

// play begins: the playlists are there.
func (p *peer) play() {
	v, m := &p.viewer, p.w.media
	v.state, v.at, v.since = stateLoading, p.w.now, p.arrived
	if m.live {
		behind := liveDistance
		if p.s.Position >= 0 {
			behind = max(int(p.s.Position/m.segment), 1)
		}
		v.seg = max(p.known()-behind, 0)
		v.position = m.start(v.seg)
	} else {
		v.position = min(max(p.s.Position, 0), m.start(m.segments)-m.segment)
		v.seg = int(v.position / m.segment)
	}
	v.edge, v.shown = m.start(v.seg), v.seg
	p.load()
}

// buffer is the media held beyond the playhead.
func (v *viewer) buffer() time.Duration { return max(v.edge-v.position, 0) }

// advancePlayer plays until now.
func (p *peer) advancePlayer() {
	v, m, now := &p.viewer, p.w.media, p.w.now
	if v.state == statePlaying {
		to := min(v.position+now-v.at, v.edge)
		// Of a segment that is still coming nobody knows yet what came from where.
		for v.shown < v.seg && m.start(v.shown) < to {
			at := v.at + max(m.start(v.shown)-v.position, 0)
			r := v.loaded[0]
			v.loaded = slices.Delete(v.loaded, 0, 1)
			p.acct.shown(at, played{r.id, v.shown}, r.bytes(v.shown), m.segment)
			v.shown++
		}
		p.acct.played += to - v.position
		dry := v.at + to - v.position
		v.position = to
		if to == v.edge {
			if v.edge >= m.start(m.segments) {
				v.state = stateEnded
			} else {
				v.state, v.since = stateStalled, dry
			}
		}
	}
	v.at = now
}

// appended extends the buffer to edge and plays when that is enough.
func (p *peer) appended(edge time.Duration) {
	p.advancePlayer()
	v, m, now := &p.viewer, p.w.media, p.w.now
	v.edge = edge
	enough := edge-v.position >= p.w.cfg.StartBuffer || edge >= m.start(m.segments)
	switch {
	case !enough:
		return
	case v.state == stateLoading:
		if !v.seeking {
			p.acct.started, p.acct.startup = true, now-v.since
		}
		v.state, v.seeking = statePlaying, false
	case v.state == stateStalled:
		p.endStall()
		v.state = statePlaying
	}
}

func (p *peer) endStall() {
	v := &p.viewer
	if d := p.w.now - v.since; d >= visibleStall {
		p.acct.stalls++
		p.acct.stalled += d
		v.starved = true
	}
}

// load asks for segments as long as there is room, and plans when to look again.
func (p *peer) load() {
	v, m, w := &p.viewer, p.w.media, p.w
	if v.getting && v.adapting != nil && p.deliver() {
		p.complete() // it had waited for its pace
	}
	for v.state != stateIdle && !v.getting && v.seg < m.segments {
		p.advancePlayer()
		if v.seg >= p.known() {
			p.loadLater(m.publishedAt(v.seg) + p.phase)
			return
		}
		if over := v.buffer() - w.cfg.MaxBuffer; over >= 0 {
			p.loadLater(w.now + max(over, loadGrain))
			return
		}
		if v.adapting != nil {
			p.choose()
			v.adapting.asks(w.now, v.buffer(), p.rendition.firstPiece(v.seg))
		}
		v.getting = true
		v.loaded = append(v.loaded, p.rendition)
		v.first, v.end = p.rendition.firstPiece(v.seg), p.rendition.firstPiece(v.seg+1)
		v.missing, v.frontier = 0, v.first
		for i := v.first; i < v.end; i++ {
			if !p.holds(i) {
				v.missing++
			}
		}
		p.policy.want(v.seg)
		p.moveFrontier()
		if v.getting && p.deliver() {
			p.complete()
		}
	}
}

func (p *peer) loadLater(at time.Duration) {
	p.viewer.loadAt = at
	p.w.events.push(at, evPlayer, p)
}

// arrivedPiece is a piece that the player may be waiting for.
func (p *peer) arrivedPiece(i uint32) {
	v := &p.viewer
	if !v.getting || i < v.first || i >= v.end {
		return
	}
	v.missing--
	p.moveFrontier()
	if p.deliver() {
		p.complete()
		p.load()
	}
}

// moveFrontier follows a reader that takes pieces in order.
func (p *peer) moveFrontier() {
	v, m := &p.viewer, p.w.media
	for v.frontier < v.end && p.holds(v.frontier) {
		v.frontier++
		v.firstByte(p.w.now)
	}
	if p.w.cfg.Progressive && v.frontier > v.first {
		p.appended(m.start(v.seg) + m.segment*time.Duration(v.frontier-v.first)/time.Duration(v.end-v.first))
	}
}

// complete ends a GET.
func (p *peer) complete() {
	v := &p.viewer
	v.getting = false
	seg := v.seg
	if v.adapting != nil {
		v.adapting.loadedAll(p.w.now, p.rendition.bytes(seg))
	}
	v.seg++
	p.appended(p.w.media.start(v.seg))
	p.policy.done(seg)
}

// seek jumps: what is buffered is dropped, and asked for again.
func (p *peer) seek(to time.Duration) {
	v, m := &p.viewer, p.w.media
	if v.state == stateIdle || m.live {
		return
	}
	p.advancePlayer()
	if v.state == stateStalled {
		p.endStall()
	}
	v.position = min(max(to, 0), m.start(m.segments)-m.segment)
	v.seg = int(v.position / m.segment)
	v.edge, v.shown = m.start(v.seg), v.seg
	v.loaded = v.loaded[:0]
	v.seeking = v.seeking || p.acct.started
	v.state, v.getting = stateLoading, false
	p.policy.jumped()
	p.load()
}

// leave ends watching.
func (p *peer) leave() {
	p.advancePlayer()
	v := &p.viewer
	if v.state == stateStalled {
		p.endStall()
	}
	v.state, v.getting = stateIdle, false
	p.policy.viewerGone()
}
