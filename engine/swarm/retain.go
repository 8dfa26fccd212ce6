package swarm

import (
	"cmp"
	"slices"
	"time"

	"shoal/internal/wire"
)

const (
	// extentPieces are given up together: the store gives space back by 1 MiB.
	extentPieces = 16
	// spareShare of the cache, and spareLeast in any case, is what the store needs for
	// itself and for what is being written. So much more is given up at once: a look
	// at all that is held then pays for several extents.
	spareShare = 64
	spareLeast = 2 * extentPieces * wire.PieceBytes
	// keptBehind the playhead stays, for a player that reads again.
	keptBehind = 10 * time.Second
	// surelyKept is how much of what it played a peer that uploads surely still has,
	// where it has not said what it has: half of what the smallest usual cache holds
	// of a film.
	surelyKept = 6 * time.Minute
	// abreast is how near to each other two playheads count as one: others' are
	// known by their interest, and not exactly.
	abreast = 10 * time.Second
)

// Drop names pieces of a file that the store is to give up.
type Drop struct {
	File         File
	First, Count uint32
}

// worth is what an extent is of use for; the least goes first.
type worth uint8

const (
	forNobody worth = iota // who is known has passed it
	surplus                // somebody behind this node has it, too, and needs it longer
	wanted                 // somebody is on the way to it
)

// extent is a part of the cache.
type extent struct {
	file       File
	first, end uint32 // pieces
	worth      worth
	// away is how long ago the playhead was there, and of what is wanted how long
	// until somebody's is.
	away time.Duration
}

// crowd is who is where in a title.
type crowd struct {
	mine   []time.Duration // playheads of this node
	last   time.Duration   // the farthest of them
	others []follower
}

type follower struct {
	p  *peer
	at time.Duration
}

// makeRoom gives up what the swarm needs least when the cache is nearly full. The
// cache of a node holds minutes of a film, and who follows may be many minutes
// behind: what somebody nearer to him has as well can go, and of what only this
// node has, that which is needed last (Belady's rule). To drop the oldest instead
// is to drop all of it just before he comes.
func (c *Core) makeRoom(now time.Time) {
	spare := max(c.cfg.CacheBytes/spareShare, spareLeast)
	if c.cfg.CacheBytes <= 0 || c.kept <= c.cfg.CacheBytes-spare {
		return
	}
	c.extents, c.crowds = c.extents[:0], c.crowds[:0]
	for ti := range c.titles {
		c.crowds = append(c.crowds, c.crowdOf(now, Title(ti)))
	}
	for id, f := range c.files {
		if !f.stored.Empty() {
			c.weigh(File(id), f)
		}
	}
	slices.SortFunc(c.extents, func(a, b extent) int {
		return cmp.Or(cmp.Compare(a.worth, b.worth), cmp.Compare(b.away, a.away), cmp.Compare(a.file, b.file), cmp.Compare(a.first, b.first))
	})
	for _, e := range c.extents {
		if c.kept <= c.cfg.CacheBytes-2*spare {
			return
		}
		c.out.Drops = append(c.out.Drops, Drop{File: e.file, First: e.first, Count: e.end - e.first})
		for i := e.first; i < e.end; i++ {
			if c.files[e.file].stored.Has(i) {
				c.Evicted(now, Piece{e.file, i})
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
	for _, p := range c.peers {
		if p == nil {
			continue
		}
		for _, in := range p.interest {
			if in.active && in.title == ti {
				w.others = append(w.others, follower{p, in.playhead(c.at(now))})
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

// weigh appends the extents of a file that may be given up: all but those around
// this node's own playheads, what is being read, and what has no place in time.
func (c *Core) weigh(id File, f *file) {
	pl := f.places[0]
	if !pl.timed {
		return
	}
	w := &c.crowds[pl.title]
	for first := uint32(0); first < f.pieces; first += extentPieces {
		e := extent{file: id, first: first, end: min(first+extentPieces, f.pieces)}
		if !f.stored.HasAny(e.first, e.end) || c.beingRead(e) {
			continue
		}
		at := pl.from + time.Duration(float64(pl.to-pl.from)*float64(first)/float64(f.pieces))
		if slices.ContainsFunc(w.mine, func(h time.Duration) bool { return at > h-keptBehind && at < h+c.cfg.Ahead }) {
			continue
		}
		c.value(&e, f, w, at)
		c.extents = append(c.extents, e)
	}
}

// beingRead tells whether an open read needs an extent.
func (c *Core) beingRead(e extent) bool {
	return slices.ContainsFunc(c.wants, func(w *want) bool {
		first, end := c.files[e.file].pieceRange(w.Offset, w.Length)
		return w.File == e.file && first < e.end && e.first < end
	})
}

// value says what an extent that plays at at is worth.
func (c *Core) value(e *extent, f *file, w *crowd, at time.Duration) {
	e.away = w.last - at
	want := func(ahead time.Duration) {
		if ahead >= 0 && (e.worth != wanted || ahead < e.away) {
			e.worth, e.away = wanted, ahead
		}
	}
	for _, h := range w.mine {
		want(at - h)
	}
	if e.worth == wanted {
		return // by this node itself
	}
	for _, o := range w.others {
		want(at - o.at)
	}
	for _, o := range w.others {
		behind := len(w.mine) == 0 || o.at < w.last-abreast
		if e.worth == wanted && behind && o.p.keeps(f, e, o.at-at) {
			e.worth, e.away = surplus, w.last-at
		}
	}
}

// keeps tells whether a peer that played part of a file so long ago has it.
func (p *peer) keeps(f *file, e *extent, ago time.Duration) bool {
	if t := f.seed(p.slot); t != nil {
		return t.set.HasRange(e.first, e.end)
	}
	return len(p.theirs) > 0 && ago > 0 && ago < surelyKept
}
