package replay

import (
	"cmp"
	"slices"

	"shoal/internal/wire"
)

// A burst of a seed is no event of its own. It waits with the node that it is for,
// which takes all that have come when it has its turn, in their order and as of
// the moments at which they came: a node's memory is cold when its turn comes, and
// to look at it once for everything is what makes the replay fast.

// expect puts a burst among those on their way, and wakes the node for it.
func (p *peer) expect(a inbound) {
	p.coming = append(p.coming, a)
	p.comesAt = min(p.comesAt, a.at)
	p.wake(max(a.at, p.cycled+loopGrain))
}

// takeBursts lets the downlink carry what has come by now.
func (p *peer) takeBursts() {
	w, d := p.w, &p.down
	due := w.due[:0]
	waiting := p.coming[:0]
	next := never
	for _, a := range p.coming {
		if a.at <= w.now {
			due = append(due, a)
			continue
		}
		waiting = append(waiting, a)
		next = min(next, a.at)
	}
	p.coming = waiting
	slices.SortStableFunc(due, func(a, b inbound) int { return cmp.Compare(a.at, b.at) })
	for i := 0; i < len(due) || d.busy && d.ready <= w.now; {
		if d.busy && (i == len(due) || d.ready <= due[i].at) {
			p.carried()
			continue
		}
		p.reached(&due[i])
		i++
	}
	w.due = due[:0]
	p.comesAt = next
	p.awaitLine()
}

// awaitLine wakes whoever waits until the downlink has carried its burst.
func (p *peer) awaitLine() {
	d := &p.down
	switch {
	case !d.busy:
		return
	case p.cdn.inLine == 0:
		p.wake(max(d.ready, p.cycled+loopGrain))
	case d.told != d.ready:
		d.told = d.ready
		p.w.events.push(d.ready, evDown, p)
	}
	p.comesAt = min(p.comesAt, d.ready)
}

// reached is a burst of a seed whose last byte reaches the downlink.
func (p *peer) reached(a *inbound) {
	mine, _ := a.c.of(p)
	if mine.up && p.arrive(*a, float64(chunkBytes(a.mask))*peerOverhead, &mine.flow) {
		p.received(a)
	}
}

// carried is the end of a burst's service in the downlink.
func (p *peer) carried() {
	a := p.down.current
	p.down.current = inbound{}
	p.carryNext(a.at)
	if a.f != nil {
		p.cdn.inLine--
		p.w.wakeCDN(p)
		p.w.cdnArrived(p, a)
		return
	}
	p.received(&a)
}

// received is a burst of a seed at the door of the line, or behind it.
func (p *peer) received(a *inbound) {
	mine, _ := a.c.of(p)
	if !mine.up {
		return
	}
	n := chunkBytes(a.mask)
	p.acknowledge(a, n/wire.ChunkBytes)
	p.gotBurst(a.piece, a.c.near, int64(n))
	add(&p.w.total.p2p, a.at, int64(n))
	p.cameOverLine(a.at, int64(n), false)
	p.policy.burst(a)
}
