package scheduler

import (
	"math/bits"
	"time"
)

// CDN is what is known of the way to the CDN.
type CDN struct {
	// BytesPerSec it delivers to this node.
	BytesPerSec float64
	// FirstByte is the 95th percentile of the time to first byte.
	FirstByte time.Duration
	// RoundTrip is the least of them lately.
	RoundTrip time.Duration
	// Margin is kept beside the estimate.
	Margin time.Duration
	// InFlight is what has been asked of it and not come yet, in bytes.
	InFlight int
}

// noSlowerThan tells that whatever o brings in time, c does.
func (c CDN) noSlowerThan(o CDN) bool {
	return c.BytesPerSec >= o.BytesPerSec && c.FirstByte <= o.FirstByte && c.Margin <= o.Margin && c.InFlight <= o.InFlight
}

// Gap is a set of missing chunks of one piece.
type Gap struct {
	Piece Piece
	Mask  uint64
	// Late: even the CDN will miss the deadline (a start-up or a seek).
	Late bool
}

// rescueHorizon bounds how far ahead the test looks: beyond it there is always
// time for a later test, whatever the rates.
const rescueHorizon = 30 * time.Second

// answerGrace is what a seed may take beyond a round trip before its first chunk
// comes: reading the piece and its turn in the queue.
const answerGrace = 50 * time.Millisecond

// Rescue is the schedulability test. It lays the missing chunks out in the order
// of deadlines on the seeds that hold them, each at its measured rate, and gives
// to the CDN what no seed will deliver in time. As soon as for any deadline k
//
//	bytes left to the CDN until k ÷ CDN rate + first byte + margin > time left
//
// waiting any longer would miss it, and all gaps up to k are appended to out, at
// most limitBytes of them. This is the processor-demand test of earliest
// deadline first (Baruah, Rosier, Howell 1990) with the CDN as the processor.
//
// A piece whose deadline cannot be met by anybody (start-up, a seek) goes to
// whoever is expected to deliver it first.
func (s *Scheduler) Rescue(now time.Time, cdn CDN, limitBytes int, out []Gap) []Gap {
	at := s.at(now)
	if at < s.rescueAt && cdn.noSlowerThan(s.rescueBy) {
		return out
	}
	s.active.settle(stateActive)
	s.ready.settle(stateReady)
	if s.rescueAt, s.rescueBy = s.urgentAt(at, cdn), cdn; at < s.rescueAt {
		return out
	}
	var plan [MaxSeeds]seedPlan
	usable := s.usable(at)
	for b := usable; !b.Empty(); {
		id := b.Pop()
		// What is outstanding belongs to pieces of this very list: it is laid out
		// again below, so a seed starts empty.
		d := &s.seeds[id]
		plan[id] = seedPlan{
			done:    (at + d.roundTrip()).Seconds(),
			perByte: 1 / (d.rate() * max(d.success, 0.05)),
		}
	}
	base := len(out)
	rate := max(cdn.BytesPerSec, 1)
	demand := float64(cdn.InFlight)
	taken, due := 0, base
	m := merged{a: s.active.items, r: s.ready.items}
	for t := m.next(); t != nil && t.deadline-at < rescueHorizon && taken < limitBytes; t = m.next() {
		gap := t.missing() &^ t.cdn &^ s.justAsked(at, t)
		if gap == 0 {
			continue
		}
		bytes := float64(chunkBytes(gap))
		byCDN := at + cdn.FirstByte + seconds((demand+bytes)/rate)
		if s.seedInTime(t, usable, bytes, max(t.deadline, byCDN), &plan) {
			continue
		}
		demand += bytes
		taken += int(bytes)
		late := byCDN > t.deadline
		out = append(out, Gap{Piece: t.piece, Mask: gap, Late: late})
		if late || byCDN+cdn.Margin >= t.deadline {
			due = len(out)
		}
	}
	return out[:due]
}

// urgentAt returns when something has to be fetched if no seed delivers anything
// more. Only then is it worth while to lay the pieces out on the seeds: they can
// only take work from the CDN.
func (s *Scheduler) urgentAt(at time.Duration, cdn CDN) time.Duration {
	demand := float64(cdn.InFlight)
	rate := max(cdn.BytesPerSec, 1)
	first := never
	m := merged{a: s.active.items, r: s.ready.items}
	for t := m.next(); t != nil; t = m.next() {
		// What lies beyond the horizon comes into sight before it is urgent, or is
		// urgent when it comes into sight.
		sight := t.deadline - rescueHorizon + 1
		if sight >= first {
			break
		}
		gap := t.missing() &^ t.cdn
		if gap == 0 {
			continue
		}
		demand += float64(chunkBytes(gap))
		first = min(first, max(t.deadline-cdn.Margin-seconds(demand/rate)-cdn.FirstByte, sight))
		if first <= at {
			break
		}
	}
	return first
}

// justAsked returns the chunks whose request can't have been answered yet: what
// was asked before comes down the same line first. To take them away again would
// only fetch them twice.
func (s *Scheduler) justAsked(at time.Duration, t *task) uint64 {
	var m uint64
	queue := s.line.time(s.outstanding)
	for i := range t.asks {
		if a := &t.asks[i]; at-a.at < s.seeds[a.seed].roundTrip()+answerGrace+queue {
			m |= a.mask
		}
	}
	return m
}

// seedPlan is the test's view of one seed, in seconds since the epoch.
type seedPlan struct {
	done    float64 // when it will be done with what it has been given
	perByte float64
}

// seedInTime lays bytes on the seed that finishes them first, if that is before
// deadline.
func (s *Scheduler) seedInTime(t *task, usable SeedSet, bytes float64, deadline time.Duration, plan *[MaxSeeds]seedPlan) bool {
	best, bestAt := -1, deadline.Seconds()
	candidates := t.holders.and(usable).AndNot(t.avoid)
	for w, set := range candidates {
		for ; set != 0; set &= set - 1 {
			id := w*64 + bits.TrailingZeros64(set)
			if done := plan[id].done + bytes*plan[id].perByte; done <= bestAt {
				best, bestAt = id, done
			}
		}
	}
	if best < 0 {
		return false
	}
	plan[best].done = bestAt
	return true
}

func seconds(s float64) time.Duration {
	// A week is beyond every deadline and far from overflow.
	return time.Duration(min(s, 7*24*3600) * float64(time.Second))
}

// merged walks two sorted lists in the order of deadlines.
type merged struct{ a, r []*task }

func (m *merged) next() *task {
	switch {
	case len(m.a) == 0 && len(m.r) == 0:
		return nil
	case len(m.r) == 0 || (len(m.a) > 0 && byDeadline(m.a[0], m.r[0]) <= 0):
		t := m.a[0]
		m.a = m.a[1:]
		return t
	default:
		t := m.r[0]
		m.r = m.r[1:]
		return t
	}
}
