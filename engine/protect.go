package engine

import "time"

// protectQueue bounds renewals that wait for the store. They come once a second
// per title; when the store is slower than that, one may be skipped.
const protectQueue = 16

type protectJob struct {
	list  []pieceRange
	until time.Time
}

// protect asks the store to keep ranges, on a goroutine of its own: the store's
// lock may be held while it writes.
func (l *loop) protect(list []pieceRange, until time.Time) {
	select {
	case l.e.protectJobs <- protectJob{list, until}:
	default:
	}
}

func (e *Engine) protectWorker() {
	for {
		select {
		case job := <-e.protectJobs:
			for _, r := range job.list {
				e.store.Protect(r.root, r.first, r.last, job.until)
			}
		case <-e.ctx.Done():
			return
		}
	}
}
