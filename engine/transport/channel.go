package transport

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"shoal/cc"
)

const (
	ipv4UDPBytes = 20 + 8
	ipv6UDPBytes = 40 + 8

	// idlePing keeps the path through NATs open and notices that one of them
	// has moved it, before either the mapping (30 s and more) or QUIC's idle
	// time-out ends. Only the dialer pings; the answer serves the other way.
	idlePing = 10 * time.Second

	// Packet numbers are left out now and then, unpredictably, to catch a
	// receiver that acknowledges what it has not seen (RFC 9000 §21.4). One that
	// begins to lie has 700 packets, less than a megabyte, on average until then; each
	// number left out costs an ACK, for it looks like a loss.
	minSkipDistance = 64
	maxSkipDistance = 2 << 10

	// maxPacketNumber keeps arithmetic on numbers from overflowing.
	maxPacketNumber = 1<<62 - 1
)

// Errors of opening a packet: all are counted, and the packet is to be dropped.
var (
	ErrGarbage  = errors.New("transport: not a sealed datagram of this channel")
	ErrReplayed = errors.New("transport: packet number seen before or too old")
	ErrForged   = errors.New("transport: packet does not open with this session's key")
	ErrOversize = errors.New("transport: packet larger than its place")
)

// A Chunk is what a DATA datagram carries, as its header says.
type Chunk struct {
	Handle uint16
	Piece  uint32
	Chunk  uint8
}

// ChannelStats describes a channel at one moment.
type ChannelStats struct {
	BytesIn, BytesOut     uint64 // UDP payload, opened and sealed
	PacketsIn, PacketsOut uint64
	LostPackets           uint64
	MarkedPackets         uint64 // of those that came in and want an ACK: congestion marks (ECN)
	InFlightBytes         int
	WindowBytes           int // this and the rates: 0 at rest
	PacingBytesPerSec     float64
	Tier                  cc.Tier
	Mode                  string // what the congestion controller is doing; "": at rest, or it has no modes
	DeliveryBytesPerSec   float64
	RTT, MinRTT           time.Duration // 0: unmeasured
	Path                  netip.AddrPort
}

// A Channel is the sealed data plane of a session. It is passive and belongs
// to one goroutine, the reader of its inbox: it does something only when it is
// called, and learns the time from its caller.
//
// The order of a round: open every packet of a batch; send what is to be sent
// (SendData while SendBudget allows); then Advance on every channel touched,
// which sends the ACKs that are due and flushes. Call Advance again at Next,
// and try to send again at NextSend.
type Channel struct {
	// constant
	session    *Session
	endpoint   *Endpoint
	theirIndex uint32

	sendKey, receiveKey secret

	next       uint64 // packet number to use next
	keyLimit   uint64 // packets that the key may protect
	skipAt     uint64 // the number to leave out next
	lastSentAt time.Time
	forged     uint64

	acks   ackTracker
	replay replayFilter

	path      netip.AddrPort
	candidate *candidatePath // nil: none

	tier            cc.Tier // of what is sent, once told
	tierSet         bool
	rateCap         uint64 // that we tell the other side
	rateCapTold     uint64 // that the other side told us
	packetsIn       uint64
	bytesIn, outAll uint64 // bytes opened, bytes sealed

	gear *gear   // nil: at rest
	kept cc.Rest // of the recovery, while at rest
}

func newChannel(now time.Time, s *Session, theirIndex uint32, send, receive secret) *Channel {
	c := &Channel{
		session: s, endpoint: s.endpoint, theirIndex: theirIndex,
		sendKey: send, receiveKey: receive, keyLimit: maxSealedPackets,
		lastSentAt: now, path: s.RemoteAddr(),
	}
	c.start(cc.NewRecovery(now, c.newController(now)))
	c.planSkip()
	return c
}

// Session returns the session that the channel belongs to.
func (c *Channel) Session() *Session { return c.session }

// RTT is the smoothed round trip; 0 until it is measured.
func (c *Channel) RTT() time.Duration { return c.rtt().Smoothed() }

// RTTVar is the round trip's mean deviation; 0 until it is measured.
func (c *Channel) RTTVar() time.Duration { return c.rtt().Var() }

func (c *Channel) rtt() *cc.RTT {
	if c.gear == nil {
		return c.kept.RTT()
	}
	return c.gear.recovery.RTT()
}

// Stats describes the channel now.
func (c *Channel) Stats() ChannelStats {
	st := ChannelStats{
		BytesIn: c.bytesIn, BytesOut: c.outAll,
		PacketsIn: c.packetsIn, PacketsOut: c.next, MarkedPackets: uint64(c.acks.marked),
		LostPackets: c.kept.Stats().LostPackets, Tier: c.tier,
		RTT: c.RTT(), MinRTT: c.rtt().Min(),
		Path: c.path,
	}
	if g := c.gear; g != nil {
		st.LostPackets = g.recovery.Stats().LostPackets
		st.InFlightBytes, st.WindowBytes = g.recovery.InFlightBytes(), g.recovery.WindowBytes()
		st.PacingBytesPerSec, st.DeliveryBytesPerSec = g.recovery.PacingBytesPerSec(), g.recovery.DeliveryRate()
		if t, ok := g.recovery.Controller().(cc.TierController); ok {
			st.Tier, st.Mode = t.Tier(), t.Mode()
		}
	}
	return st
}

// SetTier says how urgent is what is sent from now on.
func (c *Channel) SetTier(now time.Time, t cc.Tier) {
	if c.tierSet && t == c.tier {
		return
	}
	c.tier, c.tierSet = t, true
	if tiered, ok := c.awake(now).recovery.Controller().(cc.TierController); ok {
		tiered.SetTier(now, t)
	}
}

// newController makes the channel's congestion controller. Channels with one owner
// share the node's uplink, and know of each other.
func (c *Channel) newController(now time.Time) cc.Controller {
	if make := c.endpoint.cfg.NewController; make != nil {
		controller := make(now)
		if tiered, ok := controller.(cc.TierController); ok && c.tierSet {
			tiered.SetTier(now, c.tier)
		}
		return controller
	}
	return c.session.inbox.group.NewTiered(now, c.tier)
}

// SetRateCap tells the other side, with every ACK from now on, how many bytes
// per second of DATA it may send us; 0 lifts the cap.
func (c *Channel) SetRateCap(bytesPerSec uint64) { c.rateCap = bytesPerSec }

// Next is when Advance must be called again; zero: not before something arrives.
func (c *Channel) Next() time.Time {
	if c.session.dead.Load() {
		return time.Time{}
	}
	next := c.acks.dueAt
	if c.gear != nil {
		next = earlier(next, c.gear.recovery.Next())
	}
	if c.session.dialed {
		next = earlier(next, c.lastSentAt.Add(idlePing))
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Advance lets time pass: it declares losses, probes, sends the ACK that is
// due, keeps an idle path open, and flushes. Spurious calls are harmless.
func (c *Channel) Advance(now time.Time) {
	if c.gear != nil {
		c.probe(now, c.gear.recovery.Advance(now))
	}
	if c.acks.due(now) {
		c.sendAck(now)
	}
	if c.session.dialed && !now.Before(c.lastSentAt.Add(idlePing)) {
		c.ping(now)
	}
	c.Flush()
	c.rest()
}

// Flush hands what is queued to the socket, on this channel and on all others
// of its inbox. It may wait for room in the socket's buffer: a matter of microseconds
// as a rule, and a tenth of a second at most, after which what is left is lost.
func (c *Channel) Flush() {
	if g := c.gear; g != nil && g.sent {
		if g.offered > 0 {
			// Allowed more and had no more: rates measured now say little.
			g.recovery.SetAppLimited()
			g.offered = 0
		}
		g.sent = false
	}
	c.session.inbox.outbox.flush(c.endpoint)
}

// probe sends what Recovery asks for: a PING is acknowledged at once.
func (c *Channel) probe(now time.Time, r cc.Result) {
	if r.Probe {
		c.ping(now)
	}
}

func (c *Channel) planSkip() {
	span := min(c.next+minSkipDistance, maxSkipDistance)
	c.skipAt = c.next + minSkipDistance + rand.Uint64N(span)
}
