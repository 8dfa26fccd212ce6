package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// share calls load unless cached (called with mu held) says that it is there, and lets others who want the same wait. A
// load runs under its own caller's context: when it fails, a waiting caller tries by itself.
func (t *Title) share(ctx context.Context, f flight, cached func() bool, load func() error) error {
	for {
		t.mu.Lock()
		if cached() {
			t.mu.Unlock()
			return nil
		}
		other, ok := t.flights[f]
		if !ok {
			break
		}
		t.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	done := make(chan struct{})
	t.flights[f] = done
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.flights, f)
		t.mu.Unlock()
		close(done)
	}()
	return load()
}

// frame reads and checks one frame.
func (t *Title) frame(ctx context.Context, kind byte, index int, e extent, where string) ([]byte, error) {
	b, err := t.read(ctx, e.offset, int(e.frameBytes()), where)
	if err != nil {
		return nil, err
	}
	return openFrame(b, t.header.publisher, t.seal, frameHead{
		kind: kind, index: uint32(index), payloadBytes: e.payloadBytes, areaBytes: uint64(e.areaBytes),
	}, where)
}

// readArea reads hashes, and a little more of the same track's (up to end), so that the next segments cost no request.
func (t *Title) readArea(ctx context.Context, offset int64, size int, end int64, where string) ([]byte, error) {
	t.mu.Lock()
	for _, run := range t.runs {
		if from := offset - run.offset; from >= 0 && from+int64(size) <= int64(len(run.data)) {
			t.mu.Unlock()
			return run.data[from : from+int64(size)], nil
		}
	}
	t.mu.Unlock()
	data, err := t.read(ctx, offset, max(size, int(min(end-offset, hashReadAhead))), where)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runs[t.nextRun%areaRuns] = areaRun{offset: offset, data: data}
	t.nextRun++
	return data[:size], nil
}

// read returns exactly n bytes at off, taking from Open's read what it can.
func (t *Title) read(ctx context.Context, off int64, n int, where string) ([]byte, error) {
	b := make([]byte, n)
	have := 0
	if off < int64(len(t.head)) {
		have = copy(b, t.head[off:])
	}
	if have == n {
		return b, nil
	}
	got, err := t.src.ReadAt(ctx, b[have:], off+int64(have))
	switch {
	case have+got == n:
		return b, nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &FormatError{
			Where: where, What: fmt.Sprintf("the file ends at byte %d, %d are needed", off+int64(have+got), off+int64(n)),
		}
	default:
		return nil, fmt.Errorf("%s: read %s: %w", FileName, where, err)
	}
}

// readUpTo reads the first n bytes, or all when there are fewer.
func readUpTo(ctx context.Context, src Source, n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := src.ReadAt(ctx, b, 0)
	if got < n && err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return b[:got], nil
}
