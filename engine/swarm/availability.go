package swarm

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"shoal/internal/pieces"
	"shoal/internal/wire"
	"shoal/scheduler"
)

const (
	// Interest reaches from interestBehind before a playhead, for those who seek
	// back, to interestAhead beyond its window, so that it need not be told anew
	// with every segment.
	interestBehind = 30 * time.Second
	interestAhead  = 2 * time.Minute
	// interestStep is how far the range must move to be told again.
	interestStep = 30 * time.Second
	// forgetBeyond the interest lies what a leech forgets of its seeds. Nearer, it
	// tells what this node need not keep for others (retain.go).
	forgetBeyond = 10 * time.Minute
	// maxHandles bounds the files that are announced on one session: a two-hour
	// title of 8 tracks in 2 s segments has 28,800.
	maxHandles = 1 << 16
	// maxUnknown bounds announcements of files whose records are not read yet.
	maxUnknown = 512
)

// updateInterests tells the peers which range of each title is of interest now.
func (c *Core) updateInterests(now time.Time) {
	for ti := range c.titles {
		t, want := c.titles[ti], c.interestIn(now, Title(ti))
		if want.active == t.interest.active && want.far(t.interest) < t.slack {
			continue
		}
		t.interest, t.slack = want, interestStep
		for slot, p := range c.peers {
			if p != nil && p.in(Title(ti)) {
				far := c.tellInterest(Peer(slot), p, want)
				t.slack = min(t.slack, interestStep-far)
			}
		}
	}
}

// interestIn returns the range that covers the playheads of all viewers, and
// the open reads: a player may read far ahead of what it shows.
func (c *Core) interestIn(now time.Time, ti Title) interest {
	in := interest{title: ti}
	add := func(at, end time.Duration) {
		from, to := max(at-interestBehind, 0), end+c.cfg.Ahead+interestAhead
		if !in.active || from < in.from {
			in.from = from
		}
		in.to, in.active = max(in.to, to), true
	}
	for _, v := range c.viewers {
		if v.play.Title == ti {
			pos := max(v.position(now), 0)
			add(pos, pos)
		}
	}
	for _, w := range c.wants {
		for _, pl := range c.files[w.File].places {
			if pl.title != ti {
				continue
			}
			if from, to, known := c.mediaRange(pl, w); known || !in.active {
				add(from, to)
			}
		}
	}
	return in
}

// mediaRange returns the media time of an open read, and whether it is known: that of
// an index or an init segment is not, and could be any of its file's. A file may be a
// whole film, and who hears of an interest takes it for about where the playhead is.
func (c *Core) mediaRange(pl place, w *want) (from, to time.Duration, known bool) {
	if tr := c.titles[pl.title].track(pl.track); pl.timed && tr != nil {
		for _, s := range tr.window(pl.from, pl.to) {
			if s.file != w.File || s.offset+s.length <= w.Offset || s.offset >= w.Offset+w.Length {
				continue
			}
			if to == 0 {
				from = s.start
			}
			to = s.start + s.dur
		}
	}
	if to == 0 {
		return pl.from, pl.to, false
	}
	return from, to, true
}

// tellInterest tells a peer of an interest, if it does not know it well enough.
// It returns how far what it knows is from it.
func (c *Core) tellInterest(slot Peer, p *peer, want interest) (far time.Duration) {
	i := slices.IndexFunc(p.asked, func(o interest) bool { return o.title == want.title })
	if i >= 0 {
		old := p.asked[i]
		if far = old.far(want); old.active == want.active && far < interestStep {
			return far
		}
		p.asked[i] = want
	} else {
		p.asked = append(p.asked, want)
	}
	c.told = true
	c.send(slot, wire.Interest{
		Title: c.titles[want.title].id, Active: want.active,
		FromMillis: millis(want.from), ToMillis: millis(want.to),
	})
	return 0
}

// far is how far an interest is from another that is as active.
func (in interest) far(o interest) time.Duration {
	if !in.active {
		return 0
	}
	return max(absDuration(in.from-o.from), absDuration(in.to-o.to))
}

func absDuration(d time.Duration) time.Duration {
	if d < 0 {
		return -d
	}
	return d
}

func millis(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), math.MaxUint32))
}

func (c *Core) send(slot Peer, m wire.Control) {
	c.out.Control = append(c.out.Control, ControlMessage{Peer: slot, Message: m})
}

// interested takes a leech's interest and announces what we have of it.
func (c *Core) interested(now time.Time, p *peer, m wire.Interest) {
	i := slices.IndexFunc(c.titles, func(t *title) bool { return t.id == m.Title })
	if i < 0 || !p.in(Title(i)) {
		c.garbage(p, dropNotJoined)
		return
	}
	in := interest{
		title: Title(i), active: m.Active,
		from:  time.Duration(m.FromMillis) * time.Millisecond,
		to:    time.Duration(m.ToMillis) * time.Millisecond,
		heard: c.at(now),
	}
	before := slices.Clone(p.interest)
	p.interest = slices.DeleteFunc(p.interest, func(o interest) bool { return o.title == in.title })
	p.interest = append(p.interest, in)
	if !in.active || c.cfg.NoUpload {
		return
	}
	for i := range c.stocked {
		if s := &c.stocked[i]; c.within(s, p.interest) && !c.within(s, before) {
			c.announce(p, s.file)
		}
	}
}

// A live title may last for days, and each of its segments be a file. So a leech forgets
// what it was told of files far outside its interest, and a seed announces a file anew
// when it becomes of interest again, by the same handle. A file of which the seed has given
// up everything loses its handles, and gets others when it comes again; what the old ones
// mean stays, for requests on their way.

// forgetTheirs drops what seeds said that they have of files far from what is of interest.
func (c *Core) forgetTheirs() {
	for _, p := range c.peers {
		if p == nil {
			continue
		}
		p.latest = nil
		p.theirs = slices.DeleteFunc(p.theirs, func(n named) bool {
			f := c.files[n.file.file]
			if f.within(forgetBeyond, p.asked) || c.needs.Any(uint32(n.file.file)) {
				return false
			}
			p.forgotten.Add(uint32(n.handle), maxHandles)
			clearSlot(&f.seeds, p.slot)
			return true
		})
	}
}

// covers reports whether a leech wants to know of a file.
func (p *peer) covers(f *file) bool { return f.within(0, p.interest) }

// within reports whether the file lies in any of some ranges, or less than far away.
func (f *file) within(far time.Duration, ranges []interest) bool {
	for _, pl := range f.places {
		for _, in := range ranges {
			if in.active && in.title == pl.title && (!pl.timed || (pl.from < in.to+far && in.from < pl.to+far)) {
				return true
			}
		}
	}
	return false
}

// announce says what we have of a file, which gets a handle on this session if it has none.
func (c *Core) announce(p *peer, id File) {
	f := c.files[id]
	h, ok := f.handle(p.slot)
	if !ok {
		if len(p.ours) >= maxHandles {
			return
		}
		h = uint16(len(p.ours))
		p.ours = append(p.ours, id)
		*atSlot(&f.handles, p.slot) = uint32(h) + 1
	}
	bm := roaring.New()
	f.stored.All(bm.Add)
	b, err := bm.ToBytes()
	if err != nil {
		panic("BUG: a bitmap does not serialize: " + err.Error())
	}
	c.send(p.slot, wire.Have{Handle: h, Root: f.root, Length: uint64(f.length), Bitmap: b})
}

// sendDeltas announces what was stored and evicted since the last batch.
func (c *Core) sendDeltas() {
	if !c.cfg.NoUpload {
		var last []wire.HaveRun
		var told []wire.Control // the messages of last
		for _, p := range c.peers {
			if p == nil {
				continue
			}
			c.runs = c.deltaFor(p, c.runs[:0])
			// Most sessions know a file by the same handle: they share a message.
			if !slices.Equal(c.runs, last) {
				last, told = slices.Clone(c.runs), told[:0]
				for part := range slices.Chunk(last, wire.MaxHaveRuns) {
					told = append(told, wire.HaveDelta{Runs: part})
				}
			}
			if len(c.runs) > 0 {
				for _, m := range told {
					c.send(p.slot, m)
				}
			}
		}
	}
	for _, pc := range c.gone {
		if f := c.files[pc.File]; f.stored.Empty() {
			f.handles = nil
		}
	}
	c.fresh, c.gone, c.coming = c.fresh[:0], c.gone[:0], c.coming[:0]
}

// deltaFor appends what is to be announced to a peer.
func (c *Core) deltaFor(p *peer, runs []wire.HaveRun) []wire.HaveRun {
	// A file that gets its handle now is announced whole, as it stands now.
	known := len(p.ours)
	var latest File // pieces of one file come together
	var h uint16
	ok := false
	add := func(pc Piece, change wire.HaveChange) {
		if !ok || pc.File != latest {
			latest = pc.File
			h, ok = c.files[pc.File].handle(p.slot)
		}
		if !ok && change != wire.Evicted && p.covers(c.files[pc.File]) {
			c.announce(p, pc.File)
			h, ok = c.files[pc.File].handle(p.slot)
		}
		if ok && (int(h) < known || change == wire.Coming) {
			runs = appendRun(runs, h, pc.Index, change)
		}
	}
	for _, pc := range c.coming {
		if !c.files[pc.File].stored.Has(pc.Index) {
			add(pc, wire.Coming)
		}
	}
	for _, pc := range c.fresh {
		if c.files[pc.File].stored.Has(pc.Index) {
			add(pc, wire.Stored)
		}
	}
	for _, pc := range c.gone {
		if !c.files[pc.File].stored.Has(pc.Index) {
			add(pc, wire.Evicted)
		}
	}
	return runs
}

// appendRun grows the last run if the piece follows it.
func appendRun(runs []wire.HaveRun, h uint16, index uint32, change wire.HaveChange) []wire.HaveRun {
	if n := len(runs); n > 0 {
		last := &runs[n-1]
		if last.Handle == h && last.Change == change && last.First+last.Count == index {
			last.Count++
			return runs
		}
	}
	return append(runs, wire.HaveRun{Handle: h, Change: change, First: index, Count: 1})
}

// has takes a seed's announcement of a file.
func (c *Core) has(now time.Time, p *peer, m wire.Have) {
	id, ok := c.byRoot[m.Root]
	if !ok {
		if len(p.unknown) < maxUnknown {
			p.unknown = append(p.unknown, m)
		} else {
			c.garbage(p, dropOverflow)
		}
		return
	}
	f := c.files[id]
	if !slices.ContainsFunc(f.places, func(pl place) bool { return p.in(pl.title) }) {
		c.garbage(p, dropNotJoined)
		return
	}
	bm := parseBitmap(m.Bitmap, f.pieces)
	if bm == nil || m.Length != uint64(f.length) {
		c.garbage(p, dropBitmap)
		return
	}
	if old := p.theirs.get(m.Handle); old != nil && old.file != id {
		c.garbage(p, dropHandle) // a handle means one file for a session's life
		return
	}
	t := f.seed(p.slot)
	if t == nil {
		t = &theirFile{file: id}
		*atSlot(&f.seeds, p.slot) = t
	}
	t.handle, t.set = m.Handle, pieces.Set{}
	p.theirs.put(m.Handle, t)
	for it := bm.Iterator(); it.HasNext(); {
		t.set.Add(it.Next(), f.pieces)
	}
	for _, n := range c.order {
		if n.piece.File == id && c.needOf(n.piece) == n {
			c.sched.Holds(now, scheduler.Seed(p.slot), key(n.piece), t.set.Has(n.piece.Index))
		}
	}
	c.moved = true
}

// parseBitmap reads a peer's bitmap; nil when it is malformed or names pieces
// beyond the file.
func parseBitmap(b []byte, pieces uint32) (bm *roaring.Bitmap) {
	defer func() {
		// The library checks its input, but its input is a stranger's.
		if recover() != nil {
			bm = nil
		}
	}()
	bm = roaring.New()
	if _, err := bm.ReadFrom(bytes.NewReader(b)); err != nil || bm.Validate() != nil {
		return nil
	}
	if !bm.IsEmpty() && bm.Maximum() >= pieces {
		return nil
	}
	return bm
}

// retryUnknown takes announcements that came before their files' records.
func (c *Core) retryUnknown(now time.Time, p *peer) {
	waiting := p.unknown
	p.unknown = nil
	for _, m := range waiting {
		c.has(now, p, m)
	}
}

// hasChanged takes a seed's batch of gained and lost pieces.
func (c *Core) hasChanged(now time.Time, p *peer, m wire.HaveDelta) {
	for _, r := range m.Runs {
		t := p.latest
		if t == nil || t.handle != r.Handle {
			t = p.theirs.get(r.Handle)
			p.latest = t
		}
		if t == nil {
			if !p.forgotten.Has(uint32(r.Handle)) && !c.changeUnknown(p, r) {
				c.garbage(p, dropHandle)
			}
			continue
		}
		f := c.files[t.file]
		if r.First >= f.pieces || r.Count > f.pieces-r.First {
			c.garbage(p, dropPiece)
			continue
		}
		switch r.Change {
		case wire.Stored:
			t.set.AddRange(r.First, r.First+r.Count, f.pieces)
		case wire.Evicted:
			t.set.RemoveRange(r.First, r.First+r.Count)
		case wire.Coming:
			// It may not be asked for yet.
		}
		for i := r.First; i < r.First+r.Count; i++ {
			if r.Change == wire.Coming {
				c.sched.Coming(now, scheduler.Seed(p.slot), key(Piece{t.file, i}))
			} else {
				c.sched.Holds(now, scheduler.Seed(p.slot), key(Piece{t.file, i}), r.Change == wire.Stored)
			}
		}
	}
	c.moved = true
}

// changeUnknown applies a delta to a file that waits for its record.
func (c *Core) changeUnknown(p *peer, r wire.HaveRun) bool {
	i := slices.IndexFunc(p.unknown, func(h wire.Have) bool { return h.Handle == r.Handle })
	if i < 0 {
		return false
	}
	h := &p.unknown[i]
	if r.Change == wire.Coming {
		return true // too early to be of interest
	}
	bm := parseBitmap(h.Bitmap, wire.PieceCount(int64(min(h.Length, math.MaxInt64))))
	if bm == nil || uint64(r.First)+uint64(r.Count) > wire.MaxPiece+1 {
		return false
	}
	if r.Change == wire.Evicted {
		bm.RemoveRange(uint64(r.First), uint64(r.First)+uint64(r.Count))
	} else {
		bm.AddRange(uint64(r.First), uint64(r.First)+uint64(r.Count))
	}
	b, err := bm.ToBytes()
	if err != nil || len(b) > wire.MaxBitmapBytes {
		return false
	}
	h.Bitmap = b
	return true
}
