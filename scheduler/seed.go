package scheduler

import (
	"math"
	"time"
)

const (
	// priorRate is what an unmeasured seed is believed to deliver: 2 Mbit/s, the
	// low end of the uplinks in the published panels. Too low wastes a first
	// piece on the CDN; too high trusts a stranger with a deadline.
	priorRate = 250_000.0
	// priorRTT is assumed until the path is measured.
	priorRTT = 100 * time.Millisecond

	// budgetFloor lets a new seed prove itself with four pieces in flight;
	// budgetCeiling (8 MiB) fills 1 Gbit/s × 64 ms and bounds what a seed that
	// dies takes with it.
	budgetFloor   = 4 * ChunksPerPiece * ChunkBytes
	budgetCeiling = 8 << 20
	// minRoom is the least that is worth a request: a quarter of a piece.
	minRoom = 16 * ChunkBytes

	freezeFirst = time.Second
	freezeMost  = 30 * time.Second
)

// seed is the scheduler's view of one source.
type seed struct {
	up          bool
	rtt         time.Duration
	leastRTT    time.Duration
	cap         float64 // that it was told, bytes per second; 0: none
	loss        float64
	meter       meter
	outstanding int           // bytes asked and not yet delivered, lost or withdrawn
	lastHeard   time.Duration // last delivery, or first ask after idling
	behind      time.Duration // what stood before this node's own line then
	success     float64       // moving average of chunks delivered against chunks asked
	freezes     int           // in a row, without a delivery between
	freezeCount int           // ever
	thaw        time.Duration // frozen until then
	holds       int           // needed pieces that it holds
	received    int64
	owes        []*task // that it was asked for, and perhaps some that are done with
}

func (d *seed) rate() float64 {
	if d.meter.rate == 0 {
		return priorRate
	}
	return d.meter.rate
}

func (d *seed) roundTrip() time.Duration {
	if d.rtt == 0 {
		return priorRTT
	}
	return d.rtt
}

// budget is how many bytes may be outstanding: twice what the path delivers in
// a round trip and the reaction time of both loops (20 ms), plus a burst of two
// pieces. Twice, so that a rate that is limited by the budget itself doubles
// each round, as in slow start. A seed that comes out of a freeze is tried with
// one piece first.
func (d *seed) budget() int {
	if d.freezes > 0 {
		return ChunksPerPiece * ChunkBytes
	}
	b := 2*d.rate()*(d.roundTrip()+20*time.Millisecond).Seconds() + 2*ChunksPerPiece*ChunkBytes
	return int(min(max(b, budgetFloor), budgetCeiling))
}

func (d *seed) room() int { return d.budget() - d.outstanding }

// eta is the expected time until bytes more are delivered. Unreliable seeds
// look slower by as much as they fail.
func (d *seed) eta(bytes int) time.Duration {
	transfer := float64(d.outstanding+bytes) / d.rate()
	reliability := max(d.success, 0.05)
	return d.roundTrip() + time.Duration(transfer/reliability*float64(time.Second))
}

// patience is how long an ask may take before the seed has failed: twice the
// expectation and 300 ms of grace for both ends' scheduling.
func (d *seed) patience() time.Duration {
	p := 2*d.eta(0) + 300*time.Millisecond
	return min(max(p, 500*time.Millisecond), 6*time.Second)
}

// stalls is when a seed with work has been silent for too long: three round
// trips and 400 ms, and what stood before this node's own line, where others' data
// comes first. A seed that was killed is noticed within half a second.
func (d *seed) stalls() time.Duration {
	return d.lastHeard + d.behind + min(3*d.roundTrip()+400*time.Millisecond, 2*time.Second)
}

// overtakenAfter is how long a chunk may lag behind one that was to be sent
// later: reordering on the path (RFC 9002 §6.1.2 allows an eighth of a round
// trip) and a read from the seed's disk.
func (d *seed) overtakenAfter() time.Duration { return d.roundTrip()/4 + 25*time.Millisecond }

func (d *seed) frozen(at time.Duration) bool { return at < d.thaw }

// freeze stops requests for a growing interval.
func (d *seed) freeze(at, least time.Duration) time.Duration {
	wait := min(freezeFirst<<min(d.freezes, 5), freezeMost)
	wait = min(max(wait, least), 2*freezeMost)
	d.freezes++
	d.freezeCount++
	d.thaw = at + wait
	return wait
}

// score ranks a seed from 0 to 1 by what QoS means for a viewer: whether it has
// what is needed, whether it delivers, how fast, how near, how often it had to
// be frozen. The weights are the order of those words; they decide which seeds
// are kept, while eta decides which one is asked.
func (d *seed) score(needed int) float64 {
	complete := 0.5
	if needed > 0 {
		complete = float64(d.holds) / float64(needed)
	}
	// 4 MB/s (32 Mbit/s) and more count as fully fast; 2 ms to 500 ms map to near.
	fast := min(d.rate()/4e6, 1)
	near := 1 - min(max(math.Log(max(d.roundTrip().Seconds(), 0.002)/0.002)/math.Log(250), 0), 1)
	calm := 1 / float64(1+d.freezeCount)
	return 0.35*complete + 0.25*d.success*(1-min(d.loss, 1)) + 0.2*math.Sqrt(fast) + 0.1*near + 0.1*calm
}

// SeedInfo is what the scheduler knows of a seed.
type SeedInfo struct {
	Score            float64
	RateBytesPerSec  float64 // 0: unmeasured
	OutstandingBytes int
	Frozen           time.Duration // how much longer; 0: not frozen
	ReceivedBytes    int64
	HoldsNeeded      int // needed pieces that it has
}
