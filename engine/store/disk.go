package store

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"shoal/internal/wire"
)

// The layout of an extent file, all integers big-endian:
//
//	 0  magic [8]
//	 8  root [32]
//	40  length of the file u64
//	48  extent index u32
//	52  CRC-32C of bytes 0..51
//	64  16 slots: piece length u32 (0: empty), CRC-32C of the piece u32
//	4096  16 pieces of 64 KiB, the last of a file shorter
//
// A piece is written before its slot. A process killed between the two has lost the piece; a machine that lost power
// may have the slot without the piece, which the CRC tells.
const (
	extentHeaderBytes = blockBytes
	headerFixedBytes  = 56
	headerSlotsOffset = 64
	headerSlotBytes   = 8
	headerUsedBytes   = headerSlotsOffset + ExtentPieces*headerSlotBytes
	maxSlotBytes      = wire.PieceBytes

	lockName     = "lock"
	extentSuffix = ".extent"
)

var extentMagic = [8]byte{'s', 'h', 'o', 'a', 'l', 'x', '0', '1'}

// disk is the cache folder, locked for this process.
type disk struct {
	root *os.Root
	lock *os.File
	// writeAt is replaced by tests that need a disk to fail.
	writeAt func(f *os.File, p []byte, off int64) (int, error)
}

func openDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: make the cache folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("store: open the cache folder: %w", err)
	}
	lock, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: open the lock of cache folder %s: %w", dir, err), root.Close())
	}
	if err := lockFile(lock); err != nil {
		owner := make([]byte, 20)
		n, _ := lock.ReadAt(owner, 0) // only to be helpful
		err = fmt.Errorf("store: %w: %s (process %s); choose another folder or end that process",
			ErrInUse, dir, strings.TrimSpace(string(owner[:n])))
		return nil, errors.Join(err, lock.Close(), root.Close())
	}
	// The process ID is a courtesy to whom the lock turns away; a full disk must not hinder us here.
	_ = lock.Truncate(0)
	_, _ = lock.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	return &disk{root: root, lock: lock, writeAt: (*os.File).WriteAt}, nil
}

func (d *disk) close() error { return errors.Join(d.lock.Close(), d.root.Close()) }

// isFull says whether the disk has no room left, as opposed to a folder that cannot be used at all.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// shard and name spread the extents over 256 folders.
func (k extentKey) shard() string { return hex.EncodeToString(k.root[:1]) }

func (k extentKey) name() string {
	return fmt.Sprintf("%s/%x-%08x%s", k.shard(), k.root, k.index, extentSuffix)
}

// parseName is the inverse of name, for the last element of the path.
func parseName(name string) (extentKey, bool) {
	var k extentKey
	rest, ok := strings.CutSuffix(name, extentSuffix)
	if !ok || len(rest) != 64+1+8 || rest[64] != '-' {
		return k, false
	}
	if _, err := hex.Decode(k.root[:], []byte(rest[:64])); err != nil {
		return k, false
	}
	index, err := strconv.ParseUint(rest[65:], 16, 32)
	if err != nil {
		return k, false
	}
	k.index = uint32(index)
	return k, strings.HasSuffix(k.name(), "/"+name) // one spelling only
}

func (d *disk) remove(k extentKey) error { return d.root.Remove(k.name()) }

// openExtent opens an extent's file, and makes it anew if asked to.
func (d *disk) openExtent(k extentKey, create bool) (*os.File, error) {
	if !create {
		return d.root.OpenFile(k.name(), os.O_RDWR, 0)
	}
	const flags = os.O_RDWR | os.O_CREATE | os.O_TRUNC
	f, err := d.root.OpenFile(k.name(), flags, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := d.root.Mkdir(k.shard(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return d.root.OpenFile(k.name(), flags, 0o600)
}

// header is the beginning of an extent file.
type header struct {
	key       extentKey
	fileBytes int64
	slots     [ExtentPieces]slotState
}

func (h *header) encode() []byte {
	b := make([]byte, 0, headerUsedBytes)
	b = append(b, extentMagic[:]...)
	b = append(b, h.key.root[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.fileBytes))
	b = binary.BigEndian.AppendUint32(b, h.key.index)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = append(b, make([]byte, headerSlotsOffset-headerFixedBytes)...)
	for _, s := range h.slots {
		b = s.append(b)
	}
	return b
}

func (s slotState) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, s.bytes)
	return binary.BigEndian.AppendUint32(b, s.crc)
}

// parseHeader reads a header. Slots whose length cannot be are empty.
func parseHeader(b []byte) (header, error) {
	var h header
	if len(b) < headerUsedBytes || [8]byte(b[:8]) != extentMagic {
		return h, errors.New("store: not an extent file")
	}
	if crc32.Checksum(b[:headerFixedBytes-4], castagnoli) != binary.BigEndian.Uint32(b[headerFixedBytes-4:]) {
		return h, errors.New("store: extent header: wrong CRC")
	}
	h.key.root = [32]byte(b[8:40])
	length := binary.BigEndian.Uint64(b[40:])
	h.key.index = binary.BigEndian.Uint32(b[48:])
	if length == 0 || length > (wire.MaxPiece+1)*wire.PieceBytes {
		return h, fmt.Errorf("store: extent header: file length %d", length)
	}
	h.fileBytes = int64(length)
	if h.key.index > (wire.PieceCount(h.fileBytes)-1)/ExtentPieces {
		return h, fmt.Errorf("store: extent header: index %d beyond the end of the file", h.key.index)
	}
	for i := range h.slots {
		at := b[headerSlotsOffset+i*headerSlotBytes:]
		s := slotState{bytes: binary.BigEndian.Uint32(at), crc: binary.BigEndian.Uint32(at[4:])}
		if s.bytes != 0 && int(s.bytes) == wire.PieceSize(h.fileBytes, h.key.piece(i)) {
			h.slots[i] = s
		}
	}
	return h, nil
}

func slotOffset(slot int) int64 { return headerSlotsOffset + int64(slot)*headerSlotBytes }
func dataOffset(slot int) int64 { return extentHeaderBytes + int64(slot)*maxSlotBytes }

// fileOfExtent returns the open file of a pinned extent.
func (s *Store) fileOfExtent(e *extent, create bool) (*os.File, error) {
	e.handleMu.Lock()
	defer e.handleMu.Unlock()
	if e.handle != nil {
		return e.handle, nil
	}
	h, err := s.disk.openExtent(e.key, create)
	if err != nil {
		return nil, err
	}
	e.handle = h
	s.mu.Lock()
	e.opened = s.open.PushFront(e)
	surplus := s.surplus()
	s.mu.Unlock()
	if surplus != nil {
		_ = surplus.Close() // written data is with the kernel already
	}
	return h, nil
}

// surplus takes the least recently used file handle when there are too many; called with s.mu held.
func (s *Store) surplus() *os.File {
	if s.open.Len() <= maxOpenFiles {
		return nil
	}
	for el := s.open.Back(); el != nil; el = el.Prev() {
		if e := el.Value.(*extent); e.refs == 0 {
			return s.release(e)
		}
	}
	return nil
}

// writeDisk writes a piece, then its slot; called with e.io held.
func (s *Store) writeDisk(e *extent, slot int, data []byte, sum uint32) error {
	f, err := s.fileOfExtent(e, !e.written)
	if err != nil {
		return err
	}
	if !e.written {
		h := header{key: e.key, fileBytes: e.fileBytes}
		if _, err := s.disk.writeAt(f, h.encode(), 0); err != nil {
			return err
		}
		e.written = true
	}
	if _, err := s.disk.writeAt(f, data, dataOffset(slot)); err != nil {
		return err
	}
	state := slotState{bytes: uint32(len(data)), crc: sum}
	_, err = s.disk.writeAt(f, state.append(make([]byte, 0, headerSlotBytes)), slotOffset(slot))
	return err
}

// clearDisk empties a slot in the header, so that a discarded piece does not come back; called with e.io held.
func (s *Store) clearDisk(e *extent, slot int) {
	f, err := s.fileOfExtent(e, false)
	if err == nil {
		_, err = s.disk.writeAt(f, make([]byte, headerSlotBytes), slotOffset(slot))
	}
	if err != nil {
		s.degrade(err)
	}
}

func (s *Store) readDisk(e *extent, slot int, dst []byte) error {
	f, err := s.fileOfExtent(e, false)
	if err != nil {
		return err
	}
	_, err = f.ReadAt(dst, dataOffset(slot))
	if errors.Is(err, io.EOF) {
		return ErrCorrupt // somebody cut the file
	}
	return err
}
