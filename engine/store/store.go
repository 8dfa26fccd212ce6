// Package store keeps verified pieces of files in a bounded cache, on disk or in memory.
//
// The cache is made of extents: 16 neighbouring pieces (1 MiB) of one file, one disk file each, so that a title
// larger than the cache can be watched through it and eviction gives disk space back at once. The least recently
// used extent goes first, unless its owner knows better (Drop); extents near a playhead (Protect) go last.
//
// Nothing is assumed of how the process ended. What is found on disk at start is only Recovered: it must be read,
// verified against the manifest and confirmed before Has is true for it. A CRC per piece recognizes torn and rotten
// data early; it proves nothing about authenticity, which is the manifest's job.
//
// The store does no hashing, knows no titles and starts no goroutine. All methods are safe for concurrent use.
// Put, Get, Drop and Discard touch the disk and may wait for it: call them from workers, not from the engine's loop. Has,
// Confirm, Recovered, Protect and Stats take one short lock.
package store

import (
	"container/list"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"sync"
	"time"

	"shoal/internal/wire"
)

const (
	// DefaultBytes is the default bound of the cache.
	DefaultBytes = 2 << 30
	// DefaultFallbackBytes bounds the memory used once the disk has failed: three minutes of 2.5 Mbit/s, and
	// still small for a set-top box.
	DefaultFallbackBytes = 64 << 20
	// MinBytes is the least useful cache: a few extents, so that what is read and what is written fit together.
	MinBytes = 4 * (extentHeaderBytes + extentDataBytes)

	// ExtentPieces are the pieces of an extent.
	ExtentPieces    = 16
	extentDataBytes = ExtentPieces * wire.PieceBytes

	// Disk blocks are counted whole, as the file system allocates them; an extent costs a block for its header.
	blockBytes = 4096

	// maxOpenFiles extents keep their file open between uses: a seed serves a window of some hundred MiB to its
	// leeches, and a process may commonly have 1,024 files open.
	maxOpenFiles = 256
)

// Config says where pieces are kept and how many. Its zero value is a memory cache of DefaultBytes.
type Config struct {
	// Dir is the cache folder; empty: memory mode.
	Dir string
	// Bytes bounds what the cache takes, on disk or in memory; at least MinBytes. Default DefaultBytes.
	Bytes int64
	// FallbackBytes bounds the memory taken after the disk has failed. Default DefaultFallbackBytes, at most Bytes.
	FallbackBytes int64
	// Logger gets the one warning when the disk fails. Default: discard.
	Logger *slog.Logger
	// OnEvict is told each confirmed piece that the cache dropped. It is called without locks, on the goroutine of
	// the Put that needed room, of the Drop that asked for it, or of the Get that found the piece damaged, so it may
	// block, but then so does that call. A piece may be evicted before the Put that stored it has returned to its caller:
	// who records "stored" elsewhere asks Has when doing so.
	OnEvict func(root [32]byte, piece uint32)
}

// Errors of the store.
var (
	ErrNotFound = errors.New("store: piece not held")
	ErrCorrupt  = errors.New("store: piece damaged on disk")
	ErrClosed   = errors.New("store: closed")
	ErrTooLarge = errors.New("store: piece does not fit the cache")
	ErrInUse    = errors.New("cache folder is in use by another process")
)

// Modes of Stats.
const (
	ModeDisk     = "disk"
	ModeMemory   = "memory"
	ModeDegraded = "memory (disk failed)"
)

// Stats is a snapshot. Counters are since Open.
type Stats struct {
	Mode      string // ModeDisk, ModeMemory or ModeDegraded
	Bytes     int64  // taken, in whole disk blocks
	Limit     int64
	Pieces    int // confirmed
	Recovered int // found on disk, not yet confirmed
	Extents   int
	OpenFiles int
	Puts      uint64
	Hits      uint64
	Misses    uint64
	Evicted   uint64 // pieces, confirmed or not
	Corrupt   uint64 // pieces dropped for a wrong CRC
}

// castagnoli has hardware support on amd64 and arm64, so that checking a piece costs a few microseconds.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Store is a cache of pieces. Make one with Open.
type Store struct {
	// constant after Open
	cfg    Config
	logger *slog.Logger
	disk   *disk // nil in memory mode

	mu sync.Mutex
	// guarded by mu
	freed    sync.Cond // room, a pin or a dying extent was given back
	waiters  int
	pinned   int // sum of refs of all extents
	files    map[[32]byte]*file
	pools    [2]pool // by tier
	dying    map[extentKey]struct{}
	open     list.List // of *extent, most recently used first: those with a file handle
	degraded bool
	closed   bool
	stats    Stats
}

// tier is where an extent lives.
type tier int

const (
	onDisk tier = iota
	inMemory
)

// pool bounds and orders the extents of one tier.
type pool struct {
	limit int64
	used  int64     // includes dying
	dying int64     // chosen for eviction, its space not yet given back
	lru   list.List // of *extent, most recently used first
}

// file is what the store knows of one file: present as long as it has an extent or a live window.
type file struct {
	bytes   int64
	extents [2]map[uint32]*extent // by tier
	windows []window
}

// Open opens the cache, and in disk mode reads what an earlier run left in Dir. It fails when the folder is in use
// by another process (ErrInUse) or cannot be made. A disk without room for a folder is a failed disk: memory mode.
func Open(cfg Config) (*Store, error) {
	if cfg.Bytes == 0 {
		cfg.Bytes = DefaultBytes
	}
	if cfg.Bytes < MinBytes {
		return nil, fmt.Errorf("store: a cache of %d bytes is too small, at least %d are needed", cfg.Bytes, int64(MinBytes))
	}
	if cfg.FallbackBytes == 0 {
		cfg.FallbackBytes = DefaultFallbackBytes
	}
	cfg.FallbackBytes = max(MinBytes, min(cfg.FallbackBytes, cfg.Bytes))
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		cfg:    cfg,
		logger: cfg.Logger,
		files:  make(map[[32]byte]*file),
		dying:  make(map[extentKey]struct{}),
	}
	s.freed.L = &s.mu
	if cfg.Dir == "" {
		s.pools[inMemory].limit = cfg.Bytes
		return s, nil
	}
	s.pools[onDisk].limit = cfg.Bytes
	s.pools[inMemory].limit = cfg.FallbackBytes
	d, err := openDisk(cfg.Dir)
	if isFull(err) {
		s.degrade(err)
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.disk = d
	if err := s.recoverExtents(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return s, nil
}

// Put stores a piece that the caller has verified; buf must be the whole piece, and a cache in memory shares it instead
// of copying it. fileBytes is the length of the file. What it evicts to make room is told to OnEvict. When the disk
// fails, the piece is kept in memory and so are all later ones; that is not an error.
func (s *Store) Put(root [32]byte, fileBytes int64, piece uint32, buf *Buffer) error {
	data := buf.Bytes()
	if len(data) == 0 || len(data) != wire.PieceSize(fileBytes, piece) || piece > wire.MaxPiece {
		return fmt.Errorf("store: piece %d of a file of %d bytes cannot have %d bytes", piece, fileBytes, len(data))
	}
	key, slot := keyOf(root, piece)
	var sum uint32
	if s.disk != nil { // memory neither tears nor rots
		sum = crc32.Checksum(data, castagnoli)
	}
	for {
		e, err := s.reserve(key, slot, fileBytes, len(data))
		if e == nil || err != nil {
			return err
		}
		err = s.write(e, slot, buf, sum)
		if err == nil || e.tier == inMemory || errors.Is(err, ErrClosed) {
			return err
		}
		s.degrade(err) // the next round reserves memory
		s.abandon(e)
	}
}

// write fills a slot of a pinned extent and unpins it.
func (s *Store) write(e *extent, slot int, buf *Buffer, sum uint32) error {
	e.io.Lock()
	defer e.io.Unlock()
	s.mu.Lock()
	if e.held.has(slot) { // another Put of the same piece was faster
		s.unpin(e)
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()

	var err error
	if e.tier == onDisk {
		err = s.writeDisk(e, slot, buf.Bytes(), sum)
	} else {
		e.keep(slot, buf)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.unpin(e)
	if err != nil {
		s.forget(e, slot) // a recovered piece may be half overwritten
		return err
	}
	e.slots[slot] = slotState{bytes: uint32(len(buf.Bytes())), crc: sum}
	s.hold(e, slot)
	s.stats.Puts++
	return nil
}

// Get returns a piece, with a reference for the caller to release; in memory mode it is the one that was put. It does
// not allocate when the extent's file is open. Recovered pieces are read, too, so that they can be verified: who must
// not see those asks Has first. When the disk gives back something else than was written (ErrCorrupt) or fails, the
// piece is forgotten.
func (s *Store) Get(root [32]byte, piece uint32) (*Buffer, error) {
	key, slot := keyOf(root, piece)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	e := s.find(key, slot)
	if e == nil {
		s.stats.Misses++
		s.mu.Unlock()
		return nil, ErrNotFound
	}
	s.pools[e.tier].lru.MoveToFront(e.element)
	s.pin(e)
	s.mu.Unlock()

	buf, lost, err := s.read(e, slot)
	if lost && s.cfg.OnEvict != nil {
		s.cfg.OnEvict(root, piece)
	}
	return buf, err
}

// read returns a slot of a pinned extent and unpins it. lost: a confirmed piece could not be read and was forgotten.
func (s *Store) read(e *extent, slot int) (buf *Buffer, lost bool, err error) {
	e.io.RLock()
	defer e.io.RUnlock()
	s.mu.Lock()
	state, present := e.slots[slot], e.has(slot)
	s.mu.Unlock()

	switch {
	case !present:
	case e.tier == inMemory:
		buf = e.data[slot].Retain()
	default:
		buf = NewBuffer(int(state.bytes))
		err = s.readDisk(e, slot, buf.Bytes())
		if err == nil && crc32.Checksum(buf.Bytes(), castagnoli) != state.crc {
			err = ErrCorrupt
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.unpin(e)
	switch {
	case !present:
		return nil, false, ErrNotFound // discarded meanwhile
	case err == nil:
		s.stats.Hits++
		return buf, false, nil
	}
	buf.Release()
	if errors.Is(err, ErrCorrupt) {
		s.stats.Corrupt++
	}
	lost = e.held.has(slot)
	s.forget(e, slot)
	return nil, lost, err
}

// Has says whether a confirmed piece is held.
func (s *Store) Has(root [32]byte, piece uint32) bool {
	key, slot := keyOf(root, piece)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(key, slot)
	return e != nil && e.held.has(slot)
}

// Recovered lists the pieces of a file found on disk from an earlier run and not yet confirmed, ascending.
func (s *Store) Recovered(root [32]byte) []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[root]
	if f == nil {
		return nil
	}
	return recoveredOf(f)
}

// Confirm makes a recovered piece, which the caller has read and verified, a held one. False: it is gone.
func (s *Store) Confirm(root [32]byte, piece uint32) bool {
	key, slot := keyOf(root, piece)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(key, slot)
	if e == nil {
		return false
	}
	s.hold(e, slot)
	return true
}

// Discard forgets a recovered piece that is not what the manifest says, for good. A piece that has been put or
// confirmed meanwhile stays.
func (s *Store) Discard(root [32]byte, piece uint32) {
	key, slot := keyOf(root, piece)
	s.mu.Lock()
	e := s.find(key, slot)
	if e == nil || s.closed || !e.recovered.has(slot) {
		s.mu.Unlock()
		return
	}
	s.pin(e)
	s.mu.Unlock()

	e.io.Lock()
	defer e.io.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.unpin(e)
	if !e.recovered.has(slot) {
		return
	}
	s.forget(e, slot)
	s.mu.Unlock()
	s.clearDisk(e, slot)
	s.mu.Lock()
}

// Protect asks that the extents of pieces [first, last] be evicted after all others until the given time. first is
// the piece at the playhead: when only protected extents are left, the one farthest from its playhead goes. A call for the
// same playhead, a little later, replaces the earlier one.
func (s *Store) Protect(root [32]byte, first, last uint32, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || last < first {
		return
	}
	f := s.fileOf(root)
	f.protect(window{first: first / ExtentPieces, last: last / ExtentPieces, until: until}, time.Now())
	s.sweepFiles()
}

// Drop evicts the extents of pieces [first, last] now, so that there is room for others, and tells OnEvict what has
// gone. One that is near a playhead (Protect) stays; so does one that is in use, as the next to go.
func (s *Store) Drop(root [32]byte, first, last uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for index := first / ExtentPieces; index <= last/ExtentPieces; index++ {
		for t := range s.pools {
			f := s.files[root] // evict lets go of s.mu
			if s.closed || f == nil {
				return
			}
			e := f.extents[t][index]
			_, protected := f.distance(index, time.Now())
			switch {
			case e == nil || protected:
			case e.refs > 0:
				s.pools[t].lru.MoveToBack(e.element)
			default:
				s.evict(e)
			}
		}
	}
}

// Stats returns a snapshot.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	switch {
	case s.degraded:
		st.Mode = ModeDegraded
	case s.disk == nil:
		st.Mode = ModeMemory
	default:
		st.Mode = ModeDisk
	}
	for t := range s.pools {
		st.Bytes += s.pools[t].used
		st.Extents += s.pools[t].lru.Len()
	}
	st.Limit = s.cfg.Bytes
	st.OpenFiles = s.open.Len()
	return st
}

// Close waits for calls in flight and releases the folder. What is on disk stays there. Later calls return ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.freed.Broadcast()
	for s.pinned > 0 || len(s.dying) > 0 {
		s.wait()
	}
	var handles []*os.File
	for el := s.open.Front(); el != nil; el = s.open.Front() {
		e := el.Value.(*extent)
		handles = append(handles, s.release(e))
	}
	s.files = map[[32]byte]*file{}
	s.mu.Unlock()

	var errs []error
	for _, h := range handles {
		errs = append(errs, h.Close())
	}
	if s.disk != nil {
		errs = append(errs, s.disk.close())
	}
	return errors.Join(errs...)
}

// degrade switches to memory, once.
func (s *Store) degrade(cause error) {
	s.mu.Lock()
	first := !s.degraded && !s.closed
	s.degraded = true
	s.mu.Unlock()
	if first {
		s.logger.Warn("cache disk failed; keeping new pieces in memory",
			slog.String("dir", s.cfg.Dir),
			slog.Int64("memory_bytes", s.cfg.FallbackBytes),
			slog.String("error", cause.Error()))
	}
}
