package store

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/internal/wire"
)

// reopen ends one life of the store and begins the next.
func (w *world) reopen(cfg Config) *world {
	w.t.Helper()
	require.NoError(w.t, w.Close())
	return open(w.t, cfg)
}

func extentFiles(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, extentSuffix) {
			names = append(names, path)
		}
		return err
	}))
	return names
}

func TestPiecesOfAnEarlierRunAreUntrustedUntilConfirmed(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	w := open(t, cfg)
	const fileBytes = 33*wire.PieceBytes + 9
	w.put(rootOf(1), fileBytes, 33, 0, 3, 17)
	w.put(rootOf(2), 7, 0)
	require.Empty(t, w.Recovered(rootOf(1)), "pieces of this run need no recovery")

	w = w.reopen(cfg)
	require.Equal(t, []uint32{0, 3, 17, 33}, w.Recovered(rootOf(1)))
	require.Equal(t, []uint32{0}, w.Recovered(rootOf(2)))
	require.Empty(t, w.Recovered(rootOf(3)))
	require.Equal(t, 5, w.Stats().Recovered)
	require.Zero(t, w.Stats().Pieces)
	for _, p := range w.Recovered(rootOf(1)) {
		require.False(t, w.Has(rootOf(1), p))
	}

	got, err := w.Get(rootOf(1), 3)
	require.NoError(t, err)
	require.Equal(t, contentOf(rootOf(1), fileBytes, 3), got)
	require.True(t, w.Confirm(rootOf(1), 3))
	require.False(t, w.Confirm(rootOf(1), 4), "never stored")
	w.wantHeld(rootOf(1), fileBytes, 3)

	w.Discard(rootOf(1), 17)
	w.wantGone(rootOf(1), 17)
	w.Discard(rootOf(1), 3)
	w.wantHeld(rootOf(1), fileBytes, 3) // confirmed meanwhile: not the caller's to discard

	// A verified piece fetched before the recovered one was looked at takes its place.
	w.put(rootOf(1), fileBytes, 33)
	w.wantHeld(rootOf(1), fileBytes, 33)
	require.Equal(t, []uint32{0}, w.Recovered(rootOf(1)))
	require.Empty(t, w.evicted)
	w.wantBalanced()

	w = w.reopen(cfg)
	require.Equal(t, []uint32{0, 3, 33}, w.Recovered(rootOf(1)), "a discarded piece does not come back")
}

func TestDamageOnDiskIsNeverServed(t *testing.T) {
	const fileBytes = 4 * wire.PieceBytes
	damage := map[string]func(t *testing.T, f *os.File){
		"torn piece": func(t *testing.T, f *os.File) {
			_, err := f.WriteAt(make([]byte, wire.PieceBytes/2), dataOffset(1)+wire.PieceBytes/2)
			require.NoError(t, err)
		},
		"flipped bit": func(t *testing.T, f *os.File) {
			b := make([]byte, 1)
			_, err := f.ReadAt(b, dataOffset(1)+777)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte{b[0] ^ 4}, dataOffset(1)+777)
			require.NoError(t, err)
		},
		"torn slot": func(t *testing.T, f *os.File) {
			_, err := f.WriteAt([]byte{0, 0}, slotOffset(1)+6)
			require.NoError(t, err)
		},
		"cut file": func(t *testing.T, f *os.File) {
			require.NoError(t, f.Truncate(dataOffset(1)+5))
		},
	}
	for name, harm := range damage {
		for _, restart := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				cfg := Config{Dir: t.TempDir()}
				w := open(t, cfg)
				w.put(rootOf(1), fileBytes, 0, 1)
				f, err := os.OpenFile(extentFiles(t, cfg.Dir)[0], os.O_RDWR, 0)
				require.NoError(t, err)
				defer func() { _ = f.Close() }()
				if restart {
					require.NoError(t, w.Close())
				}
				harm(t, f)
				if restart {
					w = open(t, cfg)
				}
				_, err = w.Get(rootOf(1), 1)
				if name == "torn slot" && !restart {
					require.NoError(t, err, "the running store knows its slots by heart")
					return
				}
				require.Error(t, err)
				w.wantGone(rootOf(1), 1)
				if !restart {
					require.Equal(t, map[[32]byte][]uint32{rootOf(1): {1}}, w.evicted)
				} else {
					require.Empty(t, w.evicted, "nobody was told of it")
				}
				w.put(rootOf(1), fileBytes, 1)
				w.wantHeld(rootOf(1), fileBytes, 1)
				w.wantBalanced()
			})
		}
	}
}

func TestForeignAndCorruptFilesAreIgnored(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	w := open(t, cfg)
	w.put(rootOf(1), 100, 0)
	require.NoError(t, w.Close())
	good := extentFiles(t, cfg.Dir)[0]

	keep := map[string]string{
		"holiday.jpg":          "not ours",
		"ab/letter.txt":        "not ours",
		"ab/short-00.extent":   "not ours",
		"ABCD/x.extent":        "not ours",
		"00/lost+found/readme": "not ours",
	}
	for name, text := range keep {
		path := filepath.Join(cfg.Dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	header, err := os.ReadFile(good)
	require.NoError(t, err)
	broken := map[string][]byte{
		extentKey{root: rootOf(2)}.name():                       nil, // killed at its birth
		extentKey{root: rootOf(3)}.name():                       bytes.Repeat([]byte("garbage!"), 1000),
		extentKey{root: rootOf(4)}.name():                       header, // of another file
		extentKey{root: rootOf(1), index: 9}.name():             header,
		extentKey{root: rootOf(5), index: 1<<32 - 1}.name():     header[:50],
		extentKey{root: rootOf(6)}.name():                       append(bytes.Clone(header), make([]byte, 2*mib)...),
		extentKey{root: rootOf(7), index: 123456789}.name():     append(extentMagic[:], make([]byte, 4096)...),
		extentKey{root: [32]byte{0xab, 31: 1}}.name():           header[:headerUsedBytes-1],
		extentKey{root: [32]byte{0xab, 31: 2}, index: 0}.name(): header2.encode(),
	}
	for name, data := range broken {
		path := filepath.Join(cfg.Dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, data, 0o600))
	}
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, header, 0o600))
	link := filepath.Join(cfg.Dir, extentKey{root: rootOf(1), index: 7}.name())
	require.NoError(t, os.Symlink(outside, link))

	w = open(t, cfg)
	require.Equal(t, 1, w.Stats().Recovered)
	require.Equal(t, []uint32{0}, w.Recovered(rootOf(1)))
	for name, text := range keep {
		got, err := os.ReadFile(filepath.Join(cfg.Dir, name))
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	_, err = os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, []string{good}, removeString(extentFiles(t, cfg.Dir),
		link, filepath.Join(cfg.Dir, "ab/short-00.extent"), filepath.Join(cfg.Dir, "ABCD/x.extent")), "broken extents of ours take no space")
}

// header2 has a slot whose piece the file is too short to hold.
var header2 = header{
	key: extentKey{root: [32]byte{0xab, 31: 2}}, fileBytes: 100,
	slots: [ExtentPieces]slotState{{bytes: 100, crc: 1}},
}

func removeString(from []string, what ...string) []string {
	var left []string
	for _, s := range from {
		keep := true
		for _, x := range what {
			keep = keep && s != x
		}
		if keep {
			left = append(left, s)
		}
	}
	return left
}

func TestTwoStoresCannotShareAFolder(t *testing.T) {
	dir := t.TempDir()
	w := open(t, Config{Dir: dir})
	_, err := Open(Config{Dir: dir})
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, dir)
	require.NoError(t, w.Close())
	open(t, Config{Dir: dir})
}

func TestFolderThatCannotBeMadeIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(Config{Dir: filepath.Join(file, "cache")})
	require.ErrorContains(t, err, "cache folder")
}

func TestBoundHoldsAcrossRestartsOldestFirst(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Bytes: 8 * mib}
	w := open(t, cfg)
	const fileBytes = 50 * mib
	for p := range uint32(6 * 16) {
		w.put(rootOf(1), fileBytes, p)
	}
	require.NoError(t, w.Close())
	// The file system's clock may be too coarse to tell the extents apart.
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for x := range uint32(6) {
		path := filepath.Join(cfg.Dir, extentKey{root: rootOf(1), index: x}.name())
		require.NoError(t, os.Chtimes(path, base, base.Add(time.Duration((x+2)%6)*time.Second)))
	}

	cfg.Bytes = MinBytes // four extents; the oldest two are 4 and 5
	w = open(t, cfg)
	require.Equal(t, 64, w.Stats().Recovered)
	require.Equal(t, uint32(63), w.Recovered(rootOf(1))[63])
	require.Equal(t, cfg.Bytes, w.Stats().Bytes)
	require.LessOrEqual(t, diskUsage(t, cfg.Dir), cfg.Bytes)

	// Recovered bytes count: new pieces push the oldest of them out, silently.
	w.put(rootOf(2), fileBytes, 0)
	require.Equal(t, 48, w.Stats().Recovered)
	require.Equal(t, uint32(16), w.Recovered(rootOf(1))[0])
	require.Empty(t, w.evicted)
	require.False(t, w.Confirm(rootOf(1), 0), "gone meanwhile")
	w.wantBalanced()
}

// failAfter makes the disk fail once that many bytes have been written.
func (w *world) failAfter(n int64, err error) {
	var mu sync.Mutex
	w.disk.writeAt = func(f *os.File, p []byte, off int64) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if int64(len(p)) > n {
			k, _ := f.WriteAt(p[:n], off)
			return k, err
		}
		n -= int64(len(p))
		return f.WriteAt(p, off)
	}
}

// keepsPlaying drives a store whose disk has little room.
func keepsPlaying(t *testing.T, w *world, log *bytes.Buffer) {
	const fileBytes = 100 * mib
	for p := range uint32(24 * 16) {
		w.put(rootOf(1), fileBytes, p)
		got, err := w.Get(rootOf(1), p)
		require.NoError(t, err)
		require.Equal(t, contentOf(rootOf(1), fileBytes, p), got)
	}
	st := w.Stats()
	require.Equal(t, ModeDegraded, st.Mode)
	require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
	require.Contains(t, log.String(), "cache disk failed")
	w.wantHeld(rootOf(1), fileBytes, 0, 1, 16) // what is on disk is still served
	require.Greater(t, st.Pieces, 8*16)
	require.Equal(t, 24*16, st.Pieces+len(w.evicted[rootOf(1)]))
	w.wantBalanced()
}

func TestFullDiskMeansMemoryModeWithOneWarning(t *testing.T) {
	for name, err := range map[string]error{
		"no space": syscall.ENOSPC, "quota": syscall.EDQUOT, "i/o error": syscall.EIO, "read-only": syscall.EROFS,
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			w := open(t, Config{
				Dir: t.TempDir(), Bytes: 64 * mib, FallbackBytes: 8 * mib,
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			w.failAfter(3*mib+12345, err)
			keepsPlaying(t, w, &log)
		})
	}
}

func TestRecoveredPieceOnAFailedDiskIsReplacedInMemory(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	w := open(t, cfg)
	const fileBytes = 20 * wire.PieceBytes
	w.put(rootOf(1), fileBytes, 0, 1)
	w = w.reopen(cfg)
	w.failAfter(0, syscall.EIO)
	w.put(rootOf(1), fileBytes, 0)
	w.wantHeld(rootOf(1), fileBytes, 0)
	require.Equal(t, []uint32{1}, w.Recovered(rootOf(1)))
	w.Discard(rootOf(1), 1)
	w.wantGone(rootOf(1), 1)
	w.wantBalanced()
}

func TestFolderRemovedUnderTheStore(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "cache")}
	w := open(t, cfg)
	const fileBytes = 100 * wire.PieceBytes
	w.put(rootOf(1), fileBytes, 0)
	require.NoError(t, os.RemoveAll(cfg.Dir))
	w.put(rootOf(1), fileBytes, 0, 1, 16, 32, 48)
	w.wantHeld(rootOf(1), fileBytes, 0, 1, 16, 32, 48)
}

func TestMoreExtentsThanOpenFiles(t *testing.T) {
	w := open(t, Config{Dir: t.TempDir()})
	for i := range maxOpenFiles + 100 {
		w.put(rootOf(i), 5, 0)
	}
	require.Equal(t, maxOpenFiles, w.Stats().OpenFiles)
	for i := range maxOpenFiles + 100 {
		w.wantHeld(rootOf(i), 5, 0)
	}
	require.Equal(t, maxOpenFiles, w.Stats().OpenFiles)
}

// A store is a map of pieces that may lose what it told of, through any sequence of operations and restarts.
func TestStoreIsAMapThatForgets(t *testing.T) {
	base, lives := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		lives++
		dir := filepath.Join(base, strconv.Itoa(lives))
		lengths := []int64{1, wire.PieceBytes, 17*wire.PieceBytes + 1, 200 * wire.PieceBytes}
		type id struct{ file, piece int }
		model := map[id]bool{} // true: held; false: recovered
		cfg := Config{Dir: dir, Bytes: MinBytes, OnEvict: func(root [32]byte, piece uint32) {
			k := id{int(root[31]), int(piece)}
			if !model[k] {
				rt.Fatalf("evicted %v, which was not held", k)
			}
			delete(model, k)
		}}
		s, err := Open(cfg)
		require.NoError(rt, err)
		defer func() { _ = s.Close() }()
		pick := func(rt *rapid.T) (id, [32]byte, int64) {
			f := rapid.IntRange(0, len(lengths)-1).Draw(rt, "file")
			p := rapid.IntRange(0, int(wire.PieceCount(lengths[f]))-1).Draw(rt, "piece")
			return id{f, p}, rootOf(f), lengths[f]
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				k, root, length := pick(rt)
				for n := range 12 {
					k.piece = (k.piece + n) % int(wire.PieceCount(length))
					require.NoError(rt, putBytes(s, root, length, uint32(k.piece), contentOf(root, length, uint32(k.piece))))
					model[k] = true
				}
			},
			"get": func(rt *rapid.T) {
				k, root, length := pick(rt)
				held, known := model[k]
				require.Equal(rt, held, s.Has(root, uint32(k.piece)))
				got, err := getBytes(s, root, uint32(k.piece))
				if err == nil {
					require.True(rt, bytes.Equal(contentOf(root, length, uint32(k.piece)), got))
				} else {
					require.ErrorIs(rt, err, ErrNotFound)
					require.False(rt, held)
				}
				if !known {
					require.Error(rt, err)
				}
			},
			"confirm": func(rt *rapid.T) {
				k, root, _ := pick(rt)
				_, known := model[k]
				if s.Confirm(root, uint32(k.piece)) {
					require.True(rt, known)
					model[k] = true
				} else {
					require.False(rt, model[k])
				}
			},
			"discard": func(rt *rapid.T) {
				k, root, _ := pick(rt)
				s.Discard(root, uint32(k.piece))
				if !model[k] {
					delete(model, k)
				}
			},
			"protect": func(rt *rapid.T) {
				k, root, _ := pick(rt)
				s.Protect(root, uint32(k.piece), uint32(k.piece)+20, time.Now().Add(time.Minute))
			},
			"restart": func(rt *rapid.T) {
				require.NoError(rt, s.Close())
				s, err = Open(cfg)
				require.NoError(rt, err)
				for k := range model {
					model[k] = false
				}
				for f := range lengths {
					for _, p := range s.Recovered(rootOf(f)) {
						_, known := model[id{f, int(p)}]
						require.True(rt, known, "recovered piece %d of file %d was never stored", p, f)
					}
				}
			},
			"": func(rt *rapid.T) {
				held := 0
				for _, h := range model {
					if h {
						held++
					}
				}
				st := s.Stats()
				require.Equal(rt, held, st.Pieces)
				require.LessOrEqual(rt, st.Bytes, st.Limit)
			},
		})
		require.LessOrEqual(rt, diskUsage(t, dir), cfg.Bytes)
	})
}

func FuzzParseHeader(f *testing.F) {
	good := header{key: extentKey{root: rootOf(1), index: 2}, fileBytes: 40 * wire.PieceBytes}
	good.slots[3] = slotState{bytes: wire.PieceBytes, crc: 7}
	f.Add(good.encode())
	f.Add(header2.encode())
	f.Add(append(extentMagic[:], make([]byte, 300)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		again, err := parseHeader(h.encode())
		require.NoError(t, err)
		require.Equal(t, h, again)
		require.LessOrEqual(t, int64(h.key.index)*extentDataBytes, h.fileBytes)
	})
}

func FuzzParseName(f *testing.F) {
	f.Add(strings.TrimPrefix(extentKey{root: rootOf(9), index: 77}.name(), extentKey{root: rootOf(9)}.shard()+"/"))
	f.Add("../../etc/passwd.extent")
	f.Fuzz(func(t *testing.T, name string) {
		if k, ok := parseName(name); ok {
			require.Equal(t, k.shard()+"/"+name, k.name())
		}
	})
}
