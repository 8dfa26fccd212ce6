package cc

import (
	"math"
	"time"
)

const (
	// standingQueue is what nobody should have to wait for behind uploads, beside
	// standingPackets: less than that no line can do with, however thin.
	standingQueue   = 5 * time.Millisecond
	standingPackets = 4
	// standingUploadRounds in a row must show it: a machine that stands still for
	// 200 ms, or a burst, is nobody. A round is at least uploadRound, and lasts
	// until two channels have measured, but not for longer than uploadPatience.
	standingUploadRounds = 4
	uploadRound          = 100 * time.Millisecond
	uploadPatience       = time.Second

	// Who carries ownPart of what the line was seen to carry while a queue stands
	// has made it: the node then sends ownShare of that, and again until the queue
	// goes. Below ownPart it is somebody else's, and the node sends no more than
	// uploadFloorShare of what the line carries or uploadFloor (64 kbit/s), which
	// keeps round trips coming.
	ownPart          = 0.9
	ownShare         = 0.97
	uploadFloorShare = 0.02
	uploadFloor      = 8_000.0

	// After a time without a queue the limit grows, after foreignHold where
	// somebody else's was seen, who is given the time to come back: by fastRise
	// a second up to what the line was seen to carry, then by slowRise.
	ownHold, foreignHold = 2 * time.Second, 5 * time.Second
	fastRise, slowRise   = 1.0, 0.02

	// userShare of what the line carries is left to uploads while somebody at
	// home says that the line is needed.
	userShare = 0.1

	// carriedWindow is how long the most that the line has carried counts, in
	// stretches of carriedStretch: within a shorter one, ACKs that come in heaps
	// pass for a faster line.
	carriedWindow  = 10 * time.Minute
	carriedStretch = time.Second
)

// Uploads bounds what a node may send.
type Uploads struct {
	// MaxBytesPerSec is never exceeded. 0: no such bound.
	MaxBytesPerSec float64
	// Yield gives way to whoever fills the line. On uplinks of a few Mbit/s that
	// costs much of what the node could send; see docs/congestion-control.md.
	Yield bool
	// MaxBytesPerDay is what may be sent within a day, counted from the node's
	// start. 0: no such bound.
	MaxBytesPerDay int64
}

// An UploadGovernor is the limit of what a node sends on all channels together.
// Each channel's Controller asks what the path to one peer bears; the governor
// asks what the line bears on which all paths begin, and whether the household
// needs it. Then it gives way: it is no channel's business to take a fair share.
//
// Two things tell that the line is needed. A queue that stands in all channels
// at once, for only the line is common to them, while they do not carry what the
// line can. With one channel that cannot be told from a queue at its leech, and is
// left to the Controller. And somebody who says so.
//
// It is not safe for concurrent use.
type UploadGovernor struct {
	epoch time.Time
	now   int64 // latest moment seen, nanoseconds since epoch
	cfg   Uploads
	pacer Pacer

	limit     float64     // bytes per second
	carried   windowedMax // bytes per second
	stretch   uploadSum   // the next value of carried
	standing  int         // rounds with a queue, less those without
	full      uploadSum   // carried in those with
	foreign   bool        // somebody else's was the last one
	left      float64     // what that left to the node
	queueAt   int64       // when a queue was last seen
	userUntil int64

	dayAt    int64
	dayBytes int64

	round uploadStretch
}

// uploadStretch is what a round has seen.
type uploadStretch struct {
	at      int64
	acked   int
	least   time.Duration // excess of a round trip over the least of its channel
	first   *Recovery     // whose round trip was seen
	several bool          // and another's
}

// uploadSum is what was carried in some time.
type uploadSum struct {
	bytes int
	took  time.Duration
}

func (s *uploadSum) add(bytes int, took time.Duration) {
	s.bytes += bytes
	s.took += took
}

func (s *uploadSum) bytesPerSec() float64 {
	return float64(s.bytes) / max(s.took, uploadRound).Seconds()
}

// NewUploadGovernor returns a governor for a node that has sent nothing yet.
func NewUploadGovernor(now time.Time, cfg Uploads) *UploadGovernor {
	g := &UploadGovernor{epoch: now, cfg: cfg, limit: math.Inf(1)}
	g.repace(0)
	g.begin(0)
	return g
}

// Budget is the number of bytes that may leave now on whatever channel.
func (g *UploadGovernor) Budget(now time.Time) int {
	at := g.clock(now)
	if g.spent(at) {
		return 0
	}
	if g.unbounded() {
		return maxBurstBytes
	}
	return g.pacer.Budget(at, maxBurstBytes)
}

// Next is when Budget will be positive.
func (g *UploadGovernor) Next(now time.Time) time.Time {
	at := g.clock(now)
	switch {
	case g.spent(at):
		return g.moment(g.dayAt + int64(24*time.Hour))
	case g.unbounded():
		return now
	default:
		return g.moment(at).Add(g.pacer.Wait(at, maxBurstBytes))
	}
}

// LimitBytesPerSec is what the node may send at present; +Inf: as much as its
// channels like.
func (g *UploadGovernor) LimitBytesPerSec(now time.Time) float64 {
	return g.limitAt(g.clock(now))
}

func (g *UploadGovernor) limitAt(at int64) float64 {
	if g.spent(at) {
		return 0
	}
	limit := g.limit
	if g.userUntil > at {
		limit = max(min(limit, userShare*g.CarriedBytesPerSec()), g.floor())
	}
	if g.cfg.MaxBytesPerSec > 0 {
		limit = min(limit, g.cfg.MaxBytesPerSec) // whatever the floor
	}
	return limit
}

// CarriedBytesPerSec is the most that the node's line has carried of late; zero
// before anything was measured.
func (g *UploadGovernor) CarriedBytesPerSec() float64 { return float64(g.carried.value()) }

// UserActive tells that somebody needs the line until then. A moment that has
// passed takes it back.
func (g *UploadGovernor) UserActive(now, until time.Time) {
	at := g.clock(now)
	g.userUntil = int64(until.Sub(g.epoch))
	g.repace(at)
}

// sent reports bytes that left on a channel. Those that did not ask count too.
func (g *UploadGovernor) sent(now time.Time, bytes int) {
	at := g.clock(now)
	g.newDay(at)
	g.dayBytes += int64(bytes)
	if !g.unbounded() {
		g.pacer.Spend(at, bytes)
	}
}

// acked reports an ACK on channel r: what it acknowledges, and the round trip
// that it measured; zero when it measured none.
func (g *UploadGovernor) acked(now time.Time, r *Recovery, bytes int, rtt time.Duration) {
	at := g.clock(now)
	s := &g.round
	s.acked += bytes
	if rtt > 0 {
		s.least = min(s.least, rtt-r.rtt.emptyMin())
		if s.first == nil {
			s.first = r
		}
		s.several = s.several || s.first != r
	}
	took := time.Duration(at - s.at)
	if took >= uploadRound && s.several || took >= uploadPatience {
		g.decide(at, took)
		g.begin(at)
	}
}

// decide ends a round.
func (g *UploadGovernor) decide(at int64, took time.Duration) {
	// A round in which the node had little to send is among them: the most is what counts.
	if g.stretch.add(g.round.acked, took); g.stretch.took >= carriedStretch {
		g.carried.add(at, int64(g.stretch.bytesPerSec()), int64(carriedWindow))
		g.stretch = uploadSum{}
	}
	if g.cfg.Yield {
		g.watch(at, took)
	}
	g.repace(at)
}

// watch looks for a queue in the round that ends.
func (g *UploadGovernor) watch(at int64, took time.Duration) {
	s := &g.round
	evidence := s.several || s.first != nil && g.foreign
	if !evidence || s.least <= g.tolerated() {
		if g.standing = max(g.standing-1, 0); g.standing == 0 {
			g.full = uploadSum{}
		}
		g.rise(at, took)
		return
	}
	g.queueAt = at
	g.full.add(s.acked, took)
	if g.standing++; g.standing == standingUploadRounds {
		g.stands(at)
		g.standing, g.full = 0, uploadSum{}
	}
}

// tolerated is the queue that may stand.
func (g *UploadGovernor) tolerated() time.Duration {
	queue := standingQueue
	if carried := g.CarriedBytesPerSec(); carried > 0 {
		queue += time.Duration(min(standingPackets*PacketBytes/carried, 1) * float64(time.Second))
	}
	return queue
}

// stands gives way to a queue.
func (g *UploadGovernor) stands(at int64) {
	full := g.full.bytesPerSec()
	if !g.foreign && g.left > 0 && full > ownPart*g.left && full < g.left/ownPart {
		// As much as the last time, and when the node sent nothing nobody filled
		// the line: it carries no more, or somebody takes a constant part of it.
		g.carried = windowedMax{}
		g.carried.add(at, int64(full), int64(carriedWindow))
	}
	switch {
	case g.foreign:
		g.limit = g.floor()
	case full >= ownPart*g.CarriedBytesPerSec():
		g.limit = max(min(g.limit, ownShare*full), g.floor())
	default:
		g.foreign, g.left, g.limit = true, full, g.floor()
	}
}

// rise lets the limit grow when nobody has been in the way for a while.
func (g *UploadGovernor) rise(at int64, took time.Duration) {
	hold := ownHold
	if g.foreign {
		hold = foreignHold
	}
	if time.Duration(at-g.queueAt) < hold {
		return
	}
	g.foreign = false
	carried, rise := g.CarriedBytesPerSec(), fastRise
	if g.limit > 0.9*carried {
		rise = slowRise
	}
	if g.limit *= 1 + rise*took.Seconds(); g.limit > 1.25*carried {
		g.limit = math.Inf(1)
	}
}

func (g *UploadGovernor) floor() float64 {
	return max(uploadFloorShare*g.CarriedBytesPerSec(), uploadFloor)
}

func (g *UploadGovernor) begin(at int64) { g.round = uploadStretch{at: at, least: math.MaxInt64} }

func (g *UploadGovernor) repace(at int64) {
	if limit := g.limitAt(at); !math.IsInf(limit, 1) {
		g.pacer.SetRate(at, limit)
	}
}

func (g *UploadGovernor) unbounded() bool {
	return math.IsInf(g.limitAt(g.now), 1)
}

// spent tells whether the day's volume is used up.
func (g *UploadGovernor) spent(at int64) bool {
	g.newDay(at)
	return g.cfg.MaxBytesPerDay > 0 && g.dayBytes >= g.cfg.MaxBytesPerDay
}

func (g *UploadGovernor) newDay(at int64) {
	for at-g.dayAt >= int64(24*time.Hour) {
		g.dayAt += int64(24 * time.Hour)
		g.dayBytes = 0
	}
}

// clock turns a moment into nanoseconds since the epoch, never backwards.
func (g *UploadGovernor) clock(now time.Time) int64 {
	g.now = max(g.now, int64(now.Sub(g.epoch)))
	return g.now
}

func (g *UploadGovernor) moment(at int64) time.Time { return g.epoch.Add(time.Duration(at)) }
