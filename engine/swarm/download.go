package swarm

import (
	"math/bits"
	"slices"
	"time"

	"shoal/internal/wire"
	"shoal/scheduler"
)

const (
	// maxSuspects bounds the failed pieces whose provenance is kept until a good
	// copy has come: the shell keeps their bytes, 64 KiB each.
	maxSuspects = 16
	// quarantine keeps the only source of a bad piece from sending more until a
	// good copy tells whether it is to blame.
	quarantine = 2 * time.Second
)

// suspicion is the provenance of a piece that failed its hash.
type suspicion struct {
	piece   Piece
	sources []blame
}

type blame struct {
	peer wire.PeerID
	mask uint64
}

// Expect says which piece a peer means by its handle and index, and which chunks
// of it are of use; 0: none.
func (c *Core) Expect(slot Peer, handle uint16, piece uint32) (Piece, uint64) {
	p := c.peer(slot)
	if p == nil {
		return Piece{}, 0
	}
	t := p.theirs.get(handle)
	if t == nil {
		return Piece{}, 0
	}
	pc := Piece{t.file, piece}
	return pc, c.sched.Missing(key(pc))
}

// Unexpected counts a chunk that Expect refused: it was asked elsewhere
// meanwhile, or never.
func (c *Core) Unexpected(_ time.Time, _ Peer, bytes int) {
	c.bytes.Duplicate += int64(min(max(bytes, 0), wire.ChunkBytes))
}

// Arrived records chunks of a seed that are in the piece's buffer.
func (c *Core) Arrived(now time.Time, slot Peer, pc Piece, mask uint64) {
	p := c.peer(slot)
	if p == nil {
		return
	}
	fresh, complete := c.sched.Arrived(now, scheduler.Seed(slot), key(pc), mask)
	p.received += int64(c.chunkBytes(pc, fresh))
	c.bytes.Duplicate += int64(c.chunkBytes(pc, mask&^fresh))
	c.moved = true
	if complete {
		c.out.Verify = append(c.out.Verify, pc)
	}
}

// chunkBytes is the payload of the chunks in mask; the last chunk of a file may
// be short.
func (c *Core) chunkBytes(pc Piece, mask uint64) int {
	size := wire.PieceSize(c.files[pc.File].length, pc.Index)
	if size == wire.PieceBytes {
		return bits.OnesCount64(mask) * wire.ChunkBytes
	}
	total := 0
	for at := 0; at < size; at += wire.ChunkBytes {
		if mask&1 != 0 {
			total += min(wire.ChunkBytes, size-at)
		}
		mask >>= 1
	}
	return total
}

// Missing returns the chunks of a piece that have not arrived; 0 when it is
// complete or not needed.
func (c *Core) Missing(pc Piece) uint64 { return c.sched.Missing(key(pc)) }

// Busied takes a seed's BUSY: it is frozen, and what it was asked for is asked
// elsewhere.
func (c *Core) Busied(now time.Time, slot Peer, retryAfter time.Duration) {
	p := c.peer(slot)
	if p == nil {
		return
	}
	d := c.sched.Freeze(now, scheduler.Seed(slot), min(max(retryAfter, 0), maxDeadline))
	c.event(Event{Kind: EventSeedFrozen, Peer: p.id, Duration: d})
	c.moved = true
	c.plan = now
}

// Verified takes the result of a piece's hash.
func (c *Core) Verified(now time.Time, pc Piece, ok bool) {
	if !c.sched.Known(key(pc)) {
		return
	}
	if !ok {
		c.failed(now, pc)
		return
	}
	c.count(pc)
	f := c.files[pc.File]
	f.have.Add(pc.Index, f.pieces)
	c.settled(now, pc)
}

// count books a verified piece to its sources.
func (c *Core) count(pc Piece) {
	f := c.files[pc.File]
	for _, s := range c.sched.Sources(key(pc)) {
		n := int64(c.chunkBytes(pc, s.Mask))
		if s.Seed == scheduler.FromCDN {
			f.fromCDN.Add(pc.Index, f.pieces)
			c.bytes.CDN += n
			c.bytes.CDNByReason[c.reasonOf(pc)] += n
			continue
		}
		f.fromPeers.Add(pc.Index, f.pieces)
		c.bytes.P2P += n
		if !c.firstPeer {
			c.firstPeer = true
			c.event(Event{Kind: EventFirstPeerBytes, Piece: pc})
		}
	}
}

func (c *Core) reasonOf(pc Piece) Reason {
	if n := c.needOf(pc); n != nil {
		return n.reason
	}
	return ReasonRescue
}

// failed handles a piece whose hash did not match: all its bytes are waste, its
// sources are remembered for the comparison with a good copy, and a good copy is
// wanted at once.
func (c *Core) failed(now time.Time, pc Piece) {
	f := c.files[pc.File]
	c.event(Event{Kind: EventHashFailed, Piece: pc})
	s := suspicion{piece: pc}
	fromCDN := true // and from nobody else, not even from a peer that has gone
	for _, src := range c.sched.Sources(key(pc)) {
		c.bytes.HashFailed += int64(c.chunkBytes(pc, src.Mask))
		fromCDN = fromCDN && src.Seed == scheduler.FromCDN
		if p := c.peer(Peer(src.Seed)); p != nil && src.Seed != scheduler.FromCDN {
			s.sources = append(s.sources, blame{peer: p.id, mask: src.Mask})
			if len(c.sched.Sources(key(pc))) == 1 {
				defer c.sched.Freeze(now, src.Seed, quarantine)
			}
		}
	}
	if fromCDN {
		f.mismatches++
		c.event(Event{Kind: EventOriginMismatch, Piece: pc})
	}
	// One for every bad copy, also those that no peer is to blame for: the shell
	// keeps as many copies, drops the oldest as well, and compares in this order.
	if len(c.suspects) == maxSuspects {
		c.suspects = slices.Delete(c.suspects, 0, 1)
	}
	c.suspects = append(c.suspects, s)
	c.sched.Failed(now, key(pc))
	if n := c.needOf(pc); n != nil {
		n.failed = true
		n.deadline = c.at(now)
	}
	if f.mismatches >= maxMismatches {
		c.failWants(pc.File, errOriginMismatch)
	}
	c.moved = true
	c.plan = now
}

// Compared takes the difference between a good copy of a piece and the oldest
// bad one that was kept of it: whoever sent a differing chunk of that copy is
// the polluter, and nobody else.
func (c *Core) Compared(_ time.Time, pc Piece, differs uint64) {
	i := slices.IndexFunc(c.suspects, func(s suspicion) bool { return s.piece == pc })
	if i < 0 {
		return
	}
	for _, b := range c.suspects[i].sources {
		if b.mask&differs != 0 {
			c.ban(b.peer, pc)
		}
	}
	c.suspects = slices.Delete(c.suspects, i, i+1)
}
