package swarm

import (
	"cmp"
	"math/bits"
	"slices"
	"time"

	"shoal/internal/wire"
	"shoal/scheduler"
)

const (
	// maxDeadline bounds a leech's deadline: nobody looks two minutes ahead.
	maxDeadline = 2 * time.Minute
	// maxQueuedChunks bounds what one leech may have outstanding here: twice the
	// scheduler's own ceiling of 8 MiB per seed.
	maxQueuedChunks = 16 << 10
	// overloadRetry is what a leech is told whose requests don't fit.
	overloadRetry = time.Second
	// refusedRetry is what a leech is told by a node that never uploads.
	refusedRetry = time.Minute
	// leechingFor is how long after its last request a peer counts as a leech.
	leechingFor = 10 * time.Second
)

// serve is a request of a leech that waits for its turn.
type serve struct {
	piece    Piece
	mask     uint64
	deadline time.Duration // since the core's epoch
	handle   uint16
	tier     scheduler.Tier
	loaded   bool // the shell holds the piece in memory
}

// Requested takes a leech's REQUEST.
func (c *Core) Requested(now time.Time, slot Peer, r wire.Request) {
	p := c.peer(slot)
	if p == nil {
		return
	}
	at := c.at(now)
	p.leechedAt = at
	if c.cfg.NoUpload {
		c.out.Busies = append(c.out.Busies, Busy{Peer: slot, RetryAfter: refusedRetry})
		return
	}
	if int(r.Handle) >= len(p.ours) {
		c.garbage(p, dropHandle)
		return
	}
	id := p.ours[r.Handle]
	f := c.files[id]
	mask := r.Mask
	if r.Piece >= f.pieces || mask&wire.FullMask(f.length, r.Piece) == 0 {
		c.garbage(p, dropPiece)
		return
	}
	mask &= wire.FullMask(f.length, r.Piece)
	if !slices.ContainsFunc(f.places, func(pl place) bool { return p.in(pl.title) }) {
		c.garbage(p, dropNotJoined)
		return
	}
	if !f.stored.Has(r.Piece) {
		// Evicted since it was announced: the delta is on its way.
		c.dropped[dropNotHeld]++
		return
	}
	deadline := at + min(time.Duration(r.DeadlineMillis)*time.Millisecond, maxDeadline)
	tier := min(scheduler.Tier(r.Tier), scheduler.Slow)
	if at < p.refusedUntil {
		return
	}
	c.enqueue(now, p, serve{piece: Piece{id, r.Piece}, handle: r.Handle, mask: mask, deadline: deadline, tier: tier})
	if by, late := c.overdue(now, p); late {
		c.refuse(now, p, min(by, refusalMost))
	}
}

// enqueue adds a request at its place by deadline; one for the same piece is
// merged.
func (c *Core) enqueue(now time.Time, p *peer, s serve) {
	if i := slices.IndexFunc(p.queue, func(o serve) bool { return o.piece == s.piece }); i >= 0 {
		old := p.queue[i]
		p.queue = slices.Delete(p.queue, i, i+1)
		c.owe(p, -bits.OnesCount64(old.mask))
		s.mask |= old.mask
		s.loaded = old.loaded
	}
	n := bits.OnesCount64(s.mask)
	if p.queued+n > maxQueuedChunks {
		c.refuse(now, p, overloadRetry)
		c.dropped[dropOverflow]++
		return
	}
	if !s.loaded {
		c.out.Load = append(c.out.Load, s.piece)
	}
	at, _ := slices.BinarySearchFunc(p.queue, s, func(a, b serve) int {
		return cmp.Or(cmp.Compare(a.deadline, b.deadline), cmp.Compare(a.piece.File, b.piece.File), cmp.Compare(a.piece.Index, b.piece.Index))
	})
	p.queue = slices.Insert(p.queue, at, s)
	c.owe(p, n)
	c.requeued(p)
}

// owe counts chunks into a leech's queue, or out of it.
func (c *Core) owe(p *peer, chunks int) {
	p.queued += chunks
	c.queued += chunks
}

// requeued notes what there is to do for a leech whose queue has changed.
func (c *Core) requeued(p *peer) {
	slot := scheduler.Seed(p.slot)
	c.serving.Remove(slot)
	c.loading.Remove(slot)
	for i := range p.queue {
		if !p.queue[i].loaded {
			c.loading.Add(slot)
		} else if !c.serving.Has(slot) {
			c.serving.Add(slot)
			c.serveBy[slot] = p.queue[i].deadline
		}
	}
}

// Canceled takes a leech's CANCEL.
func (c *Core) Canceled(_ time.Time, slot Peer, m wire.Cancel) {
	p := c.peer(slot)
	if p == nil {
		return
	}
	if int(m.Handle) >= len(p.ours) {
		c.garbage(p, dropHandle)
		return
	}
	pc := Piece{p.ours[m.Handle], m.Piece}
	if i := slices.IndexFunc(p.queue, func(o serve) bool { return o.piece == pc }); i >= 0 {
		c.unqueue(p, i, m.Mask)
	}
}

// unqueue takes chunks out of entry i.
func (c *Core) unqueue(p *peer, i int, mask uint64) {
	s := &p.queue[i]
	c.owe(p, -bits.OnesCount64(s.mask&mask))
	if s.mask &^= mask; s.mask == 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		c.requeued(p)
	}
}

// Readable answers Output.Load: the shell has the piece in memory, or has lost
// it.
func (c *Core) Readable(_ time.Time, pc Piece, ok bool) {
	waiting := c.loading
	if !ok {
		waiting = waiting.Or(c.serving) // it is lost to those, too, who were to get it
	}
	for !waiting.Empty() {
		p := c.peers[waiting.Pop()]
		i := slices.IndexFunc(p.queue, func(s serve) bool { return s.piece == pc })
		switch {
		case i < 0:
		case ok:
			p.queue[i].loaded = true
			c.requeued(p)
		default:
			c.unqueue(p, i, ^uint64(0))
		}
	}
}

// NextServe returns the next burst to send: the earliest deadline among all
// leeches for which can, the chunks that a channel may send now, is positive. A
// leech for which it is not is asked about again after Reopen. There is none while
// the node's own picture comes first.
func (c *Core) NextServe(now time.Time, can func(Peer) int) (Serve, bool) {
	if c.serving.Empty() || c.ownFirst(now) {
		return Serve{}, false
	}
	best, budget := scheduler.Seed(0), 0
	for set := c.serving.AndNot(c.shut); !set.Empty(); {
		slot := set.Pop()
		if budget > 0 && c.serveBy[slot] >= c.serveBy[best] {
			continue
		}
		if n := can(Peer(slot)); n > 0 {
			best, budget = slot, n
		} else {
			c.shut.Add(slot)
		}
	}
	if budget == 0 {
		return Serve{}, false
	}
	p := c.peers[best]
	i := slices.IndexFunc(p.queue, func(s serve) bool { return s.loaded })
	s := &p.queue[i]
	out := Serve{Peer: p.slot, Piece: s.piece, Handle: s.handle, Mask: firstChunks(s.mask, budget)}
	out.Tier = c.serveTier(c.at(now), p, *s, bits.OnesCount64(out.Mask))
	c.unqueue(p, i, out.Mask)
	return out, true
}

// Reopen says that a leech's path, of which NextServe was told that it takes
// nothing, may take something again.
func (c *Core) Reopen(slot Peer) { c.shut.Remove(scheduler.Seed(slot)) }

// firstChunks returns the n lowest chunks of mask: chunks of a request travel in
// ascending order, so that the leech can see gaps.
func firstChunks(mask uint64, n int) uint64 {
	if bits.OnesCount64(mask) <= n {
		return mask
	}
	var out uint64
	for ; n > 0; n-- {
		b := mask & -mask
		out |= b
		mask &^= b
	}
	return out
}

// Served counts a burst that went out.
func (c *Core) Served(now time.Time, s Serve) {
	n := int64(c.chunkBytes(s.Piece, s.Mask))
	c.bytes.Served += n
	c.served.Received(now, int(n))
	if p := c.peer(s.Peer); p != nil {
		p.sent += n
	}
}
