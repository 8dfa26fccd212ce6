package replay

import (
	"time"

	"shoal/bench/replay/bound"
)

// swarmBound collects what the bound of a swarm's run needs.
type swarmBound struct {
	steps  []bound.Step
	jobs   []bound.Job
	played map[played]int64 // bytes of each segment that anybody played from the network
	wasted map[played]int64 // bytes of each segment that came from the CDN and were not played
	bytes  int64
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
			b.jobs = append(b.jobs, bound.Job{
				Release: release, Deadline: r.at + time.Duration(i)*w.media.segment, Bytes: float64(n),
			})
			b.played[seg] = n
			b.bytes += n
		}
	}
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
	flow := bound.MaxFlow(b.steps, b.jobs)
	b.steps, b.jobs, b.played, b.wasted = nil, nil, nil, nil
	return min(int64(flow+0.5), b.bytes-copies)
}
