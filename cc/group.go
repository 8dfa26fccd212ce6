package cc

import (
	"slices"
	"time"
)

// groupMemory is how long a channel counts after it last competed.
const groupMemory = time.Second

// A Group is the channels that share one access link. Together they take one flow's
// place beside a flow that fills the queue.
//
// Its channels have one owner, who serializes all calls. A channel need not leave:
// one that is silent does not count. The zero value is ready for use.
type Group struct {
	competing []competitor
}

type competitor struct {
	controller *Tiered
	seen       time.Time
}

// NewTiered returns a Tiered that belongs to the group. It may be called from
// anywhere; the group learns of the channel when that competes.
func (g *Group) NewTiered(now time.Time, t Tier) *Tiered {
	c := NewTiered(now, t)
	c.group = g
	return c
}

// weight is c's part of one flow's place: one n-th, where n compete.
func (g *Group) weight(now time.Time, c *Tiered) float64 {
	g.competing = slices.DeleteFunc(g.competing, func(o competitor) bool {
		return o.controller != c && now.Sub(o.seen) > groupMemory
	})
	if i := slices.IndexFunc(g.competing, func(o competitor) bool { return o.controller == c }); i >= 0 {
		g.competing[i].seen = now
	} else {
		g.competing = append(g.competing, competitor{c, now})
	}
	return 1 / float64(len(g.competing))
}
