package cc

import (
	"slices"
	"time"
)

// groupMemory is how long a channel counts after its last round trip.
const groupMemory = time.Second

// A Group is the channels that share one access link. Beside a stranger they take one
// flow's place together: they keep in the queue what one keeps, what one of them loses
// to an overflow slows down all who stand in that queue, and they grow as one.
//
// Its channels have one owner, who serializes all calls. A channel need not leave:
// one that is silent does not count. The zero value is ready for use.
type Group struct {
	members []member
}

type member struct {
	*Tiered
	seen time.Time // at the end of its last round trip
}

// A place is what a channel is of its group.
type place struct {
	channels float64 // that have something under way, itself included
	relative float64 // its rate as a multiple of their mean
}

// maxRelative bounds what equality asks of a channel: the others may have quite
// another path.
const maxRelative = 2

// NewTiered returns a Tiered that belongs to the group. It may be called from
// anywhere; the group learns of the channel when that carries something.
func (g *Group) NewTiered(now time.Time, t Tier) *Tiered {
	c := NewTiered(now, t)
	c.group = g
	return c
}

// place is c's, at the end of a round trip. Who yields takes none of the others'.
func (g *Group) place(now time.Time, c *Tiered) place {
	g.members = slices.DeleteFunc(g.members, func(m member) bool {
		return m.Tiered == c || now.Sub(m.seen) > groupMemory
	})
	alone := place{channels: 1, relative: 1}
	if c.params.yields {
		return alone
	}
	n, sum := 1.0, c.rate()
	for _, m := range g.members {
		if m.active() {
			n++
			sum += m.rate()
		}
	}
	g.members = append(g.members, member{c, now})
	if sum <= 0 {
		return alone
	}
	return place{channels: n, relative: min(max(n*c.rate()/sum, 1.0/maxRelative), maxRelative)}
}

// congested slows down all whom the congestion concerns that c has just backed off
// from, and that a packet of that moment met.
func (g *Group) congested(now, sentAt time.Time, c *Tiered) {
	sharers := 1.0
	for _, m := range g.members {
		if m.Tiered != c && now.Sub(m.seen) <= groupMemory && m.shares(sentAt) {
			m.backOff(now)
			sharers++
		}
	}
	c.sharers = sharers
	for _, m := range g.members {
		if m.recoverySince.Equal(now) {
			m.sharers = sharers
		}
	}
}

// active tells that the channel has something under way, and does not yield.
func (c *Tiered) active() bool { return c.inFlight > 0 && !c.params.yields }

// shares tells whether congestion that another channel met is this one's, too: its own
// queue is not low, and it has not slowed down since. A channel with a bottleneck of
// its own has its queue low nearly always.
func (c *Tiered) shares(sentAt time.Time) bool {
	return c.active() && !c.compete.on && !c.path.low(c.params) && sentAt.After(c.recoverySince)
}
