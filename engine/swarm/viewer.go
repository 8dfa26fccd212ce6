package swarm

import (
	"slices"
	"time"

	"shoal/internal/pieces"
	"shoal/internal/wire"
	"shoal/scheduler"
)

const (
	// maxViewers and maxWants bound what players on this machine can open.
	maxViewers = 64
	maxWants   = 1024
	// maxWindowPieces bounds one viewer's window: 1 GiB, 60 s at 140 Mbit/s.
	maxWindowPieces = 16384
	// wantWindow is how far a read without a place in time runs ahead of its
	// reader: enough for a gigabit line over 100 ms, little if it is abandoned.
	wantWindow = 16 << 20
	// wantRate and wantLead time a read that has neither a place in time nor a
	// deadline of its own: as if it were a track of 8 Mbit/s that starts in two
	// seconds.
	wantRate = 1_000_000
	wantLead = 2 * time.Second
	// patienceSlack is how much later than a player would like an answer may come
	// when its buffer lasts longer: the scheduler keeps a margin before every
	// deadline, as a picture that stops cannot be mended, and an estimate can.
	patienceSlack = time.Second
	// safeBuffer ends a start-up: as much as hls.js asks for before it considers
	// a stall over, and a rescue's worst case.
	safeBuffer = 4 * time.Second
	// seekJump is how far a playhead must leave its course to be a seek.
	seekJump = 2 * time.Second
	// maxRate bounds a player's claimed speed.
	maxRate = 16
)

// viewer is one player's session.
type viewer struct {
	id       Viewer
	play     Playhead
	at       time.Time // when play was true
	starting bool      // since the start or the last seek the buffer was never safe
	playing  []playing
}

// playing is the track that a viewer plays of one kind.
type playing struct {
	title Title
	kind  string
	track uint16
}

// position extrapolates the playhead.
func (v *viewer) position(now time.Time) time.Duration {
	return v.play.Position + time.Duration(float64(now.Sub(v.at))*v.play.Rate)
}

// want is an open read.
type want struct {
	Want
	since time.Time
}

// need is a piece that some viewer will need.
type need struct {
	piece    Piece
	deadline time.Duration // since the core's epoch
	lead     time.Duration // how long before its deadline the player will ask for it
	told     told
	round    uint64
	startup  bool
	failed   bool   // a copy failed its hash
	reason   Reason // of the last fetch
}

// told is what the scheduler was told of a need; with swarm -1, nothing yet.
type told struct {
	deadline time.Duration
	lead     time.Duration
	swarm    int
}

// Playhead takes what is known of a viewer's player.
func (c *Core) Playhead(now time.Time, id Viewer, p Playhead) {
	p.Rate = min(max(p.Rate, 0), maxRate)
	p.Buffer = max(p.Buffer, 0)
	v := c.viewer(id)
	if v == nil {
		if len(c.viewers) >= maxViewers {
			return
		}
		v = &viewer{id: id, starting: true, at: now, play: p}
		c.viewers = append(c.viewers, v)
	} else if v.play.Title != p.Title {
		v.starting, v.playing = true, v.playing[:0]
	} else if jump := p.Position - v.position(now); (jump > seekJump || jump < -seekJump) && p.Buffer == 0 {
		v.starting = true
	}
	v.play, v.at = p, now
	if p.Buffer >= safeBuffer {
		v.starting = false
	}
	c.dirty = true
}

// ViewerGone forgets a viewer.
func (c *Core) ViewerGone(_ time.Time, id Viewer) {
	c.viewers = slices.DeleteFunc(c.viewers, func(v *viewer) bool { return v.id == id })
	c.dirty = true
}

func (c *Core) viewer(id Viewer) *viewer {
	for _, v := range c.viewers {
		if v.id == id {
			return v
		}
	}
	return nil
}

// Want opens a read, or moves the start of one that is open as its reader
// advances.
func (c *Core) Want(now time.Time, w Want) {
	i := slices.IndexFunc(c.wants, func(o *want) bool { return o.ID == w.ID })
	switch {
	case i >= 0:
		if c.wants[i].Offset != w.Offset {
			c.wants[i].since = now // its reader is on time
		}
		c.wants[i].Want = w
	case len(c.wants) >= maxWants:
		c.out.WantsFailed = append(c.out.WantsFailed, WantFailed{ID: w.ID, Err: errTooManyReads})
		return
	default:
		c.wants = append(c.wants, &want{Want: w, since: now})
		c.follow(w)
		c.plan = now // a player waits
	}
	c.dirty = true
}

// follow makes the track of an opened file the one that its viewer plays.
func (c *Core) follow(w Want) {
	v := c.viewer(w.Viewer)
	if v == nil {
		return
	}
	for _, pl := range c.files[w.File].places {
		tr := c.titles[pl.title].track(pl.track)
		if pl.title != v.play.Title || tr == nil || !pl.timed {
			continue
		}
		now := playing{title: pl.title, kind: tr.kind, track: tr.id}
		i := slices.IndexFunc(v.playing, func(p playing) bool { return p.kind == tr.kind })
		if i < 0 {
			v.playing = append(v.playing, now)
		} else {
			v.playing[i] = now
		}
		return
	}
}

// Cancel closes a read: it is finished or abandoned.
func (c *Core) Cancel(_ time.Time, id WantID) {
	c.wants = slices.DeleteFunc(c.wants, func(w *want) bool { return w.ID == id })
	c.dirty = true
}

// refreshNeeds works out which pieces are needed and when, from the playheads
// and the open reads, and tells the scheduler.
func (c *Core) refreshNeeds(now time.Time) {
	c.round++
	for _, v := range c.viewers {
		c.needWindow(now, v)
	}
	for _, w := range c.wants {
		c.needWant(now, w)
	}
	for ti, t := range c.titles {
		t.size = c.swarmSize(Title(ti))
	}
	kept := c.order[:0]
	for _, n := range c.order {
		if n.round == c.round {
			c.tell(now, n)
			kept = append(kept, n)
			continue
		}
		if c.needOf(n.piece) == n {
			if c.sched.Begun(key(n.piece)) {
				c.out.Release = append(c.out.Release, n.piece)
			}
			c.sched.Forget(now, key(n.piece))
			c.dropNeed(n)
		}
	}
	clear(c.order[len(kept):])
	c.order = pieces.Trimmed(kept)
	c.cancelUselessFetches(now)
}

// needWindow adds what a viewer will need: the segments between what its player
// holds and the end of the window, on the tracks that it plays.
func (c *Core) needWindow(now time.Time, v *viewer) {
	position, wall := v.position(now), c.at(now)
	held := v.play.Position + v.play.Buffer
	pieces := 0
	for _, pl := range v.playing {
		tr := c.titles[pl.title].track(pl.track)
		for _, s := range tr.window(position, position+c.cfg.Ahead) {
			if s.start+s.dur <= held {
				continue // the player has it
			}
			f := c.files[s.file]
			first, end := f.pieceRange(s.offset, s.length)
			for i := first; i < end && pieces < maxWindowPieces; i++ {
				at := s.start
				if v.play.Progressive {
					at = s.timeOf(int64(i) * wire.PieceBytes)
				}
				if n := c.need(wall, Piece{s.file, i}, wall+v.until(at-position), v.starting); n != nil {
					n.lead = v.play.Buffer
				}
				pieces++
			}
		}
	}
}

// until turns media time ahead into the wall time that is left to bring it. A
// paused player may go on at any moment, so it counts as playing.
func (v *viewer) until(media time.Duration) time.Duration {
	if v.play.Rate > 1 {
		media = time.Duration(float64(media) / v.play.Rate)
	}
	return max(media-v.play.Append, 0)
}

// timeOf returns the media time at which a progressive player needs the byte at
// offset of the file.
func (s segment) timeOf(offset int64) time.Duration {
	into := min(max(offset-s.offset, 0), s.length)
	if s.length == 0 {
		return s.start
	}
	return s.start + time.Duration(float64(s.dur)*float64(into)/float64(s.length))
}

// needWant adds what an open read needs.
func (c *Core) needWant(now time.Time, w *want) {
	f := c.files[w.File]
	first, end := f.pieceRange(w.Offset, min(w.Length, wantWindow))
	v := c.viewer(w.Viewer)
	for i := first; i < end; i++ {
		pc := Piece{w.File, i}
		into := max(int64(i)*wire.PieceBytes-w.Offset, 0)
		deadline, timed := c.timedDeadline(now, v, pc)
		switch {
		case !w.Deadline.IsZero() && timed && !v.starting:
			deadline = earlier(deadline, w.Deadline.Add(patienceSlack))
		case !w.Deadline.IsZero() && (!timed || w.Deadline.Before(deadline)):
			deadline = w.Deadline
		case !timed:
			deadline = w.since.Add(wantLead + time.Duration(into)*time.Second/wantRate)
		}
		if n := c.need(c.at(now), pc, c.at(deadline), v == nil || v.starting); n != nil {
			n.lead = 0
		}
	}
}

// timedDeadline returns when the playhead of v reaches the piece.
func (c *Core) timedDeadline(now time.Time, v *viewer, pc Piece) (time.Time, bool) {
	if v == nil {
		return time.Time{}, false
	}
	position := v.position(now)
	for _, pl := range c.files[pc.File].places {
		if pl.title != v.play.Title || !pl.timed {
			continue
		}
		tr := c.titles[pl.title].track(pl.track)
		at := int64(pc.Index) * wire.PieceBytes
		for _, s := range tr.window(pl.from, pl.to) {
			if s.file != pc.File || at+wire.PieceBytes <= s.offset || at >= s.offset+s.length {
				continue
			}
			media := s.start
			if v.play.Progressive {
				media = s.timeOf(at)
			}
			return now.Add(v.until(media - position)), true
		}
	}
	return time.Time{}, false
}

// need marks a piece as needed in this round, with the earliest of its deadlines.
func (c *Core) need(now time.Duration, pc Piece, deadline time.Duration, startup bool) *need {
	if c.files[pc.File].have.Has(pc.Index) {
		return nil
	}
	n := c.needOf(pc)
	if n == nil {
		n = &need{piece: pc, deadline: deadline, told: told{swarm: -1}}
		c.needs.Put(uint32(pc.File), pc.Index, n)
		c.order = append(c.order, n)
	}
	if n.failed {
		deadline = now
	}
	switch {
	case n.round != c.round:
		n.round, n.startup = c.round, startup
		if d := deadline - n.deadline; d > retimeAfter || d < -retimeAfter {
			n.deadline = deadline
		}
	case deadline < n.deadline:
		n.deadline = deadline
	}
	n.startup = n.startup || startup
	return n
}

// retimeAfter is how far a deadline must move to be moved: below it the queues
// need not be sorted again for the grain of a clock.
const retimeAfter = 100 * time.Millisecond

// tell passes a need on to the scheduler.
func (c *Core) tell(now time.Time, n *need) {
	k := key(n.piece)
	f := c.files[n.piece.File]
	place := f.places[0]
	t := c.titles[place.title]
	say := told{n.deadline, n.lead, t.size}
	if n.told == say {
		return
	}
	n.told = say
	sn := scheduler.Need{Piece: k, Deadline: c.epoch.Add(n.deadline), Swarm: t.size, Joined: t.opened, Lead: n.lead}
	if !c.sched.Known(k) {
		sn.Full = wire.FullMask(f.length, n.piece.Index)
		sn.Lot = 1
		if !c.cfg.NoUpload {
			sn.Lot = scheduler.Lot(f.root, n.piece.Index, t.u)
		}
		sn.Holders = c.holders(n.piece.File, n.piece.Index)
	}
	c.sched.Need(now, sn)
}

// dropNeed removes a need whose piece is settled.
func (c *Core) dropNeed(n *need) { c.needs.Delete(uint32(n.piece.File), n.piece.Index) }

func (c *Core) needOf(pc Piece) *need { return c.needs.Get(uint32(pc.File), pc.Index) }
