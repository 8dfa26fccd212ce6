package engine

import (
	"context"
	"log/slog"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/swarm"
	"shoal/internal/wire"
)

// Pieces that an earlier run left in the store are not trusted: the disk may
// have lost half a write, or somebody may have changed it. They are checked
// against the manifest before they are played, served or announced: in the
// background once the page that describes their file is read, and at once when
// a read begins with them.

const (
	// recoverPatience bounds how long Open waits for hashes of recovered pieces.
	// A read that begins without them downloads what it could have had.
	recoverPatience = 1500 * time.Millisecond

	// recoveriesMax bounds the checks that wait for one group of hashes: more
	// than readers of one file are ever open at once.
	recoveriesMax = 64
)

// recoverJob is a file some of whose pieces are to be checked in the
// background. At most one per file of the pages read is queued.
type recoverJob struct{ file *File }

// recoverPage queues the files of a page of which an earlier run left pieces.
func (t *Title) recoverPage(files []*File) {
	for _, f := range files {
		if len(t.engine.store.Recovered(f.record.Root)) > 0 {
			t.engine.recoverJobs.push(recoverJob{f})
		}
	}
}

// recoverWorker checks files one after the other, with all the time it needs.
func (e *Engine) recoverWorker() {
	for {
		job, ok := e.recoverJobs.pop()
		if !ok {
			return
		}
		e.recoverPieces(e.ctx, job.file, e.store.Recovered(job.file.record.Root))
	}
}

// recoverNow checks the recovered pieces of a range before it is read.
func (t *Title) recoverNow(ctx context.Context, f *File, from, to int64) {
	if to <= from {
		return
	}
	var wanted []uint32
	for _, piece := range t.engine.store.Recovered(f.record.Root) {
		if piece >= pieceOf(from) && piece <= pieceOf(to-1) {
			wanted = append(wanted, piece)
		}
	}
	if len(wanted) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, recoverPatience)
	defer cancel()
	t.engine.recoverPieces(ctx, f, wanted)
}

// recoverPieces checks pieces, ascending, and tells store and loop the result.
// It may run twice for one piece at once; the second confirmation is refused.
func (e *Engine) recoverPieces(ctx context.Context, f *File, pieces []uint32) {
	var hashes []manifest.Hash
	group := uint32(0)
	for _, piece := range pieces {
		if ctx.Err() != nil {
			return
		}
		if g := piece / hashGroupPieces; hashes == nil || g != group {
			var ok bool
			if hashes, ok = e.hashesFor(ctx, f, g); !ok {
				return // they stay recovered, for the next read or the next run
			}
			group = g
		}
		if i := int(piece % hashGroupPieces); i >= len(hashes) || !e.isGood(f, piece, hashes[i]) {
			e.log.Info("cached piece is damaged", slog.String("path", f.path), slog.Uint64("piece", uint64(piece)))
			e.store.Discard(f.record.Root, piece)
			continue
		}
		if e.store.Confirm(f.record.Root, piece) {
			e.post(func(now time.Time) { e.loop.recovered(now, f, piece) })
		}
	}
}

// isGood reads a piece from the store and compares it with its hash.
func (e *Engine) isGood(f *File, piece uint32, want manifest.Hash) bool {
	buf, err := e.getPiece(f.record.Root, f.record.Length, piece)
	if err != nil {
		return false
	}
	defer buf.Release()
	return manifest.PieceHash(buf.Bytes(), piece, f.record.Length) == want
}

// recovered takes a piece of an earlier run that is good.
func (l *loop) recovered(now time.Time, f *File, piece uint32) {
	c := f.content
	l.markHeld(c, piece, 0)
	pc := swarm.Piece{File: c.handle, Index: piece}
	l.stored(now, pc)
	if len(l.waiting[pc]) == 0 {
		return
	}
	for _, r := range l.waiting[pc] {
		r.waits = false
		r.deliveries <- delivery{cached: true}
	}
	delete(l.waiting, pc)
}

// hashesFor returns a group of hashes by way of the loop, which also asks peers
// for them when the origin does not answer.
func (e *Engine) hashesFor(ctx context.Context, f *File, group uint32) ([]manifest.Hash, bool) {
	if wire.PieceCount(f.record.Length) == 1 {
		return []manifest.Hash{f.record.Root}, true
	}
	answer := make(chan []manifest.Hash, 1)
	e.post(func(now time.Time) {
		l := e.loop
		g := l.wantHashes(now, f.content, group)
		if g.hashes != nil {
			answer <- g.hashes
			return
		}
		if len(g.recovery) == recoveriesMax {
			g.recovery = g.recovery[1:] // the oldest has waited longest and gives up by its context
		}
		g.recovery = append(g.recovery, func() { answer <- g.hashes })
	})
	select {
	case hashes := <-answer:
		return hashes, true
	case <-ctx.Done():
		return nil, false
	case <-e.loopDone:
		return nil, false
	}
}
