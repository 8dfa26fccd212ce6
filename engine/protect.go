package engine

import (
	"time"

	"shoal/engine/swarm"
)

// protectQueue bounds renewals and drops that wait for the store. They come once a
// second per title; when the store is slower than that, one may be skipped.
const protectQueue = 16

type protectJob struct {
	list  []protection
	until time.Time // zero: they are to be dropped
}

// protect asks the store to keep ranges, on a goroutine of its own: the store's
// lock may be held while it writes.
func (l *loop) protect(list []protection, until time.Time) {
	l.tellStore(protectJob{list, until})
}

func (l *loop) tellStore(job protectJob) {
	select {
	case l.e.protectJobs <- job:
	default:
	}
}

// dropPieces gives up what the core says.
func (l *loop) dropPieces(now time.Time, drops []swarm.Drop) {
	list := make([]protection, 0, len(drops))
	for _, d := range drops {
		c := l.contents[d.File]
		for i := d.First; i < d.First+d.Count; i++ {
			l.lost(now, c.root, i)
		}
		list = append(list, protection{root: c.root, first: d.First, last: d.First + d.Count - 1})
	}
	l.tellStore(protectJob{list: list})
}

func (e *Engine) protectWorker() {
	for {
		select {
		case job := <-e.protectJobs:
			for _, p := range job.list {
				if job.until.IsZero() {
					e.store.Drop(p.root, p.first, p.last)
				} else {
					e.store.Protect(p.root, p.first, p.last, job.until)
				}
			}
		case <-e.ctx.Done():
			return
		}
	}
}
