package scheduler

import "time"

// seed returns the slot if it is in use.
func (s *Scheduler) seed(id Seed) *seed {
	if int(id) >= len(s.seeds) || !s.seeds[id].up {
		return nil
	}
	return &s.seeds[id]
}

// SeedUp opens a slot for a new seed. rtt 0 is unmeasured.
func (s *Scheduler) SeedUp(id Seed, rtt time.Duration) {
	s.seeds[id] = seed{up: true, rtt: rtt, leastRTT: rtt, success: 1}
	s.up.Add(id)
	s.owing.Remove(id)
	s.thaws.Remove(id)
}

// SeedDown closes a slot: what was asked of it is open again, at once.
func (s *Scheduler) SeedDown(now time.Time, id Seed) {
	if s.seed(id) == nil {
		return
	}
	s.dropAsks(s.at(now), id, false)
	s.copiesAt = 0
	s.tasks.All(func(t *task) {
		t.holders.Remove(id)
		t.avoid.Remove(id)
		for i := range t.sources {
			// A later owner of the slot must not be blamed for this one's bytes;
			// the owner of this package keeps identities beside slots.
			if t.sources[i].Seed == id {
				t.sources[i].Seed = Departed
			}
		}
	})
	s.seeds[id] = seed{}
	s.up.Remove(id)
	s.owing.Remove(id)
	s.thaws.Remove(id)
}

// Departed stands in provenance for a seed whose slot has been given up.
const Departed Seed = 254

// Holds records that a seed has, or no longer has, a needed piece.
func (s *Scheduler) Holds(now time.Time, id Seed, p Piece, has bool) {
	t := s.task(p)
	if t == nil || s.seed(id) == nil || t.holders.Has(id) == has {
		return
	}
	if has {
		t.holders.Add(id)
		s.wanted.Add(id)
		s.seeds[id].holds++
	} else {
		t.holders.Remove(id)
		s.copiesAt = 0
		s.seeds[id].holds--
		s.dropAsksOf(s.at(now), id, t) // it will not deliver what it has dropped
	}
}

// Measured takes the path's round-trip time and loss from the transport.
func (s *Scheduler) Measured(id Seed, rtt time.Duration, loss float64) {
	if d := s.seed(id); d != nil {
		if rtt > 0 {
			d.rtt = rtt
			if d.leastRTT == 0 || rtt < d.leastRTT {
				d.leastRTT = rtt
			}
			s.expiry = min(s.expiry, d.stalls())
		}
		d.loss = min(max(loss, 0), 1)
	}
}

// Freeze stops requests to a seed that said BUSY, for at least the time it
// asked for and longer each time in a row. What it was asked is open again.
func (s *Scheduler) Freeze(now time.Time, id Seed, least time.Duration) time.Duration {
	d := s.seed(id)
	if d == nil {
		return 0
	}
	s.dropAsks(s.at(now), id, false)
	s.thaws.Add(id)
	return d.freeze(s.at(now), least)
}

// Thaw ends a freeze: the seed said that it is ready.
func (s *Scheduler) Thaw(id Seed) {
	if d := s.seed(id); d != nil {
		d.thaw = 0
	}
}

// Info returns what is known of a seed.
func (s *Scheduler) Info(now time.Time, id Seed) SeedInfo {
	d := s.seed(id)
	if d == nil {
		return SeedInfo{}
	}
	return SeedInfo{
		Score:            d.score(s.tasks.Len()),
		RateBytesPerSec:  d.meter.rate,
		OutstandingBytes: d.outstanding,
		Frozen:           max(d.thaw-s.at(now), 0),
		ReceivedBytes:    d.received,
		HoldsNeeded:      d.holds,
	}
}

// usable returns the seeds that may be asked.
func (s *Scheduler) usable(at time.Duration) SeedSet {
	set := s.up
	for b := s.thaws; !b.Empty(); {
		id := b.Pop()
		if s.seeds[id].frozen(at) {
			set.Remove(id)
		} else {
			s.thaws.Remove(id)
		}
	}
	return set
}

// withRoom returns those of a set that may be asked for more. Every budget has
// room when nothing is outstanding.
func (s *Scheduler) withRoom(set SeedSet) SeedSet {
	for b := set.and(s.owing); !b.Empty(); {
		id := b.Pop()
		if s.seeds[id].room() < minRoom {
			set.Remove(id)
		}
	}
	return set
}

// delivered credits a seed for mask of t and looks for gaps: chunks of one ask
// travel in ascending order, so one that is three or more behind the newest was
// lost on the way (the packet threshold of RFC 9002 §6.1.1).
func (s *Scheduler) delivered(at time.Duration, d *seed, id Seed, t *task, mask uint64) {
	s.heard(at, d)
	d.freezes = 0
	d.meter.add(at, chunkBytes(mask))
	var begun *ask // the one of which these are the first chunks
	for i := range t.asks {
		a := &t.asks[i]
		got := a.mask & mask
		if a.seed != id || got == 0 {
			continue
		}
		if a.mask == a.all {
			first := *a
			begun = &first
		}
		a.mask &^= got
		s.outstandingDone(at, id, got)
		d.success += 0.02 * (1 - d.success)
		lost := a.mask & (highest(got) - 1) & below(a.all, got)
		if lost != 0 {
			a.mask &^= lost
			s.outstandingDone(at, id, lost)
			s.reopened(t)
			d.success -= 0.02 * d.success
		}
	}
	t.dropEmptyAsks()
	if begun != nil {
		s.overtaken(at+d.overtakenAfter(), id, t, begun)
	}
}

// heard begins a seed's silence anew.
func (s *Scheduler) heard(at time.Duration, d *seed) {
	d.lastHeard, d.behind = at, s.line.time(s.outstanding-d.outstanding)
}

// overtaken shortens the patience with what a seed must have sent before it
// began an ask: seeds serve in the order of the deadlines that they were told,
// so what was due before, was asked no later and is still missing was lost on
// the way, or waits for a slow disk. Without this a burst lost at the end of an
// ask holds its room in the seed's budget until the patience with it is over.
func (s *Scheduler) overtaken(due time.Duration, id Seed, t *task, begun *ask) {
	d := &s.seeds[id]
	owes := d.owes[:0]
	for _, o := range d.owes {
		if o.askedOf(id) == 0 {
			continue
		}
		owes = append(owes, o)
		if o == t {
			continue
		}
		for i := range o.asks {
			if a := &o.asks[i]; a.seed == id && a.before(o, begun, t) {
				a.due = min(a.due, due)
				s.expiry = min(s.expiry, a.due)
			}
		}
	}
	clear(d.owes[len(owes):])
	d.owes = owes
}

// askedOf returns the chunks outstanding at one seed.
func (t *task) askedOf(id Seed) (mask uint64) {
	for i := range t.asks {
		if t.asks[i].seed == id {
			mask |= t.asks[i].mask
		}
	}
	return mask
}

// toldGrain is how exactly a seed knows a deadline: in milliseconds from when it
// heard of it, and not at all of a later change. Of two that are nearer to each
// other it may take either for the earlier one.
const toldGrain = 2 * time.Millisecond

// before tells whether a seed that was asked a, for o, and b, for t, surely
// sends a first.
func (a *ask) before(o *task, b *ask, t *task) bool {
	if a.at == b.at && a.told == b.told {
		return byPlace(o, t) < 0
	}
	return a.at <= b.at && a.told+toldGrain < b.told
}

func (s *Scheduler) outstandingDone(at time.Duration, id Seed, mask uint64) {
	s.settleAsk(at, id, chunkBytes(mask))
}

// highest returns the highest bit of mask.
func highest(mask uint64) uint64 {
	for mask&(mask-1) != 0 {
		mask &= mask - 1
	}
	return mask
}

// below returns the chunks of all that stand at least three places under the
// newest of got.
func below(all, got uint64) uint64 {
	under := all & (highest(got) - 1)
	for i := 0; i < 2 && under != 0; i++ {
		under &^= highest(under)
	}
	return under
}

func (t *task) dropEmptyAsks() {
	kept := t.asks[:0]
	for _, a := range t.asks {
		if a.mask != 0 {
			kept = append(kept, a)
		}
	}
	t.asks = kept
	t.recount()
}

// dropAsks reopens all that was asked of a seed; with tell it is also told.
func (s *Scheduler) dropAsks(at time.Duration, id Seed, tell bool) {
	for _, t := range s.active.items {
		if t.state != stateActive {
			continue
		}
		if mask := s.dropAsksOf(at, id, t); tell && mask != 0 {
			s.revoke = append(s.revoke, Revoke{Seed: id, Piece: t.piece, Mask: mask})
		}
	}
}

// dropAsksOf reopens what was asked of a seed of one piece.
func (s *Scheduler) dropAsksOf(at time.Duration, id Seed, t *task) (mask uint64) {
	for i := range t.asks {
		a := &t.asks[i]
		if a.seed != id || a.mask == 0 {
			continue
		}
		mask |= a.mask
		s.settleAsk(at, id, chunkBytes(a.mask))
		a.mask = 0
	}
	if mask != 0 {
		t.dropEmptyAsks()
		s.reopened(t)
	}
	return mask
}

// Expire reopens what seeds have failed to deliver in time and freezes those
// that stall. It returns the seeds that it froze.
func (s *Scheduler) Expire(now time.Time) (stalled SeedSet) {
	at := s.at(now)
	for b := s.owing; !b.Empty(); {
		id := b.Pop()
		d := &s.seeds[id]
		if d.outstanding > 0 && at >= d.stalls() {
			s.dropAsks(at, id, true)
			d.success *= 0.5
			d.freeze(at, 0)
			s.thaws.Add(id)
			stalled.Add(id)
		}
	}
	for _, t := range s.active.items {
		if t.state != stateActive {
			continue
		}
		for i := range t.asks {
			a := &t.asks[i]
			if a.due > at {
				continue
			}
			d := &s.seeds[a.seed]
			d.success -= 0.1 * d.success
			s.revoke = append(s.revoke, Revoke{Seed: a.seed, Piece: t.piece, Mask: a.mask})
			s.settleAsk(at, a.seed, chunkBytes(a.mask))
			a.mask = 0
			s.reopened(t)
		}
		t.dropEmptyAsks()
	}
	return stalled
}

// NextExpiry returns a time before which Expire has no work; zero when nothing
// is outstanding. It may be too early, but then it is later when it is asked for
// again at that time: most of what is outstanding is delivered, and to look for
// the earliest patience after every delivery would cost more than to wake up in
// vain now and then.
func (s *Scheduler) NextExpiry(now time.Time) time.Time {
	if s.owing.Empty() {
		return time.Time{}
	}
	if s.expiry <= s.at(now) {
		s.expiry = s.exactExpiry()
	}
	return s.epoch.Add(s.expiry)
}

// ExpiryBound is NextExpiry without the look.
func (s *Scheduler) ExpiryBound() time.Time {
	if s.owing.Empty() {
		return time.Time{}
	}
	return s.epoch.Add(s.expiry)
}

// never is later than any deadline.
const never = time.Duration(1<<63 - 1)

// exactExpiry is when Expire has work.
func (s *Scheduler) exactExpiry() time.Duration {
	next := never
	for b := s.owing; !b.Empty(); {
		d := &s.seeds[b.Pop()]
		next = min(next, d.stalls())
	}
	for _, t := range s.active.items {
		if t.pending == 0 || t.state != stateActive {
			continue
		}
		for i := range t.asks {
			next = min(next, t.asks[i].due)
		}
	}
	return next
}
