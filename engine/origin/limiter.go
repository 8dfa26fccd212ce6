package origin

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// limiter lets a bounded number of calls run; of those that wait, the one with the earliest deadline is next.
type limiter struct {
	mu sync.Mutex
	// guarded by mu
	capacity int
	running  int
	seq      uint64
	waiters  waiters
}

type waiter struct {
	deadline time.Time
	seq      uint64
	granted  chan struct{}
	index    int // in the heap; −1: granted or gone
}

func newLimiter(capacity int) *limiter { return &limiter{capacity: capacity} }

// acquire waits for a turn. Each success needs one release.
func (l *limiter) acquire(ctx context.Context, deadline time.Time) error {
	l.mu.Lock()
	if l.running < l.capacity {
		l.running++
		l.mu.Unlock()
		return nil
	}
	if len(l.waiters) >= maxWaiting {
		l.mu.Unlock()
		return ErrBusy
	}
	w := &waiter{deadline: deadline, seq: l.seq, granted: make(chan struct{})}
	l.seq++
	heap.Push(&l.waiters, w)
	l.mu.Unlock()

	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	waiting := w.index >= 0
	if waiting {
		heap.Remove(&l.waiters, w.index)
	}
	l.mu.Unlock()
	if !waiting {
		l.release() // granted at the last moment
	}
	return context.Cause(ctx)
}

// release passes the turn on.
func (l *limiter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiters) == 0 {
		l.running--
		return
	}
	close(heap.Pop(&l.waiters).(*waiter).granted)
}

func (l *limiter) load() (running, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running, len(l.waiters)
}

// waiters is a heap by deadline, then by arrival.
type waiters []*waiter

func (w waiters) Len() int { return len(w) }

func (w waiters) Less(i, j int) bool {
	if c := w[i].deadline.Compare(w[j].deadline); c != 0 {
		return c < 0
	}
	return w[i].seq < w[j].seq
}

func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

// Push is for package heap.
func (w *waiters) Push(x any) {
	e := x.(*waiter)
	e.index = len(*w)
	*w = append(*w, e)
}

// Pop is for package heap.
func (w *waiters) Pop() any {
	last := len(*w) - 1
	e := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	e.index = -1
	return e
}
