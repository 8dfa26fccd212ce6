package replay

import (
	"math"
	"slices"
	"time"

	"shoal/bench/replay/trace"
	"shoal/engine/swarm"
)

const (
	// dialTimeout, silentAfter and idleTimeout are those of the live node.
	dialTimeout = 3 * time.Second
	silentAfter = 5 * time.Second
	idleTimeout = 30 * time.Second

	// regionWay and farWay are the round trip between access lines of one
	// country, and of two, without an RTT matrix.
	regionWay = 10 * time.Millisecond
	farWay    = 40 * time.Millisecond

	// reaction is what a node takes to read a message.
	reaction = time.Millisecond
)

// conn is a session between two peers, or the attempt at one.
type conn struct {
	ends [2]end
	rtt  time.Duration
	over bool
}

// end is one peer's side of a conn.
type end struct {
	p       *peer
	up      bool       // its policy knows of the session
	dialing bool       // its policy waits for a dial
	slot    swarm.Peer // the core's name for the other side
	asked   bool       // and got no answer, because the other side has crashed
	ramp    ramp       // of what this end sends
	flow    float64    // the downlink's account of what this end receives
}

// of returns p's end, and the other one.
func (c *conn) of(p *peer) (mine, theirs *end) {
	if c.ends[0].p == p {
		return &c.ends[0], &c.ends[1]
	}
	return &c.ends[1], &c.ends[0]
}

// roundTrip between two access lines.
func (w *world) roundTrip(a, b *peer) time.Duration {
	if m := w.cfg.RTT; m != nil {
		return m.RTT(a.s.Place, b.s.Place)
	}
	way := farWay
	if a.s.Country() == b.s.Country() {
		way = regionWay
	}
	return a.s.RTT + b.s.RTT + way
}

// canConnect tells whether hole punching opens a path between two NATs. A
// symmetric NAT's next mapping is unknown to the other side, which must accept
// packets from any port (RFC 5128 §3.3).
func canConnect(a, b string) bool {
	hard := func(x, y string) bool {
		return x == trace.NATSymmetric && (y == trace.NATSymmetric || y == trace.NATPortRestricted)
	}
	return a != trace.NATBlocked && b != trace.NATBlocked && !hard(a, b) && !hard(b, a)
}

func (p *peer) connTo(other *peer) *conn {
	for _, c := range p.conns {
		if c.ends[0].p == other || c.ends[1].p == other {
			return c
		}
	}
	return nil
}

// dial begins a session with another peer. The policy hears connected or
// refused, once, unless a session with that peer is under way already.
func (p *peer) dial(other *peer) {
	w := p.w
	if c := p.connTo(other); c != nil {
		mine, _ := c.of(p)
		if !mine.up {
			mine.dialing = true // both have dialed: one session comes of it
		}
		return
	}
	c := &conn{}
	c.ends[0] = end{p: p, dialing: true}
	c.ends[1] = end{p: other}
	p.conns = append(p.conns, c)
	if !other.online || !canConnect(p.s.NAT, other.s.NAT) {
		w.events.push(w.now+dialTimeout, evDialed, p).c = c
		return
	}
	c.rtt = w.roundTrip(p, other)
	other.conns = append(other.conns, c)
	// One round trip of QUIC's handshake, then the tickets: the dialed side has
	// the other's after 1.5 round trips, the dialing side after 2.
	w.events.push(w.now+c.rtt*3/2+reaction, evSession, other).c = c
	w.events.push(w.now+c.rtt*2+reaction, evDialed, p).c = c
}

// sessionUp is the dialed side's part.
func (w *world) sessionUp(p *peer, c *conn) {
	if c.over || !p.online {
		return
	}
	mine, _ := c.of(p)
	mine.up, mine.dialing = true, false
	if !p.policy.connected(c) {
		mine.up = false
		p.forget(c)
	}
}

// dialed is the dialing side's part.
func (w *world) dialed(p *peer, c *conn) {
	mine, theirs := c.of(p)
	if !p.online || !slices.Contains(p.conns, c) {
		return
	}
	if c.over || !theirs.up {
		mine.dialing = false
		p.forget(c)
		p.policy.refused(c)
		return
	}
	mine.up, mine.dialing = true, false
	if !p.policy.connected(c) {
		mine.up = false
		w.hangUp(p, c)
	}
}

func (p *peer) forget(c *conn) {
	if i := slices.Index(p.conns, c); i >= 0 {
		p.conns = slices.Delete(p.conns, i, i+1)
	}
}

// hangUp ends a session from p's side; the other learns of it.
func (w *world) hangUp(p *peer, c *conn) {
	mine, theirs := c.of(p)
	p.forget(c)
	if mine.up {
		mine.up = false
		p.policy.lost(c)
	}
	if !c.over {
		c.over = true
		w.events.push(w.now+c.rtt/2+reaction, evClosed, theirs.p).c = c
	}
}

// closed is how a peer learns that a session is over.
func (w *world) closed(p *peer, c *conn) {
	mine, _ := c.of(p)
	c.over = true
	if !p.online || !slices.Contains(p.conns, c) {
		return
	}
	p.forget(c)
	switch {
	case mine.up:
		mine.up = false
		p.policy.lost(c)
	case mine.dialing:
		mine.dialing = false
		p.policy.refused(c)
	}
	p.cycle()
}

// send gives a message to the other side of a session. Words that can wait are
// read at the other's next round of scheduling.
func (p *peer) send(c *conn, msg any, canWait bool) {
	w := p.w
	mine, theirs := c.of(p)
	if theirs.p.crashed {
		p.ownsNothing(c, mine)
		return
	}
	at := w.now + c.rtt/2 + reaction
	if canWait {
		theirs.p.mail = append(theirs.p.mail, mail{at: at, c: c, msg: msg})
		return
	}
	e := w.events.push(at, evMessage, theirs.p)
	e.c, e.msg = c, msg
}

// ownsNothing notes that p waits for a peer that has crashed: it gives up when
// nothing was heard for silentAfter.
func (p *peer) ownsNothing(c *conn, mine *end) {
	if !mine.asked {
		mine.asked = true
		p.w.events.push(p.w.now+silentAfter+time.Second/2, evClosed, p).c = c
	}
}

// mail is a message that waits for its reader.
type mail struct {
	at  time.Duration
	c   *conn
	msg any
}

// readMail hands over what has come.
func (p *peer) readMail() {
	if len(p.mail) == 0 {
		return
	}
	now := p.w.now
	list := p.mail
	kept := list[:0]
	for _, m := range list {
		if m.at > now {
			kept = append(kept, m)
			continue
		}
		if mine, _ := m.c.of(p); mine.up {
			p.policy.message(m.c, m.msg)
		}
	}
	clear(list[len(kept):])
	p.mail = kept
}

// upload sends what the policy has, as far as the uplink takes it.
func (p *peer) upload() {
	w := p.w
	if p.s.UpKbps <= 0 {
		return
	}
	p.blocked = math.MaxInt64
	for p.upFree <= w.now+sendAhead {
		b, ok := p.policy.serve()
		if !ok {
			break
		}
		mine, theirs := b.c.of(p)
		n := chunkBytes(b.mask)
		p.upFree = p.line.carry(max(p.upFree, w.now), float64(n)*peerOverhead, true)
		_, up, _ := p.line.at(w.now)
		mine.ramp.pass(w.now, float64(n), b.c.rtt, up)
		p.acct.sent += int64(n)
		if theirs.p.crashed {
			continue
		}
		mask := w.lose(b.mask)
		if mask == 0 {
			continue
		}
		e := w.events.push(p.upFree+b.c.rtt/2, evBurst, theirs.p)
		e.c, e.piece, e.mask, e.n = b.c, b.piece, mask, int64(b.tier)
	}
	next := p.blocked
	if p.upFree > w.now+sendAhead {
		next = p.upFree - sendAhead
	}
	if next != math.MaxInt64 && (p.upAt <= w.now || next < p.upAt) {
		p.upAt = next
		w.events.push(next, evUp, p)
	}
}

// mayServe tells whether c's path takes a burst now. If not, upload is called
// again when it does.
func (p *peer) mayServe(c *conn) bool {
	mine, _ := c.of(p)
	if mine.ramp.next <= p.w.now {
		return true
	}
	p.blocked = min(p.blocked, mine.ramp.next)
	return false
}

// lose takes chunks out of a burst by the world's loss ratio.
func (w *world) lose(mask uint64) uint64 {
	if w.cfg.LossRatio <= 0 {
		return mask
	}
	kept := mask
	for m := mask; m != 0; m &= m - 1 {
		if w.rng.Float64() < w.cfg.LossRatio {
			kept &^= m & -m
		}
	}
	return kept
}

// received is a burst at the door of p's line, or behind it.
func (w *world) received(p *peer, ev event) {
	mine, theirs := ev.c.of(p)
	if !mine.up {
		return
	}
	n := chunkBytes(ev.mask)
	p.acct.arrived(p.s, theirs.p.s, int64(n))
	add(&w.total.p2p, w.now, int64(n))
	p.cameOverLine(int64(n), false)
	p.policy.burst(ev.c, ev.piece, ev.mask)
	p.soon()
}
