package swarm

import "time"

const (
	// ownBuffer is what a player holds at least while leeches may fill the uplink.
	// What it misses by then takes three round trips through a full queue: a request
	// that a seed does not meet, one to the CDN, and the acknowledgements with which
	// the CDN's window grows.
	ownBuffer = 3 * time.Second
	// ownQueue is how long the queue before the node's own line may be meanwhile: a
	// few times what the controllers of its channels leave there
	// (docs/congestion-control.md), and little beside the round trip to a far CDN.
	ownQueue = 100 * time.Millisecond
)

// ownFirst tells whether leeches have to wait, for a picture on this node that is
// about to stop: what the node sends makes its own requests wait, and the
// acknowledgements of what the CDN brings. That matters only where the uplink is
// thin enough for a queue, and a queue is gone soon after nothing is sent.
func (c *Core) ownFirst(now time.Time) bool {
	if len(c.fetches) == 0 && !c.Awaiting() {
		return false // nothing that could come sooner
	}
	for _, v := range c.viewers {
		if held := v.play.Position + v.play.Buffer - v.position(now); v.play.Rate > 0 && held < ownBuffer {
			return c.sched.QueueDelay() > ownQueue
		}
	}
	return false
}
