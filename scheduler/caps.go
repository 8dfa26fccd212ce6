package scheduler

import (
	"math"
	"time"
)

const (
	// capsEvery is how often the downlink is divided: a few round trips, after
	// which a change can be seen.
	capsEvery = 500 * time.Millisecond
	// capsLease is how long caps hold. Then they are lifted until the next look: a
	// line that has become faster shows it.
	capsLease = 10 * time.Second
	// capsTrial is when they must have halved the round trips' excess. Otherwise
	// something else makes it, such as this node's uplink, and nobody is capped for
	// capsDoubt.
	capsTrial = 2 * time.Second
	capsDoubt = 30 * time.Second
	// lineFull is the part of its best that a full line brings, and ownQueue how
	// much longer all round trips are when it is the limit.
	lineFull = 0.85
	ownQueue = 40 * time.Millisecond
	// capsShare of the line is handed out, and drainShare while round trips are long.
	capsShare, drainShare = 0.95, 0.8
	// capLeast keeps a seed going: a chunk in each quarter of a second.
	capLeast = 4 * ChunkBytes
	// capGrowth is how much faster than it was measured a seed may turn out to be.
	capGrowth = 1.25
	// lateBy stands for the time that is left for what is late already.
	lateBy = 100 * time.Millisecond
	// capChange is by how much some cap must change for all to be told.
	capChange = 0.2
)

// A Cap is the rate at which a seed may send, in bytes of payload per second; 0: as
// it likes.
type Cap struct {
	Seed        Seed
	BytesPerSec float64
}

// caps is the division of this node's downlink.
type caps struct {
	at     time.Duration // of the next look
	until  time.Duration // the lease; zero: no caps are out
	trial  time.Duration // when they must have worked
	excess time.Duration // of the round trips before
}

// Caps appends the caps that have changed. This node's own line is the limit when it
// is as full as it ever was and everybody's round trip is long: what stands before
// one seed's uplink is that seed's alone. The line is then divided among those who
// owe something, the CDN included: everybody gets the rate at which the deadlines
// are met, the earliest first, and what is left goes by the rates at hand. While
// the line is not known, or not the limit, nobody is capped.
func (s *Scheduler) Caps(now time.Time, cdn CDN, out []Cap) []Cap {
	at, c := s.at(now), &s.caps
	if at < c.at {
		return out
	}
	c.at = at + capsEvery
	excess := s.excess(s.owing)
	switch {
	case c.until == 0 && (!s.shared() || !s.line.full(at) || excess < ownQueue):
		return out
	case c.until == 0:
		c.until, c.trial, c.excess = at+capsLease, at+capsTrial, excess
	case at >= c.trial && at < c.trial+capsEvery && excess > c.excess/2:
		c.at = at + capsDoubt
		return s.liftCaps(out)
	case at >= c.until || !s.shared():
		return s.liftCaps(out)
	}
	share := capsShare
	if excess >= ownQueue {
		share = drainShare
	}
	return s.divide(at, share*s.line.rate(), cdn, out)
}

// shared tells whether several sources owe something.
func (s *Scheduler) shared() bool {
	sources := s.owing.Len()
	if s.fromCDN > 0 {
		sources++
	}
	return !s.owing.Empty() && sources > 1
}

// QueueDelay is by how much the round trips to all seeds are longer than they were:
// what their paths have in common is the queue before this node's own line. Without
// seeds nobody can tell: zero.
func (s *Scheduler) QueueDelay() time.Duration {
	if s.up.Empty() {
		return 0
	}
	return s.excess(s.up)
}

// excess is by how much all round trips to some seeds are longer than they were.
func (s *Scheduler) excess(of SeedSet) time.Duration {
	least := never
	for b := of; !b.Empty(); {
		d := &s.seeds[b.Pop()]
		least = min(least, d.rtt-d.leastRTT)
	}
	return least
}

// A demand is what a source is given of the line, and what that is for.
type demand struct {
	bytes   float64 // due by the deadline looked at
	granted float64 // bytes per second
	most    float64 // that it could use
}

// due adds chunks and grants, of what is left of the line, the rate at which they
// come in time (the processor demand of earliest deadline first, as in Rescue).
// Deadlines rise from call to call.
func (d *demand) due(mask uint64, within time.Duration, left *float64) {
	d.bytes += float64(chunkBytes(mask))
	more := max(min(d.bytes/within.Seconds(), d.most)-d.granted, 0)
	more = min(more, *left)
	d.granted += more
	*left -= more
}

// divide hands out so many bytes per second.
func (s *Scheduler) divide(at time.Duration, left float64, cdn CDN, out []Cap) []Cap {
	var seeds [MaxSeeds]demand
	fetched := demand{most: left}
	rates := 0.0
	if s.fromCDN > 0 {
		rates = cdn.BytesPerSec
	}
	for b := s.owing; !b.Empty(); {
		id := b.Pop()
		seeds[id].most = capGrowth * s.seeds[id].rate()
		rates += s.seeds[id].rate()
	}
	s.active.settle(stateActive)
	s.ready.settle(stateReady)
	m := merged{a: s.active.items, r: s.ready.items}
	for t := m.next(); t != nil; t = m.next() {
		within := max(t.deadline-at, lateBy)
		fetched.due(t.cdn&^t.have, within, &left)
		for i := range t.asks {
			seeds[t.asks[i].seed].due(t.asks[i].mask, within, &left)
		}
	}
	changed := false
	for b := s.owing; !b.Empty(); {
		id := b.Pop()
		d, c := &s.seeds[id], &seeds[id].granted
		*c = max(*c+left*d.rate()/rates, capLeast)
		changed = changed || math.Abs(*c-d.cap) > capChange*d.cap
	}
	if !changed {
		return out
	}
	for b := s.owing; !b.Empty(); {
		id := b.Pop()
		s.seeds[id].cap = seeds[id].granted
		out = append(out, Cap{Seed: id, BytesPerSec: seeds[id].granted})
	}
	return out
}

// liftCaps takes all caps back.
func (s *Scheduler) liftCaps(out []Cap) []Cap {
	s.caps.until = 0
	for b := s.up; !b.Empty(); {
		id := b.Pop()
		if d := &s.seeds[id]; d.cap > 0 {
			d.cap = 0
			out = append(out, Cap{Seed: id})
		}
	}
	return out
}
