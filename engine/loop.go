package engine

import (
	"context"
	"log/slog"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/swarm"
	"shoal/engine/transport"
	"shoal/internal/wire"
)

// The loop
//
// One goroutine, the loop, owns the core, the sealed channels of all sessions,
// the buffers of pieces in progress, the verified pieces kept in memory, the
// table of CDN fetches, and the readers that wait. It takes no lock for any of
// them. Everything else reaches it in one of two ways:
//
//   - the inbox, a bounded channel of closures: players' reads and reports,
//     control messages of peers, results of hashing, of the store, of the CDN
//     and of the tracker. Who posts waits while the inbox is full; that is the
//     back-pressure on peers and on CDN downloads.
//   - the transport's inbox: batches of received sealed datagrams.
//
// The loop itself waits for nobody but the system, and that briefly: see
// transport.Channel.Flush. What it hands out goes to queues
// that never block (queue.go), whose lengths are bounded by what feeds them,
// and answers to readers go to channels with room for the one answer that each
// may await.
//
// A cycle is: take what has come, up to a bound; Advance the core; Drain it and
// do what it wants, until it wants no more; serve others while their channels
// have budget; let due channel timers act; flush every channel. Then sleep
// until the next input or the earliest timer.
//
// The order of events for one piece is fixed, because the core and the readers
// rely on it:
//
//	Expect/Missing → chunk copied → Arrived/Fetched → Output.Verify
//	→ hashed by a worker → resident and readers woken → core.Verified(true)
//	→ core.Compared for a suspect copy → written by the store's goroutine
//	→ core.Stored → (much later) store eviction → core.Evicted
//
// A piece is readable before it is on disk, and announced to others only when
// it is there.
type loop struct {
	e    *Engine
	core *swarm.Core
	out  swarm.Output

	// files
	contents  map[swarm.File]*content
	byRoot    map[manifest.Root]*content
	titles    map[manifest.TitleID]*titleState
	titleList []*titleState // in the order of opening

	// pieces
	assemblies map[swarm.Piece]*assembly
	residents  *residents
	suspects   []suspect
	putting    int        // pieces on their way to the store
	dropping   bool       // the store is giving up pieces
	heldBack   []question // of readers, while the store is behind
	arrivals   []arrival  // of the batch at hand
	waiting    map[swarm.Piece][]*Reader
	readers    map[swarm.WantID]*Reader
	lastWant   swarm.WantID
	hashes     hashTable
	fetches    map[swarm.FetchID]context.CancelFunc

	// peers
	byID       map[wire.PeerID]*peer
	peers      []*peer              // admitted by the core, by handle
	connecting map[wire.PeerID]bool // dials that the core waits for
	dials      []swarm.Connect      // not begun yet
	dialing    int
	banned     bannedPeers

	upBytesPerSec uint64 // best second of the recent past
	upBytes       uint64
	upAt          time.Time
	loading       map[swarm.Piece]bool
	garbage       map[string]int64 // what peers sent and the shell dropped
	unserved      bool             // NextServe has more than one cycle could send

	nextUpkeep time.Time
	scratch    [2048]byte
	body       []byte
	requests   []wire.Request
	cancels    []wire.Cancel
}

const (
	// inboxSize bounds what others may leave for the loop. A cycle takes far
	// less than a millisecond; 1,024 inputs are some of them.
	inboxSize = 1024

	// inputsPerCycle and packetsPerCycle bound what one cycle takes, so that
	// timers, ACKs and sending are never late by much more than the grain. A
	// batch may hold 240 datagrams, each of which takes most of a microsecond to
	// open.
	inputsPerCycle  = 64
	packetsPerCycle = 1024

	// grainPerPeer, within minGrain and maxGrain, is the least time between two cycles,
	// unless the last one took or served busyPackets. A cycle looks at every peer, and
	// to wake for it costs as much as dozens of packets. The more peers there are, the
	// less each has of the line: waiting that much longer makes no larger bursts at any
	// of them, and is less than the pacer makes up for (cc: four milliseconds).
	grainPerPeer = 250 * time.Microsecond
	minGrain     = 500 * time.Microsecond
	maxGrain     = 2 * time.Millisecond
	busyPackets  = 64

	// roundsPerCycle bounds the times that doing what the core wants may make
	// it want more within a cycle; the rest is for the next one.
	roundsPerCycle = 4
)

func newLoop(e *Engine, now time.Time) *loop {
	return &loop{
		e: e,
		core: swarm.New(now, swarm.Config{
			Ahead: e.cfg.Ahead, MaxPeers: e.cfg.MaxPeers, MaxFetches: e.cfg.MaxFetches,
			CacheBytes: e.cfg.CacheBytes, NoUpload: e.cfg.NoUpload, Seed: e.cfg.Seed,
		}),
		contents:   make(map[swarm.File]*content),
		byRoot:     make(map[manifest.Root]*content),
		titles:     make(map[manifest.TitleID]*titleState),
		assemblies: make(map[swarm.Piece]*assembly),
		residents:  newResidents(),
		waiting:    make(map[swarm.Piece][]*Reader),
		readers:    make(map[swarm.WantID]*Reader),
		hashes:     hashTable{groups: make(map[hashKey]*hashGroup)},
		fetches:    make(map[swarm.FetchID]context.CancelFunc),
		byID:       make(map[wire.PeerID]*peer),
		peers:      make([]*peer, e.cfg.MaxPeers),
		connecting: make(map[wire.PeerID]bool),
		banned:     newBannedPeers(),
		loading:    make(map[swarm.Piece]bool),
		garbage:    make(map[string]int64),
		nextUpkeep: now.Add(upkeepEvery),
		upAt:       now,
	}
}

// run is the loop's goroutine.
func (l *loop) run() {
	defer close(l.e.loopDone)
	var datagrams <-chan *transport.Batch // nil without peers: never ready
	if l.e.endpoint != nil {
		datagrams = l.e.endpoint.Inbox(alpn)
	}
	timer, pause := time.NewTimer(0), time.NewTimer(0)
	defer timer.Stop()
	defer pause.Stop()
	var cycled time.Time
	for busy, dense := false, false; l.e.ctx.Err() == nil; {
		packets := 0
		// Where datagrams come fast they gather first; where they do not, a pause
		// after each cycle would be a wake-up for nothing.
		if !dense || !l.answer(pause, l.grain()) {
			select {
			case <-l.e.ctx.Done():
			case f := <-l.e.inbox:
				f(time.Now())
			case b := <-datagrams:
				packets = len(b.Packets)
				l.receive(time.Now(), b)
			case <-timer.C:
			}
			if early := l.grain() - time.Since(cycled); early > 0 && !busy {
				l.answer(pause, early)
			}
		}
		packets += l.takeMore(datagrams)
		cycled = time.Now()
		sleep, sent := l.cycle(cycled)
		timer.Reset(sleep)
		busy = packets+sent >= busyPackets
		dense = packets > 1 && !busy
	}
	l.shutdown(time.Now())
}

// grain is the least time between two cycles.
func (l *loop) grain() time.Duration {
	return min(max(time.Duration(len(l.byID))*grainPerPeer, minGrain), maxGrain)
}

// answer takes what readers and workers leave, for some time, and tells whether that
// was anything. Datagrams gather meanwhile.
func (l *loop) answer(pause *time.Timer, grain time.Duration) (acted bool) {
	pause.Reset(grain)
	for {
		select {
		case <-l.e.ctx.Done():
			return acted
		case f := <-l.e.inbox:
			f(time.Now())
			acted = true
		case <-pause.C:
			return acted
		}
	}
}

// takeMore takes what else has come, so that a burst costs one cycle, and counts
// its datagrams. What was posted goes first: a batch of datagrams may be four
// pieces, each of which leads to three posts that cost far less than the batch. Taken in turn
// they would wait for tens of milliseconds on a fast line, and the download with them.
func (l *loop) takeMore(datagrams <-chan *transport.Batch) (packets int) {
	inbox := l.e.inbox
	for inputs := 0; packets < packetsPerCycle; {
		select {
		case f := <-inbox:
			f(time.Now())
			if inputs++; inputs == inputsPerCycle {
				inbox = nil
			}
			continue
		default:
		}
		select {
		case b := <-datagrams:
			packets += len(b.Packets)
			l.receive(time.Now(), b)
		default:
			return packets
		}
	}
	return packets
}

// cycle acts on what has come in; it returns how long the loop may sleep, and how
// many datagrams it has sent to leeches.
func (l *loop) cycle(now time.Time) (sleep time.Duration, sent int) {
	if !now.Before(l.nextUpkeep) {
		l.upkeep(now)
	}
	for range roundsPerCycle {
		l.core.Advance(now)
		l.core.Drain(&l.out)
		if !l.act(now) {
			break
		}
	}
	if l.e.line.all.Busy() {
		l.e.line.settle(len(l.fetches) > 0, l.core.Awaiting())
	}
	sent = l.serve(now)
	next := l.core.Next()
	for _, p := range l.byID {
		if due := p.channel.Next(); !due.IsZero() && !now.Before(due) {
			p.channel.Advance(now)
		}
		p.channel.Flush()
		next = sooner(next, p.channel.Next())
		if p.serving {
			next = sooner(next, p.channel.NextSend(now))
		}
	}
	next = sooner(next, l.nextUpkeep)
	if l.unserved {
		return 0, sent
	}
	return max(next.Sub(now), l.grain()), sent
}

// sooner returns the earlier of two times of which b may be unset.
func sooner(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// act does what the core wants; it reports whether that was anything.
func (l *loop) act(now time.Time) bool {
	o := &l.out
	busy := len(o.Requests)+len(o.Cancels)+len(o.Busies)+len(o.Caps)+len(o.Control)+len(o.Fetches)+len(o.FetchCancel)+
		len(o.Verify)+len(o.Load)+len(o.Release)+len(o.Drops)+len(o.Connect)+len(o.Disconnect)+len(o.WantsFailed)+len(o.Events) > 0
	if !busy {
		return false
	}
	for _, ev := range o.Events {
		l.coreEvent(now, ev)
	}
	// A chunk may be taken back and asked anew at once: the seed must hear it in
	// this order.
	l.sendCancels(now, o.Cancels)
	l.sendRequests(now, o.Requests)
	for _, b := range o.Busies {
		l.sendBusy(now, b)
	}
	for _, c := range o.Caps {
		l.capRate(c)
	}
	for _, m := range o.Control {
		l.sendControl(now, m.Peer, m.Message)
	}
	for _, id := range o.FetchCancel {
		l.cancelFetch(id)
	}
	for _, f := range o.Fetches {
		l.fetch(f)
	}
	for _, pc := range o.Verify {
		l.verify(now, pc)
	}
	for _, pc := range o.Load {
		l.load(now, pc)
	}
	for _, pc := range o.Release {
		l.dropAssembly(pc)
	}
	if len(o.Drops) > 0 {
		l.dropPieces(o.Drops)
	}
	for _, w := range o.WantsFailed {
		if r := l.readers[w.ID]; r != nil {
			l.failReader(r, originError(w.Err))
		}
	}
	for _, d := range o.Disconnect {
		l.disconnect(now, d)
	}
	for _, c := range o.Connect {
		l.connect(now, c)
	}
	return true
}

// shutdown ends what the loop owns. Goodbyes are written by the sessions' own
// goroutines, for which Close waits.
func (l *loop) shutdown(now time.Time) {
	for _, p := range l.byID {
		l.drop(now, p, "shutting down")
	}
	for _, cancel := range l.fetches {
		cancel()
	}
	for _, r := range l.readers {
		l.failReader(r, ErrClosed)
	}
	l.e.log.Debug("loop ended", slog.Int("readers", len(l.readers)))
}

// post hands f to the loop; false when the loop has ended. It waits while the
// inbox is full, so the loop itself must not call it.
func (e *Engine) post(f func(now time.Time)) bool {
	select {
	case <-e.loopDone:
		return false
	default:
	}
	select {
	case e.inbox <- f:
		return true
	case <-e.loopDone:
		return false
	}
}
