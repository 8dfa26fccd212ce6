package scheduler

import (
	"cmp"
	"slices"

	"shoal/internal/pieces"
)

// queue holds tasks by deadline. Adding and re-timing only mark it; the order
// is restored once per scheduling round, so that moving a whole window (a seek,
// a pause) costs one sort and the steady state none.
type queue struct {
	items    []*task
	unsorted bool
	holes    bool // some items have left for another state
}

func (q *queue) add(t *task) {
	if n := len(q.items); n > 0 && byDeadline(q.items[n-1], t) > 0 {
		q.unsorted = true
	}
	q.items = append(q.items, t)
}

// settle drops the items that are no longer in state want, and sorts.
func (q *queue) settle(want state) {
	if q.holes {
		kept := q.items[:0]
		for _, t := range q.items {
			if t.state == want {
				kept = append(kept, t)
			}
		}
		clear(q.items[len(kept):])
		q.items, q.holes = pieces.Trimmed(kept), false
	}
	q.sort()
}

func (q *queue) sort() {
	if q.unsorted {
		slices.SortFunc(q.items, byDeadline)
		q.unsorted = false
	}
}

// cut takes out the items [from, to).
func (q *queue) cut(from, to int) {
	if from < to {
		q.items = slices.Delete(q.items, from, to)
	}
}

// byDeadline breaks ties by place in the file, so that order never depends on
// anything but the input.
func byDeadline(a, b *task) int {
	if c := cmp.Compare(a.deadline, b.deadline); c != 0 {
		return c
	}
	return byPlace(a, b)
}

func byPlace(a, b *task) int {
	if c := cmp.Compare(a.piece.File, b.piece.File); c != 0 {
		return c
	}
	return cmp.Compare(a.piece.Index, b.piece.Index)
}
