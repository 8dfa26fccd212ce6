package server

import (
	"container/heap"
	"time"

	"shoal/engine/transport"
)

// member is a peer's session and its place among the timers.
type member struct {
	session   *transport.Session
	next      time.Time // when its channel wants time
	heapIndex int       // unset: it wants none
}

const unset = -1

// timers is the heap of members whose channels want time: for a few round trips
// after each exchange. Idle peers are not in it.
type timers []*member

// set changes when m wants time; zero: not before something arrives.
func (t *timers) set(m *member, next time.Time) {
	m.next = next
	switch {
	case next.IsZero() && m.heapIndex != unset:
		heap.Remove(t, m.heapIndex)
	case next.IsZero():
	case m.heapIndex == unset:
		heap.Push(t, m)
	default:
		heap.Fix(t, m.heapIndex)
	}
}

// next is the earliest time that anyone wants; zero without any.
func (t timers) next() time.Time {
	if len(t) == 0 {
		return time.Time{}
	}
	return t[0].next
}

// due returns one member whose time has come and takes it out; nil without any.
func (t *timers) due(now time.Time) *member {
	if len(*t) == 0 || (*t)[0].next.After(now) {
		return nil
	}
	return heap.Pop(t).(*member)
}

// Len implements heap.Interface.
func (t timers) Len() int { return len(t) }

// Less implements heap.Interface.
func (t timers) Less(i, j int) bool { return t[i].next.Before(t[j].next) }

// Swap implements heap.Interface.
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].heapIndex, t[j].heapIndex = i, j
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	m := x.(*member)
	m.heapIndex = len(*t)
	*t = append(*t, m)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	m := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	m.heapIndex = unset
	return m
}
