package transport

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"shoal/internal/wire"
)

// dataBytes is a full DATA datagram on the path, with its headers.
func (c *Channel) dataBytes() int { return wire.DataDatagramBytes + c.ipBytes() }

func (c *Channel) ipBytes() int {
	if c.path.Addr().Is4() {
		return ipv4UDPBytes
	}
	return ipv6UDPBytes
}

// SendBudget is how many chunks window and pacer allow now: at most a burst of
// 60. Send them and ask again until it is zero.
func (c *Channel) SendBudget(now time.Time) int {
	if c.session.dead.Load() {
		return 0
	}
	g := c.awake(now)
	g.offered = g.recovery.Budget(now) / c.dataBytes()
	return g.offered
}

// NextSend is when SendBudget will be positive by time alone; zero: only an
// ACK can open the window.
func (c *Channel) NextSend(now time.Time) time.Time { return c.awake(now).recovery.NextSend(now) }

// SendData seals 1..1024 bytes of a chunk from where they are into the
// outgoing slab. The caller has asked SendBudget before.
func (c *Channel) SendData(now time.Time, ch Chunk, payload []byte) {
	if len(payload) == 0 || len(payload) > wire.ChunkBytes {
		panic("BUG: chunk of no or too many bytes")
	}
	c.awake(now).offered--
	h := wire.Header{Kind: wire.KindData, Handle: ch.Handle, Piece: ch.Piece, Chunk: ch.Chunk}
	c.seal(now, h, payload, c.path, true)
}

// SendMessage seals any other kind. Requests and their like are few and small:
// they count in flight, but wait for nothing.
func (c *Channel) SendMessage(now time.Time, kind uint8, body []byte) {
	if len(body) > wire.MaxBodyBytes || kind == wire.KindData || kind > wire.MaxKind {
		panic("BUG: not a message for a sealed datagram")
	}
	c.seal(now, wire.Header{Kind: kind}, body, c.path, true)
}

// seal queues one datagram. counted packets want an ACK and take part in
// congestion control.
func (c *Channel) seal(now time.Time, h wire.Header, body []byte, to netip.AddrPort, counted bool) {
	if c.session.dead.Load() {
		return
	}
	if c.next >= c.keyLimit {
		c.session.Close("key used up: too many packets sent")
		return
	}
	g := c.awake(now)
	size := wire.HeaderSize(h.Kind) + len(body) + wire.TagBytes
	out := &c.session.inbox.outbox
	if !out.fits(size) {
		out.flush(c.endpoint)
	}
	g.sent = true
	if c.next == c.skipAt {
		c.next++
		c.planSkip()
	}
	h.Receiver, h.Number = c.theirIndex, c.next
	c.next++
	b := out.add(&c.endpoint.pools, to, size)
	head := wire.AppendHeader(b[:0], h)
	g.send.aead.Seal(head, g.send.nonceFor(h.Number), body, head)
	c.outAll += uint64(size)
	c.lastSentAt = now
	if !counted {
		g.recovery.Sent(now, h.Number, 0)
		return
	}
	g.recovery.Sent(now, h.Number, size+c.ipBytes())
}

func (c *Channel) sendAck(now time.Time) {
	g := c.awake(now)
	c.acks.fill(now, &g.ack)
	if len(g.ack.Ranges) == 0 {
		return
	}
	g.ack.RateCapBytesPerSec = c.rateCap
	body := wire.AppendAck(g.scratch[:0], &g.ack)
	c.seal(now, wire.Header{Kind: wire.KindAck}, body, c.path, false)
}

// ping asks for an ACK and an answer on the present path.
func (c *Channel) ping(now time.Time) {
	body := wire.AppendPing(c.awake(now).scratch[:0], wire.Ping{Token: rand.Uint64()})
	c.seal(now, wire.Header{Kind: wire.KindPing}, body, c.path, true)
}
