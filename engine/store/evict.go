package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// The functions of this file whose comment does not say otherwise are called with s.mu held.

// wait releases s.mu until room, a pin or a dying extent may have been given back.
func (s *Store) wait() {
	s.waiters++
	s.freed.Wait()
	s.waiters--
}

func (s *Store) wake() {
	if s.waiters > 0 {
		s.freed.Broadcast()
	}
}

func (s *Store) pin(e *extent) {
	e.refs++
	s.pinned++
	if e.opened != nil {
		s.open.MoveToFront(e.opened)
	}
}

func (s *Store) unpin(e *extent) {
	e.refs--
	s.pinned--
	if e.refs < 0 || s.pinned < 0 {
		panic("BUG: extent unpinned twice")
	}
	s.wake()
}

// hold makes a slot a confirmed piece.
func (s *Store) hold(e *extent, slot int) {
	if e.recovered.has(slot) {
		e.recovered.clear(slot)
		s.stats.Recovered--
	}
	if !e.held.has(slot) {
		e.held.set(slot)
		s.stats.Pieces++
	}
}

// forget empties a slot. Its space is not given back before the whole extent is, so an empty extent goes first.
func (s *Store) forget(e *extent, slot int) {
	if e.held.has(slot) {
		s.stats.Pieces--
	}
	if e.recovered.has(slot) {
		s.stats.Recovered--
	}
	e.held.clear(slot)
	e.recovered.clear(slot)
	if e.element != nil && e.held|e.recovered == 0 {
		s.pools[e.tier].lru.MoveToBack(e.element)
	}
}

// find returns the extent that has the piece: confirmed if anywhere, else recovered, else nil.
func (s *Store) find(key extentKey, slot int) *extent {
	f := s.files[key.root]
	if f == nil {
		return nil
	}
	var recovered *extent
	for t := range f.extents {
		e := f.extents[t][key.index]
		switch {
		case e == nil:
		case e.held.has(slot):
			return e
		case e.recovered.has(slot):
			recovered = e
		}
	}
	return recovered
}

// fileOf returns the file, made when missing.
func (s *Store) fileOf(root [32]byte) *file {
	f := s.files[root]
	if f == nil {
		f = &file{extents: [2]map[uint32]*extent{{}, {}}}
		s.files[root] = f
	}
	return f
}

// sweepFiles forgets files of which only windows were left and these have ended.
func (s *Store) sweepFiles() {
	// Rarely: files with extents are bounded by the cache, so the others are most of what is above that.
	const spare = 256
	if len(s.files) < 2*(s.pools[onDisk].lru.Len()+s.pools[inMemory].lru.Len())+spare {
		return
	}
	now := time.Now()
	for root, f := range s.files {
		if !f.live(now) {
			delete(s.files, root)
		}
	}
}

// reserve finds room for a piece, evicting what it must, and returns the pinned extent to write it to; nil when the
// piece is held already. It takes s.mu itself and holds nothing while it waits, so that waiting calls cannot block
// each other.
func (s *Store) reserve(key extentKey, slot int, fileBytes int64, pieceBytes int) (*extent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.closed {
			return nil, ErrClosed
		}
		if e := s.find(key, slot); e != nil && e.held.has(slot) {
			return nil, nil
		}
		if _, ok := s.dying[key]; ok { // its file is about to be removed by name
			s.wait()
			continue
		}
		f := s.files[key.root]
		if f != nil && f.bytes != 0 && f.bytes != fileBytes {
			return nil, fmt.Errorf("store: file %x has %d bytes, not %d", key.root[:8], f.bytes, fileBytes)
		}
		t := onDisk
		if s.disk == nil || s.degraded {
			t = inMemory
		}
		p := &s.pools[t]
		e, cost := (*extent)(nil), slotCost(pieceBytes)
		if f != nil {
			e = f.extents[t][key.index]
		}
		switch {
		case e == nil:
			cost += extentHeaderBytes
		case e.occupied.has(slot):
			cost = 0
		}
		if p.used+cost <= p.limit {
			if e == nil {
				e = s.attach(&extent{key: key, fileBytes: fileBytes, tier: t})
			}
			p.lru.MoveToFront(e.element)
			e.occupied.set(slot)
			e.cost += cost
			p.used += cost
			s.pin(e)
			return e, nil
		}
		if p.used-p.dying+cost <= p.limit {
			s.wait() // another Put is making room
			continue
		}
		victim := s.victim(t, key)
		switch {
		case victim != nil:
			s.evict(victim)
		case s.pinned > 0 || p.dying > 0:
			s.wait()
		default:
			return nil, ErrTooLarge
		}
	}
}

// attach enters an extent as the most recently used of its pool.
func (s *Store) attach(e *extent) *extent {
	f := s.fileOf(e.key.root)
	f.bytes = e.fileBytes
	f.extents[e.tier][e.key.index] = e
	e.element = s.pools[e.tier].lru.PushFront(e)
	return e
}

// victim chooses what to evict in favour of a piece of the extent keep: the least recently used extent that no
// playhead protects, else the protected one farthest ahead of its playhead. Nil: all are in use right now.
func (s *Store) victim(t tier, keep extentKey) *extent {
	now := time.Now()
	var farthest *extent
	var farthestBy uint32
	for el := s.pools[t].lru.Back(); el != nil; el = el.Prev() {
		e := el.Value.(*extent)
		if e.refs > 0 || e.key == keep {
			continue
		}
		by, protected := s.files[e.key.root].distance(e.key.index, now)
		if !protected {
			return e
		}
		if farthest == nil || by > farthestBy {
			farthest, farthestBy = e, by
		}
	}
	return farthest
}

// evict removes an extent that nobody uses. It releases s.mu while it tells and while it removes the file; the space
// counts as taken until the file is gone, and the key as dying, so that nobody makes the file anew before.
func (s *Store) evict(e *extent) {
	p := &s.pools[e.tier]
	f := s.files[e.key.root]
	delete(f.extents[e.tier], e.key.index)
	if len(f.extents[onDisk])+len(f.extents[inMemory]) == 0 {
		f.bytes = 0
		if !f.live(time.Now()) {
			delete(s.files, e.key.root)
		}
	}
	p.lru.Remove(e.element)
	e.element = nil
	p.dying += e.cost
	s.dying[e.key] = struct{}{}
	handle := s.release(e)
	held := e.held
	s.stats.Evicted += uint64((e.held | e.recovered).count())
	for slot := range ExtentPieces {
		s.forget(e, slot)
	}
	s.mu.Unlock()

	for _, b := range e.data {
		if b != nil {
			b.Release()
		}
	}
	if s.cfg.OnEvict != nil {
		for slot := range ExtentPieces {
			if held.has(slot) {
				s.cfg.OnEvict(e.key.root, e.key.piece(slot))
			}
		}
	}
	if handle != nil {
		_ = handle.Close() // nothing is lost that is not being removed
	}
	if e.tier == onDisk {
		if err := s.disk.remove(e.key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.degrade(err)
		}
	}

	s.mu.Lock()
	p.dying -= e.cost
	p.used -= e.cost
	delete(s.dying, e.key)
	s.wake()
}

// abandon removes an extent whose first write failed, so that its file does not take the last space of the disk.
// It takes s.mu itself.
func (s *Store) abandon(e *extent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.element != nil && e.refs == 0 && e.held|e.recovered == 0 && !s.closed {
		s.evict(e)
	}
}

// release takes the file handle of an extent that nobody uses; nil when it is not open.
func (s *Store) release(e *extent) *os.File {
	if e.opened == nil {
		return nil
	}
	s.open.Remove(e.opened)
	e.opened = nil
	h := e.handle
	e.handle = nil
	return h
}
