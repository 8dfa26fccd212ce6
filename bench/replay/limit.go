package replay

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"shoal/bench/replay/bound"
)

// swarmBound collects what the bound of a swarm's run needs.
type swarmBound struct {
	steps  []bound.Step
	people []presence
	bytes  int64 // played from the network
}

// presence is a viewer, and the bytes that it played or took for nothing.
type presence struct {
	from, to time.Duration
	nat      string
	uploads  bool
	jobs     []job
	wasted   []waste
}

// job is a segment that was played from the network.
type job struct {
	bound.Job
	segment played
}

// waste is what of a segment came from the CDN and was not played.
type waste struct {
	segment played
	bytes   int64
}

// played is a segment of a rendition.
type played struct {
	rendition uint16
	seg       int
}

// after returns the segment n later.
func (p played) after(n int) played { return played{p.rendition, p.seg + n} }

// add takes a session that has ended.
func (b *swarmBound) add(w *world, p *peer) {
	me := presence{from: p.arrived, to: w.now, nat: p.s.NAT, uploads: p.s.UpKbps > 0}
	for t := p.arrived; t < w.now && p.s.UpKbps > 0; {
		_, up, until := p.line.at(t)
		until = min(until, w.now)
		rate := up / peerOverhead
		b.steps = append(b.steps, bound.Step{At: t, BytesPerSec: rate}, bound.Step{At: until, BytesPerSec: -rate})
		t = until
	}
	for _, s := range p.acct.segments {
		n := int64(0)
		for _, bytes := range s.cdn {
			n += bytes
		}
		if n > 0 {
			me.wasted = append(me.wasted, waste{s.segment, n})
		}
	}
	for _, r := range p.acct.runs {
		if !r.came {
			continue
		}
		for i := range r.count {
			seg := r.first.after(i)
			n := w.media.renditions[seg.rendition].bytes(seg.seg)
			release := max(p.arrived, w.media.publishedAt(seg.seg))
			me.jobs = append(me.jobs, job{bound.Job{
				Release: release, Deadline: r.at + time.Duration(i)*w.media.segment, Bytes: float64(n),
			}, seg})
			b.bytes += n
		}
	}
	b.people = append(b.people, me)
}

// limit returns the most bytes that peers could have delivered of what was
// played: no more than the flow, and than everything but the copies that somebody
// must have taken from the CDN.
func (b *swarmBound) limit() int64 {
	slices.SortStableFunc(b.people, func(x, y presence) int { return cmp.Compare(x.from, y.from) })
	flow := bound.MaxFlow(b.steps, b.reachable())
	limit := min(int64(flow+0.5), b.copied())
	b.steps, b.people = nil, nil
	return limit
}

// copied is what was played less one copy of every segment in each part of the
// swarm, if parts are viewers between whom nothing can pass, not even through
// others. A copy that was taken from the CDN and not played is not among the
// bytes that were, so it makes room for another.
func (b *swarmBound) copied() (total int64) {
	type copies struct{ once, played, wasted int64 }
	type place struct {
		part    int
		segment played
	}
	all := make(map[place]copies)
	parts := b.parts()
	for i := range b.people {
		for _, j := range b.people[i].jobs {
			c := all[place{parts[i], j.segment}]
			c.once = int64(j.Bytes)
			c.played += c.once
			all[place{parts[i], j.segment}] = c
		}
		for _, x := range b.people[i].wasted {
			c := all[place{parts[i], x.segment}]
			c.wasted += x.bytes
			all[place{parts[i], x.segment}] = c
		}
	}
	for _, c := range all {
		total += c.played - max(c.once-c.wasted, 0)
	}
	return total
}

// parts numbers the parts of the swarm, by person.
func (b *swarmBound) parts() []int {
	of := make([]int, len(b.people))
	for i := range of {
		of[i] = i
	}
	root := func(i int) int {
		for of[i] != i {
			of[i] = of[of[i]]
			i = of[i]
		}
		return i
	}
	for i := range b.people {
		for k := i + 1; k < len(b.people) && b.people[k].from < b.people[i].to; k++ {
			x, y := &b.people[i], &b.people[k]
			if (x.uploads || y.uploads) && canConnect(x.nat, y.nat) {
				of[root(k)] = root(i)
			}
		}
	}
	for i := range of {
		of[i] = root(i)
	}
	return of
}

// reachable returns the jobs, each between the first and the last moment at which
// its viewer could have been sent anything: when somebody else who uploads, and to
// whom their NATs let it connect, was online.
func (b *swarmBound) reachable() []bound.Job {
	var jobs []bound.Job
	var open []span
	for i := range b.people {
		open = b.company(i, open[:0])
		for _, j := range b.people[i].jobs {
			first := sort.Search(len(open), func(k int) bool { return open[k].to > j.Release })
			last := sort.Search(len(open), func(k int) bool { return open[k].from >= j.Deadline }) - 1
			if first > last {
				continue
			}
			j.Release, j.Deadline = max(j.Release, open[first].from), min(j.Deadline, open[last].to)
			jobs = append(jobs, j.Job)
		}
	}
	return jobs
}

type span struct{ from, to time.Duration }

// company appends the times, ascending and apart, at which somebody is online who
// can send to person i.
func (b *swarmBound) company(i int, out []span) []span {
	me := &b.people[i]
	for k := range b.people {
		o := &b.people[k]
		if o.from >= me.to {
			break // they are in the order of their coming
		}
		if k == i || !o.uploads || o.to <= me.from || !canConnect(me.nat, o.nat) {
			continue
		}
		if n := len(out); n > 0 && o.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, o.to)
		} else {
			out = append(out, span{o.from, o.to})
		}
	}
	return out
}
