package replay

import (
	"slices"
	"time"

	"shoal/internal/wire"
	"shoal/tracker"
)

// rival is what the models of other programs have in common: neighbours, pieces
// asked of them, a web server, and an uplink that sends to its leeches in turn.
// Its subject, a rivalPlan, decides what to ask of whom. What a neighbour has is
// known at once, which is better than any program can do.
type rival struct {
	p          *peer
	plan       rivalPlan
	neighbours []*neighbour
	partial    map[uint32]*partial // pieces in progress
	fetches    []*fetch
	turn       int // of the neighbours that are served
	changed    bool
	next       time.Duration // when the plan wants to be asked again

	// offers bounds the peers that an announce leads to, and announceEvery is how
	// often it is looked at; zero: all, always.
	offers        int
	announceEvery time.Duration
	announced     time.Duration
}

// rivalPlan asks for what is missing.
type rivalPlan interface {
	ask(r *rival) time.Duration            // something has changed; when to ask again
	everySecond(r *rival, watching bool)   // a second has passed
	mayServe(r *rival, n *neighbour) bool  // whether a leech gets what it asked for
	told(r *rival, n *neighbour, word any) // a message of the plan's own
	forget()                               // the playhead is elsewhere now, or on another rendition
}

// neighbour is a connected peer.
type neighbour struct {
	c        *conn
	queue    []uint32 // pieces that it has asked for
	sent     uint64   // chunks of the first of them
	owed     int      // pieces that we have asked of it
	received int64    // bytes since the plan last looked
	heard    time.Duration
	choked   bool // it does not serve us
	serves   bool // we serve it
}

// partial is a piece in progress.
type partial struct {
	left uint64
	p2p  int // chunks that came from peers
	from *neighbour
	web  bool // asked of the web server
}

type (
	ask   uint32 // for a piece
	unask uint32
)

func newRival(p *peer, plan rivalPlan) *rival {
	return &rival{p: p, plan: plan, partial: make(map[uint32]*partial)}
}

// other returns the peer at the other end.
func (r *rival) other(n *neighbour) *peer {
	_, theirs := n.c.of(r.p)
	return theirs.p
}

// has tells whether a neighbour has a piece.
func (r *rival) has(n *neighbour, piece uint32) bool {
	o := r.other(n)
	return o.online && o.holds(piece)
}

func (r *rival) progress(piece uint32) *partial {
	t := r.partial[piece]
	if t == nil {
		t = &partial{left: ^uint64(0)}
		r.partial[piece] = t
	}
	return t
}

// askFor asks a neighbour for a piece.
func (r *rival) askFor(n *neighbour, piece uint32) {
	r.progress(piece).from = n
	if n.owed == 0 {
		n.heard = r.p.w.now
	}
	n.owed++
	r.p.send(n.c, ask(piece), false)
}

// takeBack withdraws a piece from whom it was asked.
func (r *rival) takeBack(piece uint32) {
	if t := r.partial[piece]; t != nil && t.from != nil {
		r.p.send(t.from.c, unask(piece), false)
		t.from.owed--
		t.from = nil
	}
}

// fromWeb asks the web server for the pieces [from, to), those that are missing.
// It returns nil if none are.
func (r *rival) fromWeb(from, to uint32) *fetch {
	for from < to && r.p.holds(from) {
		from++
	}
	for to > from && r.p.holds(to-1) {
		to--
	}
	if from == to {
		return nil
	}
	for i := from; i < to; i++ {
		if !r.p.holds(i) {
			r.takeBack(i)
			r.progress(i).web = true
		}
	}
	f := r.p.fetch(int64(from)*wire.ChunksPerPiece, int64(to)*wire.ChunksPerPiece, [2]uint32{from, to})
	r.fetches = append(r.fetches, f)
	return f
}

// giveUp cancels a request to the web server.
func (r *rival) giveUp(f *fetch) {
	r.p.cancelFetch(f)
	r.fetchDone(f)
	pieces := f.user.([2]uint32)
	for i := pieces[0]; i < pieces[1]; i++ {
		if t := r.partial[i]; t != nil {
			t.web = false
		}
	}
}

func (r *rival) burst(a *inbound) {
	c, piece, mask := a.c, a.piece, a.mask
	n := r.neighbour(c)
	t := r.partial[piece]
	if n != nil {
		n.received += int64(chunkBytes(mask))
		n.heard = r.p.w.now
	}
	if t == nil {
		r.p.acct.dup += int64(chunkBytes(mask))
		return
	}
	fresh := mask & t.left
	r.p.acct.dup += int64(chunkBytes(mask &^ fresh))
	t.p2p += chunkBytes(fresh) / wire.ChunkBytes
	r.take(piece, t, fresh)
}

func (r *rival) fetched(_ *fetch, piece uint32, mask uint64) {
	t := r.partial[piece]
	if t == nil {
		r.p.acct.dup += int64(chunkBytes(mask))
		return
	}
	fresh := mask & t.left
	r.p.acct.dup += int64(chunkBytes(mask &^ fresh))
	r.take(piece, t, fresh)
}

func (r *rival) take(piece uint32, t *partial, fresh uint64) {
	if t.left &^= fresh; t.left != 0 {
		return
	}
	if t.from != nil {
		t.from.owed--
	}
	delete(r.partial, piece)
	why := reasonRescue
	if !r.p.acct.started {
		why = reasonStartup
	}
	p2p := int64(t.p2p) * wire.ChunkBytes
	var cdn [reasonCount]int64
	cdn[why] = wire.PieceBytes - p2p
	r.p.got(piece, p2p, cdn)
	r.changed = true
	r.p.hold(piece)
}

func (r *rival) fetchDone(f *fetch) {
	r.fetches = slices.DeleteFunc(r.fetches, func(o *fetch) bool { return o == f })
	r.changed = true
}

// stop gives up everything under way.
func (r *rival) stop() {
	for _, f := range r.fetches {
		r.p.cancelFetch(f)
	}
	r.fetches = nil
	for _, piece := range sortedKeys(r.partial) {
		r.takeBack(piece)
	}
	clear(r.partial)
}

func sortedKeys(m map[uint32]*partial) []uint32 {
	keys := make([]uint32, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (r *rival) want(int)      { r.changed = true }
func (r *rival) done(int)      { r.changed = true }
func (r *rival) jumped()       { r.stop(); r.plan.forget(); r.changed = true }
func (r *rival) viewerGone()   { r.stop() }
func (r *rival) grown(int)     { r.changed = true }
func (r *rival) stored(uint32) {}
func (r *rival) evicted(uint32) {
	// Nobody is told: neighbours look for themselves.
}
func (r *rival) end() {}

func (r *rival) second(watching bool) {
	r.plan.everySecond(r, watching)
	r.changed = true
}

func (r *rival) candidates(a tracker.Answer) {
	if r.announced > 0 && r.p.w.now < r.announced+r.announceEvery {
		return
	}
	r.announced = r.p.w.now
	list := a.Candidates
	if r.offers > 0 && len(list) > r.offers {
		list = slices.Clone(list)
		r.p.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		list = list[:r.offers]
	}
	for _, c := range list {
		if len(r.p.conns) >= r.p.w.cfg.MaxPeers {
			return
		}
		r.p.dial(r.p.w.peerOf(c.Peer))
	}
}

func (r *rival) connected(c *conn) bool {
	if len(r.neighbours) >= r.p.w.cfg.MaxPeers {
		return false
	}
	r.neighbours = append(r.neighbours, &neighbour{c: c, choked: true})
	r.changed = true
	return true
}

func (r *rival) refused(*conn) {}

func (r *rival) lost(c *conn) {
	n := r.neighbour(c)
	r.neighbours = slices.DeleteFunc(r.neighbours, func(o *neighbour) bool { return o == n })
	r.reopen(n)
}

// reopen makes what was asked of a neighbour open again.
func (r *rival) reopen(n *neighbour) {
	for _, t := range r.partial {
		if t.from == n {
			t.from = nil
		}
	}
	n.owed = 0
	r.changed = true
}

func (r *rival) neighbour(c *conn) *neighbour {
	for _, n := range r.neighbours {
		if n.c == c {
			return n
		}
	}
	return nil
}

// queueMax bounds what a leech may have asked for: 32 MiB.
const queueMax = 512

func (r *rival) message(_ *end, c *conn, msg any) {
	n := r.neighbour(c)
	if n == nil {
		return
	}
	switch m := msg.(type) {
	case ask:
		if len(n.queue) < queueMax && r.p.holds(uint32(m)) {
			n.queue = append(n.queue, uint32(m))
		}
	case unask:
		if i := slices.Index(n.queue, uint32(m)); i >= 0 {
			if i == 0 {
				n.sent = 0
			}
			n.queue = slices.Delete(n.queue, i, i+1)
		}
	default:
		r.plan.told(r, n, msg)
	}
}

// serve sends a burst to each leech in turn.
func (r *rival) serve() (burst, bool) {
	for range r.neighbours {
		r.turn = (r.turn + 1) % len(r.neighbours)
		n := r.neighbours[r.turn]
		if len(n.queue) == 0 || !r.plan.mayServe(r, n) || r.p.mayServe(n.c) == 0 {
			continue
		}
		mask := uint64(1<<chunksPerBurst-1) << bitsSet(n.sent)
		b := burst{c: n.c, piece: n.queue[0], mask: mask}
		if n.sent |= mask; n.sent == ^uint64(0) {
			n.sent = 0
			n.queue = slices.Delete(n.queue, 0, 1)
		}
		return b, true
	}
	return burst{}, false
}

func bitsSet(mask uint64) int { return chunkBytes(mask) / wire.ChunkBytes }

func (r *rival) advance() time.Duration {
	if r.p.viewer.state == stateIdle {
		return never
	}
	if r.changed || r.p.w.now >= r.next {
		r.changed = false
		r.p.advancePlayer()
		r.next = r.plan.ask(r)
	}
	if r.p.viewer.adapting != nil {
		r.p.owed(len(r.fetches) > 0, slices.ContainsFunc(r.neighbours, func(n *neighbour) bool { return n.owed > 0 }))
	}
	return r.next
}
