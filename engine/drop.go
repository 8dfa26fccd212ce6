package engine

import (
	"time"

	"shoal/engine/swarm"
)

// dropJob is what the store is to give up. There is one at most.
type dropJob struct{ list []pieceRange }

// dropPieces has the store give up what the core says. What it keeps, for it is in
// use or protected, stays known; and while one list is worked off there is no other:
// the core asks again as long as the cache is full.
func (l *loop) dropPieces(drops []swarm.Drop) {
	if l.dropping {
		return
	}
	l.dropping = true
	list := make([]pieceRange, 0, len(drops))
	for _, d := range drops {
		list = append(list, pieceRange{root: l.contents[d.File].root, first: d.First, last: d.First + d.Count - 1})
	}
	l.e.storeJobs.push(dropJob{list})
}

func (job dropJob) run(e *Engine) {
	for _, r := range job.list {
		e.store.Drop(r.root, r.first, r.last)
	}
	evicted := e.takeEvicted()
	e.post(func(now time.Time) {
		e.loop.dropping = false
		e.loop.gone(now, evicted)
	})
}
