package store

import (
	"sync"
	"sync/atomic"

	"shoal/internal/wire"
)

// A Buffer is the memory of one piece. Whoever makes it writes it; once it has been handed to anybody it is read-only,
// and readers, hash workers, those who serve others and a cache in memory share it, each with a reference of its own.
type Buffer struct {
	data []byte
	refs atomic.Int32
}

// buffers is shared by all users of a process: a buffer has no owner once it is free.
var buffers = sync.Pool{New: func() any { return &Buffer{data: make([]byte, wire.PieceBytes)} }}

// NewBuffer returns a buffer for a piece of n bytes, at most wire.PieceBytes, with one reference and undefined content.
func NewBuffer(n int) *Buffer {
	b := buffers.Get().(*Buffer)
	b.data = b.data[:n]
	b.refs.Store(1)
	return b
}

// kept returns a buffer with the same content that takes no more memory than the piece does, and a reference to it.
func (b *Buffer) kept() *Buffer {
	if len(b.data) == wire.PieceBytes {
		return b.Retain()
	}
	c := &Buffer{data: append(make([]byte, 0, len(b.data)), b.data...)}
	c.refs.Store(1)
	return c
}

// Bytes is the piece.
func (b *Buffer) Bytes() []byte { return b.data }

// Retain adds a reference.
func (b *Buffer) Retain() *Buffer {
	b.refs.Add(1)
	return b
}

// Release gives one reference back. A reference that is never given back costs the pool a buffer, nothing else: the
// garbage collector takes it.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n < 0:
		panic("BUG: piece buffer released twice")
	case n == 0 && cap(b.data) >= wire.PieceBytes:
		buffers.Put(b)
	}
}
