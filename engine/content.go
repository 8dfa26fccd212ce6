package engine

import (
	"time"

	"shoal/engine/manifest"
	"shoal/engine/swarm"
	"shoal/internal/wire"
)

// content is what the loop knows of a file, keyed by its Merkle root: one file
// that lies in two titles, or at two paths, is one content. Owned by the loop,
// except the fields that never change.
type content struct {
	// constant
	handle swarm.File
	root   manifest.Root
	length int64

	// owned by the loop
	files     []*File  // where it can be fetched; the last one was asked for last
	held      []uint64 // bit per piece: in the store, verified
	heldCount uint32
	obtained  []uint32 // per piece: when it was verified, as Engine.stamp; 0 in an earlier run
	validator string   // ETag or Last-Modified that the origin gave
	failure   error    // of the last CDN fetch; nil: it was good

	mismatched bool // the origin's copy is another one; it was logged
}

// filesPerContent bounds the places remembered for one content. More copies of
// one file than this are no help.
const filesPerContent = 8

func (c *content) pieceCount() uint32 { return wire.PieceCount(c.length) }

func (c *content) has(piece uint32) bool {
	word := int(piece / 64)
	return word < len(c.held) && c.held[word]&(1<<(piece%64)) != 0
}

// hasAll tells whether every piece of a byte range is held.
func (c *content) hasAll(offset, length int64) bool {
	if length <= 0 {
		return true
	}
	first, last := pieceOf(offset), pieceOf(offset+length-1)
	for p := first; p <= last; p++ {
		if !c.has(p) {
			return false
		}
	}
	return true
}

func (c *content) setHeld(piece uint32, stamp uint32) {
	if c.held == nil {
		n := c.pieceCount()
		c.held = make([]uint64, (n+63)/64)
		c.obtained = make([]uint32, n)
	}
	if !c.has(piece) {
		c.held[piece/64] |= 1 << (piece % 64)
		c.heldCount++
	}
	c.obtained[piece] = stamp
}

// clearHeld reports whether the piece was held.
func (c *content) clearHeld(piece uint32) bool {
	if !c.has(piece) {
		return false
	}
	c.held[piece/64] &^= 1 << (piece % 64)
	c.heldCount--
	return true
}

// addFile remembers one more place; the newest comes last.
func (c *content) addFile(f *File) {
	for i, old := range c.files {
		if old.path == f.path {
			copy(c.files[i:], c.files[i+1:])
			c.files[len(c.files)-1] = f
			return
		}
	}
	if len(c.files) == filesPerContent {
		copy(c.files, c.files[1:])
		c.files = c.files[:filesPerContent-1]
	}
	c.files = append(c.files, f)
}

// file returns the place to fetch from: the one asked for last has the
// freshest credentials.
func (c *content) file() *File { return c.files[len(c.files)-1] }

func pieceOf(offset int64) uint32 { return uint32(offset / wire.PieceBytes) }

// chunkMask is the set of chunks from first to last of one piece.
func chunkMask(first, last int) uint64 {
	return (^uint64(0) << first) & (^uint64(0) >> (63 - last))
}

// stamp is a time as content keeps it: milliseconds since the engine started,
// at least 1. It wraps after 49 days, when cache bytes of sessions that began
// before are counted wrong; nothing else uses it.
func (e *Engine) stamp(now time.Time) uint32 {
	return uint32(now.Sub(e.started)/time.Millisecond) + 1
}
