package store

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

const mib = 1 << 20

func rootOf(n int) [32]byte {
	var r [32]byte
	binary.BigEndian.PutUint32(r[28:], uint32(n))
	r[0] = byte(n * 37) // several shards
	return r
}

// pattern is what pieces of test files are cut from.
var pattern = func() []byte {
	b := make([]byte, mib)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}()

// contentOf is what a piece of a test file holds: another part of the pattern for each piece of each file.
func contentOf(root [32]byte, fileBytes int64, piece uint32) []byte {
	b := make([]byte, wire.PieceSize(fileBytes, piece))
	seed := (binary.BigEndian.Uint64(root[24:])<<32 | uint64(piece)) * 0x9e3779b97f4a7c15
	copy(b, pattern[(seed>>32)%(mib-wire.PieceBytes):])
	return b
}

// world is a store under test and what it told.
type world struct {
	*Store
	t       testing.TB
	mu      sync.Mutex
	evicted map[[32]byte][]uint32
}

func open(t testing.TB, cfg Config) *world {
	t.Helper()
	w := &world{t: t, evicted: make(map[[32]byte][]uint32)}
	cfg.OnEvict = func(root [32]byte, piece uint32) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.evicted[root] = append(w.evicted[root], piece)
	}
	s, err := Open(cfg)
	require.NoError(t, err)
	w.Store = s
	t.Cleanup(func() { _ = s.Close() })
	return w
}

// Put and Get are the store's, with bytes.
func (w *world) Put(root [32]byte, fileBytes int64, piece uint32, data []byte) error {
	return putBytes(w.Store, root, fileBytes, piece, data)
}

func (w *world) Get(root [32]byte, piece uint32) ([]byte, error) {
	return getBytes(w.Store, root, piece)
}

func putBytes(s *Store, root [32]byte, fileBytes int64, piece uint32, data []byte) error {
	b := NewBuffer(len(data))
	defer b.Release()
	copy(b.Bytes(), data)
	return s.Put(root, fileBytes, piece, b)
}

func getBytes(s *Store, root [32]byte, piece uint32) ([]byte, error) {
	b, err := s.Get(root, piece)
	if err != nil {
		return nil, err
	}
	defer b.Release()
	return bytes.Clone(b.Bytes()), nil
}

func (w *world) put(root [32]byte, fileBytes int64, pieces ...uint32) {
	w.t.Helper()
	for _, p := range pieces {
		require.NoError(w.t, w.Put(root, fileBytes, p, contentOf(root, fileBytes, p)))
	}
}

func (w *world) wantHeld(root [32]byte, fileBytes int64, pieces ...uint32) {
	w.t.Helper()
	for _, p := range pieces {
		require.True(w.t, w.Has(root, p), "piece %d", p)
		data, err := w.Get(root, p)
		require.NoError(w.t, err, "piece %d", p)
		require.True(w.t, bytes.Equal(contentOf(root, fileBytes, p), data), "content of piece %d", p)
	}
}

func (w *world) wantGone(root [32]byte, pieces ...uint32) {
	w.t.Helper()
	for _, p := range pieces {
		require.False(w.t, w.Has(root, p), "piece %d", p)
		_, err := w.Get(root, p)
		require.ErrorIs(w.t, err, ErrNotFound)
	}
}

func eachMode(t *testing.T, test func(t *testing.T, cfg Config)) {
	t.Run("disk", func(t *testing.T) { test(t, Config{Dir: t.TempDir()}) })
	t.Run("memory", func(t *testing.T) { test(t, Config{}) })
}

// diskUsage is what the folder really takes.
func diskUsage(t testing.TB, dir string) int64 {
	t.Helper()
	var sum int64
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil // evicted while we walk
		}
		if err == nil && filepath.Base(path) != lockName {
			sum += allocatedBytes(info)
		}
		return err
	}))
	return sum
}

func TestPieceComesBackAsPut(t *testing.T) {
	eachMode(t, func(t *testing.T, cfg Config) {
		w := open(t, cfg)
		const fileBytes = 40*wire.PieceBytes + 1000 // three extents, the last piece short
		w.put(rootOf(1), fileBytes, 0, 15, 16, 39, 40)
		w.put(rootOf(2), 10, 0)
		w.wantHeld(rootOf(1), fileBytes, 0, 15, 16, 39, 40)
		w.wantHeld(rootOf(2), 10, 0)
		w.wantGone(rootOf(1), 1, 14, 17, 1<<24, 1<<32-1)
		w.wantGone(rootOf(3), 0)
		st := w.Stats()
		require.Equal(t, 6, st.Pieces)
		require.Equal(t, 4, st.Extents)
		require.Equal(t, int64(DefaultBytes), st.Limit)
		require.Equal(t, uint64(6), st.Puts)
		// Putting again changes nothing.
		w.put(rootOf(1), fileBytes, 0)
		require.Equal(t, st.Bytes, w.Stats().Bytes)
		require.Equal(t, uint64(6), w.Stats().Puts)
	})
}

func TestMemoryIsSharedWithWhoPutsAndGets(t *testing.T) {
	cfg := Config{Bytes: MinBytes}
	w := open(t, cfg)
	const fileBytes = 100*mib + 1000
	piece := NewBuffer(wire.PieceBytes)
	copy(piece.Bytes(), contentOf(rootOf(1), fileBytes, 0))
	require.NoError(t, w.Store.Put(rootOf(1), fileBytes, 0, piece))
	held, err := w.Store.Get(rootOf(1), 0)
	require.NoError(t, err)
	require.Same(t, piece, held)
	piece.Release()

	// Evicted, it stays as it is for as long as somebody reads it.
	for p := uint32(16); w.Has(rootOf(1), 0); p++ {
		w.put(rootOf(1), fileBytes, p)
	}
	for range 100 {
		other := NewBuffer(wire.PieceBytes)
		require.NotSame(t, held, other)
		defer other.Release()
	}
	require.Equal(t, contentOf(rootOf(1), fileBytes, 0), held.Bytes())
	held.Release()

	// A short piece must not take the memory of a whole one.
	last := uint32(100 * mib / wire.PieceBytes)
	w.put(rootOf(1), fileBytes, last)
	short, err := w.Store.Get(rootOf(1), last)
	require.NoError(t, err)
	require.Equal(t, 1000, cap(short.Bytes()))
	short.Release()
}

func TestPutRefusesWhatCannotBeThePiece(t *testing.T) {
	eachMode(t, func(t *testing.T, cfg Config) {
		w := open(t, cfg)
		full := make([]byte, wire.PieceBytes)
		require.Error(t, w.Put(rootOf(1), 3*wire.PieceBytes, 3, full), "beyond the end")
		require.Error(t, w.Put(rootOf(1), 3*wire.PieceBytes, 0, full[:100]), "short")
		require.Error(t, w.Put(rootOf(1), wire.PieceBytes+1, 1, full), "long")
		require.Error(t, w.Put(rootOf(1), 0, 0, nil), "empty file")
		require.Error(t, w.Put(rootOf(1), -5, 0, full), "negative length")
		require.NoError(t, w.Put(rootOf(1), 3*wire.PieceBytes, 0, full))
		require.Error(t, w.Put(rootOf(1), 2*wire.PieceBytes, 1, full), "another length for the same root")
	})
}

func TestCacheTooSmallIsRefused(t *testing.T) {
	_, err := Open(Config{Bytes: 1000})
	require.ErrorContains(t, err, "too small")
}

func TestLeastRecentlyUsedExtentGoesFirst(t *testing.T) {
	eachMode(t, func(t *testing.T, cfg Config) {
		cfg.Bytes = 4 * (extentHeaderBytes + extentDataBytes)
		w := open(t, cfg)
		const fileBytes = 100 * mib
		for x := range uint32(4) {
			for p := range uint32(16) {
				w.put(rootOf(1), fileBytes, x*16+p)
			}
		}
		require.Equal(t, cfg.Bytes, w.Stats().Bytes)
		w.wantHeld(rootOf(1), fileBytes, 3) // a use of the first extent saves it
		w.put(rootOf(1), fileBytes, 64)
		w.wantGone(rootOf(1), 16, 31)
		w.wantHeld(rootOf(1), fileBytes, 0, 15, 32, 63, 64)
		require.Len(t, w.evicted[rootOf(1)], 16, "each piece of the extent is told")
		require.ElementsMatch(t, []uint32{16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31}, w.evicted[rootOf(1)])
		require.Equal(t, uint64(16), w.Stats().Evicted)
	})
}

func TestWhatIsDroppedMakesRoomAtOnce(t *testing.T) {
	eachMode(t, func(t *testing.T, cfg Config) {
		cfg.Bytes = 4 * (extentHeaderBytes + extentDataBytes)
		w := open(t, cfg)
		const fileBytes = 100 * mib
		for p := range uint32(4 * 16) {
			w.put(rootOf(1), fileBytes, p)
		}
		w.Drop(rootOf(1), 20, 47) // extents are given up whole
		w.wantGone(rootOf(1), 16, 31, 32, 47)
		w.wantHeld(rootOf(1), fileBytes, 0, 15, 48, 63)
		require.Len(t, w.evicted[rootOf(1)], 32, "each piece is told")
		require.Equal(t, cfg.Bytes/2, w.Stats().Bytes)
		w.Drop(rootOf(1), 16, 47)
		w.Drop(rootOf(2), 0, 15)
		require.Equal(t, uint64(32), w.Stats().Evicted, "what is not there is no matter")
	})
}

func TestWhatIsNearAPlayheadOrInUseIsNotDropped(t *testing.T) {
	eachMode(t, func(t *testing.T, cfg Config) {
		w := open(t, cfg)
		const fileBytes = 100 * mib
		for p := range uint32(3 * 16) {
			w.put(rootOf(1), fileBytes, p)
		}
		w.Protect(rootOf(1), 0, 15, time.Now().Add(time.Hour))
		pinned := w.find(extentKey{rootOf(1), 1}, 0)
		w.mu.Lock()
		w.pin(pinned)
		w.mu.Unlock()
		unpin := sync.OnceFunc(func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.unpin(pinned)
		})
		defer unpin() // Close waits for it
		w.Drop(rootOf(1), 0, 47)
		w.wantHeld(rootOf(1), fileBytes, 0, 15, 16, 31)
		w.wantGone(rootOf(1), 32, 47)
		require.Len(t, w.evicted[rootOf(1)], 16, "what stays is not told as gone")

		unpin()
		w.Drop(rootOf(1), 0, 47)
		w.wantHeld(rootOf(1), fileBytes, 0, 15)
		w.wantGone(rootOf(1), 16, 31)
	})
}

func TestExtentsNearThePlayheadGoLast(t *testing.T) {
	eachMode(t, func(t *testing.T, cfg Config) {
		cfg.Bytes = 4 * (extentHeaderBytes + extentDataBytes)
		w := open(t, cfg)
		const fileBytes = 100 * mib
		extent := func(x uint32) {
			for p := range uint32(16) {
				w.put(rootOf(1), fileBytes, x*16+p)
			}
		}
		extent(0)
		extent(1)
		w.Protect(rootOf(1), 0, 31, time.Now().Add(time.Hour))
		for x := uint32(10); x < 20; x++ {
			extent(x)
		}
		w.wantHeld(rootOf(1), fileBytes, 0, 15, 16, 31)

		// A window wider than the cache: what is farthest ahead goes, the playhead stays.
		w.Protect(rootOf(1), 0, 1600, time.Now().Add(time.Hour))
		for x := uint32(2); x < 50; x++ {
			extent(x)
		}
		w.wantHeld(rootOf(1), fileBytes, 0, 16, 49*16)
		require.LessOrEqual(t, w.Stats().Bytes, cfg.Bytes)
	})
}

func TestProtectionEnds(t *testing.T) {
	cfg := Config{Bytes: 4 * (extentHeaderBytes + extentDataBytes)}
	w := open(t, cfg)
	const fileBytes = 100 * mib
	w.put(rootOf(1), fileBytes, 0)
	w.Protect(rootOf(1), 0, 15, time.Now().Add(-time.Second))
	for p := uint32(16); p < 16*6; p++ {
		w.put(rootOf(1), fileBytes, p)
	}
	w.wantGone(rootOf(1), 0)
}

func TestWindowsAreBounded(t *testing.T) {
	now := time.Now()
	f := &file{}
	for i := range uint32(1000) {
		f.protect(window{first: i, last: i + 10, until: now.Add(time.Duration(i+1) * time.Second)}, now)
	}
	require.Len(t, f.windows, 1, "one playhead, moving on")
	by, protected := f.distance(1005, now)
	require.True(t, protected)
	require.Equal(t, uint32(6), by)
	_, protected = f.distance(5, now)
	require.False(t, protected)
	for i := range uint32(1000) {
		f.protect(window{first: i * 10, last: i*10 + 5, until: now.Add(time.Duration(i+1) * time.Second)}, now)
	}
	require.Len(t, f.windows, maxWindows)
	by, protected = f.distance(9994, now)
	require.True(t, protected, "those that last longest are kept")
	require.Equal(t, uint32(4), by)
	// A wider, later window replaces all of them.
	f.protect(window{first: 0, last: 20000, until: now.Add(time.Hour)}, now)
	require.Len(t, f.windows, 1)
	// Windows of files never stored are forgotten after their end.
	s := open(t, Config{})
	for i := range 2000 {
		s.Protect(rootOf(i), 0, 1, time.Now().Add(time.Microsecond))
	}
	require.Eventually(t, func() bool {
		s.Protect(rootOf(0), 0, 1, time.Now().Add(time.Microsecond))
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.files) <= 260
	}, time.Second, time.Millisecond)
}

func TestFilmLargerThanTheCacheIsWatchedThrough(t *testing.T) {
	eachMode(t, func(t *testing.T, cfg Config) {
		cfg.Bytes = 8 * mib
		w := open(t, cfg)
		const fileBytes = 96*mib + 77
		const ahead = 48 // pieces fetched before they are read
		pieces := wire.PieceCount(fileBytes)
		for p := range pieces + ahead {
			if p < pieces {
				w.put(rootOf(1), fileBytes, p)
			}
			if p >= ahead {
				w.Protect(rootOf(1), p-ahead, p, time.Now().Add(time.Minute))
				got, err := w.Get(rootOf(1), p-ahead)
				require.NoError(t, err)
				require.Equal(t, wire.PieceSize(fileBytes, p-ahead), len(got))
			}
			require.LessOrEqual(t, w.Stats().Bytes, cfg.Bytes)
		}
		require.Equal(t, int(pieces), w.Stats().Pieces+len(w.evicted[rootOf(1)]))
		if cfg.Dir != "" {
			require.LessOrEqual(t, diskUsage(t, cfg.Dir), cfg.Bytes, "eviction gives disk space back")
		}
	})
}

func TestOnEvictMayCallTheStore(t *testing.T) {
	var s *Store
	calls := 0
	s, err := Open(Config{Bytes: MinBytes, OnEvict: func(root [32]byte, piece uint32) {
		calls++
		_ = s.Stats()
		if s.Has(root, piece) {
			t.Error("told of an eviction before it")
		}
	}})
	require.NoError(t, err)
	w := &world{Store: s, t: t}
	for p := range uint32(100) {
		w.put(rootOf(1), 100*wire.PieceBytes, p)
	}
	require.Positive(t, calls)
	require.NoError(t, s.Close())
}

func TestClosedStoreRefuses(t *testing.T) {
	eachMode(t, func(t *testing.T, cfg Config) {
		w := open(t, cfg)
		w.put(rootOf(1), 100, 0)
		require.NoError(t, w.Close())
		require.NoError(t, w.Close())
		require.ErrorIs(t, w.Put(rootOf(1), 100, 0, make([]byte, 100)), ErrClosed)
		_, err := w.Get(rootOf(1), 0)
		require.ErrorIs(t, err, ErrClosed)
		require.False(t, w.Has(rootOf(1), 0))
		require.False(t, w.Confirm(rootOf(1), 0))
		w.Discard(rootOf(1), 0)
		w.Protect(rootOf(1), 0, 1, time.Now().Add(time.Hour))
	})
}

// Many goroutines on a cache of four extents: whatever comes back is right, and the books balance at the end.
func TestConcurrentUse(t *testing.T) {
	eachMode(t, func(t *testing.T, cfg Config) {
		cfg.Bytes = MinBytes
		w := open(t, cfg)
		const fileBytes = 160*wire.PieceBytes + 5
		var served atomic.Int64
		var group sync.WaitGroup
		for g := range 8 {
			group.Go(func() {
				rng := rand.New(rand.NewPCG(1, uint64(g)))
				for range 150 {
					root, piece := rootOf(rng.IntN(2)), rng.Uint32N(161)
					switch rng.IntN(10) {
					case 0:
						w.Has(root, piece)
					case 1:
						w.Protect(root, piece, piece+16, time.Now().Add(time.Millisecond))
					case 2, 3, 4, 5:
						if err := w.Put(root, fileBytes, piece, contentOf(root, fileBytes, piece)); err != nil {
							t.Errorf("put: %v", err)
						}
					default:
						got, err := w.Get(root, piece)
						if err == nil && !bytes.Equal(contentOf(root, fileBytes, piece), got) {
							t.Errorf("piece %d came back wrong", piece)
						}
						if err == nil {
							served.Add(1)
						}
					}
				}
			})
		}
		group.Wait()
		require.Positive(t, served.Load())
		w.wantBalanced()
		if cfg.Dir != "" {
			require.LessOrEqual(t, diskUsage(t, cfg.Dir), cfg.Bytes)
		}
	})
}

// wantBalanced recounts everything that is kept as a sum.
func (w *world) wantBalanced() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Store.mu.Lock()
	defer w.Store.mu.Unlock()
	held, recovered, extents := 0, 0, 0
	var used [2]int64
	for root, f := range w.files {
		for tier := range f.extents {
			for index, e := range f.extents[tier] {
				require.Equal(w.t, extentKey{root, index}, e.key)
				require.Zero(w.t, e.refs)
				require.Zero(w.t, e.held&e.recovered)
				require.Zero(w.t, (e.held|e.recovered)&^e.occupied)
				held += e.held.count()
				recovered += e.recovered.count()
				used[tier] += e.cost
				extents++
			}
		}
	}
	require.Equal(w.t, held, w.stats.Pieces)
	require.Equal(w.t, recovered, w.stats.Recovered)
	require.Equal(w.t, extents, w.pools[0].lru.Len()+w.pools[1].lru.Len())
	require.Zero(w.t, w.pinned)
	require.Empty(w.t, w.dying)
	for i := range w.pools {
		require.Equal(w.t, used[i], w.pools[i].used)
		require.LessOrEqual(w.t, w.pools[i].used, w.pools[i].limit)
		require.Zero(w.t, w.pools[i].dying)
	}
}

func benchmark(b *testing.B, run func(b *testing.B, cfg Config)) {
	b.Run("disk", func(b *testing.B) { run(b, Config{Dir: b.TempDir(), Bytes: 256 * mib}) })
	b.Run("memory", func(b *testing.B) { run(b, Config{Bytes: 256 * mib}) })
}

func BenchmarkPut(b *testing.B) {
	benchmark(b, func(b *testing.B, cfg Config) {
		w := open(b, cfg)
		const fileBytes = 3 << 30 // through a cache of 256 MiB
		piece := NewBuffer(wire.PieceBytes)
		copy(piece.Bytes(), contentOf(rootOf(1), fileBytes, 0))
		b.SetBytes(wire.PieceBytes)
		b.ReportAllocs()
		n := uint32(0)
		for b.Loop() {
			if err := w.Store.Put(rootOf(1), fileBytes, n%wire.PieceCount(fileBytes), piece); err != nil {
				b.Fatal(err)
			}
			n++
		}
	})
}

func BenchmarkGet(b *testing.B) {
	benchmark(b, func(b *testing.B, cfg Config) {
		w := open(b, cfg)
		const pieces = 2048 // 128 MiB
		for p := range uint32(pieces) {
			w.put(rootOf(1), pieces*wire.PieceBytes, p)
		}
		b.SetBytes(wire.PieceBytes)
		b.ReportAllocs()
		n := uint32(0)
		for b.Loop() {
			piece, err := w.Store.Get(rootOf(1), n*7%pieces)
			if err != nil {
				b.Fatal(err)
			}
			piece.Release()
			n++
		}
	})
}
