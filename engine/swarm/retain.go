package swarm

import (
	"cmp"
	"math"
	"slices"
	"time"

	"shoal/internal/wire"
)

const (
	// ExtentPieces are given up together: the store's, which gives space back by 1 MiB.
	ExtentPieces = 16
	// spareShare of the cache, and spareLeast unless the cache is small, is what the
	// store needs for itself and for what is being written. So much more is given up
	// at once: a look at all that is held then pays for several extents.
	spareShare = 64
	spareLeast = 2 * ExtentPieces * wire.PieceBytes
	spareMost  = 8 // the share of a small cache
	// KeptBehind the playhead stays, for a player that reads again.
	KeptBehind = 10 * time.Second
	// surelyKept is how much of what it played a peer that uploads surely still has,
	// where it has not said what it has: half of what the smallest usual cache holds
	// of a film.
	surelyKept = 6 * time.Minute
	// abreast is how near to each other two playheads count as one: others' are
	// known by their interest, and not exactly.
	abreast = 10 * time.Second
	// beyond every title: this node has passed all of what nobody here watches.
	beyond = 1000 * time.Hour
	// never is when a playhead comes to what it has passed.
	never = time.Duration(math.MaxInt64)
)

// Drop names pieces of a file that the store is to give up.
type Drop struct {
	File         File
	First, Count uint32
}

// worth is what an extent is of use for; the least goes first.
type worth uint8

const (
	unplaced  worth = iota // no media time is known: stays, as it may be an index
	forNobody              // who is known has passed it
	surplus                // somebody behind this node has it, too, and needs it longer
	wanted                 // somebody is on the way to it
	inUse                  // around a playhead of this node, or being read: stays
)

// value orders what is held.
type value struct {
	worth worth
	// away is how long ago this node's playhead was there, and of what is wanted how
	// long until somebody's is. The nearest goes last.
	away time.Duration
}

func (v value) compare(o value) int {
	return cmp.Or(cmp.Compare(v.worth, o.worth), cmp.Compare(o.away, v.away))
}

// extent is a part of the cache.
type extent struct {
	file       File
	first, end uint32 // pieces
	value
}

// span is the media time that an extent has a part of, in one title.
type span struct{ from, to time.Duration }

// until is how long until a playhead needs some of a span.
func (s span) until(playhead time.Duration) time.Duration {
	if s.to <= playhead {
		return never
	}
	return max(s.from-playhead, 0)
}

// crowd is who is where in a title.
type crowd struct {
	mine   []time.Duration // playheads of this node
	last   time.Duration   // the farthest of them
	others []other
}

type other struct {
	p  *peer
	at time.Duration
}

// makeRoom gives up what the swarm needs least when the cache is nearly full. The
// cache of a node holds minutes of a film, and who follows may be many minutes
// behind: what somebody nearer to him has as well can go, and of what only this
// node has, that which is needed last (Belady's rule). To drop the oldest instead
// is to drop all of it just before he comes.
//
// What goes is forgotten when the shell says Evicted. It may keep some: then others
// are no better, and there is no hurry to ask again.
func (c *Core) makeRoom(now time.Time) {
	limit := c.cfg.CacheBytes
	spare := min(max(limit/spareShare, spareLeast), limit/spareMost)
	if limit <= 0 || c.kept <= limit-spare || now.Before(c.room) {
		return
	}
	c.room = now.Add(refreshEvery)
	c.extents, c.crowds = c.extents[:0], c.crowds[:0]
	for ti := range c.titles {
		c.crowds = append(c.crowds, c.crowdOf(now, Title(ti)))
	}
	for i := range c.stocked {
		id := c.stocked[i].file
		c.weigh(id, c.files[id])
	}
	slices.SortFunc(c.extents, func(a, b extent) int {
		return cmp.Or(a.compare(b.value), cmp.Compare(a.file, b.file), cmp.Compare(a.first, b.first))
	})
	excess := c.kept - (limit - 2*spare)
	for _, e := range c.extents {
		if excess <= 0 {
			return
		}
		c.out.Drops = append(c.out.Drops, Drop{File: e.file, First: e.first, Count: e.end - e.first})
		f := c.files[e.file]
		for i := e.first; i < e.end; i++ {
			if f.stored.Has(i) {
				excess -= int64(wire.PieceSize(f.length, i))
			}
		}
	}
}

// crowdOf returns who is where in a title.
func (c *Core) crowdOf(now time.Time, ti Title) (w crowd) {
	for _, v := range c.viewers {
		if v.play.Title == ti {
			at := v.position(now)
			w.mine, w.last = append(w.mine, at), max(w.last, at)
		}
	}
	if len(w.mine) == 0 {
		w.last = beyond
	}
	for _, p := range c.peers {
		if p == nil {
			continue
		}
		for _, in := range p.interest {
			if in.active && in.title == ti {
				w.others = append(w.others, other{p, in.playhead(c.at(now))})
			}
		}
	}
	return w
}

// playhead is about where the one is who told of an interest.
func (in interest) playhead(at time.Duration) time.Duration {
	since := min(at-in.heard, interestStep) // after more it would have been told anew
	if in.from == 0 {
		return since
	}
	return in.from + interestBehind + since
}

// weigh appends the extents of a file that may be given up. One that has a place in
// several titles is worth what it is in the one that needs it most.
func (c *Core) weigh(id File, f *file) {
	begin := len(c.extents)
	for first := uint32(0); first < f.pieces; first += ExtentPieces {
		c.extents = append(c.extents, extent{file: id, first: first, end: min(first+ExtentPieces, f.pieces)})
	}
	extents := c.extents[begin:]
	for _, pl := range f.places {
		for i, s := range c.spansOf(id, pl) {
			if e := &extents[i]; s.to > 0 && f.stored.HasAny(e.first, e.end) {
				if v := c.valueAt(s, &c.crowds[pl.title], f, e); e.compare(v) < 0 {
					e.value = v
				}
			}
		}
	}
	c.extents = append(c.extents[:begin], slices.DeleteFunc(extents, func(e extent) bool {
		return e.worth == unplaced || e.worth == inUse || c.beingRead(e)
	})...)
}

// spansOf returns the media times of a file's extents where it has a place; zero
// where an extent has none. Whole segments count: that is how players read.
func (c *Core) spansOf(id File, pl place) []span {
	f, tr := c.files[id], c.titles[pl.title].track(pl.track)
	c.spans = c.spans[:0]
	if !pl.timed || tr == nil {
		return nil
	}
	c.spans = append(c.spans, make([]span, (f.pieces+ExtentPieces-1)/ExtentPieces)...)
	for _, seg := range tr.window(pl.from, pl.to) {
		if seg.file != id {
			continue
		}
		first, end := f.pieceRange(seg.offset, seg.length)
		for i := first / ExtentPieces; i*ExtentPieces < end; i++ {
			s := &c.spans[i]
			if s.to == 0 || seg.start < s.from {
				s.from = seg.start
			}
			s.to = max(s.to, seg.start+seg.dur)
		}
	}
	return c.spans
}

// beingRead tells whether an open read needs an extent.
func (c *Core) beingRead(e extent) bool {
	return slices.ContainsFunc(c.wants, func(w *want) bool {
		if w.File != e.file {
			return false
		}
		first, end := c.files[e.file].pieceRange(w.Offset, w.Length)
		return first < e.end && e.first < end
	})
}

// valueAt says what an extent is worth in a title in which it plays at s.
func (c *Core) valueAt(s span, w *crowd, f *file, e *extent) value {
	mine, others := never, never
	for _, h := range w.mine {
		if s.to > h-KeptBehind && s.from < h+c.cfg.Ahead {
			return value{worth: inUse}
		}
		mine = min(mine, s.until(h))
	}
	for _, o := range w.others {
		others = min(others, s.until(o.at))
	}
	switch passed := w.last - s.to; {
	case mine != never:
		return value{wanted, min(mine, others)}
	case others == never:
		return value{forNobody, passed}
	case slices.ContainsFunc(w.others, func(o other) bool { return o.at < w.last-abreast && o.p.keeps(f, e, o.at-s.to) }):
		return value{surplus, passed}
	default:
		return value{wanted, others}
	}
}

// keeps tells whether a peer that played part of a file so long ago has it.
func (p *peer) keeps(f *file, e *extent, ago time.Duration) bool {
	if t := f.seed(p.slot); t != nil {
		return t.set.HasRange(e.first, e.end)
	}
	return len(p.theirs) > 0 && ago > 0 && ago < surelyKept
}
