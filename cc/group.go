package cc

import "time"

const (
	// drainSlot is the rhythm in which the channels of a group drain.
	drainSlot = 3 * time.Second

	// groupMemory is how long a channel counts after it last competed.
	groupMemory = time.Second
)

// A Group is the channels that share one access link. They drain in the same
// moments, or each would take the others' queue for the path's, and together take
// one flow's place beside a flow that fills the queue.
//
// Its channels must have one owner, who serializes all calls. A channel need not
// leave: one that is silent does not count.
type Group struct {
	members []*Tiered
}

// NewTiered returns a Tiered that belongs to the group.
func (g *Group) NewTiered(now time.Time, t Tier) *Tiered {
	c := NewTiered(now, t)
	c.group = g
	return c
}

// slot counts the common drains.
func (g *Group) slot(now time.Time) int64 { return now.UnixNano() / int64(drainSlot) }

// weight is one n-th, of n members that compete now.
func (g *Group) weight(c *Tiered) float64 { return 1 }
