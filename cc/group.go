package cc

import (
	"slices"
	"time"
)

// groupMemory is how long a channel counts after its last round trip, or two of them
// if that is longer.
const groupMemory = time.Second

// A Group is the channels that share one access link. Beside a stranger they take one
// flow's place together: they keep in the queue what one keeps, what one of them loses
// to an overflow slows down all who stand in that queue, and they grow no faster than one.
//
// Its channels have one owner, who serializes all calls. A channel need not leave:
// one that is silent does not count. The zero value is ready for use.
type Group struct {
	members []member
	slowed  []*Tiered // by the congestion at hand
}

type member struct {
	*Tiered
	until time.Time // it counts
}

// gone tells whether the channel does not count any more. It is asked of all of them at
// the end of each round trip, so it looks at nothing of theirs.
func (m *member) gone(now time.Time) bool { return now.After(m.until) }

// A place is what a channel is of its group.
type place struct {
	channels float64 // that carry data, itself included
	relative float64 // its rate as a multiple of their mean
}

// alone is the place of who has no group.
var alone = place{channels: 1, relative: 1}

// dataBytes under way are data: requests and announcements are less.
const dataBytes = PacketBytes / 2

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

// place is c's, at the end of a round trip that had so many bytes under way. Who yields
// takes none of the others'.
func (g *Group) place(now time.Time, c *Tiered, underWay int) place {
	g.members = slices.DeleteFunc(g.members, func(m member) bool { return m.Tiered == c || m.gone(now) })
	if c.params.yields || underWay < dataBytes {
		return alone
	}
	n, sum := 1.0, c.rate()
	for _, m := range g.members {
		if m.active() {
			n++
			sum += m.rate()
		}
	}
	g.members = append(g.members, member{c, now.Add(max(groupMemory, 2*c.path.smoothed))})
	if sum <= 0 {
		return alone
	}
	return place{channels: n, relative: min(max(n*c.rate()/sum, 1.0/maxRelative), maxRelative)}
}

// congested slows down all whom the congestion concerns that c has just backed off
// from, and that a packet of that moment met.
func (g *Group) congested(now, sentAt time.Time, c *Tiered) {
	g.slowed = append(g.slowed[:0], c)
	for _, m := range g.members {
		if m.Tiered != c && !m.gone(now) && m.shares(sentAt) {
			m.backOff(now)
			g.slowed = append(g.slowed, m.Tiered)
		}
	}
	for _, s := range g.slowed {
		s.sharers = float64(len(g.slowed))
	}
	clear(g.slowed)
}

// leave forgets a channel's controller that another takes the place of.
func (c *Tiered) leave() {
	if c.group != nil {
		c.group.members = slices.DeleteFunc(c.group.members, func(m member) bool { return m.Tiered == c })
	}
}

// active tells that the channel has data under way, and does not yield.
func (c *Tiered) active() bool { return c.inFlight >= dataBytes && !c.params.yields }

// shares tells whether congestion that another channel met is this one's, too: its own
// queue is not low, and it has not slowed down since. A channel with a bottleneck of
// its own has its queue low nearly always.
func (c *Tiered) shares(sentAt time.Time) bool {
	return c.active() && !c.compete.on && !c.path.low(c.params) && sentAt.After(c.recoverySince)
}
