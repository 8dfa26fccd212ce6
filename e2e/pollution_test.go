//go:build e2e

package e2e

import (
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// The layout of a file in the cache folder, as engine/store documents it.
	extentHeaderBytes = 4096
	extentSlots       = 16
	extentSlotTable   = 64
	extentSlotBytes   = 8
)

// damage changes every piece in a cache folder, of a running peer or not, in a
// way that the store's CRC does not notice: only the manifest's hashes do. It
// returns how many pieces that were.
func damage(t *testing.T, cache string) (pieces int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(cache, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".extent") {
			return err
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer func() { require.NoError(t, f.Close()) }()
		table := make([]byte, extentSlots*extentSlotBytes)
		if _, err := f.ReadAt(table, extentSlotTable); err != nil {
			return err
		}
		for slot := range extentSlots {
			size := binary.BigEndian.Uint32(table[slot*extentSlotBytes:])
			sum := binary.BigEndian.Uint32(table[slot*extentSlotBytes+4:])
			if size < 8 {
				continue
			}
			piece := make([]byte, size)
			at := int64(extentHeaderBytes + slot*pieceBytes)
			if _, err := f.ReadAt(piece, at); err != nil {
				return err
			}
			forge(piece[size/2:])
			require.Equal(t, sum, crc32.Checksum(piece, crc32.MakeTable(crc32.Castagnoli)))
			if _, err := f.WriteAt(piece, at); err != nil {
				return err
			}
			pieces++
		}
		return nil
	}))
	return pieces
}

// forge changes five bytes so that a CRC-32C over them stays: it adds the CRC's
// own generator polynomial, the remainder of which is zero.
func forge(b []byte) {
	generator := uint64(crc32.Castagnoli)<<1 | 1 // x³² first, as bits travel
	for i := range 5 {
		b[i] ^= byte(generator >> (8 * i))
	}
}

// TestPolluterIsBannedAndUnseen has one of three seeds send other bytes than it
// verified.
func TestPolluterIsBannedAndUnseen(t *testing.T) {
	w := startSwarm(t, 2)
	// The polluter is a seed that was restarted, so that it holds nothing in
	// memory, and whose disk changes after it has checked its cache.
	cache := t.TempDir()
	port := w.origin.url(2)
	first := startPeer(t, "polluter", port, w.trackerURL, cache)
	first.watchAll(w.title)
	first.holdsAll(w.title)
	first.kill()
	polluter := startPeer(t, "polluter", port, w.trackerURL, cache)
	require.Equal(t, 206, curl(t, polluter.url+"/serial/035.m4s", "--range", "0-0").status)
	polluter.holdsAll(w.title)
	require.GreaterOrEqual(t, damage(t, cache), w.title.pieces)

	viewer := startPeer(t, "viewer", w.origin.url(3), w.trackerURL, t.TempDir())
	v := watch(t, viewer, w.title)
	id := polluter.status().PeerID
	viewer.eventually(func() bool { return strings.Contains(viewer.log.String(), "peer banned") }, "the polluter is banned")
	v.until(8 * time.Second)
	v.undisturbed()
	for _, line := range viewer.log.lines() {
		if strings.Contains(line, "peer banned") {
			require.Contains(t, line, id[:16], "the polluter and nobody else")
		}
	}
	s := viewer.status()
	require.Positive(t, s.Bytes.HashFailed)
	require.Positive(t, viewer.metric(`shoal_bytes_total{source="hash_failed"}`))
	for _, seed := range s.Seeds {
		require.NotEqual(t, id, seed.ID, "a banned peer stays away")
	}
	require.Len(t, s.Seeds, 2, "the honest seeds stay")
	viewer.watchAll(w.title)
	require.Greater(t, viewer.status().Saving, 0.5, "what was polluted comes from the others: %+v", viewer.status())
}
