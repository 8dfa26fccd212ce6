package swarm

import (
	"errors"
	"math/bits"
	"slices"
	"time"

	"shoal/internal/wire"
)

const (
	// fetchSpan bounds one CDN request: large enough that requests cost little,
	// small enough that peers can still take over what lies behind it.
	fetchSpan = 1 << 20
	// bridgeBytes is the hole between two gaps that is cheaper to fetch again
	// than a request of its own (its headers and its turn in the queue).
	bridgeBytes = 16 * wire.ChunkBytes
	// fetchFloor and fetchAhead bound what is asked of the CDN at once: as much
	// as its line carries in fetchAhead beyond two round trips, which keeps it
	// busy. More would arrive side by side, and what is due first later.
	fetchFloor = 128 << 10
	fetchAhead = 200 * time.Millisecond
	// fetchPatience is how long the CDN may try for a piece that is already due:
	// after that the player has given up as well.
	fetchPatience = 8 * time.Second
	// lastTry is the least time in which another try can succeed.
	lastTry = time.Second
	// stallFactor times the usual first byte without progress is a stalled fetch.
	stallFactor = 3
	stallFloor  = time.Second
	// outageFirst grows to outageMost between tries of a CDN that fails.
	outageFirst = 250 * time.Millisecond
	outageMost  = 8 * time.Second
	// maxMismatches is how often the CDN's own copy of a file may fail its hash
	// before the file counts as changed.
	maxMismatches = 3
)

var (
	errTooManyReads   = errors.New("too many open reads on this node")
	errOriginMismatch = errors.New("the origin's file is not the one that was packed: run shoal pack again")
)

// fetch is a range request under way.
type fetch struct {
	Fetch
	progress time.Time
	left     int64 // bytes
}

// outage tells how long the CDN has been failing.
type outage struct {
	until time.Time
	fails int
}

func (o *outage) failed(now time.Time) {
	o.until = now.Add(min(outageFirst<<min(o.fails, 10), outageMost))
	o.fails++
}

// planFetches runs the schedulability test and the rule of first copies, and
// starts what they ask for.
func (c *Core) planFetches(now time.Time) {
	c.dropStalledFetches(now)
	est := c.cdn.Estimate()
	for _, f := range c.fetches {
		est.InFlight += int(f.left)
	}
	window := max(fetchFloor, int(est.BytesPerSec*(fetchAhead+2*est.RoundTrip).Seconds()))
	if est.InFlight > window/2 || len(c.fetches) >= c.cfg.MaxFetches {
		return // asking for more would only make requests small
	}
	limit := window - est.InFlight
	if now.Before(c.cdnDown.until) {
		return // seeds get what the CDN has failed to bring
	}
	slots := c.cfg.MaxFetches
	if c.cdnDown.fails > 0 {
		// One request tells whether it is back; the seeds keep the rest.
		limit, slots = min(limit, fetchFloor), 1
	}
	c.gaps = c.sched.Rescue(now, est, limit, c.gaps[:0])
	if len(c.gaps) > 0 {
		c.startFetches(now, ReasonRescue, slots)
		return
	}
	// One slot stays free for a rescue.
	if slots = max(slots-1, 1); len(c.fetches) < slots {
		c.gaps = c.sched.FirstCopies(now, limit, c.gaps[:0])
		c.startFetches(now, ReasonFirstCopy, slots)
	}
}

// startFetches merges c.gaps into ranges and starts them while slots are free.
func (c *Core) startFetches(now time.Time, reason Reason, slots int) {
	var cur Fetch
	flush := func() {
		if cur.Length == 0 || len(c.fetches) >= slots {
			return
		}
		c.startFetch(now, cur)
	}
	for _, g := range c.gaps {
		pc := pieceOf(g.Piece)
		why, deadline := reason, now.Add(fetchPatience)
		if n := c.needOf(pc); n != nil {
			if due := c.epoch.Add(n.deadline); due.After(deadline) {
				deadline = due
			}
			switch {
			case n.failed:
				why = ReasonHashFailure
			case n.startup && reason == ReasonRescue:
				why = ReasonStartup
			}
		}
		for _, r := range runs(g.Mask) {
			from := int64(pc.Index)*wire.PieceBytes + int64(r.first)*wire.ChunkBytes
			length := min(int64(r.count)*wire.ChunkBytes, c.files[pc.File].length-from)
			end := cur.Offset + cur.Length
			if cur.Length > 0 && cur.File == pc.File && cur.Reason == why && from >= end &&
				from-end <= bridgeBytes && from+length-cur.Offset <= fetchSpan {
				cur.Length = from + length - cur.Offset
				continue
			}
			flush()
			cur = Fetch{File: pc.File, Offset: from, Length: length, Reason: why, Deadline: deadline}
		}
	}
	flush()
}

// run is a stretch of chunks.
type run struct{ first, count int }

// runs returns the stretches of set bits; holes that are cheaper to fetch than
// to ask around are bridged.
func runs(mask uint64) []run {
	var out []run
	for mask != 0 {
		first := bits.TrailingZeros64(mask)
		count := bits.TrailingZeros64(^(mask >> first))
		mask &^= (1<<count - 1) << first
		if n := len(out); n > 0 && (first-out[n-1].first-out[n-1].count)*wire.ChunkBytes <= bridgeBytes {
			out[n-1].count = first + count - out[n-1].first
			continue
		}
		out = append(out, run{first, count})
	}
	return out
}

func (c *Core) startFetch(now time.Time, f Fetch) {
	c.nextFetch++
	f.ID = c.nextFetch
	c.fetches = append(c.fetches, &fetch{Fetch: f, progress: now, left: f.Length})
	c.eachPiece(f, func(pc Piece, mask uint64) {
		c.sched.TakenByCDN(now, key(pc), mask)
		if n := c.needOf(pc); n != nil {
			n.reason = f.Reason
		}
		if !c.cfg.NoUpload {
			c.coming = append(c.coming, pc)
		}
	})
	c.cdn.Started(now)
	c.out.Fetches = append(c.out.Fetches, f)
	if f.Reason != ReasonFirstCopy {
		pc := Piece{f.File, uint32(f.Offset / wire.PieceBytes)}
		c.event(Event{Kind: EventRescue, Piece: pc, Reason: f.Reason})
	}
}

// eachPiece calls do with the pieces that a fetch touches, and the chunks of
// each that it brings whole.
func (c *Core) eachPiece(f Fetch, do func(Piece, uint64)) {
	first, end := c.files[f.File].pieceRange(f.Offset, f.Length)
	for i := first; i < end; i++ {
		base := int64(i) * wire.PieceBytes
		from := (max(f.Offset-base, 0) + wire.ChunkBytes - 1) / wire.ChunkBytes
		to := (min(f.Offset+f.Length-base, wire.PieceBytes) + wire.ChunkBytes - 1) / wire.ChunkBytes
		mask := ^uint64(0) << from
		if to < wire.ChunksPerPiece {
			mask &= 1<<to - 1
		}
		do(Piece{f.File, i}, mask)
	}
}

func (c *Core) fetch(id FetchID) *fetch {
	for _, f := range c.fetches {
		if f.ID == id {
			return f
		}
	}
	return nil
}

// Fetched records CDN chunks that have come. The shell wrote those that were
// Missing into the piece's buffer.
func (c *Core) Fetched(now time.Time, id FetchID, pc Piece, mask uint64) {
	n := c.chunkBytes(pc, mask)
	if f := c.fetch(id); f != nil {
		f.progress = now
		f.left = max(f.left-int64(n), 0)
	}
	c.cdn.Received(now, n)
	c.cdnDown = outage{}
	fresh, complete := c.sched.FetchedCDN(now, key(pc), mask)
	c.bytes.Duplicate += int64(n - c.chunkBytes(pc, fresh))
	c.moved = true
	if complete {
		c.out.Verify = append(c.out.Verify, pc)
	}
}

// FetchDone ends a fetch, well or not.
func (c *Core) FetchDone(now time.Time, id FetchID, r FetchResult) {
	f := c.fetch(id)
	if f == nil {
		return // cancelled
	}
	c.endFetch(now, f, r.TTFB)
	if r.Err != nil {
		c.cdnDown.failed(now)
		c.wantsAfter(now, f, r)
	}
}

func (c *Core) endFetch(now time.Time, f *fetch, firstByte time.Duration) {
	c.fetches = slices.DeleteFunc(c.fetches, func(o *fetch) bool { return o == f })
	c.cdn.Done(now, firstByte)
	c.eachPiece(f.Fetch, func(pc Piece, mask uint64) { c.sched.ReleasedByCDN(key(pc), mask) })
	c.moved = true
	c.plan = now
}

// wantsAfter fails the reads that a failed fetch leaves without a source.
func (c *Core) wantsAfter(now time.Time, f *fetch, r FetchResult) {
	c.eachPiece(f.Fetch, func(pc Piece, _ uint64) {
		if c.sched.Held(key(pc)) {
			return // a frozen seed thaws before a player gives up
		}
		for _, w := range slices.Clone(c.wants) {
			patience := w.since.Add(fetchPatience)
			if !w.Deadline.IsZero() {
				patience = w.Deadline
			}
			first, end := c.files[w.File].pieceRange(w.Offset, w.Length)
			if w.File != pc.File || pc.Index < first || pc.Index >= end || (!r.Gone && now.Add(lastTry).Before(patience)) {
				continue
			}
			c.out.WantsFailed = append(c.out.WantsFailed, WantFailed{ID: w.ID, Err: r.Err})
			c.Cancel(now, w.ID)
		}
	})
}

func (c *Core) failWants(id File, err error) {
	c.wants = slices.DeleteFunc(c.wants, func(w *want) bool {
		if w.File == id {
			c.out.WantsFailed = append(c.out.WantsFailed, WantFailed{ID: w.ID, Err: err})
		}
		return w.File == id
	})
}

// dropStalledFetches gives up fetches that make no progress while seeds could
// deliver: an origin that hangs must not hold the pieces.
func (c *Core) dropStalledFetches(now time.Time) {
	if len(c.fetches) == 0 {
		return
	}
	patience := max(stallFactor*c.cdn.Estimate().FirstByte, stallFloor)
	for _, f := range slices.Clone(c.fetches) {
		if now.Sub(f.progress) < patience {
			continue
		}
		held := true
		c.eachPiece(f.Fetch, func(pc Piece, _ uint64) {
			if c.sched.Missing(key(pc)) != 0 && !c.sched.HeldElsewhere(now, key(pc)) {
				held = false
			}
		})
		if held {
			c.cancelFetch(now, f)
			c.cdnDown.failed(now)
		}
	}
}

// cancelUselessFetches ends fetches none of whose pieces is needed any more: the
// viewer has gone elsewhere.
func (c *Core) cancelUselessFetches(now time.Time) {
	for _, f := range slices.Clone(c.fetches) {
		useful := false
		c.eachPiece(f.Fetch, func(pc Piece, _ uint64) {
			useful = useful || c.sched.Known(key(pc))
		})
		if !useful {
			c.cancelFetch(now, f)
		}
	}
}

func (c *Core) cancelFetch(now time.Time, f *fetch) {
	c.out.FetchCancel = append(c.out.FetchCancel, f.ID)
	c.endFetch(now, f, 0)
}
