package transport

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"shoal/internal/wire"
)

const (
	// Between PINGs to an unproven address, doubled each time; NATs that drop
	// the first are common, and an address that never answers costs little.
	minPingInterval = 50 * time.Millisecond
	maxPingInterval = 5 * time.Second

	pingDatagramBytes = wire.MinDatagramBytes + wire.PingBytes
)

// A candidatePath is an address from which an authentic packet came, and which
// has not yet proved that it also receives. One at a time: a peer has one
// place, and the newest packet tells which.
type candidatePath struct {
	addr     netip.AddrPort
	token    uint64
	received int // bytes that came from there
	sent     int // bytes that went there, never more than received
	pinged   bool
	interval time.Duration
	nextPing time.Time
}

// seenElsewhere is called for the newest authentic packet when it did not come
// by the present path.
func (c *Channel) seenElsewhere(now time.Time, from netip.AddrPort, bytes int) {
	if c.candidate == nil || c.candidate.addr != from {
		c.candidate = &candidatePath{addr: from, interval: max(minPingInterval, c.RTT())}
	}
	p := c.candidate
	p.received += bytes
	if p.sent+pingDatagramBytes > p.received || now.Before(p.nextPing) {
		return
	}
	if !p.pinged {
		p.pinged = true
		p.token = rand.Uint64()
	}
	p.nextPing = now.Add(p.interval)
	p.interval = min(2*p.interval, maxPingInterval)
	p.sent += pingDatagramBytes
	body := wire.AppendPing(c.awake(now).scratch[:0], wire.Ping{Token: p.token})
	// Not counted: the loss of a probe says nothing about the present path.
	c.seal(now, wire.Header{Kind: wire.KindPing}, body, p.addr, false)
}

// receivedPong moves the path when it answers the PING that went there. By
// which way the answer came does not matter (RFC 9000 §8.2.3).
func (c *Channel) receivedPong(now time.Time, body []byte) {
	pong, err := wire.ParsePong(body)
	if err != nil {
		c.endpoint.counters.garbage.Add(1)
		return
	}
	p := c.candidate
	if p == nil || !p.pinged || pong.Token != p.token {
		return // of an idle path, or of a candidate that another has replaced
	}
	from := c.path
	c.path = p.addr
	c.candidate = nil
	c.endpoint.movePath(c.session, c.path)
	if from.Addr() != c.path.Addr() {
		// Another network, so another capacity. A change of port alone is a NAT
		// that forgot, on the same path (RFC 9000 §9.4).
		c.awake(now).recovery.PathChanged(now, c.newController(now))
	}
}
