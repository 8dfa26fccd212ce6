package transport

import (
	"time"

	"shoal/cc"
	"shoal/internal/wire"
)

// gear is what a channel needs while something is under way: ciphers, the
// account of packets in flight, and room to write. It is most of a channel's
// memory. A tracker has tens of thousands of channels, each of which says
// something three times a minute; it keeps the gear of those few at work.
type gear struct {
	send, receive keyHalf
	recovery      *cc.Recovery
	offered       int  // chunks that SendBudget allowed and that were not sent
	sent          bool // something, since the last Flush

	ack     wire.Ack
	ranges  []cc.Range
	scratch [maxOwnBody]byte
}

// maxOwnBody is the largest body that the channel itself writes: an ACK.
const maxOwnBody = 4 + 8 + 1 + 8 + 4 + (wire.MaxAckRanges-1)*8 + 4

func (c *Channel) start(r *cc.Recovery) *gear {
	r.Govern(c.endpoint.cfg.Uploads[c.session.alpn])
	c.gear = &gear{send: c.sendKey.half(), receive: c.receiveKey.half(), recovery: r}
	return c.gear
}

// awake returns the gear, and makes it for a channel at rest.
func (c *Channel) awake(now time.Time) *gear {
	if c.gear != nil {
		return c.gear
	}
	g := c.start(cc.Resume(now, c.newController(now), c.kept))
	if c.rateCapTold != 0 {
		g.recovery.SetRateCap(now, c.rateCapTold)
	}
	return g
}

// rest gives the gear up when nothing is under way. Only sessions that are
// parked rest: the others carry data, and are few.
func (c *Channel) rest() {
	if c.gear == nil || !c.session.Parked() || !c.acks.dueAt.IsZero() {
		return
	}
	if kept, ok := c.gear.recovery.Rest(); ok {
		c.kept, c.gear = kept, nil
	}
}
