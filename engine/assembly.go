package engine

import (
	"time"

	"shoal/engine/store"
	"shoal/engine/swarm"
	"shoal/internal/wire"
)

// assembly is a piece in progress: chunks are opened straight into its buffer,
// by the loop alone until all are there.
type assembly struct {
	piece   swarm.Piece
	content *content
	buf     *store.Buffer
	fresh   uint64   // chunks that came in the batch at hand
	sum     [32]byte // once hashed
	state   assemblyState
	// released: the core gave the piece up while it was being hashed. A good
	// copy is kept all the same, a bad one tells nothing.
	released bool
}

type assemblyState uint8

const (
	filling assemblyState = iota
	hashing               // a worker reads the buffer
	hashed                // sum is set, the manifest's hash is not known yet
)

// assemble returns the piece in progress, and begins it when it is new. The
// core bounds how many there are: its active queue.
func (l *loop) assemble(pc swarm.Piece) *assembly {
	a := l.assemblies[pc]
	if a == nil {
		c := l.contents[pc.File]
		if c == nil {
			panic("BUG: the core names a file that it was not told of")
		}
		a = &assembly{piece: pc, content: c, buf: store.NewBuffer(wire.PieceSize(c.length, pc.Index))}
		l.assemblies[pc] = a
	}
	return a
}

// forget ends a piece in progress; the caller has taken over or given up its buffer.
func (l *loop) forget(a *assembly) {
	if l.assemblies[a.piece] == a {
		delete(l.assemblies, a.piece)
	}
}

// dropAssembly gives up a piece in progress. While a worker hashes it, the
// worker's answer ends it.
func (l *loop) dropAssembly(pc swarm.Piece) {
	a := l.assemblies[pc]
	if a == nil {
		return
	}
	l.forget(a)
	if a.state == filling {
		a.buf.Release()
	} else {
		a.released = true
	}
}

// residentPieces bounds the verified pieces kept in memory for readers and for
// serving: 16 MiB, of an RSS of 80 MiB. It covers what 32 leeches have in
// flight at 8 pieces each.
const residentPieces = 256

// residentIdle is how long an unused piece stays resident: several request
// time-outs of a leech that asks again.
const residentIdle = 5 * time.Second

// resident is a verified piece in memory.
type resident struct {
	piece      swarm.Piece
	buf        *store.Buffer
	used       time.Time
	storing    bool // must stay until the store has it
	prev, next *resident
}

// residents is a cache of verified pieces, least recently used first out.
type residents struct {
	byPiece map[swarm.Piece]*resident
	list    resident // ring; list.next was used last
}

func newResidents() *residents {
	r := &residents{byPiece: make(map[swarm.Piece]*resident)}
	r.list.prev, r.list.next = &r.list, &r.list
	return r
}

// add takes over the caller's reference to buf.
func (r *residents) add(now time.Time, pc swarm.Piece, buf *store.Buffer, storing bool) {
	if old := r.byPiece[pc]; old != nil {
		buf.Release() // two loads of one piece: the first copy is as good
		old.storing = old.storing || storing
		return
	}
	e := &resident{piece: pc, buf: buf, storing: storing}
	r.byPiece[pc] = e
	r.touch(now, e)
	for e := r.list.prev; len(r.byPiece) > residentPieces && e != &r.list; {
		prev := e.prev
		if !e.storing {
			r.drop(e)
		}
		e = prev
	}
}

// get returns the piece and marks it used; nil when it is not resident.
func (r *residents) get(now time.Time, pc swarm.Piece) *resident {
	e := r.byPiece[pc]
	if e != nil {
		r.touch(now, e)
	}
	return e
}

// stored lets a piece go when it is idle.
func (r *residents) stored(pc swarm.Piece) {
	if e := r.byPiece[pc]; e != nil {
		e.storing = false
	}
}

// remove drops a piece that is no longer to be served.
func (r *residents) remove(pc swarm.Piece) {
	if e := r.byPiece[pc]; e != nil {
		r.drop(e)
	}
}

// expire drops what was not used for residentIdle.
func (r *residents) expire(now time.Time) {
	for e := r.list.prev; e != &r.list && now.Sub(e.used) > residentIdle; {
		prev := e.prev
		if !e.storing {
			r.drop(e)
		}
		e = prev
	}
}

func (r *residents) touch(now time.Time, e *resident) {
	e.used = now
	if e.prev != nil {
		e.prev.next, e.next.prev = e.next, e.prev
	}
	e.prev, e.next = &r.list, r.list.next
	e.prev.next, e.next.prev = e, e
}

func (r *residents) drop(e *resident) {
	e.prev.next, e.next.prev = e.next, e.prev
	delete(r.byPiece, e.piece)
	e.buf.Release()
}
