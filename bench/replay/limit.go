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
	played map[played]int64 // bytes of each segment that anybody played from the network
	wasted map[played]int64 // bytes of each segment that came from the CDN and were not played
	bytes  int64
}

// presence is a viewer, and the bytes that it played.
type presence struct {
	from, to time.Duration
	nat      string
	uploads  bool
	jobs     []bound.Job
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
	if b.played == nil {
		b.played, b.wasted = make(map[played]int64), make(map[played]int64)
	}
	me := presence{from: p.arrived, to: w.now, nat: p.s.NAT, uploads: p.s.UpKbps > 0}
	for t := p.arrived; t < w.now && p.s.UpKbps > 0; {
		_, up, until := p.line.at(t)
		until = min(until, w.now)
		rate := up / peerOverhead
		b.steps = append(b.steps, bound.Step{At: t, BytesPerSec: rate}, bound.Step{At: until, BytesPerSec: -rate})
		t = until
	}
	for _, s := range p.acct.segments {
		for _, n := range s.cdn {
			b.wasted[s.segment] += n
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
			me.jobs = append(me.jobs, bound.Job{
				Release: release, Deadline: r.at + time.Duration(i)*w.media.segment, Bytes: float64(n),
			})
			b.played[seg] = n
			b.bytes += n
		}
	}
	b.people = append(b.people, me)
}

// limit returns the most bytes that peers could have delivered of what was
// played: the flow, and everything but one copy, which somebody must have taken
// from the CDN. A copy that was taken there and not played is not among the
// bytes that were, so it makes room for another.
func (b *swarmBound) limit() int64 {
	copies := int64(0)
	for s, n := range b.played {
		copies += max(n-b.wasted[s], 0)
	}
	flow := bound.MaxFlow(b.steps, b.reachable())
	b.steps, b.people, b.played, b.wasted = nil, nil, nil, nil
	return min(int64(flow+0.5), b.bytes-copies)
}

// reachable returns the jobs, each between the first and the last moment at which
// its viewer could have been sent anything: when somebody else who uploads, and to
// whom their NATs let it connect, was online.
func (b *swarmBound) reachable() []bound.Job {
	slices.SortStableFunc(b.people, func(x, y presence) int { return cmp.Compare(x.from, y.from) })
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
			jobs = append(jobs, j)
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
