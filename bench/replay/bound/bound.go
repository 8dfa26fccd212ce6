// Package bound computes how many bytes peers could have delivered at most,
// whatever the policy.
//
// The bytes that were played are jobs: each has a release (its viewer came, or
// its segment was published), a deadline (its first picture was shown) and a
// size. The uplinks of the peers that are online at a moment are one server,
// whose capacity is their sum. Everything else is waived: that a peer must have
// what it sends, that nobody sends to itself, downlinks, round trips, requests.
// So no policy that played these bytes at these times can have taken more of
// them from peers than the maximum flow from the server to the jobs.
//
// On a single server whose work may be interrupted, the earliest deadline first
// does as much work in time as any order (Dertouzos 1974; that work that is
// already late is dropped does not change it), so that one sweep over time finds
// that maximum.
//
// The package is pure; nothing in it is safe for concurrent use.
package bound

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// Job is work that a viewer played.
type Job struct {
	Release, Deadline time.Duration
	Bytes             float64
}

// Step is a change of the summed uplink.
type Step struct {
	At          time.Duration
	BytesPerSec float64 // added; negative when a peer leaves
}

// MaxFlow returns how many bytes of the jobs the capacity can carry between
// release and deadline. It sorts both arguments.
func MaxFlow(steps []Step, jobs []Job) float64 {
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	slices.SortFunc(jobs, func(a, b Job) int { return cmp.Compare(a.Release, b.Release) })
	var (
		open  byDeadline
		now   time.Duration
		rate  float64
		total float64
	)
	for next, step := 0, 0; next < len(jobs) || len(open) > 0; {
		if len(open) == 0 {
			now = max(now, jobs[next].Release)
		}
		for ; next < len(jobs) && jobs[next].Release <= now; next++ {
			heap.Push(&open, jobs[next])
		}
		for ; step < len(steps) && steps[step].At <= now; step++ {
			rate += steps[step].BytesPerSec
		}
		j := &open[0]
		if j.Deadline <= now || j.Bytes <= 0 {
			heap.Pop(&open)
			continue
		}
		until := j.Deadline
		if next < len(jobs) {
			until = min(until, jobs[next].Release)
		}
		if step < len(steps) {
			until = min(until, steps[step].At)
		}
		power := max(rate, 0) * (until - now).Seconds()
		if power >= j.Bytes {
			until = min(until, now+time.Duration(j.Bytes/rate*float64(time.Second))+1)
			total += j.Bytes
			heap.Pop(&open)
		} else {
			total += power
			j.Bytes -= power
		}
		now = until
	}
	return total
}

type byDeadline []Job

func (h byDeadline) Len() int           { return len(h) }
func (h byDeadline) Less(i, j int) bool { return h[i].Deadline < h[j].Deadline }
func (h byDeadline) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byDeadline) Push(x any)        { *h = append(*h, x.(Job)) }
func (h *byDeadline) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
