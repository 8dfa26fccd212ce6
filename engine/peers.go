package engine

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/swarm"
	"shoal/engine/transport"
	"shoal/internal/wire"
)

// alpn is the protocol between peers.
const alpn = "shoal/1"

const (
	// dialTimeout bounds a dial. A direct path answers within a round trip or
	// two; what takes longer is behind a NAT that did not open.
	dialTimeout = 3 * time.Second

	// dialingMax bounds dials in progress, dialsMax those that wait.
	dialingMax = 8
	dialsMax   = 64

	// joinTimeout closes a session without a valid ticket. It leaves room for
	// the tracker's key to arrive, which comes with our own first join.
	joinTimeout = 10 * time.Second

	// simultaneous is how close two sessions with one peer begin when both
	// sides dialed at once. A later one replaces the old: the peer restarted.
	simultaneous = 2 * dialTimeout

	// pingAfter, pingEvery and silentAfter: a peer that owes us data and says
	// nothing is pinged each second, and is gone after five. The core's own
	// request time-outs have long given its chunks to others.
	pingAfter   = time.Second
	pingEvery   = time.Second
	silentAfter = 5 * time.Second

	// joinsMax bounds the titles that a peer may join: as many as are open here.
	joinsMax = titlesMax

	// bannedMax bounds the memory of banned peers. Making a new identity is
	// cheap, getting it a ticket is not.
	bannedMax = 1024
)

// peer is a session with another peer. Owned by the loop, except the constant fields.
type peer struct {
	// constant
	id      wire.PeerID
	session *transport.Session
	channel *transport.Channel
	dialed  bool
	began   time.Time
	out     *outbox

	// owned by the loop
	admitted bool
	handle   swarm.Peer
	joined   map[manifest.TitleID]bool // with a valid ticket, known here or not
	sent     map[manifest.TitleID]bool // titles that we joined
	dropped  bool
	serving  bool // waits for its pacer

	asked    time.Time // first request that nothing was heard since
	pinged   time.Time
	lost     uint64 // at the last measurement
	packets  uint64
	pingBody [wire.PingBytes]byte
}

// sharesTitle tells whether the peer may know of a file.
func (p *peer) sharesTitle(c *content) bool {
	for _, f := range c.files {
		if p.joined[f.title.id] {
			return true
		}
	}
	return false
}

// accept takes incoming sessions until the endpoint closes.
func (e *Engine) acceptLoop() {
	for {
		s, err := e.endpoint.Accept(e.ctx)
		if err != nil {
			return
		}
		if !e.post(func(now time.Time) { e.loop.session(now, s, false) }) {
			s.Close("shutting down")
			return
		}
	}
}

// connect dials a candidate, now or when others are through.
func (l *loop) connect(now time.Time, c swarm.Connect) {
	if l.byID[c.ID] != nil || l.banned.has(c.ID) || len(l.dials) >= dialsMax {
		l.core.DialFailed(now, c.ID)
		return
	}
	l.connecting[c.ID] = true
	l.dials = append(l.dials, c)
	l.dialNext()
}

func (l *loop) dialNext() {
	for l.dialing < dialingMax && len(l.dials) > 0 {
		c := l.dials[0]
		l.dials = append(l.dials[:0], l.dials[1:]...)
		l.dialing++
		if !l.e.spawn(func() { l.e.dial(c) }) {
			l.dialing--
			return
		}
	}
}

func (e *Engine) dial(c swarm.Connect) {
	ctx, cancel := context.WithTimeout(e.ctx, dialTimeout)
	defer cancel()
	s, err := e.endpoint.Dial(ctx, transport.DialConfig{
		ALPN: alpn, Addrs: c.Addrs, Verify: transport.Verify{ID: c.ID},
	})
	posted := e.post(func(now time.Time) {
		l := e.loop
		l.dialing--
		l.dialNext()
		if err != nil {
			e.log.Debug("dial failed", slog.String("peer", c.ID.String()), slog.Any("error", err))
			l.notConnected(now, c.ID)
			return
		}
		l.session(now, s, true)
	})
	if !posted && err == nil {
		s.Close("shutting down")
	}
}

// notConnected ends a dial that the core waits for, unless a session with the
// same peer came about in another way and may yet be admitted.
func (l *loop) notConnected(now time.Time, id wire.PeerID) {
	if l.connecting[id] && l.byID[id] == nil {
		delete(l.connecting, id)
		l.core.DialFailed(now, id)
	}
}

// session takes a new session, dialed or accepted.
func (l *loop) session(now time.Time, s *transport.Session, dialed bool) {
	id := s.ID()
	refuse := func(reason string) {
		l.e.spawn(func() { s.Close(reason) })
		l.notConnected(now, id)
	}
	switch {
	case l.banned.has(id):
		refuse("banned")
		return
	case id == l.e.identity.ID():
		refuse("own identity")
		return
	case len(l.byID) >= 2*l.e.cfg.MaxPeers:
		refuse("too many peers")
		return
	}
	if old := l.byID[id]; old != nil {
		// Both sides keep the session that the smaller ID dialed.
		mine := l.e.identity.ID()
		dialedBySmaller := dialed == (bytes.Compare(mine[:], id[:]) < 0)
		oldBySmaller := old.dialed == (bytes.Compare(mine[:], id[:]) < 0)
		if now.Sub(old.began) < simultaneous && (!dialedBySmaller || oldBySmaller) {
			refuse("duplicate session")
			return
		}
		l.drop(now, old, "replaced by a newer session")
	}
	p := &peer{
		id: id, session: s, channel: s.Channel(), dialed: dialed, began: now,
		out:    newOutbox(),
		joined: make(map[manifest.TitleID]bool), sent: make(map[manifest.TitleID]bool),
	}
	l.byID[id] = p
	l.send(now, p, wire.Hello{Version: protocolVersion, Agent: agent})
	for _, t := range l.titleList {
		l.join(now, p, t)
	}
	l.e.spawn(func() { l.e.readControl(p) })
	l.e.spawn(func() { l.e.writeControl(p) })
}

// join tells a peer that we take part in a title, when we have a ticket, and
// then lets the core deal with the peer in it, if the peer has joined as well.
// The order matters: what the core says of a title must follow our ticket.
func (l *loop) join(now time.Time, p *peer, t *titleState) {
	if t.ticket == nil {
		return
	}
	if !p.sent[t.id] {
		p.sent[t.id] = true
		l.send(now, p, wire.Join{Title: t.id, Ticket: t.ticket})
	}
	if p.admitted && p.joined[t.id] {
		l.core.Joined(now, p.handle, t.handle)
	}
}

// joinedBy takes a verified ticket of a peer. The title may not be open here
// yet: that is remembered.
func (l *loop) joinedBy(now time.Time, p *peer, title manifest.TitleID) {
	if p.dropped || len(p.joined) >= joinsMax && !p.joined[title] {
		return
	}
	p.joined[title] = true
	if !p.admitted && !l.admit(now, p) {
		return
	}
	if t := l.titles[title]; t != nil {
		l.join(now, p, t)
	}
}

// rtt is the path's round trip: as the channel measures it, and until then as the
// handshake did. Without a measure the core would take every peer for one that
// is farther away than the CDN.
func (p *peer) rtt() time.Duration {
	if d := p.channel.RTT(); d > 0 {
		return d
	}
	return p.session.RTT()
}

// admit gives a peer its slot in the core: its first ticket was good.
func (l *loop) admit(now time.Time, p *peer) bool {
	delete(l.connecting, p.id)
	handle, ok := l.core.PathUp(now, p.id, p.rtt())
	if !ok {
		l.drop(now, p, "no room")
		return false
	}
	p.admitted, p.handle = true, handle
	l.peers[handle] = p
	l.emit(Event{At: now, Kind: EventPeerConnected, Peer: p.id.Hex()})
	l.e.log.Info("peer connected", slog.String("peer", p.id.String()),
		slog.String("addr", p.session.RemoteAddr().String()), slog.Bool("dialed", p.dialed))
	return true
}

// drop ends a session from our side, or takes note of its end.
func (l *loop) drop(now time.Time, p *peer, reason string) {
	if p.dropped {
		return
	}
	p.dropped = true
	if l.byID[p.id] == p {
		delete(l.byID, p.id)
	}
	if p.admitted {
		l.peers[p.handle] = nil
		l.core.PathDown(now, p.handle)
		l.emit(Event{At: now, Kind: EventPeerLost, Peer: p.id.Hex(), Reason: reason})
		l.e.log.Info("peer gone", slog.String("peer", p.id.String()), slog.String("reason", reason))
	} else {
		l.notConnected(now, p.id)
	}
	p.out.end(reason)
}

// disconnect does what the core decided.
func (l *loop) disconnect(now time.Time, d swarm.Disconnect) {
	p := l.peers[d.Peer]
	if p == nil {
		return
	}
	if d.Banned {
		l.banned.add(p.id)
	}
	l.drop(now, p, d.Reason)
}

// upkeepPeers measures paths, pings the silent and closes the dead.
func (l *loop) upkeepPeers(now time.Time) {
	for _, p := range l.byID {
		switch {
		case !p.admitted:
			if now.Sub(p.began) > joinTimeout {
				l.drop(now, p, "no valid ticket")
			}
			continue
		case !p.asked.IsZero() && now.Sub(p.asked) > silentAfter:
			l.drop(now, p, "silent")
			continue
		case !p.asked.IsZero() && now.Sub(p.asked) > pingAfter && now.Sub(p.pinged) >= pingEvery:
			p.pinged = now
			body := wire.AppendPing(p.pingBody[:0], wire.Ping{Token: uint64(now.UnixNano())})
			p.channel.SendMessage(now, wire.KindPing, body)
		}
		st := p.channel.Stats()
		loss := 0.0
		if out := st.PacketsOut - p.packets; out > 0 {
			loss = min(1, float64(st.LostPackets-p.lost)/float64(out))
		}
		p.packets, p.lost = st.PacketsOut, st.LostPackets
		l.core.PathStats(now, p.handle, p.rtt(), loss)
	}
}

// measureUpload keeps the best second of sending as our capacity; it fades, for
// lines change.
func (l *loop) measureUpload(now time.Time) {
	passed := now.Sub(l.upAt)
	if passed < upkeepEvery/2 {
		return
	}
	var total uint64
	for _, p := range l.byID {
		total += p.channel.Stats().BytesOut
	}
	if total >= l.upBytes {
		rate := uint64(float64(total-l.upBytes) / passed.Seconds())
		l.upBytesPerSec = max(rate, l.upBytesPerSec-l.upBytesPerSec/256)
	}
	l.upBytes, l.upAt = total, now
}

// bannedPeers remembers polluters until the engine ends, oldest out first.
type bannedPeers struct {
	ids   map[wire.PeerID]bool
	order []wire.PeerID
}

func newBannedPeers() bannedPeers { return bannedPeers{ids: make(map[wire.PeerID]bool)} }

func (b *bannedPeers) has(id wire.PeerID) bool { return b.ids[id] }

func (b *bannedPeers) add(id wire.PeerID) {
	if b.ids[id] {
		return
	}
	if len(b.order) == bannedMax {
		delete(b.ids, b.order[0])
		b.order = append(b.order[:0], b.order[1:]...)
	}
	b.ids[id] = true
	b.order = append(b.order, id)
}
