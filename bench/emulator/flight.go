package emulator

import "time"

// flight holds packets until they arrive, the earliest first, and those of one
// moment in their order of sending. It is a binary heap of values.
type flight struct {
	heap []flying
	next uint64
}

type flying struct {
	at   time.Duration
	seq  uint64
	line *line
	p    *packet
}

func (a flying) before(b flying) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

func (f *flight) len() int { return len(f.heap) }

// first is when the next packet arrives; there must be one.
func (f *flight) first() time.Duration { return f.heap[0].at }

func (f *flight) push(at time.Duration, l *line, p *packet) {
	f.heap = append(f.heap, flying{at: at, seq: f.next, line: l, p: p})
	f.next++
	i := len(f.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !f.heap[i].before(f.heap[parent]) {
			return
		}
		f.heap[i], f.heap[parent] = f.heap[parent], f.heap[i]
		i = parent
	}
}

func (f *flight) pop() flying {
	top, last := f.heap[0], len(f.heap)-1
	f.heap[0], f.heap[last] = f.heap[last], flying{}
	f.heap = f.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return top
		}
		if child+1 < last && f.heap[child+1].before(f.heap[child]) {
			child++
		}
		if !f.heap[child].before(f.heap[i]) {
			return top
		}
		f.heap[i], f.heap[child] = f.heap[child], f.heap[i]
		i = child
	}
}
