package scheduler

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"
)

const (
	// firstCopies is k at the start. With a quarter of a taker expected, peers
	// that look at the same piece in the same second rarely both take it, and the
	// one with the lowest lot still takes it before half of the time is over.
	firstCopies = 0.25
	// firstCopyReserve is the time before the deadline by which everybody may
	// take a piece that nobody has brought: a fetch, its announcement and its way
	// through the swarm must fit into it. Near the live edge, where there is less
	// time altogether, it is half of that.
	firstCopyReserve = 6 * time.Second
	// askAround is how long a new member of a swarm looks for others before it
	// takes a first copy: until the tracker has answered, the dials are through
	// and the seeds have said what they have, nobody seems to have anything. A
	// piece that is due within askAroundSlack is not kept waiting.
	askAround      = 2 * time.Second
	askAroundSlack = 2 * time.Second
)

// Lot returns hash(piece, u) in [0, 1) for a peer at the random position u of a
// swarm: how early its turn comes to take a first copy of the piece.
func Lot(root [32]byte, index uint32, u float64) float64 {
	var b [44]byte
	copy(b[:], root[:])
	binary.BigEndian.PutUint32(b[32:], index)
	binary.BigEndian.PutUint64(b[36:], math.Float64bits(u))
	sum := sha256.Sum256(b[:])
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53)
}

// Copies returns k, how many of the n peers of a swarm are expected to take a
// first copy of a piece that has been needed for waited, is due in slack, and
// will be asked for by the player lead before that. It grows from firstCopies to
// n, by the same factor in the same share of the time there is, so that at any
// moment few peers step forward at once and the first one's announcement stops
// the others. The time there is ends when the player asks; a player with a full
// buffer can wait a little, though, so a third of what is left until the
// deadline counts in any case.
//
// Who has been a member of the swarm for less than askAround takes nothing yet.
// n 0 is a swarm of unknown size: a peer waits to hear of others, and then acts
// as if alone.
func Copies(waited, member, slack, lead time.Duration, n int) float64 {
	switch when, done := progress(waited, member, slack, lead, n); when {
	case everybody:
		return math.Inf(1)
	case nobody:
		return 0
	default:
		return firstCopies * math.Pow(float64(n)/firstCopies, done)
	}
}

// takers says who may take a first copy.
type takers uint8

const (
	nobody takers = iota
	some
	everybody
)

// progress returns who may take a first copy, and when that is some, which share
// of the time there is has passed.
func progress(waited, member, slack, lead time.Duration, n int) (takers, float64) {
	reserve := min(firstCopyReserve, (waited+slack)/2)
	switch {
	case n == 1:
		return everybody, 1
	case member < askAround && slack > askAroundSlack:
		return nobody, 0
	case n == 0 || slack <= reserve:
		return everybody, 1
	}
	left := max(slack-lead-reserve, (slack-reserve)/3)
	return some, float64(waited) / float64(waited+left)
}

// turn is the share of the time after which a peer with this lot takes a copy:
// lot × n < Copies, solved for the progress, as the same logarithms would else
// be taken for every piece in every round.
func turn(lot float64, n int) float64 {
	if n < 2 {
		return 0
	}
	return math.Log(lot*float64(n)/firstCopies) / math.Log(float64(n)/firstCopies)
}

// comingPatience is how long somebody who fetches a piece from the CDN is waited
// for: the time after which a fetch without progress counts as stalled. Who says
// so and does not cannot do more harm: he is believed once for each piece, and
// Rescue believes nobody.
const comingPatience = time.Second

// Coming records that a seed says that it is fetching a needed piece.
func (s *Scheduler) Coming(now time.Time, id Seed, p Piece) {
	t := s.task(p)
	if t == nil || s.seed(id) == nil || t.fetched.Has(id) {
		return
	}
	t.fetched.Add(id)
	t.coming = max(t.coming, s.at(now)+comingPatience)
}

// FirstCopies appends pieces that nobody in reach has and that it is this peer's
// turn to bring into the swarm, by deadline, at most limitBytes of them. A peer
// takes a piece when lot < k/n.
func (s *Scheduler) FirstCopies(now time.Time, limitBytes int, out []Gap) []Gap {
	at := s.at(now)
	if at < s.copiesAt {
		return out
	}
	s.ready.settle(stateReady)
	next := never
	for _, t := range s.ready.items {
		if limitBytes <= 0 {
			next = 0
			break
		}
		if !t.holders.Empty() {
			continue
		}
		if t.coming > at {
			next = min(next, t.coming)
			continue
		}
		when, done := progress(at-t.since, at-t.joined, t.deadline-at, t.lead, int(t.swarm))
		if when == nobody || when == some && done <= t.turn {
			next = min(next, t.turnAt(at))
			continue
		}
		if gap := t.open(); gap != 0 {
			out = append(out, Gap{Piece: t.piece, Mask: gap})
			limitBytes -= chunkBytes(gap)
			next = 0
		}
	}
	s.copiesAt = next
	return out
}

// turnAt returns a time before which this peer's turn to take a piece does not
// come: progress, solved for the time.
func (t *task) turnAt(at time.Duration) time.Duration {
	if at-t.joined < askAround && t.deadline-at > askAroundSlack {
		return min(t.joined+askAround, t.deadline-askAroundSlack)
	}
	total := t.deadline - t.since
	reserve := min(firstCopyReserve, total/2)
	if t.turn >= 1 {
		return t.deadline - reserve // everybody's
	}
	byLead := t.turn * float64(total-t.lead-reserve)
	byThird := t.turn * float64(total-reserve) / (3 - 2*t.turn)
	const rounding = time.Microsecond
	return t.since + time.Duration(max(byLead, byThird)) - rounding
}
