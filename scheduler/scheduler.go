package scheduler

import (
	"time"

	"shoal/internal/pieces"
)

// Config bounds a Scheduler. The zero value works.
type Config struct {
	// MaxActive bounds the pieces in progress. Default 256: 16 MiB of buffers.
	MaxActive int
	// MaxSeeds bounds the seeds: slots are below it. Default and most 128.
	MaxSeeds int
}

// Scheduler holds the pieces that are needed, the seeds that may have them, and
// what has been asked of whom.
type Scheduler struct {
	cfg    Config
	epoch  time.Time
	tasks  pieces.Table[task]
	ready  queue
	active queue

	seeds  []seed
	up     SeedSet
	owing  SeedSet // seeds that have something outstanding
	thaws  SeedSet // seeds that were frozen and may be still
	revoke []Revoke
	rooms  []*room
	empty  *room // of tasks that have none
	// wanted are the seeds that hold a piece of which nobody has been asked for
	// some chunks, and perhaps others: only they make a round of Assign worth it.
	wanted SeedSet
	opened bool // perhaps such chunks are of a piece in progress

	// Until then, and if no chunk opens and no deadline moves meanwhile, it is no
	// piece's turn for a first copy, and nothing is in danger with a CDN no slower than
	// rescueBy.
	copiesAt, rescueAt time.Duration
	rescueBy           CDN

	line        line
	caps        caps
	outstanding int // bytes, at all seeds
	fromCDN     int // bytes, asked of the CDN

	// expiry is not after the time at which Expire has work.
	expiry time.Duration

	received  int64 // bytes of chunks that were of use, from seeds
	duplicate int64 // asked twice on purpose (end game)
}

// Ask is a set of chunks to request from a seed.
type Ask struct {
	Seed     Seed
	Piece    Piece
	Mask     uint64
	Tier     Tier
	Deadline time.Time
}

// Revoke withdraws chunks asked of a seed.
type Revoke struct {
	Seed  Seed
	Piece Piece
	Mask  uint64
}

// New returns an empty Scheduler; now is the origin of its time line.
func New(now time.Time, cfg Config) *Scheduler {
	if cfg.MaxActive <= 0 {
		cfg.MaxActive = 256
	}
	if cfg.MaxSeeds <= 0 || cfg.MaxSeeds > MaxSeeds {
		cfg.MaxSeeds = MaxSeeds
	}
	return &Scheduler{cfg: cfg, epoch: now, expiry: never, empty: new(room), seeds: make([]seed, cfg.MaxSeeds)}
}

func (s *Scheduler) at(now time.Time) time.Duration { return now.Sub(s.epoch) }

func (s *Scheduler) task(p Piece) *task { return s.tasks.Get(p.File, p.Index) }

// Need adds a piece, or re-times one that is known.
func (s *Scheduler) Need(now time.Time, n Need) {
	deadline := s.at(n.Deadline)
	s.copiesAt = 0
	if t := s.task(n.Piece); t != nil {
		t.lead = n.Lead
		if int(t.swarm) != n.Swarm {
			t.swarm, t.turn = int32(n.Swarm), turn(t.lot, n.Swarm)
		}
		if t.deadline != deadline {
			t.deadline, s.rescueAt = deadline, 0
			s.ready.unsorted, s.active.unsorted = true, true
		}
		return
	}
	t := &task{
		piece: n.Piece, deadline: deadline, since: s.at(now), lot: n.Lot, turn: turn(n.Lot, n.Swarm), swarm: int32(n.Swarm),
		joined: s.at(n.Joined), lead: n.Lead, full: n.Full, room: s.empty,
	}
	for h := n.Holders.and(s.up); !h.Empty(); {
		id := h.Pop()
		t.holders.Add(id)
		s.seeds[id].holds++
	}
	s.tasks.Put(n.Piece.File, n.Piece.Index, t)
	s.ready.add(t)
	s.reopened(t)
}

// Known reports whether the piece is needed and not yet verified.
func (s *Scheduler) Known(p Piece) bool { return s.task(p) != nil }

// Begun reports whether any chunk of the piece has arrived or is on its way.
func (s *Scheduler) Begun(p Piece) bool {
	t := s.task(p)
	return t != nil && (t.have|t.cdn|t.asked()) != 0
}

// Pending returns the chunks of the piece that are asked of seeds, and those
// that the CDN was asked for, and that have not arrived.
func (s *Scheduler) Pending(p Piece) (seeds, cdn uint64) {
	if t := s.task(p); t != nil {
		return t.asked() &^ t.have, t.cdn &^ t.have
	}
	return 0, 0
}

// Forget drops a piece: it is verified, or nobody needs it any more. What is
// still outstanding is withdrawn.
func (s *Scheduler) Forget(now time.Time, p Piece) {
	t := s.task(p)
	if t == nil {
		return
	}
	s.withdraw(s.at(now), t, ^uint64(0))
	for h := t.holders; !h.Empty(); {
		s.seeds[h.Pop()].holds--
	}
	s.setCDN(t, 0)
	s.tasks.Delete(p.File, p.Index)
	s.setState(t, stateGone)
	s.vacate(t)
}

// setState moves a task between the queues.
func (s *Scheduler) setState(t *task, to state) {
	if q := s.queueOf(t.state); q != nil {
		q.holes = true
	}
	t.state = to
	if q := s.queueOf(to); q != nil {
		q.add(t)
	}
}

func (s *Scheduler) queueOf(st state) *queue {
	switch st {
	case stateReady:
		return &s.ready
	case stateActive:
		return &s.active
	default:
		return nil
	}
}

// Missing returns the chunks of p that have not arrived; 0 when p is complete or
// not needed.
func (s *Scheduler) Missing(p Piece) uint64 {
	if t := s.task(p); t != nil {
		return t.missing()
	}
	return 0
}

// Sources returns whom the chunks of p came from. The slice is valid until the
// next call.
func (s *Scheduler) Sources(p Piece) []Source {
	if t := s.task(p); t != nil {
		return t.sources
	}
	return nil
}

// Arrived records chunks from a seed. It returns the chunks that were new, and
// whether the piece is now complete (once: it is then being verified).
func (s *Scheduler) Arrived(now time.Time, id Seed, p Piece, mask uint64) (fresh uint64, complete bool) {
	at := s.at(now)
	t := s.task(p)
	s.line.add(at, chunkBytes(mask))
	if t == nil {
		return 0, false
	}
	fresh = mask & t.full &^ t.have
	if d := s.seed(id); d != nil {
		s.delivered(at, d, id, t, mask)
		d.received += int64(chunkBytes(fresh))
		s.received += int64(chunkBytes(fresh))
	}
	return fresh, s.take(at, t, id, fresh)
}

// FetchedCDN records chunks that came from the CDN, as Arrived does for seeds.
func (s *Scheduler) FetchedCDN(now time.Time, p Piece, mask uint64) (fresh uint64, complete bool) {
	t := s.task(p)
	s.line.add(s.at(now), chunkBytes(mask))
	if t == nil {
		return 0, false
	}
	fresh = mask & t.full &^ t.have
	s.setCDN(t, t.cdn&^mask)
	return fresh, s.take(s.at(now), t, FromCDN, fresh)
}

// take adds fresh chunks to the piece and withdraws them wherever else they
// were asked.
func (s *Scheduler) take(at time.Duration, t *task, from Seed, fresh uint64) (complete bool) {
	if fresh == 0 {
		return false
	}
	t.have |= fresh
	s.furnish(t)
	t.credit(from, fresh)
	s.withdraw(at, t, fresh)
	if t.have != t.full {
		return false
	}
	s.setState(t, stateVerifying)
	return true
}

// Failed puts a complete piece whose hash did not match back to the start. Its
// seeds are avoided: they are asked for it again only when nobody else has it.
func (s *Scheduler) Failed(now time.Time, p Piece) {
	t := s.task(p)
	if t == nil || t.state != stateVerifying {
		return
	}
	for _, src := range t.sources {
		if src.Seed < MaxSeeds { // neither FromCDN nor Departed
			t.avoid.Add(src.Seed)
		}
	}
	s.setCDN(t, 0)
	t.have, t.sources = 0, t.sources[:0]
	t.deadline = min(t.deadline, s.at(now))
	s.ready.settle(stateReady) // drop its old place, if it is still there
	s.setState(t, stateReady)
	s.reopened(t)
}

// TakenByCDN records that chunks are being fetched from the CDN, and withdraws
// them from the seeds.
func (s *Scheduler) TakenByCDN(now time.Time, p Piece, mask uint64) {
	if t := s.task(p); t != nil {
		mask &= t.missing()
		s.withdraw(s.at(now), t, mask)
		s.setCDN(t, t.cdn|mask)
	}
}

// ReleasedByCDN records that the CDN will not deliver these chunks after all.
func (s *Scheduler) ReleasedByCDN(p Piece, mask uint64) {
	if t := s.task(p); t != nil {
		s.setCDN(t, t.cdn&^mask)
		s.reopened(t)
	}
}

// setCDN sets the chunks of a piece that the CDN has in hand.
func (s *Scheduler) setCDN(t *task, mask uint64) {
	s.fromCDN += chunkBytes(mask) - chunkBytes(t.cdn)
	t.cdn = mask
}

// reopened notes that chunks of a piece wait for somebody to be asked.
func (s *Scheduler) reopened(t *task) {
	s.wanted = s.wanted.Or(t.holders)
	s.opened, s.copiesAt, s.rescueAt = true, 0, 0
}

// HeldElsewhere reports whether some usable seed has p.
func (s *Scheduler) HeldElsewhere(now time.Time, p Piece) bool {
	t := s.task(p)
	return t != nil && !t.holders.and(s.usable(s.at(now))).Empty()
}

// Held reports whether any seed has p, frozen ones included.
func (s *Scheduler) Held(p Piece) bool {
	t := s.task(p)
	return t != nil && !t.holders.Empty()
}

// Revoked appends the withdrawals since the last call: the owner sends CANCEL.
func (s *Scheduler) Revoked(out []Revoke) []Revoke {
	out = append(out, s.revoke...)
	s.revoke = s.revoke[:0]
	return out
}

// withdraw takes mask back from all seeds that were asked for it.
func (s *Scheduler) withdraw(at time.Duration, t *task, mask uint64) {
	kept := t.asks[:0]
	for _, a := range t.asks {
		if m := a.mask & mask; m != 0 {
			s.revoke = append(s.revoke, Revoke{Seed: a.seed, Piece: t.piece, Mask: m})
			s.settleAsk(at, a.seed, chunkBytes(m))
			a.mask &^= m
		}
		if a.mask != 0 {
			kept = append(kept, a)
		}
	}
	t.asks = kept
	t.recount()
}

// settleAsk takes bytes off a seed's outstanding sum.
func (s *Scheduler) settleAsk(at time.Duration, id Seed, bytes int) {
	d := &s.seeds[id]
	d.outstanding -= bytes
	s.outstanding -= bytes
	if d.outstanding < 0 {
		panic("BUG: negative outstanding bytes")
	}
	if d.outstanding == 0 {
		s.owing.Remove(id)
		d.owes = d.owes[:0]
		d.meter.end(at)
	}
}

// Pieces returns how many pieces wait and how many are in progress.
func (s *Scheduler) Pieces() (ready, active int) {
	s.tasks.All(func(t *task) {
		if t.state == stateReady {
			ready++
		} else {
			active++
		}
	})
	return ready, active
}
