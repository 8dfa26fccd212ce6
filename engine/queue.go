package engine

import "sync"

// queue hands jobs from the loop to worker goroutines without ever making the
// loop wait. It has no bound of its own: every user says what bounds it.
type queue[T any] struct {
	mu     sync.Mutex
	ready  sync.Cond
	items  []T
	closed bool
}

func newQueue[T any]() *queue[T] {
	q := new(queue[T])
	q.ready.L = &q.mu
	return q
}

func (q *queue[T]) push(item T) {
	q.mu.Lock()
	q.items = append(q.items, item)
	q.mu.Unlock()
	q.ready.Signal()
}

// pop waits for the next job; false when the queue is closed, or finished and empty.
func (q *queue[T]) pop() (item T, ok bool) {
	var one [1]T
	n := q.popSome(one[:])
	return one[0], n > 0
}

// popSome is pop for as many jobs as there are and have room.
func (q *queue[T]) popSome(items []T) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 && !q.closed {
		q.ready.Wait()
	}
	n = copy(items, q.items)
	clear(q.items[:n])
	q.items = q.items[n:]
	return n
}

// finish lets workers take what is there and then end.
func (q *queue[T]) finish() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.ready.Broadcast()
}

// close drops what is there.
func (q *queue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.items = nil
	q.mu.Unlock()
	q.ready.Broadcast()
}
