package engine

import (
	"log/slog"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/store"
	"shoal/engine/swarm"
	"shoal/internal/wire"
)

const (
	// suspectsMax bounds the bad copies kept for comparison: 1 MiB, the oldest
	// out first. It is the core's own bound of suspicions.
	suspectsMax = 16

	// puttingMax bounds verified pieces that the store has not written yet:
	// 16 MiB, a second of a slow disk. Beyond it readers wait for the disk, and
	// as what is downloaded never runs far ahead of them, so does everything.
	puttingMax = 256
)

// hashJob is a complete piece for a hash worker. There are never more than the
// core's active pieces, for each is queued once.
type hashJob struct{ a *assembly }

// putJob is a verified piece for the store's writer. At most puttingMax exist,
// and what the core downloads ahead of the readers.
type putJob struct {
	piece   swarm.Piece
	content *content
	buf     *store.Buffer
}

// suspect is a copy of a piece that failed its hash.
type suspect struct {
	piece swarm.Piece
	buf   *store.Buffer
}

// verify sends a complete piece to a hash worker, and asks for the manifest's
// hash meanwhile if it isn't known.
func (l *loop) verify(now time.Time, pc swarm.Piece) {
	a := l.assemblies[pc]
	if a == nil || a.state != filling {
		return // it was found in the store meanwhile, and the core told so
	}
	a.state = hashing
	if _, ok := l.hashes.get(a.content, pc.Index); !ok {
		l.wantHashes(now, a.content, pc.Index/hashGroupPieces)
	}
	l.e.hashJobs.push(hashJob{a})
}

// hashWorker is one of the hashing goroutines. When pieces come fast it takes some
// together.
func (e *Engine) hashWorker() {
	most := manifest.PiecesTogether()
	jobs, pieces, sums := make([]hashJob, most), make([]manifest.Piece, most), make([]manifest.Hash, most)
	for {
		n := e.hashJobs.popSome(jobs)
		if n == 0 {
			return
		}
		for i, job := range jobs[:n] {
			pieces[i] = manifest.Piece{Data: job.a.buf.Bytes(), Index: job.a.piece.Index, FileBytes: job.a.content.length}
		}
		manifest.PieceHashes(sums[:n], pieces[:n])
		for i, job := range jobs[:n] {
			a, sum := job.a, sums[i]
			e.post(func(now time.Time) {
				a.sum, a.state = sum, hashed
				e.loop.judge(now, a)
			})
		}
		clear(jobs[:n]) // they hold buffers, and the next may be long in coming
		clear(pieces[:n])
	}
}

// judge compares a hashed piece with the manifest, when its hash is known.
func (l *loop) judge(now time.Time, a *assembly) {
	want, ok := l.hashes.get(a.content, a.piece.Index)
	if !ok {
		g := l.wantHashes(now, a.content, a.piece.Index/hashGroupPieces)
		g.waiting = append(g.waiting, a)
		return
	}
	l.forget(a)
	switch {
	case a.sum == want:
		l.accept(now, a)
	case a.released:
		// The core has forgotten who sent it: nobody can be blamed.
		a.buf.Release()
	default:
		l.reject(now, a)
	}
}

// accept lets readers and others have a verified piece. See loop.go for why
// the order is what it is.
func (l *loop) accept(now time.Time, a *assembly) {
	l.dropAssembly(a.piece) // a second try of a piece that was released meanwhile
	if a.content.has(a.piece.Index) || l.residents.byPiece[a.piece] != nil {
		a.buf.Release() // and here the first try was faster
		return
	}
	l.residents.add(now, a.piece, a.buf, true)
	l.wake(a.piece, a.buf)
	l.core.Verified(now, a.piece, true)
	l.compare(now, a.piece, a.buf)
	l.putting++
	l.e.storeJobs.push(putJob{piece: a.piece, content: a.content, buf: a.buf.Retain()})
}

// reject keeps a bad copy for comparison and tells the core, which keeps as
// many suspicions, in the same order.
func (l *loop) reject(now time.Time, a *assembly) {
	if len(l.suspects) == suspectsMax {
		l.suspects[0].buf.Release()
		l.suspects = append(l.suspects[:0], l.suspects[1:]...)
	}
	l.suspects = append(l.suspects, suspect{a.piece, a.buf})
	l.e.log.Warn("piece failed its hash", slog.String("path", a.content.file().path),
		slog.Uint64("piece", uint64(a.piece.Index)))
	l.core.Verified(now, a.piece, false)
}

// compare tells the core which chunks of bad copies differ from the good one.
func (l *loop) compare(now time.Time, pc swarm.Piece, good *store.Buffer) {
	kept := l.suspects[:0]
	for _, s := range l.suspects {
		if s.piece != pc {
			kept = append(kept, s)
			continue
		}
		l.core.Compared(now, pc, differing(s.buf.Bytes(), good.Bytes()))
		s.buf.Release()
	}
	l.suspects = kept
}

// differing returns the chunks in which two copies of a piece differ.
func differing(a, b []byte) uint64 {
	var mask uint64
	for chunk := 0; chunk*wire.ChunkBytes < len(b); chunk++ {
		from := chunk * wire.ChunkBytes
		to := min(from+wire.ChunkBytes, len(b))
		if string(a[from:to]) != string(b[from:to]) {
			mask |= 1 << chunk
		}
	}
	return mask
}

// storeJob is for the store's writer.
type storeJob interface{ run(e *Engine) }

// storeWriter writes to the store and drops from it. One goroutine does, so that the
// loop hears of an eviction after it has heard of the pieces written before it.
func (e *Engine) storeWriter() {
	for {
		job, ok := e.storeJobs.pop()
		if !ok {
			return
		}
		job.run(e)
	}
}

func (job putJob) run(e *Engine) {
	err := e.store.Put(job.content.root, job.content.length, job.piece.Index, job.buf)
	evicted := e.takeEvicted()
	e.post(func(now time.Time) { e.loop.put(now, job, evicted, err) })
	job.buf.Release()
}

// put takes the store's answer.
func (l *loop) put(now time.Time, job putJob, evicted []evictedPiece, err error) {
	l.putting--
	l.gone(now, evicted)
	l.residents.stored(job.piece)
	if err != nil {
		// The store has said why in its own log line. The piece was played; it
		// just can't be kept.
		l.e.log.Debug("piece not kept", slog.Any("error", err))
		l.core.Evicted(now, job.piece)
	} else {
		l.markHeld(job.content, job.piece.Index, l.e.stamp(now))
		l.stored(now, job.piece)
	}
	if l.putting < puttingMax {
		held := l.heldBack
		l.heldBack = nil
		for _, q := range held {
			l.deliver(now, q.reader, q.piece)
		}
	}
}

// stored tells the core, which forgets a download of the piece that may be
// under way; so does the shell.
func (l *loop) stored(now time.Time, pc swarm.Piece) {
	l.core.Stored(now, pc)
	l.dropAssembly(pc)
}

// markHeld keeps the titles' count of held bytes.
func (l *loop) markHeld(c *content, piece, stamp uint32) {
	if !c.has(piece) {
		l.countHeld(c, int64(wire.PieceSize(c.length, piece)))
	}
	c.setHeld(piece, stamp)
}

func (l *loop) countHeld(c *content, n int64) {
	for i, f := range c.files {
		s := l.titleOf(f.title)
		first := true
		for _, earlier := range c.files[:i] {
			first = first && earlier.title.id != f.title.id
		}
		if first {
			s.held += n
		}
	}
}

// lost takes that a piece is no longer in the store.
func (l *loop) lost(now time.Time, root manifest.Root, piece uint32) {
	c := l.byRoot[root]
	if c == nil || !c.clearHeld(piece) {
		return
	}
	l.countHeld(c, -int64(wire.PieceSize(c.length, piece)))
	l.core.Evicted(now, swarm.Piece{File: c.handle, Index: piece})
}

func (l *loop) gone(now time.Time, evicted []evictedPiece) {
	for _, x := range evicted {
		l.lost(now, x.root, x.piece)
	}
}

// getPiece reads a piece of a file from the store, whole or not at all; the caller
// releases it.
func (e *Engine) getPiece(root manifest.Root, length int64, piece uint32) (*store.Buffer, error) {
	buf, err := e.store.Get(root, piece)
	if err == nil && len(buf.Bytes()) != wire.PieceSize(length, piece) {
		buf.Release()
		return nil, store.ErrNotFound
	}
	return buf, err
}

// onEvict is called by the store, on whatever goroutine used it. It must not
// wait for the loop, which may be waiting for the store's lock.
func (e *Engine) onEvict(root [32]byte, piece uint32) {
	e.evictedMu.Lock()
	e.evicted = append(e.evicted, evictedPiece{root, piece})
	e.evictedMu.Unlock()
}

type evictedPiece struct {
	root  manifest.Root
	piece uint32
}

// takeEvicted returns what the store has dropped. The store's writer passes it
// on with the result of the Put or Drop that caused it, so that the loop hears of a
// piece's eviction after it has heard of its storing. A Get that finds a piece
// damaged tells its caller, who tells the loop.
func (e *Engine) takeEvicted() []evictedPiece {
	e.evictedMu.Lock()
	defer e.evictedMu.Unlock()
	list := e.evicted
	e.evicted = nil
	return list
}
