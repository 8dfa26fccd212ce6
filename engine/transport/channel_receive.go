package transport

import (
	"net/netip"
	"time"

	"shoal/cc"
	"shoal/internal/wire"
)

// Header reads the clear header of a packet. Nothing is proved yet: it tells
// where the bytes would go, no more. ok is false for garbage.
func (c *Channel) Header(pkt []byte) (kind uint8, ch Chunk, ok bool) {
	h, ok := wire.ParseHeader(pkt)
	return h.Kind, Chunk{Handle: h.Handle, Piece: h.Piece, Chunk: h.Chunk}, ok
}

// OpenData decrypts a DATA packet straight into dst and returns the number of
// bytes. On an error the packet is counted and nothing has moved, but dst may
// have been zeroed: give it the place of a chunk that is missing, or scratch.
func (c *Channel) OpenData(now time.Time, pkt Packet, dst []byte) (int, error) {
	h, ok := wire.ParseHeader(pkt.Data)
	if !ok || h.Kind != wire.KindData {
		c.endpoint.counters.garbage.Add(1)
		return 0, ErrGarbage
	}
	size := len(pkt.Data) - wire.DataHeaderBytes - wire.TagBytes
	if size > len(dst) {
		c.endpoint.counters.oversize.Add(1)
		return 0, ErrOversize
	}
	if _, err := c.open(now, pkt, h, dst[:0:size], true); err != nil {
		return 0, err
	}
	return size, nil
}

// OpenMessage decrypts a packet of any other kind. The body lies in scratch if
// that has room for [wire.MaxBodyBytes], and otherwise in place of the packet.
// ACK, PING and PONG have been dealt with; their kind is for information.
func (c *Channel) OpenMessage(now time.Time, pkt Packet, scratch []byte) (kind uint8, body []byte, err error) {
	h, ok := wire.ParseHeader(pkt.Data)
	if !ok || h.Kind == wire.KindData {
		c.endpoint.counters.garbage.Add(1)
		return 0, nil, ErrGarbage
	}
	dst := scratch[:0]
	if cap(dst) < wire.MaxBodyBytes {
		dst = pkt.Data[wire.HeaderBytes:wire.HeaderBytes]
	}
	counted := h.Kind != wire.KindAck && h.Kind != wire.KindPong
	if body, err = c.open(now, pkt, h, dst, counted); err != nil {
		return 0, nil, err
	}
	switch h.Kind {
	case wire.KindAck:
		c.receivedAck(now, body)
	case wire.KindPing:
		c.receivedPing(now, pkt.From, body)
	case wire.KindPong:
		c.receivedPong(now, body)
	}
	return h.Kind, body, nil
}

// open authenticates a packet and appends its body to dst. State moves only
// after that.
func (c *Channel) open(now time.Time, pkt Packet, h wire.Header, dst []byte, counted bool) ([]byte, error) {
	counters := &c.endpoint.counters
	if h.Receiver != c.session.ownIndex || h.Number > maxPacketNumber {
		counters.garbage.Add(1)
		return nil, ErrGarbage
	}
	if !c.replay.fresh(h.Number) {
		counters.replayed.Add(1)
		return nil, ErrReplayed
	}
	clear, key := wire.HeaderSize(h.Kind), &c.awake(now).receive
	body, err := key.aead.Open(dst, key.nonceFor(h.Number), pkt.Data[clear:], pkt.Data[:clear])
	if err != nil {
		counters.forged.Add(1)
		if c.forged++; c.forged >= maxForgedPackets {
			c.session.Close("key used up: too many forged packets")
		}
		return nil, ErrForged
	}
	newest := h.Number >= c.replay.next
	c.replay.seen(h.Number)
	c.packetsIn++
	c.bytesIn += uint64(len(pkt.Data))
	c.acks.received(now, h.Number, counted, h.Kind == wire.KindPing)
	if pkt.marked && counted {
		c.acks.marked++
	}
	if newest && pkt.From != c.path {
		// Only the newest packet tells where the other side is; a late one
		// tells where it was (RFC 9000 §9.3).
		c.seenElsewhere(now, pkt.From, len(pkt.Data))
	}
	return body, nil
}

func (c *Channel) receivedAck(now time.Time, body []byte) {
	g := c.awake(now)
	if err := wire.ParseAck(body, &g.ack); err != nil {
		c.endpoint.counters.garbage.Add(1)
		return
	}
	g.ranges = g.ranges[:0]
	for _, r := range g.ack.Ranges {
		g.ranges = append(g.ranges, cc.Range(r))
	}
	result, err := g.recovery.AckMarked(now, g.ranges, g.ack.Delay, uint64(g.ack.CEPackets))
	if err != nil {
		c.session.Close("protocol violation: " + err.Error())
		return
	}
	c.acks.roundTrip = c.RTT()
	if told := g.ack.RateCapBytesPerSec; told != c.rateCapTold {
		c.rateCapTold = told
		g.recovery.SetRateCap(now, told)
	}
	c.probe(now, result)
}

// receivedPing answers to where the question came from, with a packet that is
// not larger. If a PING of ours has used up what an unproven address may get,
// there is no answer: the other side asks again, over a path proven by then.
func (c *Channel) receivedPing(now time.Time, from netip.AddrPort, body []byte) {
	ping, err := wire.ParsePing(body)
	if err != nil {
		c.endpoint.counters.garbage.Add(1)
		return
	}
	to := c.path
	switch p := c.candidate; {
	case from == c.path:
	case p != nil && from == p.addr:
		if p.sent+pingDatagramBytes > p.received {
			return
		}
		p.sent += pingDatagramBytes
		to = p.addr
	default:
		// A late packet from yet another place: it gets what it brought.
		to = from
	}
	answer := wire.AppendPong(c.awake(now).scratch[:0], wire.Pong(ping))
	c.seal(now, wire.Header{Kind: wire.KindPong}, answer, to, false)
}
