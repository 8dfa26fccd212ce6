package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"shoal/engine/origin"
	"shoal/engine/swarm"
	"shoal/internal/wire"
)

// stepBytes is how much of a CDN answer is handed to the loop at once: small
// enough that the core soon knows which chunks it need not ask of peers, large
// enough that a fast CDN costs the loop little. It divides a piece, so no step
// crosses from one piece into the next.
const stepBytes = 16 << 10

// step is a stretch of CDN bytes on its way to the loop. At most inboxSize of
// them exist.
type step struct {
	data [stepBytes]byte
	n    int
	off  int64
}

var steps = sync.Pool{New: func() any { return new(step) }}

// fetch starts a CDN range request. The core bounds how many run.
func (l *loop) fetch(f swarm.Fetch) {
	c := l.contents[f.File]
	ctx, cancel := context.WithCancel(l.e.ctx)
	l.fetches[f.ID] = cancel
	job := &fetchJob{
		engine: l.e, fetch: f, content: c, file: c.file(),
		validator: c.validator, filled: f.Offset, end: f.Offset + f.Length,
	}
	l.e.log.Debug("cdn fetch", slog.String("path", job.file.path), slog.Int64("offset", f.Offset),
		slog.Int64("bytes", f.Length), slog.String("reason", f.Reason.String()))
	if !l.e.spawn(func() { job.run(ctx); cancel() }) {
		cancel()
	}
}

func (l *loop) cancelFetch(id swarm.FetchID) {
	if cancel := l.fetches[id]; cancel != nil {
		cancel()
		delete(l.fetches, id)
	}
}

// fetchJob is one CDN range request, on a goroutine of its own.
type fetchJob struct {
	engine    *Engine
	fetch     swarm.Fetch
	content   *content
	file      *File
	validator string

	step   *step
	filled int64 // offset in the file of the next byte
	end    int64
}

func (j *fetchJob) run(ctx context.Context) {
	e := j.engine
	result, err := e.origin.Fetch(ctx, origin.Request{
		Path:        e.OriginPath(j.file.path),
		Credentials: j.file.title.creds.Load(),
		Offset:      j.fetch.Offset,
		Length:      j.fetch.Length,
		Validator:   j.validator,
		TotalBytes:  j.content.length,
		Deadline:    j.fetch.Deadline,
	}, j.data)
	j.pass() // the whole chunks of an answer that was cut are good
	e.post(func(now time.Time) {
		l := e.loop
		if cancel := l.fetches[j.fetch.ID]; cancel != nil {
			cancel()
			delete(l.fetches, j.fetch.ID)
		} else if canceled(err) {
			return // the core has canceled it and forgotten it
		}
		if result.Validator != "" {
			j.content.validator = result.Validator
		}
		if j.content.failure = err; err != nil {
			// What changed is asked for afresh next time: its pieces tell by
			// their hashes whether the change matters.
			j.content.validator = ""
		}
		l.core.FetchDone(now, j.fetch.ID, swarm.FetchResult{
			Err: err, Gone: gone(err), Bytes: result.Bytes, TTFB: result.TTFB, Duration: result.Duration,
		})
	})
}

// data takes bytes as they arrive, in order.
func (j *fetchJob) data(off int64, p []byte) error {
	if off != j.filled {
		// A retry of the client resumed elsewhere than it said.
		return origin.ErrChanged
	}
	p = p[:min(int64(len(p)), j.end-j.filled)]
	for len(p) > 0 {
		if j.step == nil {
			j.step = steps.Get().(*step)
			j.step.off, j.step.n = j.filled, 0
		}
		room := stepBytes - int(j.filled%stepBytes)
		n := copy(j.step.data[j.step.n:], p[:min(len(p), room)])
		j.step.n += n
		j.filled += int64(n)
		p = p[n:]
		if n == room {
			j.pass()
		}
	}
	return nil
}

// pass hands the step to the loop.
func (j *fetchJob) pass() {
	s := j.step
	if s == nil {
		return
	}
	j.step = nil
	e := j.engine
	if !e.post(func(now time.Time) { e.loop.fetched(now, j, s) }) {
		steps.Put(s)
	}
}

// fetched copies those chunks of a step into their piece that are not there yet.
func (l *loop) fetched(now time.Time, j *fetchJob, s *step) {
	defer steps.Put(s)
	l.e.line.fromCDN(now, s.n)
	pc := swarm.Piece{File: j.content.handle, Index: pieceOf(s.off)}
	base := int64(pc.Index) * wire.PieceBytes
	size := wire.PieceSize(j.content.length, pc.Index)
	from := int(s.off - base)
	to := from + s.n
	first := (from + wire.ChunkBytes - 1) / wire.ChunkBytes
	last := to / wire.ChunkBytes // the first chunk that is not whole
	if to == size {
		last = (size + wire.ChunkBytes - 1) / wire.ChunkBytes
	}
	if first >= last {
		return
	}
	mask := chunkMask(first, last-1)
	if missing := l.core.Missing(pc) & mask; missing != 0 {
		a := l.assemble(pc)
		for chunk := first; chunk < last; chunk++ {
			if missing&(1<<chunk) != 0 {
				at := chunk * wire.ChunkBytes
				copy(a.buf.Bytes()[at:min(at+wire.ChunkBytes, size)], s.data[at-from:s.n])
			}
		}
	}
	l.core.Fetched(now, j.fetch.ID, pc, mask)
}
