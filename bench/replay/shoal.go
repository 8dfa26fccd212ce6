package replay

import (
	"math"
	"slices"
	"time"

	"shoal/cc"
	"shoal/engine/swarm"
	"shoal/internal/pace"
	"shoal/internal/wire"
	"shoal/tracker"
)

// The live shell's numbers, from packages engine and engine/proxy, which may not
// be imported here.
const (
	roundsPerCycle = 4
	pagesAhead     = 3 * time.Minute
	pagesBehind    = 10 * time.Second
	advanceBytes   = 1 << 20
	reportEvery    = time.Second
	seekJump       = 5 * time.Second
	patienceMin    = 500 * time.Millisecond
	patienceMax    = 8 * time.Second
	readerStall    = time.Second
	readerPatience = 8 * time.Second
	// retryAfter is how long a player waits after an answer of 504.
	retryAfter = time.Second
	// wantShare of the cache is the most that one read asks for at once.
	wantShare = 4
	// aheadBytesPerSec is the rate at which half of the cache must hold what is
	// downloaded ahead.
	aheadBytesPerSec = 1.5e6
)

// theViewer is the core's name for the only viewer of a node.
const theViewer swarm.Viewer = 1

// busy is a BUSY datagram.
type busy time.Duration

// shoal is a node as it ships: a swarm.Core, and around it what the live shell
// does, at the same moments.
type shoal struct {
	p     *peer
	core  *swarm.Core
	title swarm.Title
	slots []*conn
	shut  []time.Duration     // by slot: until when the path takes nothing
	wait  []swarm.Peer        // paths that take nothing now
	tried time.Duration       // when serve last looked which of them do again
	files []fileOf            // by swarm.File
	file  swarm.File          // of the latest piece: the next one is mostly of the same
	known []sparse[knownFile] // by rendition and chapter

	wantID    swarm.WantID
	fetches   int  // of the CDN that are under way
	open      bool // a read is open
	wanted    uint32
	deadline  time.Duration
	moved     time.Duration // when the read last went on
	retry     time.Duration // when the player asks again after a failure; 0: it need not
	reported  time.Duration
	last      swarm.Playhead
	lastKnown bool

	budget func(swarm.Peer) int
}

// fileOf says which chapter a core's file is.
type fileOf struct {
	rendition  *rendition
	chapter    int
	first, end uint32 // its pieces
}

// knownFile is a chapter as far as the core knows it.
type knownFile struct {
	file     swarm.File
	known    bool
	segments int // of the title: up to which
}

func newShoal(p *peer) policy {
	now := p.w.clock()
	p.group = new(cc.Group)
	b := &shoal{p: p, slots: make([]*conn, p.w.cfg.MaxPeers), shut: make([]time.Duration, p.w.cfg.MaxPeers)}
	// What is downloaded ahead must fit into half of the cache.
	ahead := min(p.w.cfg.Ahead, time.Duration(float64(p.cacheBytes()/2)/aheadBytesPerSec*float64(time.Second)))
	b.core = swarm.New(now, swarm.Config{
		Ahead: ahead, MaxPeers: p.w.cfg.MaxPeers, CacheBytes: p.cacheBytes(), NoUpload: p.s.UpKbps <= 0, Seed: p.rng.Uint64(),
	})
	b.title = b.core.AddTitle(now, p.w.media.id)
	b.known = make([]sparse[knownFile], len(p.w.media.renditions))
	b.budget = func(slot swarm.Peer) int {
		n := p.mayServe(b.slots[slot])
		if n == 0 {
			b.wait = append(b.wait, slot)
		}
		return n
	}
	return b
}

// readManifest gives the core the records around the playhead, as far as they
// are published.
func (b *shoal) readManifest() {
	m := b.p.w.media
	position := b.p.viewer.position
	published := m.segments
	if m.live {
		published = b.p.told
	}
	var records []swarm.Record
	var of []fileOf
	perFile := m.segment * time.Duration(m.perFile)
	first := int(max(position-pagesBehind, 0) / perFile)
	last := min(int((position+pagesAhead-1)/perFile)+1, m.files())
	for _, r := range m.renditions {
		for ci := first; ci < last; ci++ {
			c, k := r.chapter(ci), b.known[r.id].at(ci)
			end := min(c.endSeg, published)
			if end <= max(k.segments, c.firstSeg) {
				continue
			}
			records = append(records, m.record(r, ci, max(k.segments, c.firstSeg), end))
			of = append(of, fileOf{r, ci, c.first, c.end})
			k.segments = end
			b.known[r.id].put(ci, k)
		}
	}
	if len(records) == 0 {
		return
	}
	var tracks []swarm.Track
	for _, r := range m.renditions {
		tracks = append(tracks, swarm.Track{ID: r.id, Kind: "muxed", BandwidthBitsPerSec: uint32(r.bitrateKbps) * 1000})
	}
	for i, file := range b.core.Grown(b.p.w.clock(), b.title, tracks, records) {
		known := &b.known[of[i].rendition.id]
		if k := known.at(of[i].chapter); !k.known {
			k.file, k.known = file, true
			known.put(of[i].chapter, k)
			b.files = append(b.files, of[i]) // the core counts files through
		}
	}
}

// piece turns a piece of the rendition into the core's.
func (b *shoal) piece(i uint32) swarm.Piece {
	if f := &b.files[b.file]; i < f.first || i >= f.end {
		r := b.p.w.media.of(i)
		b.file = b.known[r.id].at(r.chapterOf(i)).file
	}
	return swarm.Piece{File: b.file, Index: i - b.files[b.file].first}
}

// number is the way back.
func (b *shoal) number(pc swarm.Piece) uint32 {
	return b.files[pc.File].first + pc.Index
}

func (b *shoal) grown(int) {
	if b.p.w.media.live {
		b.readManifest()
	}
}

// report tells the core where the player is, as the proxy does.
func (b *shoal) report() {
	w, v := b.p.w, &b.p.viewer
	b.p.advancePlayer()
	play := swarm.Playhead{Title: b.title, Position: v.position, Buffer: v.buffer(), Rate: 1, Progressive: w.cfg.Progressive}
	if !w.cfg.Progressive {
		play.Append = pace.Append
	}
	jump := false
	if b.lastKnown {
		passed := min(w.now-b.reported, time.Minute)
		d := play.Position - (b.last.Position + min(passed, b.last.Buffer))
		jump = d > seekJump || d < -seekJump
	}
	first := !b.lastKnown
	b.last, b.lastKnown, b.reported = play, true, w.now
	b.core.Playhead(w.clock(), theViewer, play)
	if first || jump {
		b.readManifest()
		b.p.kick()
	}
}

func (b *shoal) want(seg int) {
	v, w := &b.p.viewer, b.p.w
	if b.open {
		panic("BUG: a player has one GET at a time")
	}
	b.report()
	b.readManifest()
	b.wantID++
	b.open, b.wanted, b.moved, b.retry = true, v.first, w.now, 0
	b.deadline = 0
	if !w.cfg.Progressive {
		b.deadline = w.now + b.patience()
	}
	if rate := b.p.paceRate(); rate > 0 && !w.cfg.Progressive {
		// Bytes come as fast as the line brings them, where that decides what the
		// player chooses (engine/proxy/pace.go).
		line := w.now + patienceMin + time.Duration(float64(b.p.rendition.bytes(seg))/rate*float64(time.Second))
		b.deadline = min(b.deadline, line)
	}
	b.tellWant(v.first)
}

// patience is how long the player is content to wait (engine/proxy/deadline.go).
func (b *shoal) patience() time.Duration {
	v, m := &b.p.viewer, b.p.w.media
	starved := v.starved
	v.starved = false
	if v.state != statePlaying || starved {
		return patienceMin
	}
	estimate := m.segment / 2
	if v.adapting == nil || b.p.rendition == m.ladder[len(m.ladder)-1] {
		estimate = m.segment * 3 / 4 // nothing to go up to
	}
	return max(patienceMin, min(v.buffer()-pace.Append, estimate, patienceMax))
}

func (b *shoal) tellWant(from uint32) {
	v, w := &b.p.viewer, b.p.w
	pc := b.piece(from)
	window := max(b.p.cacheBytes()/wantShare, 2*advanceBytes)
	want := swarm.Want{
		ID: b.wantID, Viewer: theViewer, File: pc.File,
		Offset: int64(pc.Index) * wire.PieceBytes, Length: min(int64(v.end-from)*wire.PieceBytes, window),
	}
	if b.deadline != 0 {
		want.Deadline = epoch.Add(b.deadline)
	}
	b.wanted = from
	b.core.Want(w.clock(), want)
}

func (b *shoal) done(int) {
	b.closeRead()
	b.report()
}

// closeRead ends the player's GET, or the pause before it is tried again.
func (b *shoal) closeRead() {
	b.retry = 0
	if b.open {
		b.open = false
		b.core.Cancel(b.p.w.clock(), b.wantID)
	}
}

func (b *shoal) jumped() { b.closeRead() }

func (b *shoal) viewerGone() {
	b.closeRead()
	if b.lastKnown {
		b.core.ViewerGone(b.p.w.clock(), theViewer)
	}
}

// second is the upkeep of engine and proxy.
func (b *shoal) second(watching bool) {
	w := b.p.w
	b.measurePaths()
	if !watching {
		return
	}
	b.readManifest()
	if b.open && w.now-b.reported >= reportEvery {
		b.report()
	}
	if b.retry != 0 && w.now >= b.retry {
		b.want(b.p.viewer.seg)
	}
	stall := readerStall
	if w.now-b.p.cameAt < readerStall {
		stall = readerPatience // something arrives, if not what is waited for
	}
	if b.open && b.deadline != 0 && b.p.viewer.missing > 0 && w.now >= b.deadline && w.now-b.moved >= stall {
		b.failRead() // answered 504
	}
}

// measurePaths tells the core how long the paths are at present: both ends'
// queues are part of them.
func (b *shoal) measurePaths() {
	for _, c := range b.p.conns {
		if mine, theirs := c.of(b.p); mine.up {
			rtt := c.rtt + b.p.uplinkWait() + theirs.p.uplinkWait()
			if mine.srtt == 0 {
				mine.srtt = c.rtt
			}
			mine.srtt = (mine.srtt + rtt) / 2
			idle := mine.sender != nil && mine.sender.out == 0
			b.core.PathStats(b.p.w.clock(), mine.slot, mine.srtt, mine.lossRatio())
			switch {
			case idle && mine.sender.atRest(b.p.w):
				mine.sender = nil
			case idle:
				mine.sender.trim(b.p.w)
			}
		}
	}
}

func (b *shoal) failRead() {
	b.closeRead()
	b.retry = b.p.w.now + retryAfter
}

func (b *shoal) candidates(a tracker.Answer) {
	now := b.p.w.clock()
	b.core.Swarm(now, b.title, a.SwarmSize, a.U)
	list := make([]swarm.Candidate, 0, len(a.Candidates))
	for _, c := range a.Candidates {
		list = append(list, swarm.Candidate{ID: c.Peer, Addrs: c.Addrs, Grade: byte(c.Grade)})
	}
	b.core.Candidates(now, b.title, list)
}

func (b *shoal) connected(c *conn) bool {
	mine, theirs := c.of(b.p)
	slot, ok := b.core.PathUp(b.p.w.clock(), theirs.p.id, c.rtt)
	if !ok {
		return false
	}
	mine.slot, b.slots[slot] = slot, c
	mine.shut, b.shut[slot] = &b.shut[slot], 0
	b.wait = slices.DeleteFunc(b.wait, func(s swarm.Peer) bool { return s == slot }) // another's
	b.core.Joined(b.p.w.clock(), slot, b.title)
	return true
}

func (b *shoal) refused(c *conn) {
	_, theirs := c.of(b.p)
	b.core.DialFailed(b.p.w.clock(), theirs.p.id)
}

func (b *shoal) lost(c *conn) {
	mine, _ := c.of(b.p)
	b.slots[mine.slot], mine.shut = nil, nil
	b.core.PathDown(b.p.w.clock(), mine.slot)
}

func (b *shoal) message(mine *end, _ *conn, msg any) {
	now := b.p.w.clock()
	switch m := msg.(type) {
	case wire.Request:
		b.core.Requested(now, mine.slot, m)
	case wire.Cancel:
		b.core.Canceled(now, mine.slot, m)
	case busy:
		b.core.Busied(now, mine.slot, time.Duration(m))
	case wire.Control:
		b.core.Control(now, mine.slot, m)
	default:
		panic("BUG: a message of no kind")
	}
}

func (b *shoal) burst(a *inbound) {
	mine, _ := a.c.of(b.p)
	now := epoch.Add(a.at)
	pc := b.piece(a.piece)
	use := a.mask & b.core.Missing(pc)
	for lost := a.mask &^ use; lost != 0; lost &= lost - 1 {
		b.core.Unexpected(now, mine.slot, wire.ChunkBytes)
	}
	if use != 0 {
		b.core.Arrived(now, mine.slot, pc, use)
	}
}

func (b *shoal) fetched(f *fetch, piece uint32, mask uint64) {
	b.core.Fetched(b.p.w.clock(), f.user.(swarm.FetchID), b.piece(piece), mask)
}

func (b *shoal) fetchDone(f *fetch) {
	b.fetches--
	now := b.p.w.now
	b.core.FetchDone(b.p.w.clock(), f.user.(swarm.FetchID), swarm.FetchResult{
		Bytes: f.to * wire.ChunkBytes, TTFB: f.first - f.begun, Duration: now - f.begun,
	})
}

// stored is the end of a piece's hashing and writing.
func (b *shoal) stored(i uint32) {
	now := b.p.w.clock()
	pc := b.piece(i)
	before := b.core.Bytes()
	b.core.Verified(now, pc, true)
	after := b.core.Bytes()
	p2p := after.P2P - before.P2P
	var cdn [reasonCount]int64
	for r := range cdn {
		cdn[r] = after.CDNByReason[r] - before.CDNByReason[r]
	}
	if p2p+after.CDN-before.CDN == 0 {
		// Forgotten while it was hashed, and its sources with it: the worse one
		// is assumed.
		cdn[reasonRescue] = wire.PieceBytes
	}
	b.p.got(i, p2p, cdn)
	b.core.Stored(now, pc)
	frontier := b.p.viewer.frontier
	b.p.hold(i)
	v := &b.p.viewer
	if b.open && v.getting && v.frontier > frontier {
		b.moved = b.p.w.now
		if int64(v.frontier-b.wanted)*wire.PieceBytes >= advanceBytes && v.frontier < v.end {
			b.tellWant(v.frontier)
		}
	}
}

func (b *shoal) evicted(i uint32) { b.core.Evicted(b.p.w.clock(), b.piece(i)) }

func (b *shoal) end() { b.p.acct.dup = b.core.Bytes().Duplicate }

func (b *shoal) serve() (burst, bool) {
	if b.tried != b.p.w.now {
		b.tried = b.p.w.now
		b.reopen()
	}
	now := b.p.w.clock()
	s, ok := b.core.NextServe(now, b.budget)
	if !ok {
		return burst{}, false
	}
	b.core.Served(now, s)
	c := b.slots[s.Peer]
	mine, _ := c.of(b.p)
	mine.sender.tier(now, cc.Tier(s.Tier))
	return burst{c: c, piece: b.number(s.Piece), mask: s.Mask}, true
}

// reopen tells the core which paths may take something again.
func (b *shoal) reopen() {
	b.wait = slices.DeleteFunc(b.wait, func(slot swarm.Peer) bool {
		till := b.shut[slot]
		if till <= b.p.w.now {
			b.core.Reopen(slot)
			return true
		}
		b.p.blocked = min(b.p.blocked, till)
		return false
	})
}

func (b *shoal) advance() time.Duration {
	now := b.p.w.clock()
	for range roundsPerCycle {
		b.core.Advance(now)
		b.core.Drain(&b.p.w.out)
		if !b.act(now) {
			break
		}
	}
	b.p.owed(b.fetches > 0, b.core.Awaiting())
	next := b.core.Next()
	if next.IsZero() {
		return math.MaxInt64
	}
	return next.Sub(epoch)
}

// send gives a message to a peer, unless its session has ended since the core
// spoke.
func (b *shoal) send(slot swarm.Peer, msg any, canWait bool) {
	if c := b.slots[slot]; c != nil {
		b.p.send(c, msg, canWait)
	}
}

// act does what the core wants; it reports whether that was anything.
func (b *shoal) act(now time.Time) bool {
	p, o := b.p, &b.p.w.out
	for _, c := range o.Cancels {
		b.send(c.Peer, c.Cancel, false)
	}
	for _, r := range o.Requests {
		b.send(r.Peer, r.Request, false)
	}
	for _, x := range o.Busies {
		b.send(x.Peer, busy(x.RetryAfter), false)
	}
	for _, m := range o.Control {
		_, delta := m.Message.(wire.HaveDelta)
		b.send(m.Peer, m.Message, delta)
	}
	for _, id := range o.FetchCancel {
		for _, f := range p.cdn.active {
			if f.user.(swarm.FetchID) == id {
				p.cancelFetch(f)
				b.fetches--
				break
			}
		}
	}
	for _, f := range o.Fetches {
		base := int64(b.files[f.File].first) * wire.ChunksPerPiece
		from := base + f.Offset/wire.ChunkBytes
		p.fetch(from, from+f.Length/wire.ChunkBytes, f.ID)
		b.fetches++
	}
	for _, pc := range o.Verify {
		p.w.events.push(p.w.now+storeDelay, evStored, p).piece = b.number(pc)
	}
	for _, d := range o.Drops {
		for i := range d.Count {
			pc := swarm.Piece{File: d.File, Index: d.First + i}
			if p.unhold(b.number(pc)) {
				b.core.Evicted(now, pc)
			}
		}
	}
	for _, pc := range o.Load {
		b.core.Readable(now, pc, true)
	}
	for _, x := range o.WantsFailed {
		if b.open && x.ID == b.wantID {
			b.open = false
			b.retry = p.w.now + retryAfter
		}
	}
	for _, d := range o.Disconnect {
		if c := b.slots[d.Peer]; c != nil {
			p.w.hangUp(p, c)
		}
	}
	for _, c := range o.Connect {
		p.dial(p.w.peerOf(c.ID))
	}
	return len(o.Requests)+len(o.Cancels)+len(o.Busies)+len(o.Control)+len(o.Fetches)+len(o.FetchCancel)+
		len(o.Verify)+len(o.Load)+len(o.Drops)+len(o.Connect)+len(o.Disconnect)+len(o.WantsFailed) > 0
}
