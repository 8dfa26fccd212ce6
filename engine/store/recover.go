package store

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"slices"
	"time"

	"shoal/internal/wire"
)

// found is an extent file of an earlier run.
type found struct {
	header  header
	modTime time.Time
	bytes   int64
}

// recoverExtents enters what an earlier run left, oldest last, and removes what no longer fits the bound. Files of
// others are left alone. It is called by Open, before anybody else knows the store.
func (s *Store) recoverExtents() error {
	shards, err := fs.ReadDir(s.disk.root.FS(), ".")
	if err != nil {
		return err
	}
	var all []found
	for _, shard := range shards {
		if shard.IsDir() && len(shard.Name()) == 2 {
			all, err = s.disk.scan(shard.Name(), all)
			if err != nil {
				return err
			}
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(b.modTime.Compare(a.modTime), slices.Compare(a.header.key.root[:], b.header.key.root[:]),
			cmp.Compare(a.header.key.index, b.header.key.index))
	})
	p := &s.pools[onDisk]
	for _, x := range all {
		e := x.extent()
		f := s.files[e.key.root]
		if p.used+e.cost > p.limit || e.recovered == 0 || (f != nil && f.bytes != e.fileBytes) {
			if err := s.disk.remove(e.key); err != nil {
				return err
			}
			continue
		}
		s.attach(e)
		p.lru.MoveToBack(e.element)
		p.used += e.cost
		s.stats.Recovered += e.recovered.count()
	}
	return nil
}

// scan appends the extent files of one shard.
func (d *disk) scan(shard string, all []found) ([]found, error) {
	dir, err := d.root.Open(shard)
	if err != nil {
		return all, err
	}
	defer func() { _ = dir.Close() }()
	for {
		entries, err := dir.ReadDir(256)
		for _, entry := range entries {
			key, ours := parseName(entry.Name())
			if !ours || key.shard() != shard || !entry.Type().IsRegular() {
				continue
			}
			if x, ok := d.inspect(key); ok {
				all = append(all, x)
			} else if err := d.remove(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
				// It has our name and is no extent: a file cut at its birth. Left alone it would take space
				// that is not counted.
				return all, err
			}
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// inspect reads the header of an extent file.
func (d *disk) inspect(key extentKey) (found, bool) {
	f, err := d.openExtent(key, false)
	if err != nil {
		return found{}, false
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.Size() > extentHeaderBytes+extentDataBytes {
		return found{}, false
	}
	b := make([]byte, headerUsedBytes)
	if _, err := f.ReadAt(b, 0); err != nil {
		return found{}, false
	}
	h, err := parseHeader(b)
	if err != nil || h.key != key {
		return found{}, false
	}
	return found{header: h, modTime: info.ModTime(), bytes: info.Size()}, true
}

// extent is the recovered extent. All slots below the end of the file count as taken, although some may be holes:
// the bound must hold.
func (x found) extent() *extent {
	e := &extent{
		key:       x.header.key,
		fileBytes: x.header.fileBytes,
		tier:      onDisk,
		cost:      extentHeaderBytes,
		slots:     x.header.slots,
		written:   true,
	}
	for slot, state := range x.header.slots {
		start := dataOffset(slot)
		if x.bytes <= start {
			break
		}
		e.occupied.set(slot)
		e.cost += slotCost(wire.PieceSize(e.fileBytes, e.key.piece(slot)))
		if state.bytes > 0 && x.bytes-start >= int64(state.bytes) {
			e.recovered.set(slot)
		}
	}
	return e
}
