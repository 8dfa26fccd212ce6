package swarm

import (
	"cmp"
	"slices"
	"time"

	"shoal/internal/pieces"
	"shoal/internal/wire"
	"shoal/scheduler"
)

// title is one swarm: its tracks with their segments in the order of time.
type title struct {
	id     [32]byte
	opened time.Time
	n      int     // peers in the swarm, by the tracker's count; 0: not heard yet
	u      float64 // this peer's stable random position, in [0, 1)
	size   int     // swarmSize in this round of refresh
	joined int     // connected peers that joined it
	tracks []*track

	// While the interest in it is as near to what it was at the last look at the
	// peers as slack, none of them is to be told.
	interest interest
	slack    time.Duration
}

type track struct {
	id       uint16
	kind     string
	segments []segment
	unsorted bool
}

// segment is a byte range of a file at its place in time.
type segment struct {
	file           File
	offset, length int64
	start, dur     time.Duration
}

// file is one media resource. The same root in two titles is one file.
type file struct {
	root       [32]byte
	length     int64
	pieces     uint32
	have       pieces.Set // verified: readable here and now
	stored     pieces.Set // in the store: announced
	places     []place
	mismatches int // pieces of the CDN's own copy that failed their hash

	// Whose chunks are in the pieces downloaded in this run.
	fromPeers, fromCDN pieces.Set

	// By peer, as long as any of them may have one.
	seeds   []*theirFile // what it has; nil: it has not said
	handles []uint32     // ours on its session, plus one; 0: none
}

// seed returns what a peer said that it has of the file, or nil.
func (f *file) seed(slot Peer) *theirFile {
	if int(slot) < len(f.seeds) {
		return f.seeds[slot]
	}
	return nil
}

// handle returns the file's handle on a peer's session.
func (f *file) handle(slot Peer) (uint16, bool) {
	if int(slot) < len(f.handles) && f.handles[slot] > 0 {
		return uint16(f.handles[slot] - 1), true
	}
	return 0, false
}

// atSlot makes room for a peer in a table by slot, and returns its place.
func atSlot[T any](table *[]T, slot Peer) *T {
	if n := int(slot) + 1 - len(*table); n > 0 {
		*table = append(*table, make([]T, n)...)
	}
	return &(*table)[slot]
}

// clearSlot takes a peer out of a table by slot, and frees the table with the last one.
func clearSlot[T comparable](table *[]T, slot Peer) {
	var none T
	if int(slot) < len(*table) {
		(*table)[slot] = none
	}
	if !slices.ContainsFunc(*table, func(v T) bool { return v != none }) {
		*table = nil
	}
}

// place says which title and track a file belongs to, and which media time it
// covers.
type place struct {
	title    Title
	track    uint16
	from, to time.Duration
	timed    bool
}

// AddTitle opens a title. The same ID gives the same Title.
func (c *Core) AddTitle(now time.Time, id [32]byte) Title {
	for i, t := range c.titles {
		if t.id == id {
			return Title(i)
		}
	}
	c.titles = append(c.titles, &title{id: id, opened: now})
	return Title(len(c.titles) - 1)
}

// Grown adds records of a title: a page was read, or a live title grew. It
// returns the File of each record, in order.
func (c *Core) Grown(now time.Time, ti Title, tracks []Track, records []Record) []File {
	t := c.titles[ti]
	for _, tr := range tracks {
		if t.track(tr.ID) == nil {
			t.tracks = append(t.tracks, &track{id: tr.ID, kind: tr.Kind})
		}
	}
	ids := make([]File, len(records))
	for i, r := range records {
		ids[i] = c.addFile(ti, r)
	}
	for _, p := range c.peers {
		if p != nil {
			c.retryUnknown(now, p)
		}
	}
	c.dirty = true
	return ids
}

func (c *Core) addFile(ti Title, r Record) File {
	id, ok := c.byRoot[r.Root]
	if !ok {
		id = File(len(c.files))
		c.byRoot[r.Root] = id
		c.files = append(c.files, &file{
			root: r.Root, length: r.Length, pieces: wire.PieceCount(r.Length),
		})
	}
	f, t := c.files[id], c.titles[ti]
	for _, p := range f.places {
		if p.title == ti && p.track == r.Track {
			return id
		}
	}
	pl := place{title: ti, track: r.Track}
	tr := t.track(r.Track)
	for _, s := range r.Segments {
		if s.Duration <= 0 || tr == nil {
			continue
		}
		end := s.Start + s.Duration
		if !pl.timed || s.Start < pl.from {
			pl.from = s.Start
		}
		pl.to, pl.timed = max(pl.to, end), true
		tr.add(segment{file: id, offset: s.Offset, length: s.Length, start: s.Start, dur: s.Duration})
	}
	f.places = append(f.places, pl)
	if _, stocked := c.inStock(id); stocked {
		c.stock(id) // it has one more
	}
	return id
}

func (t *track) add(s segment) {
	if n := len(t.segments); n > 0 && t.segments[n-1].start > s.start {
		t.unsorted = true
	}
	t.segments = append(t.segments, s)
}

// window returns the segments that overlap [from, to).
func (t *track) window(from, to time.Duration) []segment {
	if t.unsorted {
		slices.SortStableFunc(t.segments, func(a, b segment) int { return cmp.Compare(a.start, b.start) })
		t.unsorted = false
	}
	first, _ := slices.BinarySearchFunc(t.segments, from, func(s segment, at time.Duration) int {
		return cmp.Compare(s.start+s.dur, at+1)
	})
	last := first
	for last < len(t.segments) && t.segments[last].start < to {
		last++
	}
	return t.segments[first:last]
}

func (t *title) track(id uint16) *track {
	for _, tr := range t.tracks {
		if tr.id == id {
			return tr
		}
	}
	return nil
}

// swarmSize is the tracker's count, or what we see ourselves if that is more:
// the tracker's answer may be 20 s old. 0 is unknown.
func (c *Core) swarmSize(ti Title) int {
	seen := c.titles[ti].joined
	if seen > 0 {
		seen++ // and this one
	}
	return max(c.titles[ti].n, seen)
}

// Swarm takes the tracker's count of the swarm and our random position in it.
func (c *Core) Swarm(_ time.Time, ti Title, n int, u float64) {
	t := c.titles[ti]
	t.n, t.u = min(max(n, 1), maxSwarm), min(max(u, 0), 1)
	c.dirty = true
}

// maxSwarm bounds what a tracker can make us believe: beyond ten million peers
// the turn of a first copy would never come.
const maxSwarm = 10_000_000

// Stored records that a verified piece is in the store, and so may be announced
// and served. At a restart it is also how found pieces come in.
func (c *Core) Stored(now time.Time, pc Piece) {
	f := c.files[pc.File]
	if f.have.Add(pc.Index, f.pieces) {
		c.settled(now, pc)
	}
	if f.stored.Empty() {
		c.stock(pc.File)
	}
	if f.stored.Add(pc.Index, f.pieces) {
		c.kept += int64(wire.PieceSize(f.length, pc.Index))
		c.fresh = append(c.fresh, pc)
	}
}

// Evicted records that the store has dropped a piece.
func (c *Core) Evicted(_ time.Time, pc Piece) {
	f := c.files[pc.File]
	f.have.Remove(pc.Index)
	f.fromPeers.Remove(pc.Index)
	f.fromCDN.Remove(pc.Index)
	if f.stored.Remove(pc.Index) {
		c.kept -= int64(wire.PieceSize(f.length, pc.Index))
		c.gone = append(c.gone, pc)
		if i, stocked := c.inStock(pc.File); stocked && f.stored.Empty() {
			c.stocked = slices.Delete(c.stocked, i, i+1)
		}
	}
	c.dirty = true
}

// settled ends the download of a piece that is now here.
func (c *Core) settled(now time.Time, pc Piece) {
	c.sched.Forget(now, key(pc))
	if n := c.needOf(pc); n != nil {
		n.round = 0 // swept by the next refresh
		c.dropNeed(n)
	}
	c.moved = true
}

// pieceRange returns the first piece and the one after the last that the bytes
// [offset, offset+length) touch, within the file.
func (f *file) pieceRange(offset, length int64) (first, end uint32) {
	offset = min(max(offset, 0), f.length)
	last := min(offset+min(max(length, 0), f.length-offset), f.length)
	if last <= offset {
		return 0, 0
	}
	return uint32(offset / wire.PieceBytes), uint32((last + wire.PieceBytes - 1) / wire.PieceBytes)
}

func (c *Core) holders(id File, index uint32) scheduler.SeedSet {
	var set scheduler.SeedSet
	for slot, t := range c.files[id].seeds {
		if t != nil && t.set.Has(index) {
			set.Add(scheduler.Seed(slot))
		}
	}
	return set
}
