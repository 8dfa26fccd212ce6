package store

import (
	"container/list"
	"math/bits"
	"os"
	"slices"
	"sync"
	"time"
)

// extentKey names 16 neighbouring pieces of a file.
type extentKey struct {
	root  [32]byte
	index uint32
}

func keyOf(root [32]byte, piece uint32) (extentKey, int) {
	return extentKey{root: root, index: piece / ExtentPieces}, int(piece % ExtentPieces)
}

func (k extentKey) piece(slot int) uint32 { return k.index*ExtentPieces + uint32(slot) }

// mask is a set of the slots of an extent.
type mask uint16

func (m mask) has(slot int) bool { return m&(1<<slot) != 0 }
func (m mask) count() int        { return bits.OnesCount16(uint16(m)) }
func (m *mask) set(slot int)     { *m |= 1 << slot }
func (m *mask) clear(slot int)   { *m &^= 1 << slot }

// slotState is what the header of an extent says about a piece.
type slotState struct {
	bytes uint32
	crc   uint32
}

// extent is the unit of eviction. A pinned extent (refs > 0) is neither evicted nor closed.
type extent struct {
	// constant after creation
	key       extentKey
	fileBytes int64
	tier      tier

	// guarded by Store.mu
	refs      int
	held      mask // confirmed
	recovered mask // found on disk, not confirmed; disjoint from held
	occupied  mask // takes space: held, recovered, being written, or forgotten
	cost      int64
	slots     [ExtentPieces]slotState
	element   *list.Element // in pool.lru
	opened    *list.Element // in Store.open, nil when the file is closed

	// io orders writes to the slots against reads of them; taken before Store.mu.
	io sync.RWMutex
	// guarded by io
	data    [ExtentPieces]*Buffer // memory tier
	written bool                  // disk tier: the file exists and has its header

	// handleMu guards handle while the extent is pinned; taken before Store.mu. Whoever holds Store.mu
	// and sees refs == 0 may take the handle, because nobody can be using it.
	handleMu sync.Mutex
	handle   *os.File
}

func (e *extent) has(slot int) bool { return (e.held | e.recovered).has(slot) }

// keep takes a piece into memory; called with e.io held.
func (e *extent) keep(slot int, buf *Buffer) {
	if old := e.data[slot]; old != nil { // forgotten, and put again
		old.Release()
	}
	e.data[slot] = buf.kept()
}

// slotCost is the space that a piece takes.
func slotCost(pieceBytes int) int64 {
	return (int64(pieceBytes) + blockBytes - 1) / blockBytes * blockBytes
}

// window is a range of extents near a playhead, which is at first.
type window struct {
	first, last uint32
	until       time.Time
}

const (
	// maxWindows bounds the windows of one file: as many viewers of one file at one peer, or seeks within one
	// protection, are far more than there will be. The one that ends first makes way.
	maxWindows = 64
	// sameHeadExtents is how much later a window may begin and still be that of the same playhead, moved on: a
	// second of 32 Mbit/s. The earlier one must go, for it protects what has been played. Two viewers that near to
	// each other lose nothing: what lies between them was used a moment ago.
	sameHeadExtents = 4
)

func (f *file) protect(w window, now time.Time) {
	if !w.until.After(now) {
		return
	}
	f.windows = slices.DeleteFunc(f.windows, func(o window) bool {
		contained := w.first <= o.first && o.last <= w.last
		movedOn := o.first <= w.first && w.first-o.first <= sameHeadExtents && o.last <= w.last
		return !o.until.After(now) || (contained || movedOn) && !o.until.After(w.until)
	})
	if len(f.windows) == maxWindows {
		earliest := 0
		for i, o := range f.windows {
			if o.until.Before(f.windows[earliest].until) {
				earliest = i
			}
		}
		f.windows = slices.Delete(f.windows, earliest, earliest+1)
	}
	f.windows = append(f.windows, w)
}

// distance is how many extents the given one is ahead of the nearest playhead that protects it.
func (f *file) distance(index uint32, now time.Time) (extents uint32, protected bool) {
	for _, w := range f.windows {
		if w.first <= index && index <= w.last && w.until.After(now) {
			if d := index - w.first; !protected || d < extents {
				extents, protected = d, true
			}
		}
	}
	return extents, protected
}

// live says whether the file has to be remembered.
func (f *file) live(now time.Time) bool {
	return len(f.extents[onDisk]) > 0 || len(f.extents[inMemory]) > 0 ||
		slices.ContainsFunc(f.windows, func(w window) bool { return w.until.After(now) })
}

func recoveredOf(f *file) []uint32 {
	var pieces []uint32
	for _, e := range f.extents[onDisk] {
		for slot := range ExtentPieces {
			if e.recovered.has(slot) {
				pieces = append(pieces, e.key.piece(slot))
			}
		}
	}
	slices.Sort(pieces)
	return pieces
}
