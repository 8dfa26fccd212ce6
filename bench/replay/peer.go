package replay

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"shoal/bench/player/abr"
	"shoal/cc"
	"shoal/engine/swarm"
	"shoal/internal/pieces"
	"shoal/internal/wire"
	"shoal/tracker"
)

const (
	upkeepEvery = time.Second
	// loopGrain is how often a node's loop runs at most, when inputs keep coming:
	// half of the 20 ms that the scheduler reckons with for both ends.
	loopGrain = 10 * time.Millisecond

	// storeDelay is what hashing a piece and writing it take.
	storeDelay = 2 * time.Millisecond
	// announceEvery, kickEvery: of the tracker's client.
	announceEvery = tracker.Interval
	kickEvery     = 500 * time.Millisecond
	// heldBehind is what the cache keeps before the playhead, whatever happens.
	heldBehind = swarm.KeptBehind
)

// peer is a viewer's node.
type peer struct {
	// What every event looks at, together: a peer's memory is cold when its turn
	// comes.
	w       *world
	policy  policy
	online  bool
	uploads bool
	inside  bool // a cycle is under way
	again   bool
	wakeAt  time.Duration // of the next evCycle
	cycled  time.Duration // when the loop last ran
	upkeep  time.Duration
	upFree  time.Duration // when the uplink has sent what it was given
	upAt    time.Duration // of the next evUp
	blocked time.Duration // when a path takes a burst again that upload found closed
	mail    mailbox
	coming  []inbound     // bursts on their way
	comesAt time.Duration // when there is something for takeBursts to do

	index     int
	s         *Session
	id        wire.PeerID
	rng       *rand.Rand
	rendition *rendition
	viewer    viewer
	acct      account

	crashed bool
	alone   bool // has nothing to do with a tracker
	arrived time.Duration
	phase   time.Duration // live: how long after publication the player sees a segment
	told    int           // segments that the policy knows of

	line   line
	down   downlink
	cdn    cdn
	cameAt time.Duration // when the latest bytes came
	conns  []*conn
	group  *cc.Group // of the channels that it uploads by; nil: they have no tiers

	shelves  []shelf // by rendition
	heldSize int64
	evictAt  int // no segment before it is held

	announceAt time.Duration
	announced  time.Duration
	kicked     bool
	upRate     uint64 // best second of sending of late
	upSent     int64
}

// held is what a peer has of a chapter.
type held struct {
	bits   []uint64
	pieces []uint32 // by segment
}

// shelf is what a peer has of a rendition.
type shelf = sparse[*held]

// sparse is a list that begins with the first index that was put in.
type sparse[T any] struct {
	first int
	list  []T
}

// at returns what is at i; zero if nothing is.
func (s *sparse[T]) at(i int) (v T) {
	if i -= s.first; i >= 0 && i < len(s.list) {
		return s.list[i]
	}
	return v
}

// put extends the list to i.
func (s *sparse[T]) put(i int, v T) {
	if len(s.list) == 0 {
		s.first = i
	}
	if i < s.first {
		s.list = slices.Insert(s.list, 0, make([]T, s.first-i)...)
		s.first = i
	}
	if more := i - s.first + 1 - len(s.list); more > 0 {
		s.list = append(s.list, make([]T, more)...)
	}
	s.list[i-s.first] = v
}

func newPeer(w *world, index int, s *Session) *peer {
	p := &peer{w: w, index: index, s: s, rendition: w.media.rendition(s), line: newLine(s), uploads: s.UpKbps > 0, wakeAt: -1, upAt: -1, comesAt: never, announceAt: -1}
	binary.BigEndian.PutUint32(p.id[:], uint32(index)+1)
	binary.BigEndian.PutUint64(p.id[4:], w.seed)
	p.rng = rand.New(rand.NewPCG(w.seed, uint64(index)))
	p.shelves = make([]shelf, len(w.media.renditions))
	if s.Adapts {
		p.viewer.adapting = &adapting{estimate: abr.New()}
	}
	p.phase = time.Duration(p.rng.Int64N(int64(w.media.segment / 2)))
	return p
}

// known is how many segments the viewer's playlist has.
func (p *peer) known() int {
	n := p.w.media.published(p.w.now - p.phase)
	if n > p.told {
		p.told = n
		p.policy.grown(n)
	}
	return n
}

func (p *peer) holds(i uint32) bool {
	r := p.w.media.of(i)
	c := r.chapterOf(i)
	h := p.shelves[r.id].at(c)
	if h == nil {
		return false
	}
	at := i - r.firstPiece(c*r.m.perFile)
	return h.bits[at>>6]&(1<<(at&63)) != 0
}

// hold stores a piece, and drops others when the cache is full.
func (p *peer) hold(i uint32) {
	r := p.w.media.of(i)
	seg := r.segmentOf(i)
	c := seg / r.m.perFile
	ch := r.chapter(c)
	h := p.shelves[r.id].at(c)
	if h == nil {
		h = &held{bits: make([]uint64, (ch.end-ch.first+63)/64), pieces: make([]uint32, ch.endSeg-ch.firstSeg)}
		p.shelves[r.id].put(c, h)
	}
	at := i - ch.first
	if h.bits[at>>6]&(1<<(at&63)) != 0 {
		return
	}
	h.bits[at>>6] |= 1 << (at & 63)
	h.pieces[seg-ch.firstSeg]++
	p.heldSize += wire.PieceBytes
	p.evictAt = min(p.evictAt, seg)
	p.evict()
	p.arrivedPiece(i)
}

// cacheBytes is the size of the peer's cache.
func (p *peer) cacheBytes() int64 {
	if p.s.CacheMB > 0 {
		return int64(p.s.CacheMB) * 1e6
	}
	return p.w.cfg.Cache
}

// evict drops the pieces farthest behind the playhead while the cache is over
// its size.
func (p *peer) evict() {
	limit := p.cacheBytes()
	if p.heldSize <= limit {
		return
	}
	keep := int((p.viewer.position - heldBehind) / p.w.media.segment)
	for ; p.evictAt < keep; p.evictAt++ {
		for _, r := range p.w.media.renditions {
			if p.drop(r, p.evictAt, limit); p.heldSize <= limit {
				return
			}
		}
	}
}

// drop forgets the pieces of a segment until no more than limit is held.
func (p *peer) drop(r *rendition, seg int, limit int64) {
	for i := r.firstPiece(seg); i < r.firstPiece(seg+1) && p.heldSize > limit; i++ {
		if p.unhold(i) {
			p.policy.evicted(i)
		}
	}
}

// unhold takes a piece out of the cache; true if it was there.
func (p *peer) unhold(i uint32) bool {
	r := p.w.media.of(i)
	seg := r.segmentOf(i)
	c := seg / r.m.perFile
	h := p.shelves[r.id].at(c)
	if h == nil {
		return false
	}
	ch := r.chapter(c)
	at := i - ch.first
	if h.bits[at>>6]&(1<<(at&63)) == 0 {
		return false
	}
	h.bits[at>>6] &^= 1 << (at & 63)
	h.pieces[seg-ch.firstSeg]--
	p.heldSize -= wire.PieceBytes
	return true
}

// holdsSegment tells whether the peer has all of a segment, of the rendition
// that its player loads.
func (p *peer) holdsSegment(seg int) bool { return p.holdsOf(p.rendition, seg) }

// holdsOf tells whether the peer has all of a segment.
func (p *peer) holdsOf(r *rendition, seg int) bool {
	if seg < 0 || seg >= p.w.media.segments {
		return false
	}
	c := seg / r.m.perFile
	h := p.shelves[r.id].at(c)
	return h != nil && h.pieces[seg-c*r.m.perFile] == r.firstPiece(seg+1)-r.firstPiece(seg)
}

// heldRange is the media range around the playhead that is held without a gap
// on some rendition: the longest one counts.
func (p *peer) heldRange() (from, to time.Duration) {
	for i, r := range p.w.media.renditions {
		if len(p.shelves[i].list) == 0 {
			continue
		}
		if f, t := p.heldRangeOf(r); t-f > to-from {
			from, to = f, t
		}
	}
	return from, to
}

func (p *peer) heldRangeOf(r *rendition) (from, to time.Duration) {
	m := p.w.media
	seg := int(p.viewer.position / m.segment)
	last := min(seg+int(chapterLength/m.segment), m.segments)
	for seg < last && !p.holdsOf(r, seg) {
		seg++ // what it holds may begin later
	}
	if seg == last {
		return 0, 0
	}
	first, end := seg, seg+1
	for p.holdsOf(r, first-1) {
		first--
	}
	for p.holdsOf(r, end) {
		end++
	}
	return m.start(first), m.start(end)
}

// arrive brings the node online; its viewer's player asks for playlists.
func (w *world) arriveAt(p *peer) {
	p.online, p.arrived = true, w.now
	w.online++
	w.meter.Online.Add(1)
	w.peers[p.index] = p
	p.upkeep = w.now
	p.viewer.at = w.now
	p.kick()
	w.events.push(w.now+time.Duration(w.cfg.OpenRoundTrips)*p.cdnRTT(), evPlay, p)
	for _, s := range p.s.Seeks {
		w.events.push(w.now+s.At, evSeek, p).n = int64(s.To)
	}
	w.events.push(w.now+p.s.Watch, evLeave, p)
	w.events.push(w.now+p.s.online(), evGone, p)
	p.cycle()
}

// gone takes the node offline, with a goodbye or without.
func (w *world) gone(p *peer) {
	p.policy.end()
	p.online, p.crashed = false, p.s.Crash
	w.online--
	w.meter.Online.Add(-1)
	for _, c := range p.conns {
		_, theirs := c.of(p)
		at := w.now + idleTimeout
		if !p.crashed {
			c.over = true
			at = w.now + c.rtt/2 + reaction
		}
		w.events.push(at, evClosed, theirs.p).c = c
	}
	if !p.crashed {
		// Only a remote store has errors.
		_ = w.tracker.LeaveAll(p.id)
	}
	w.finish(p)
}

// cycle is the node's loop: it reads its mail, decides, and sends.
func (p *peer) cycle() {
	if p.inside {
		p.again = true
		return
	}
	p.inside = true
	w := p.w
	p.cycled = w.now
	if w.now >= p.upkeep {
		p.upkeep = w.now + upkeepEvery
		p.everySecond()
	}
	due := p.readMail()
	next := p.policy.advance()
	for p.again {
		p.again = false
		next = p.policy.advance()
	}
	if p.upAt <= w.now || p.upAt > w.now+uploadGrain {
		p.upload()
	}
	p.inside = false
	p.wake(max(min(next, p.upkeep, due, p.comesAt), w.now+loopGrain))
}

// soon runs the loop now, or when it has rested: an input has come.
func (p *peer) soon() {
	if at := p.cycled + loopGrain; at > p.w.now {
		p.wake(at)
		return
	}
	p.cycle()
}

// wake plans the next cycle.
func (p *peer) wake(at time.Duration) {
	at = max(at, p.w.now+50*time.Microsecond)
	if p.wakeAt >= 0 && p.wakeAt <= at {
		return
	}
	p.wakeAt = at
	p.w.events.push(at, evCycle, p)
}

func (p *peer) everySecond() {
	p.advancePlayer()
	p.known()
	p.mail.waiting, p.coming = pieces.Trimmed(p.mail.waiting), pieces.Trimmed(p.coming)
	watching := p.viewer.state != stateIdle
	p.policy.second(watching)
	rate := uint64(p.acct.sent - p.upSent)
	p.upRate, p.upSent = max(rate, p.upRate-p.upRate/256), p.acct.sent
	if !p.kicked {
		if from, to := p.heldRange(); to-from >= heldBehind {
			p.kicked = true
			p.kick() // others may already look for what we have
		}
	}
}

// kick asks for an announce now; kicks are coalesced.
func (p *peer) kick() {
	if p.alone {
		return
	}
	at := p.w.now
	if p.announceAt >= 0 {
		at = max(at, p.announced+kickEvery)
		if at >= p.announceAt {
			return
		}
	}
	p.announceAt = at
	p.w.events.push(at, evAnnounce, p)
}

// announce tells the tracker what the peer has, and takes its answer.
func (w *world) announce(p *peer) {
	p.announced, p.announceAt = w.now, w.now+announceEvery
	w.events.push(p.announceAt, evAnnounce, p)
	p.advancePlayer()
	from, to := p.heldRange()
	size := int64(w.media.renditions[len(w.media.renditions)-1].end) * wire.PieceBytes
	up := 0
	for _, c := range p.conns {
		if mine, _ := c.of(p); mine.up {
			up++
		}
	}
	a := tracker.Announcement{
		Title: w.media.id, Position: p.viewer.position, HoldFrom: from, HoldTo: to,
		HeldPermille:  int(p.heldSize * 1000 / max(size, 1)),
		UpBytesPerSec: p.upRate, Uploads: p.s.UpKbps > 0,
		Connections: up, ConnectionsMax: w.cfg.MaxPeers,
	}
	observed := netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, byte(p.index >> 16), byte(p.index >> 8), byte(p.index)}), 7070)
	now := w.clock()
	answer, err := w.tracker.Announce(now, p.id, observed, a)
	if errors.Is(err, tracker.ErrUnknown) {
		if w.tracker.Join(now, p.id, observed) == nil {
			answer, err = w.tracker.Announce(now, p.id, observed, a)
		}
	}
	if err != nil {
		return // too often or full: the next announce comes in time
	}
	w.events.push(w.now+p.cdnRTT(), evAnswer, p).msg = answer
}

// peerOf returns the peer with an ID that the tracker gave out. One that has
// left meanwhile is offline.
func (w *world) peerOf(id wire.PeerID) *peer {
	if p := w.peers[int(binary.BigEndian.Uint32(id[:]))-1]; p != nil {
		return p
	}
	return &peer{w: w, id: id}
}

// never is when nothing will happen.
const never = time.Duration(math.MaxInt64)
