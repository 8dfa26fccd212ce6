package swarm

import (
	"math/rand/v2"
	"time"

	"shoal/internal/pace"
	"shoal/internal/pieces"
	"shoal/internal/wire"
	"shoal/scheduler"
)

// Bounds and rhythms of a Core.
const (
	defaultAhead      = 60 * time.Second
	defaultMaxPeers   = 32
	defaultMaxFetches = 4

	// refreshEvery is how often the windows before the playheads slide.
	refreshEvery = 500 * time.Millisecond
	// planEvery is how often the schedulability test runs: a tenth of its margin
	// and less, so that its grain does not matter.
	planEvery = 50 * time.Millisecond
	// deltaEvery batches announcements of new pieces: ten pieces of a 6 Mbit/s
	// track arrive in about a second, and a leech can wait a tenth of one.
	deltaEvery = 100 * time.Millisecond
	// forgetEvery is how often what is far from all interest is looked for at most.
	forgetEvery = 2 * time.Minute
	// dialEvery is how often the candidates are looked through when nothing has
	// changed about them.
	dialEvery = time.Second
)

// Core is the deciding part of a peer. See the package comment for its cycle.
type Core struct {
	dirty   bool // the needs must be worked out anew
	moved   bool // something arrived or freed up: assign again
	told    bool // peers were told of an interest: what lies far from it can be forgotten
	refresh time.Time
	plan    time.Time
	delta   time.Time
	dial    time.Time
	forget  time.Time

	cfg   Config
	epoch time.Time // when it began
	rng   *rand.Rand
	sched *scheduler.Scheduler
	cdn   *scheduler.CDNMeter

	titles  []*title
	files   []*file
	stocked []stock // files of which something is stored, in order
	byRoot  map[[32]byte]File
	viewers []*viewer
	wants   []*want
	needs   pieces.Table[need]
	order   []*need // the same needs, oldest first: maps have no order
	round   uint64  // of refresh: what it did not touch is no longer needed

	peers   []*peer           // by slot; nil: free
	serving scheduler.SeedSet // leeches for which something is in memory
	serveBy []time.Duration   // by slot, of serving: the earliest deadline
	loading scheduler.SeedSet // leeches for which something is being read
	shut    scheduler.SeedSet // leeches whose paths took nothing when they were asked
	served  pace.Meter        // the rate at which leeches are
	queued  int               // chunks that all leeches together wait for
	byID    map[wire.PeerID]Peer
	known   []*contact
	banned  map[wire.PeerID]bool

	fetches   []*fetch
	nextFetch FetchID
	cdnDown   outage
	suspects  []suspicion

	kept    int64     // bytes that are stored
	room    time.Time // when it may be made again
	extents []extent
	spans   []span  // of a file's extents
	crowds  []crowd // by title

	// Since the last batch of deltas: stored, evicted, asked of the CDN.
	fresh, gone, coming []Piece
	runs                []wire.HaveRun

	out Output

	bytes     Bytes
	firstPeer bool // EventFirstPeerBytes has been sent
	dropped   [dropKinds]int64

	asks    []scheduler.Ask
	revokes []scheduler.Revoke
	gaps    []scheduler.Gap
	caps    []scheduler.Cap
}

// New returns a Core that knows nothing yet.
func New(now time.Time, cfg Config) *Core {
	if cfg.Ahead <= 0 {
		cfg.Ahead = defaultAhead
	}
	if cfg.MaxPeers <= 0 {
		cfg.MaxPeers = defaultMaxPeers
	}
	cfg.MaxPeers = min(cfg.MaxPeers, scheduler.MaxSeeds)
	if cfg.MaxFetches <= 0 {
		cfg.MaxFetches = defaultMaxFetches
	}
	return &Core{
		cfg:     cfg,
		epoch:   now,
		rng:     rand.New(rand.NewPCG(cfg.Seed, 0x73686f616c)),
		sched:   scheduler.New(now, scheduler.Config{MaxSeeds: cfg.MaxPeers}),
		cdn:     scheduler.NewCDNMeter(now),
		byRoot:  make(map[[32]byte]File),
		peers:   make([]*peer, cfg.MaxPeers),
		serveBy: make([]time.Duration, cfg.MaxPeers),
		byID:    make(map[wire.PeerID]Peer),
		banned:  make(map[wire.PeerID]bool),
	}
}

func (c *Core) at(now time.Time) time.Duration { return now.Sub(c.epoch) }

// Advance does what is due at now. Spurious calls are harmless.
func (c *Core) Advance(now time.Time) {
	if c.dirty || !now.Before(c.refresh) {
		c.refreshNeeds(now)
		c.updateInterests(now)
		c.makeRoom(now)
		c.dirty, c.moved = false, true
		c.refresh = now.Add(refreshEvery)
	}
	if c.served.Busy() && c.serving.Empty() && c.loading.Empty() {
		c.served.End()
	}
	if next := c.sched.NextExpiry(now); !next.IsZero() && !now.Before(next) {
		c.expire(now)
		c.sched.NextExpiry(now) // for Next
	}
	if c.moved || !now.Before(c.plan) {
		if !now.Before(c.plan) {
			c.planFetches(now)
			c.capSeeds(now)
			c.plan = now.Add(planEvery)
		}
		c.assign(now)
		c.moved = false
	}
	if c.told && !now.Before(c.forget) { // after the cancellations of what was asked there
		c.forgetTheirs()
		c.told, c.forget = false, now.Add(forgetEvery)
	}
	batch := (len(c.fresh) > 0 || len(c.gone) > 0) && !now.Before(c.delta)
	if batch {
		c.delta = now.Add(deltaEvery)
	}
	if batch || len(c.coming) > 0 { // what is coming cannot wait: the others would fetch it, too
		c.sendDeltas()
	}
	if !now.Before(c.dial) {
		c.connect(now)
		c.dial = now.Add(dialEvery)
	}
}

// Next returns when Advance has something to do, if no input comes before.
func (c *Core) Next() time.Time {
	next := c.refresh
	if c.needs.Len() > 0 || len(c.fetches) > 0 {
		next = earlier(next, c.plan)
	}
	if e := c.sched.ExpiryBound(); !e.IsZero() {
		next = earlier(next, e)
	}
	if len(c.fresh) > 0 || len(c.gone) > 0 {
		next = earlier(next, c.delta)
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// expire handles seeds that did not deliver.
func (c *Core) expire(now time.Time) {
	stalled := c.sched.Expire(now)
	for slot, p := range c.peers {
		if p != nil && stalled.Has(scheduler.Seed(slot)) {
			info := c.sched.Info(now, scheduler.Seed(slot))
			c.event(Event{Kind: EventSeedFrozen, Peer: p.id, Duration: info.Frozen})
		}
	}
	c.moved = true
	c.plan = now // the CDN may have to step in
}

// assign asks seeds for as much as they have room for.
func (c *Core) assign(now time.Time) {
	c.asks = c.sched.Assign(now, c.asks[:0])
	c.revokes = c.sched.Revoked(c.revokes[:0])
	for _, r := range c.revokes {
		p := c.peers[r.Seed]
		if p == nil {
			continue
		}
		if t := c.files[r.Piece.File].seed(Peer(r.Seed)); t != nil {
			c.out.Cancels = append(c.out.Cancels, CancelRequest{
				Peer: Peer(r.Seed), Cancel: wire.Cancel{Handle: t.handle, Piece: r.Piece.Index, Mask: r.Mask},
			})
		}
	}
	for _, a := range c.asks {
		t := c.files[a.Piece.File].seed(Peer(a.Seed))
		if t == nil {
			panic("BUG: asked a seed for a file that it never announced")
		}
		c.out.Requests = append(c.out.Requests, Request{Peer: Peer(a.Seed), Request: wire.Request{
			Handle: t.handle, Piece: a.Piece.Index, Mask: a.Mask, Tier: uint8(a.Tier),
			DeadlineMillis: relativeMillis(a.Deadline.Sub(now)),
		}})
	}
}

// capSeeds divides this node's downlink.
func (c *Core) capSeeds(now time.Time) {
	c.caps = c.sched.Caps(now, c.cdn.Estimate(), c.caps[:0])
	for _, x := range c.caps {
		c.out.Caps = append(c.out.Caps, RateCap{Peer: Peer(x.Seed), BytesPerSec: x.BytesPerSec})
	}
}

// relativeMillis puts a deadline on the wire: relative, so that clocks need not
// agree, and never negative.
func relativeMillis(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), maxDeadline.Milliseconds()))
}

// Drain moves what is to be done into out. The slices in out are reused.
func (c *Core) Drain(out *Output) {
	*out, c.out = c.out, *out
	o := &c.out
	o.Requests, o.Cancels, o.Busies, o.Caps = o.Requests[:0], o.Cancels[:0], o.Busies[:0], o.Caps[:0]
	o.Control, o.Fetches, o.FetchCancel = o.Control[:0], o.Fetches[:0], o.FetchCancel[:0]
	o.Verify, o.Load, o.Release, o.Drops = o.Verify[:0], o.Load[:0], o.Release[:0], o.Drops[:0]
	o.Connect, o.Disconnect = o.Connect[:0], o.Disconnect[:0]
	o.WantsFailed, o.Events = o.WantsFailed[:0], o.Events[:0]
}

func (c *Core) event(e Event) { c.out.Events = append(c.out.Events, e) }

func key(p Piece) scheduler.Piece {
	return scheduler.Piece{File: uint32(p.File), Index: p.Index}
}

func pieceOf(k scheduler.Piece) Piece { return Piece{File: File(k.File), Index: k.Index} }
