package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"shoal/engine/manifest"
	"shoal/internal/wire"
)

const (
	extentBytes = 16 << 20 // what a worker hashes of a file in one go: large enough to be worth opening the file
	// readBytes stays within a core's second-level cache, so that the bytes are still there when they are hashed.
	readBytes = 4 * wire.PieceBytes
)

// Progress may be read by any goroutine while packing goes on.
type Progress struct {
	DoneBytes, TotalBytes atomic.Int64 // TotalBytes is 0 while unknown (URL sources)
	DoneFiles, TotalFiles atomic.Int64
}

// extent is a part of a file for one worker.
type extent struct {
	file *hashed
	from int64
	left *atomic.Int64 // extents of the file not done yet
}

func (f *folder) hash(ctx context.Context, files []*hashed, o hashOptions) error {
	var total int64
	var extents []extent
	for _, h := range files {
		size, err := f.size(h.resource)
		if err != nil {
			if !o.each {
				return err
			}
			h.err = err
			continue
		}
		if size > manifest.MaxFileBytes {
			return fmt.Errorf("%s: %d bytes: more than %d", h.path, size, int64(manifest.MaxFileBytes))
		}
		h.size, h.pieces = size, make([]manifest.Hash, wire.PieceCount(size))
		total += size
		left := new(atomic.Int64)
		for from := int64(0); from < size; from += extentBytes {
			left.Add(1)
			extents = append(extents, extent{file: h, from: from, left: left})
		}
	}
	o.progress.TotalBytes.Store(total)
	o.progress.TotalFiles.Store(int64(len(files)))
	errs := parallel(ctx, o.workers, extents, func() func(context.Context, extent) error {
		buf := make([]byte, readBytes)
		return func(ctx context.Context, e extent) error {
			err := f.hashExtent(ctx, e, buf, o.progress)
			if e.left.Add(-1) == 0 {
				o.progress.DoneFiles.Add(1)
			}
			if o.each && ctx.Err() == nil {
				return nil // the caller compares: what could not be read does not match
			}
			return err
		}
	})
	return errs
}

func (f *folder) size(r resource) (int64, error) {
	file, size, err := f.open(r)
	if err != nil {
		return 0, err
	}
	return size, file.Close()
}

func (f *folder) hashExtent(ctx context.Context, e extent, buf []byte, progress *Progress) error {
	file, size, err := f.open(e.file.resource)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if size != e.file.size {
		return fileError(e.file.path, errChanged)
	}
	end := min(e.from+extentBytes, size)
	done := func(n int) error {
		progress.DoneBytes.Add(int64(n))
		return ctx.Err()
	}
	err = hashMapped(file, e.file, e.from, end, done)
	if errors.Is(err, errNotMapped) {
		err = hashRead(file, e.file, e.from, end, buf, done)
	}
	if err != nil && ctx.Err() == nil {
		return fileError(e.file.path, err)
	}
	return err
}

var (
	errChanged   = errors.New("changed while it was read")
	errNotMapped = errors.New("cannot be mapped")
)

// hashRead hashes the bytes from ≤ i < end of a file. It calls done after each part and stops at its error.
func hashRead(file io.ReaderAt, h *hashed, from, end int64, buf []byte, done func(int) error) error {
	for from < end {
		part := buf[:min(int64(len(buf)), end-from)]
		if n, err := file.ReadAt(part, from); n < len(part) {
			if errors.Is(err, io.EOF) {
				err = errChanged
			}
			return err
		}
		hashPieces(h, from, part)
		if err := done(len(part)); err != nil {
			return err
		}
		from += int64(len(part))
	}
	return nil
}

// hashPieces hashes the pieces of which b, beginning at a piece's start, consists.
func hashPieces(h *hashed, from int64, b []byte) {
	first := int(from / wire.PieceBytes)
	for i := 0; i*wire.PieceBytes < len(b); i++ {
		piece := b[i*wire.PieceBytes : min((i+1)*wire.PieceBytes, len(b))]
		h.pieces[first+i] = manifest.PieceHash(piece, uint32(first+i), h.size)
	}
}

// parallel runs jobs in order on some workers, each with a function of its own, until one fails. It returns the first
// failure and leaves no goroutine behind.
func parallel[J any](ctx context.Context, workers int, jobs []J, worker func() func(context.Context, J) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range max(1, min(workers, len(jobs))) {
		wg.Go(func() {
			do := worker()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(jobs) || ctx.Err() != nil {
					return
				}
				if err := do(ctx, jobs[i]); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// pieceHasher hashes a stream whose length is not known before its end.
type pieceHasher struct {
	buf    [wire.PieceBytes]byte
	fill   int
	size   int64
	pieces []manifest.Hash
}

func (p *pieceHasher) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		took := copy(p.buf[p.fill:], b)
		b = b[took:]
		p.fill += took
		p.size += int64(took)
		if p.size > manifest.MaxFileBytes {
			return 0, fmt.Errorf("more than %d bytes", int64(manifest.MaxFileBytes))
		}
		if p.fill == len(p.buf) {
			p.flush()
		}
	}
	return n, nil
}

func (p *pieceHasher) flush() {
	// A full first piece has the same hash whatever follows: four leaves make one tree in both cases.
	p.pieces = append(p.pieces, manifest.PieceHash(p.buf[:p.fill], uint32(len(p.pieces)), p.size))
	p.fill = 0
}

func (p *pieceHasher) finish() {
	if p.fill > 0 {
		p.flush()
	}
}
