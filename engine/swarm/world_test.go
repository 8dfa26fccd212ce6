package swarm

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
	"testing"
	"time"

	"shoal/internal/wire"
	"shoal/scheduler"
)

// world drives several cores on one virtual clock: links with a rate and a
// delay, a CDN with a rate, and players that stall. It moves masks, not bytes.
type world struct {
	t      testing.TB
	now    time.Time
	start  time.Time
	events eventHeap
	seq    int
	nodes  []*node
	log    *strings.Builder // nil: no transcript

	segments     int
	segmentDur   time.Duration
	segmentBytes int64

	cdnRate   float64 // bytes per second and node
	cdnDelay  time.Duration
	cdnPaused bool
	cdnBytes  int64
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// node is one peer: a core, and what the shell would hold for it.
type node struct {
	w       *world
	name    string
	id      wire.PeerID
	core    *Core
	out     Output
	title   Title
	files   []File
	peers   map[Peer]*node // by our slot
	slots   map[*node]Peer
	dead    bool
	mute    bool           // SIGSTOP: takes and sends nothing
	pollute func(int) bool // sends rubbish for these segments' chunks
	bad     map[Piece]uint64
	kept    map[Piece][]uint64 // bad copies, the oldest first

	upBytesPerSec float64
	upFree        time.Time
	cdnFree       time.Time
	fetches       map[FetchID]bool

	// The player.
	playing  bool
	position time.Duration
	buffered int // segments appended
	wantID   WantID
	stalls   int
	startup  time.Duration
	joined   time.Time
	ended    bool
}

func newWorld(t testing.TB) *world {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &world{
		t: t, now: start, start: start, segments: 20, segmentDur: 6 * time.Second,
		segmentBytes: 480_000, cdnRate: 2.5e6, cdnDelay: 20 * time.Millisecond,
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.events, event{at: w.now.Add(d), seq: w.seq, do: do})
}

func (w *world) logf(format string, args ...any) {
	if w.log != nil {
		fmt.Fprintf(w.log, "%8.3f  %s\n", w.now.Sub(w.start).Seconds(), fmt.Sprintf(format, args...))
	}
}

func (w *world) add(name string) *node {
	n := &node{
		w: w, name: name, peers: make(map[Peer]*node), slots: make(map[*node]Peer),
		upBytesPerSec: 2.5e6, fetches: make(map[FetchID]bool), joined: w.now,
		bad: make(map[Piece]uint64), kept: make(map[Piece][]uint64),
	}
	copy(n.id[:], name)
	n.core = New(w.now, Config{Seed: uint64(len(w.nodes))})
	n.title = n.core.AddTitle(w.now, [32]byte{1})
	var records []Record
	for i := range w.segments {
		records = append(records, Record{
			Root: [32]byte{2, byte(i), byte(i >> 8)}, Length: w.segmentBytes, Track: 1,
			Segments: []Segment{{Length: w.segmentBytes, Start: time.Duration(i) * w.segmentDur, Duration: w.segmentDur}},
		})
	}
	n.files = n.core.Grown(w.now, n.title, []Track{{ID: 1, Kind: "muxed"}}, records)
	w.nodes = append(w.nodes, n)
	for i, o := range w.nodes {
		u := float64(i) / float64(len(w.nodes))
		o.core.Swarm(w.now, o.title, len(w.nodes), u)
	}
	var cs []Candidate
	for _, o := range w.nodes[:len(w.nodes)-1] {
		cs = append(cs, Candidate{ID: o.id, Grade: 'A', Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}})
	}
	n.core.Candidates(w.now, n.title, cs)
	n.tick()
	return n
}

// play starts the player at a segment.
func (n *node) play(segment int) {
	n.position = time.Duration(segment) * n.w.segmentDur
	n.buffered = segment
	n.core.Playhead(n.w.now, 1, Playhead{Title: n.title, Position: n.position, Rate: 1})
	n.joined = n.w.now
	n.get()
}

func (n *node) get() {
	if n.buffered >= n.w.segments {
		return
	}
	n.wantID++
	n.core.Playhead(n.w.now, 1, n.playhead())
	n.core.Want(n.w.now, Want{
		ID: n.wantID, Viewer: 1, File: n.files[n.buffered], Length: n.w.segmentBytes,
		Deadline: n.w.now.Add(n.w.segmentDur / 2), // as the proxy grants
	})
	n.pump()
}

func (n *node) playhead() Playhead {
	rate := 1.0
	if !n.playing {
		rate = 0
	}
	return Playhead{
		Title: n.title, Position: n.position, Rate: rate,
		Buffer: time.Duration(n.buffered)*n.w.segmentDur - n.position,
	}
}

// step is the player's clock: 50 ms.
func (n *node) step(d time.Duration) {
	if n.wantID == 0 || n.ended || n.dead {
		return
	}
	end := time.Duration(n.buffered) * n.w.segmentDur
	if n.playing {
		n.position += d
		if n.position >= end {
			n.position = end
			n.playing = false
			if n.buffered >= n.w.segments {
				n.ended = true
				return
			}
			n.stalls++
			n.w.logf("%s stalls at %v", n.name, n.position)
			n.core.Playhead(n.w.now, 1, n.playhead())
		}
	}
	if n.buffered < n.w.segments && n.core.whole(segment{file: n.files[n.buffered], length: n.w.segmentBytes}) &&
		end-n.position < 30*time.Second {
		n.core.Cancel(n.w.now, n.wantID)
		n.buffered++
		if !n.playing {
			if n.startup == 0 {
				n.startup = n.w.now.Sub(n.joined)
			}
			n.playing = true
		}
		n.get()
	}
}

// run advances the world.
func (w *world) run(d time.Duration) {
	const grain = 50 * time.Millisecond
	end := w.now.Add(d)
	var player func()
	player = func() {
		for _, n := range w.nodes {
			n.step(grain)
			n.tick()
		}
		if w.now.Before(end) {
			w.after(grain, player)
		}
	}
	w.after(grain, player)
	for len(w.events) > 0 && !w.events[0].at.After(end) {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

// tick advances a core and does what it wants done.
func (n *node) tick() {
	if n.dead || n.mute {
		return
	}
	n.core.Advance(n.w.now)
	n.pump()
}

func (n *node) pump() {
	n.core.Advance(n.w.now)
	for {
		n.core.Drain(&n.out)
		if !n.act() {
			break
		}
	}
	for slot := range n.core.peers {
		n.core.Reopen(Peer(slot))
	}
	for {
		s, ok := n.core.NextServe(n.w.now, n.budget)
		if !ok {
			break
		}
		n.serve(s)
	}
}

// budget is what congestion control would allow: the link holds 20 ms of bursts.
func (n *node) budget(Peer) int {
	if n.upFree.Sub(n.w.now) > 20*time.Millisecond {
		return 0
	}
	return 16
}

func (n *node) act() bool {
	w, o := n.w, n.out
	n.out = Output{}
	for _, e := range o.Events {
		w.logf("%s: %s", n.name, describe(e))
	}
	for _, c := range o.Connect {
		for _, other := range w.nodes {
			if other.id == c.ID {
				w.connect(n, other)
			}
		}
	}
	for _, m := range o.Control {
		if s := announcement(m.Message); s != "" {
			w.logf("%s tells %s: %s", n.name, n.peers[m.Peer].name, s)
		}
		if to := n.peers[m.Peer]; to != nil {
			w.after(10*time.Millisecond, func() { to.got(n, func(p Peer) { to.core.Control(w.now, p, m.Message) }) })
		}
	}
	for _, r := range o.Requests {
		w.logf("%s asks %s for %d/%d %s %s, due in %d ms", n.name, n.peers[r.Peer].name, r.Request.Handle, r.Request.Piece,
			chunks(r.Request.Mask), scheduler.Tier(r.Request.Tier), r.Request.DeadlineMillis)
		to := n.peers[r.Peer]
		w.after(10*time.Millisecond, func() { to.got(n, func(p Peer) { to.core.Requested(w.now, p, r.Request) }) })
	}
	for _, c := range o.Cancels {
		w.logf("%s cancels at %s %d/%d %s", n.name, n.peers[c.Peer].name, c.Cancel.Handle, c.Cancel.Piece, chunks(c.Cancel.Mask))
		to := n.peers[c.Peer]
		w.after(10*time.Millisecond, func() { to.got(n, func(p Peer) { to.core.Canceled(w.now, p, c.Cancel) }) })
	}
	for _, b := range o.Busies {
		w.logf("%s tells %s: busy for %v", n.name, n.peers[b.Peer].name, b.RetryAfter)
		to := n.peers[b.Peer]
		w.after(10*time.Millisecond, func() { to.got(n, func(p Peer) { to.core.Busied(w.now, p, b.RetryAfter) }) })
	}
	for _, l := range o.Load {
		n.core.Readable(w.now, l, true)
	}
	for _, id := range o.FetchCancel {
		w.logf("%s gives up fetch %d", n.name, id)
		delete(n.fetches, id)
	}
	for _, f := range o.Fetches {
		w.logf("%s fetches %d: file %d bytes %d+%d, %s", n.name, f.ID, f.File, f.Offset, f.Length, f.Reason)
		n.fetch(f)
	}
	for _, pc := range o.Verify {
		w.after(time.Millisecond, func() { n.verify(pc) })
	}
	for _, d := range o.Disconnect {
		w.disconnect(n, n.peers[d.Peer])
	}
	return len(o.Requests)+len(o.Control)+len(o.Fetches)+len(o.Load)+len(o.Connect)+len(o.Disconnect) > 0
}

// got runs an input from a peer if both are still connected.
func (n *node) got(from *node, do func(Peer)) {
	p, up := n.slots[from]
	if !up || n.dead || n.mute {
		return
	}
	do(p)
	n.pump()
}

func (n *node) fetch(f Fetch) {
	w := n.w
	n.fetches[f.ID] = true
	if w.cdnPaused {
		return
	}
	at := w.now.Add(w.cdnDelay)
	if n.cdnFree.After(at) {
		at = n.cdnFree
	}
	begin := w.now
	n.core.eachPiece(f, func(pc Piece, mask uint64) {
		size := n.core.chunkBytes(pc, mask)
		at = at.Add(time.Duration(float64(size) / w.cdnRate * float64(time.Second)))
		w.after(at.Sub(w.now), func() {
			if n.fetches[f.ID] && !n.dead {
				w.cdnBytes += int64(size)
				n.core.Fetched(w.now, f.ID, pc, mask)
				n.bad[pc] &^= mask
				n.pump()
			}
		})
	})
	n.cdnFree = at
	w.after(at.Sub(w.now), func() {
		if n.fetches[f.ID] && !n.dead {
			delete(n.fetches, f.ID)
			n.core.FetchDone(w.now, f.ID, FetchResult{Bytes: f.Length, TTFB: w.cdnDelay, Duration: w.now.Sub(begin)})
			n.pump()
		}
	})
}

func (n *node) verify(pc Piece) {
	w := n.w
	if n.dead {
		return
	}
	if n.bad[pc] != 0 {
		n.kept[pc], n.bad[pc] = append(n.kept[pc], n.bad[pc]), 0
		n.core.Verified(w.now, pc, false)
	} else {
		n.core.Verified(w.now, pc, true)
		n.core.Stored(w.now, pc)
		for _, differs := range n.kept[pc] {
			n.core.Compared(w.now, pc, differs)
		}
		delete(n.kept, pc)
	}
	n.pump()
}

func (n *node) serve(s Serve) {
	w, to := n.w, n.peers[s.Peer]
	n.core.Served(w.now, s)
	if to == nil {
		return
	}
	if n.upFree.Before(w.now) {
		n.upFree = w.now
	}
	n.upFree = n.upFree.Add(time.Duration(float64(bits.OnesCount64(s.Mask)*wire.ChunkBytes) / n.upBytesPerSec * float64(time.Second)))
	w.after(n.upFree.Sub(w.now), n.tick)
	w.after(n.upFree.Sub(w.now)+10*time.Millisecond, func() {
		if n.dead || n.mute {
			return
		}
		to.got(n, func(p Peer) {
			pc, missing := to.core.Expect(p, s.Handle, s.Piece.Index)
			use := s.Mask & missing
			for range bits.OnesCount64(s.Mask &^ missing) {
				to.core.Unexpected(w.now, p, wire.ChunkBytes)
			}
			if use != 0 {
				if n.pollute != nil && n.pollute(int(pc.File)) {
					to.bad[pc] |= use
				}
				to.core.Arrived(w.now, p, pc, use)
			}
		})
	})
}

func (w *world) connect(a, b *node) {
	if _, up := a.slots[b]; up || b.dead {
		return
	}
	pa, ok := a.core.PathUp(w.now, b.id, 20*time.Millisecond)
	if !ok {
		return
	}
	pb, ok := b.core.PathUp(w.now, a.id, 20*time.Millisecond)
	if !ok {
		a.core.PathDown(w.now, pa)
		return
	}
	a.peers[pa], a.slots[b] = b, pa
	b.peers[pb], b.slots[a] = a, pb
	a.core.Joined(w.now, pa, a.title)
	b.core.Joined(w.now, pb, b.title)
}

func (w *world) disconnect(a, b *node) {
	if b == nil {
		return
	}
	pa, up := a.slots[b]
	if !up {
		return
	}
	a.core.PathDown(w.now, pa)
	b.core.PathDown(w.now, b.slots[a])
	delete(a.peers, pa)
	delete(b.peers, b.slots[a])
	delete(a.slots, b)
	delete(b.slots, a)
}

func (n *node) bytes() Bytes { return n.core.Status(n.w.now).Bytes }

func (n *node) saving() float64 {
	b := n.bytes()
	if b.P2P+b.CDN == 0 {
		return 0
	}
	return float64(b.P2P) / float64(b.P2P+b.CDN)
}

func describe(e Event) string {
	name := string(bytes.TrimRight(e.Peer[:], "\x00"))
	switch e.Kind {
	case EventPeerBanned:
		return fmt.Sprintf("bans %s, polluter of %d/%d", name, e.Piece.File, e.Piece.Index)
	case EventSeedFrozen:
		return fmt.Sprintf("freezes %s for %v", name, e.Duration)
	case EventHashFailed:
		return fmt.Sprintf("piece %d/%d fails its hash", e.Piece.File, e.Piece.Index)
	case EventRescue:
		return fmt.Sprintf("to the CDN from %d/%d, %s", e.Piece.File, e.Piece.Index, e.Reason)
	case EventFirstPeerBytes:
		return "first bytes from a peer"
	default:
		return "the CDN's own copy fails its hash"
	}
}

func announcement(m wire.Control) string {
	switch m := m.(type) {
	case wire.Interest:
		return fmt.Sprintf("of interest %d..%d ms", m.FromMillis, m.ToMillis)
	case wire.Have:
		return fmt.Sprintf("have file %d as handle %d", m.Root[1], m.Handle)
	case wire.HaveDelta:
		return fmt.Sprintf("delta %v", m.Runs)
	}
	return ""
}

// chunks writes a mask as ranges.
func chunks(mask uint64) string {
	var parts []string
	for mask != 0 {
		first := bits.TrailingZeros64(mask)
		n := bits.TrailingZeros64(^(mask >> first))
		mask &^= (1<<n - 1) << first
		parts = append(parts, fmt.Sprintf("%d-%d", first, first+n-1))
	}
	return "chunks " + strings.Join(parts, ",")
}
