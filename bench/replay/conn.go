package replay

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"shoal/bench/replay/trace"
	"shoal/engine/swarm"
	"shoal/internal/wire"
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

	// handshakeBytes is what either side sends until a session stands: QUIC's
	// Initial packets, which are padded to a full packet, a certificate, tickets,
	// and what each says of itself.
	handshakeBytes = 3500

	// reaction is what a node takes to read a message.
	reaction = time.Millisecond
)

// conn is a session between two peers, or the attempt at one.
type conn struct {
	ends [2]end
	rtt  time.Duration
	over bool
	near nearness
}

// end is one peer's side of a conn.
type end struct {
	p       *peer
	up      bool       // its policy knows of the session
	dialing bool       // its policy waits for a dial
	slot    swarm.Peer // the core's name for the other side
	asked   bool       // and got no answer, because the other side has crashed
	// Until when mayServe says no, at the policy's place for it; nil: it has none.
	// A node has dozens of paths, and looks at all of them for each burst.
	shut    *time.Duration
	sender  *sender // of what this end sends; nil: nothing of late
	srtt    time.Duration
	burstAt time.Duration // when it received the last burst
	eager   int           // chunks that it still answers two by two
	flow    float64       // the downlink's account of what this end receives
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
	c.ends[0] = end{p: p, dialing: true, eager: p.eager()}
	c.ends[1] = end{p: other, eager: other.eager()}
	p.conns = append(p.conns, c)
	if !other.online || !canConnect(p.s.NAT, other.s.NAT) {
		w.events.push(w.now+dialTimeout, evDialed, p).c = c
		return
	}
	c.rtt, c.near = w.roundTrip(p, other), nearnessOf(p.s, other.s)
	other.conns = append(other.conns, c)
	wait := p.sendSurely(handshakeBytes, c.rtt) + other.sendSurely(handshakeBytes, c.rtt) - 2*w.now
	// One round trip of QUIC's handshake, then the tickets: the dialed side has
	// the other's after 1.5 round trips, the dialing side after 2.
	w.events.push(w.now+wait+c.rtt*3/2+reaction, evSession, other).c = c
	w.events.push(w.now+wait+c.rtt*2+reaction, evDialed, p).c = c
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

// send gives a message to the other side of a session. It waits for the other's
// loop; words that can wait do not wake it.
func (p *peer) send(c *conn, msg any, canWait bool) {
	mine, theirs := c.of(p)
	if theirs.p.crashed {
		p.ownsNothing(c, mine)
		return
	}
	sent, ok := p.sendUp(messageBytes(msg))
	if !ok {
		if datagram(msg) {
			return // who waits for an answer asks again
		}
		sent = p.upFree + retransmit + c.rtt
	}
	at := sent + c.rtt/2 + reaction
	other := theirs.p
	other.mail.put(mail{mine: theirs, c: c, msg: msg, at: at, urgent: !canWait})
	if !canWait {
		other.wake(max(at, other.cycled+loopGrain))
	}
}

// messageBytes is what a message takes on the line.
func messageBytes(msg any) float64 {
	switch msg.(type) {
	case wire.Request, ask:
		return requestBytes
	case wire.Cancel, unask:
		return cancelBytes
	case busy:
		return busyBytes
	default:
		return controlBytes
	}
}

// datagram tells whether a message goes by itself, and not on the stream.
func datagram(msg any) bool {
	switch msg.(type) {
	case wire.Request, wire.Cancel, busy:
		return true
	default:
		return false
	}
}

// ownsNothing notes that p waits for a peer that has crashed: it gives up when
// nothing was heard for silentAfter.
func (p *peer) ownsNothing(c *conn, mine *end) {
	if !mine.asked {
		mine.asked = true
		p.w.events.push(p.w.now+silentAfter+time.Second/2, evClosed, p).c = c
	}
}

// upload sends what the policy has, as far as its paths' windows take it. What
// the uplink's queue has no room for is lost.
func (p *peer) upload() {
	if !p.uploads {
		return
	}
	p.blocked = math.MaxInt64
	for {
		b, ok := p.policy.serve()
		if !ok {
			break
		}
		p.sendBurst(b)
	}
	if next := p.blocked; next != math.MaxInt64 {
		p.uploadAt(next)
	}
}

// uploadGrain is how often a node looks at most whether a window or a pacer lets
// something go: what it finds then leaves together.
const uploadGrain = 10 * time.Millisecond

// uploadAt plans the next evUp.
func (p *peer) uploadAt(at time.Duration) {
	w := p.w
	at = max(at, w.now+uploadGrain)
	if p.upAt <= w.now || at < p.upAt {
		p.upAt = at
		w.events.push(at, evUp, p)
	}
}

// sendBurst puts a burst into the uplink's queue, as far as there is room.
func (p *peer) sendBurst(b burst) {
	w := p.w
	mine, theirs := b.c.of(p)
	chunks := bits.OnesCount64(b.mask)
	p.acct.sent += int64(chunks * wire.ChunkBytes)
	fits := min(chunks, int(max(p.uplinkRoom(), 0)/chunkOnWire))
	if p.upFree <= w.now {
		fits = chunks
	}
	mask := w.lose(lowestChunks(b.mask, fits))
	first := p.line.carry(max(p.upFree, w.now), chunkOnWire, true)
	at, _ := p.sendUp(float64(fits) * chunkOnWire)
	if fits == 0 {
		at = p.upFree
	}
	lost := chunks - bits.OnesCount64(mask)
	number := mine.sender.sent(w, flight{
		bytes: int32(float64(chunks) * chunkOnWire), lost: int32(float64(lost) * chunkOnWire),
		// A packet of a paced sender doesn't wait for those that go with it here.
		unlike: max(at-first, 0),
	})
	if !theirs.p.online {
		return
	}
	if mask == 0 {
		// What is sent next would tell, when its ACK comes.
		mine.sender.ackAt(number, at+b.c.rtt+theirs.p.uplinkWait(), 0)
		return
	}
	theirs.p.expect(inbound{at: at + b.c.rtt/2, c: b.c, mask: mask, number: number, piece: b.piece})
}

// lowestChunks returns the n lowest chunks of a mask.
func lowestChunks(mask uint64, n int) uint64 {
	if bits.OnesCount64(mask) <= n {
		return mask
	}
	kept := uint64(0)
	for ; n > 0; n-- {
		kept |= mask & -mask
		mask &= mask - 1
	}
	return kept
}

// mayServe is how many chunks c's path takes now. If none, upload is called
// again when it does.
func (p *peer) mayServe(c *conn) int {
	mine, _ := c.of(p)
	if mine.sender == nil {
		mine.sender = newSender(p.w.clock(), p.group)
	}
	n, again := mine.sender.budget(p.w, min(p.burstChunks(), mine.sender.burstChunks()))
	if n == 0 {
		p.blocked = min(p.blocked, again)
		if mine.shut != nil {
			*mine.shut = again
		}
	}
	return n
}

// acknowledge answers to a burst of so many chunks when p has got it. The ACKs pass
// p's own uplink.
func (p *peer) acknowledge(a *inbound, chunks int) {
	mine, theirs := a.c.of(p)
	acks, held := mine.acks(a.at, chunks, max(mine.srtt, a.c.rtt))
	wait := max(p.upFree-a.at, 0)
	_, _ = p.sendUpAt(a.at, acks*ackBytes) // the next one says the same
	at := a.at + held + wait + a.c.rtt/2
	waits := theirs.sender.ackAt(a.number, at, held)
	if s := theirs.shut; s != nil && waits {
		*s = at
	}
	if waits && theirs.p.online {
		theirs.p.uploadAt(at)
	}
}

// A receiver (engine/transport) holds the ACK of a lone packet back for a part of
// the round trip, and once there are two, for a smaller one.
const (
	loneAckShare = 4
	busyAckShare = 16
	minAckDelay  = time.Millisecond
	maxAckDelay  = 25 * time.Millisecond
	// eagerChunks are the first of a session, which it answers two by two.
	eagerChunks = 128
)

// eager is how many chunks p answers two by two when a session begins. The sessions
// of other policies are not fitted to anything.
func (p *peer) eager() int {
	if p.group == nil {
		return 0
	}
	return eagerChunks
}

// acks returns how many ACKs answer to a burst of so many chunks, whose packets
// came evenly since the last one, and for how long the last is held back.
func (e *end) acks(now time.Duration, chunks int, rtt time.Duration) (count float64, held time.Duration) {
	delay := func(share time.Duration) time.Duration { return min(max(rtt/share, minAckDelay), maxAckDelay) }
	apart := (now - e.burstAt) / time.Duration(chunks)
	e.burstAt = now
	if e.eager > 0 && chunks > 1 {
		e.eager -= chunks
		return float64(chunks) / 2, 0
	}
	if lone := delay(loneAckShare); apart >= lone {
		return float64(chunks), lone
	}
	held = delay(busyAckShare)
	return float64(chunks) / (2 + float64(held)/float64(max(apart, 1))), held
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
