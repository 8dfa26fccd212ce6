package swarm

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"shoal/internal/pieces"
	"shoal/internal/wire"
	"shoal/scheduler"
)

const (
	// maxContacts bounds the candidates that are remembered, over all titles.
	maxContacts = 512
	// maxDialing bounds dials in progress: a dial costs a handshake.
	maxDialing = 8
	// redialFirst grows to redialMost: a peer that can't be reached now is behind
	// a NAT or gone, and the tracker forgets it within a minute.
	redialFirst = 5 * time.Second
	redialMost  = 5 * time.Minute
	// maxGarbage is how many senseless messages a peer may send before its
	// session is closed: honest ones send a few after a race of evictions.
	maxGarbage = 256
	// maxTitlesPerPeer bounds what a peer can join.
	maxTitlesPerPeer = 16
	// maxBanned bounds the memory of bans; when it is full the list starts anew.
	maxBanned = 4096
)

// peer is a connected peer, as a seed and as a leech.
type peer struct {
	id      wire.PeerID
	slot    Peer
	garbage int32 // senseless messages

	titles   []Title    // that it joined with a ticket
	interest []interest // of which it wants availability

	// As a seed: its handles, and what it has.
	theirs  handles     // by file see file.seeds
	latest  *theirFile  // in a delta, for the next one is of the same file
	unknown []wire.Have // of files whose records we have not read yet
	asked   []interest  // what we told it
	// Handles of what is far from the interest: word of it may come all the same.
	forgotten pieces.Set

	// As a leech: our handles, and what it asked for.
	ours      []File  // by handle; by file see file.handles
	queue     []serve // by deadline
	queued    int     // chunks in queue
	tier      channelTier
	leechedAt time.Duration // since the core's epoch, as what follows
	// refusedUntil: it was told BUSY, and asks for nothing until then.
	refusedUntil time.Duration

	loss           float64
	rtt            time.Duration
	received, sent int64
}

// handles are what a seed calls its files, ascending: few, and mostly given in that order.
type handles []named

type named struct {
	handle uint16
	file   *theirFile
}

// find returns the place of a handle, and whether it is there.
func (l handles) find(handle uint16) (int, bool) {
	return slices.BinarySearchFunc(l, handle, func(n named, h uint16) int { return cmp.Compare(n.handle, h) })
}

// get returns what a handle means, or nil.
func (l handles) get(handle uint16) *theirFile {
	if i, ok := l.find(handle); ok {
		return l[i].file
	}
	return nil
}

// put says what a handle means.
func (l *handles) put(handle uint16, f *theirFile) {
	i, ok := l.find(handle)
	if !ok {
		*l = slices.Insert(*l, i, named{handle: handle})
	}
	(*l)[i].file = f
}

// theirFile is what a seed has of a file.
type theirFile struct {
	file   File
	handle uint16 // the latest, if it gave the file several
	set    pieces.Set
}

// interest is a range of media time of a title.
type interest struct {
	title    Title
	from, to time.Duration
	active   bool
	heard    time.Duration // since the core's epoch
}

func (p *peer) in(t Title) bool { return slices.Contains(p.titles, t) }

// contact is a candidate of the tracker.
type contact struct {
	id      wire.PeerID
	addrs   []netip.AddrPort
	title   Title
	retry   time.Duration // since the core's epoch; until then it is not dialed
	fails   int32
	grade   byte
	up      bool // its session stands
	dialing bool
}

type dropKind int

// Kinds of garbage, as counted in Status.Dropped.
const (
	dropHandle dropKind = iota
	dropPiece
	dropBitmap
	dropNotJoined
	dropNotHeld
	dropOverflow
	dropMessage
	dropUnasked
	dropKinds
)

var dropNames = [dropKinds]string{
	"handle", "piece", "bitmap", "not_joined", "not_held", "overflow", "message", "unasked",
}

// garbage counts a senseless input and ends a session that sends many.
func (c *Core) garbage(p *peer, k dropKind) {
	c.dropped[k]++
	if p.garbage++; p.garbage == maxGarbage {
		c.out.Disconnect = append(c.out.Disconnect, Disconnect{Peer: p.slot, Reason: "too many senseless messages"})
	}
}

// Candidates takes the tracker's proposals for a title.
func (c *Core) Candidates(now time.Time, ti Title, cs []Candidate) {
	c.dial = now
	for _, n := range cs {
		i := slices.IndexFunc(c.known, func(o *contact) bool { return o.id == n.ID })
		if i >= 0 {
			k := c.known[i]
			k.addrs, k.grade, k.title = n.Addrs, n.Grade, ti
			continue
		}
		if len(c.known) >= maxContacts {
			// The oldest that is not being dialed makes room: fresh word is better.
			i := slices.IndexFunc(c.known, func(o *contact) bool { return !o.dialing })
			if i < 0 {
				return
			}
			c.known = slices.Delete(c.known, i, i+1)
		}
		_, up := c.byID[n.ID]
		c.known = append(c.known, &contact{id: n.ID, addrs: n.Addrs, grade: n.Grade, title: ti, up: up})
	}
}

// connect dials candidates while there is room, best grade first.
func (c *Core) connect(now time.Time) {
	if len(c.byID) >= c.cfg.MaxPeers {
		return
	}
	dialing, at := 0, c.at(now)
	for _, k := range c.known {
		if k.dialing {
			dialing++
		}
	}
	for dialing < maxDialing && len(c.byID)+dialing < c.cfg.MaxPeers {
		var best *contact
		for _, k := range c.known {
			if best != nil && k.grade >= best.grade || k.up || k.dialing || len(k.addrs) == 0 || at < k.retry {
				continue
			}
			if !c.banned[k.id] {
				best = k
			}
		}
		if best == nil {
			return
		}
		best.dialing = true
		dialing++
		c.out.Connect = append(c.out.Connect, Connect{Title: best.title, ID: best.id, Addrs: best.addrs})
	}
}

func (c *Core) contact(id wire.PeerID) *contact {
	for _, k := range c.known {
		if k.id == id {
			return k
		}
	}
	return nil
}

// DialFailed records that a candidate could not be reached.
func (c *Core) DialFailed(now time.Time, id wire.PeerID) {
	c.dial = now
	if k := c.contact(id); k != nil {
		k.dialing = false
		k.retry = c.at(now) + min(redialFirst<<min(k.fails, 10), redialMost)
		k.fails++
	}
}

// PathUp opens a slot for a peer whose session stands. It returns false when
// the table is full or the peer is banned or already there: the caller closes
// the session.
func (c *Core) PathUp(now time.Time, id wire.PeerID, rtt time.Duration) (Peer, bool) {
	c.dial = now
	k := c.contact(id)
	if k != nil {
		k.dialing = false
	}
	if _, up := c.byID[id]; up || c.banned[id] {
		return 0, false
	}
	slot := slices.Index(c.peers, nil)
	if slot < 0 {
		return 0, false
	}
	if k != nil {
		k.up, k.fails = true, 0
	}
	c.peers[slot] = &peer{
		id: id, slot: Peer(slot), rtt: rtt, leechedAt: -leechingFor,
	}
	c.byID[id] = Peer(slot)
	c.Reopen(Peer(slot))
	c.sched.SeedUp(scheduler.Seed(slot), rtt)
	return Peer(slot), true
}

// PathDown forgets a peer: what it was asked for is asked elsewhere at once.
func (c *Core) PathDown(now time.Time, slot Peer) {
	p := c.peer(slot)
	if p == nil {
		return
	}
	c.dial = now
	c.sched.SeedDown(now, scheduler.Seed(slot))
	delete(c.byID, p.id)
	c.owe(p, -p.queued)
	c.peers[slot] = nil
	c.serving.Remove(scheduler.Seed(slot))
	c.loading.Remove(scheduler.Seed(slot))
	for _, n := range p.theirs {
		clearSlot(&c.files[n.file.file].seeds, slot)
	}
	for _, id := range p.ours {
		clearSlot(&c.files[id].handles, slot)
	}
	for _, ti := range p.titles {
		c.titles[ti].joined--
	}
	if k := c.contact(p.id); k != nil {
		k.up, k.retry = false, c.at(now)+redialFirst
	}
	c.moved = true
	c.plan = now
}

// Joined records that a peer's ticket for a title was good.
func (c *Core) Joined(_ time.Time, slot Peer, ti Title) {
	p := c.peer(slot)
	if p == nil || p.in(ti) || len(p.titles) >= maxTitlesPerPeer {
		return
	}
	p.titles = append(p.titles, ti)
	c.titles[ti].joined++
	c.titles[ti].slack = 0
	c.dirty = true // the swarm may have grown, and the interests must be sent
}

// PathStats takes the transport's measurements of a path.
func (c *Core) PathStats(_ time.Time, slot Peer, rtt time.Duration, lossRatio float64) {
	if p := c.peer(slot); p != nil {
		p.rtt, p.loss = rtt, lossRatio
		c.sched.Measured(scheduler.Seed(slot), rtt, lossRatio)
	}
}

func (c *Core) peer(slot Peer) *peer {
	if int(slot) >= len(c.peers) {
		return nil
	}
	return c.peers[slot]
}

// Control takes a decoded control message of a peer.
func (c *Core) Control(now time.Time, slot Peer, m wire.Control) {
	p := c.peer(slot)
	if p == nil {
		return
	}
	switch m := m.(type) {
	case wire.Interest:
		c.interested(now, p, m)
	case wire.Have:
		c.has(now, p, m)
	case wire.HaveDelta:
		c.hasChanged(now, p, m)
	case wire.Ready:
		c.sched.Thaw(scheduler.Seed(slot))
		c.moved = true
	case wire.Leave:
		c.left(p, m)
	case wire.Stats, wire.Unknown:
		// Of no consequence to any decision.
	default:
		c.garbage(p, dropMessage)
	}
}

func (c *Core) left(p *peer, m wire.Leave) {
	p.titles = slices.DeleteFunc(p.titles, func(t Title) bool {
		gone := c.titles[t].id == m.Title
		if gone {
			c.titles[t].joined--
		}
		return gone
	})
	p.interest = slices.DeleteFunc(p.interest, func(i interest) bool { return c.titles[i.title].id == m.Title })
	p.asked = slices.DeleteFunc(p.asked, func(i interest) bool { return c.titles[i.title].id == m.Title })
}

// ban ends all relations with a polluter.
func (c *Core) ban(id wire.PeerID, pc Piece) {
	if c.banned[id] {
		return
	}
	if len(c.banned) >= maxBanned {
		clear(c.banned)
	}
	c.banned[id] = true
	c.event(Event{Kind: EventPeerBanned, Peer: id, Piece: pc})
	if slot, up := c.byID[id]; up {
		c.out.Disconnect = append(c.out.Disconnect, Disconnect{Peer: slot, Reason: "sent data that fails its hash", Banned: true})
	}
}
