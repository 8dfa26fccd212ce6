package swarm

import (
	"math/bits"
	"time"

	"shoal/internal/wire"
)

const (
	// patientFor is the time that a request has at least: who asks for something
	// that is due sooner has nobody who would be in time, and takes what comes.
	patientFor = 2 * time.Second
	// doubt is how many times too long the queue must be: half of the rate that was
	// measured may come back at any moment.
	doubt = 2
	// refusalMost bounds for how long a leech is sent away whose deadline cannot be
	// met: until what stands before it would be short enough.
	refusalMost = 10 * time.Second
)

// overdue tells whether a leech's most urgent request would come too late behind
// all that is due before it, at the rate at which leeches are served, and by how
// much. Less urgent ones may be late: the leech takes them back when it loses
// patience, and what it gets until then is of use. The rate is measured while
// something waits; before that nothing is refused.
func (c *Core) overdue(now time.Time, p *peer) (by time.Duration, late bool) {
	rate := c.served.Estimate()
	if rate == 0 || len(p.queue) == 0 {
		return 0, false
	}
	takes := func(chunks int) time.Duration {
		return time.Duration(float64(chunks*wire.ChunkBytes) / rate * float64(time.Second))
	}
	deadline := p.queue[0].deadline
	left := max(deadline-c.at(now), patientFor)
	if takes(c.queued) <= left {
		return 0, false // as almost always, and found without looking further
	}
	before := 0
	for _, o := range c.peers {
		if o == nil {
			continue
		}
		for i := range o.queue {
			if o.queue[i].deadline > deadline {
				break
			}
			before += bits.OnesCount64(o.queue[i].mask)
		}
	}
	needs := takes(before)
	return needs - left, needs > doubt*left
}

// refuse answers BUSY: all that the leech has asked for is off. What it sent before
// it heard so is not taken either.
func (c *Core) refuse(now time.Time, p *peer, retryAfter time.Duration) {
	p.queue = p.queue[:0]
	c.owe(p, -p.queued)
	p.refusedUntil = c.at(now) + retryAfter
	c.requeued(p)
	c.out.Busies = append(c.out.Busies, Busy{Peer: p.slot, RetryAfter: retryAfter})
}
