package scheduler

import (
	"math/bits"
	"slices"
	"time"
)

const (
	// spreadChunks is the least part of a piece that is worth a seed of its own:
	// a quarter, so that near the playhead at most four seeds share a piece.
	spreadChunks = ChunksPerPiece / 4
	// endGameSlack is when a chunk may be asked for twice: about the time that a
	// stall needs to be noticed and mended.
	endGameSlack = 1500 * time.Millisecond
	// duplicateShare of the received bytes, and duplicateFloor in any case, may
	// be spent on chunks asked twice.
	duplicateShare = 0.02
	duplicateFloor = 4 * ChunksPerPiece * ChunkBytes
)

// Assign appends requests for as much as the seeds have room for: first what is
// missing of the active pieces, then ready pieces in the order of deadlines.
func (s *Scheduler) Assign(now time.Time, out []Ask) []Ask {
	at := s.at(now)
	free := s.usable(at)
	ending := s.ending(at)
	if !ending {
		free = free.and(s.wanted)
	}
	if free = s.withRoom(free); free.Empty() {
		return out
	}
	s.active.settle(stateActive)
	if s.lineRoom() < minRoom {
		return out
	}
	var wanted SeedSet
	if s.opened || ending {
		opened := false
		for _, t := range s.active.items {
			if free.Empty() {
				return out
			}
			if open := t.open(); open != 0 {
				if out = s.give(at, t, open, &free, out); t.open() != 0 {
					wanted, opened = wanted.Or(t.holders), true
				}
			} else if t.deadline-at < endGameSlack {
				out = s.endGame(at, t, &free, out)
			}
		}
		s.opened = opened
	}
	if free.and(s.wanted).Empty() {
		return out
	}
	s.ready.settle(stateReady)
	active := len(s.active.items)
	ready := s.ready.items
	kept, seen := 0, 0
	for ; seen < len(ready) && !free.Empty() && active < s.cfg.MaxActive; seen++ {
		t := ready[seen]
		open := t.open() // 0: the CDN has it in hand
		if open == 0 || t.holders.and(free).Empty() {
			if open != 0 {
				wanted = wanted.Or(t.holders)
			}
			if kept != seen {
				ready[kept] = t
			}
			kept++
			continue
		}
		t.state = stateActive
		s.active.add(t)
		active++
		if out = s.give(at, t, open, &free, out); t.open() != 0 {
			wanted, s.opened = wanted.Or(t.holders), true
		}
	}
	if seen == len(ready) {
		s.wanted = wanted // everything was looked at
	}
	s.ready.cut(kept, seen)
	return out
}

// ending reports whether an active piece is due so soon that its chunks may be
// asked for twice.
func (s *Scheduler) ending(at time.Duration) bool {
	s.active.sort()
	for _, t := range s.active.items {
		if t.deadline-at >= endGameSlack {
			return false
		}
		if t.state == stateActive {
			return true
		}
	}
	return false
}

// give spreads the open chunks of a piece over the seeds that deliver them
// first. Near the playhead a piece is shared between seeds, so that it is
// complete after a fraction of one seed's time; elsewhere a whole piece from
// one seed costs fewer requests.
func (s *Scheduler) give(at time.Duration, t *task, open uint64, free *SeedSet, out []Ask) []Ask {
	candidates := t.holders.and(*free)
	if trusted := candidates.AndNot(t.avoid); !trusted.Empty() {
		candidates = trusted
	}
	tier := TierOf(t.deadline - at)
	most := ChunksPerPiece
	if tier == Fast && candidates.Len() > 1 {
		share := (bits.OnesCount64(open) + candidates.Len() - 1) / candidates.Len()
		most = max(share, spreadChunks)
	}
	for open != 0 && !candidates.Empty() {
		id := s.best(candidates, chunkBytes(open))
		n := min(most, s.seeds[id].room()/ChunkBytes, max(s.lineRoom(), minRoom)/ChunkBytes)
		mask := lowest(open, n)
		out = append(out, s.ask(at, t, id, mask, tier))
		open &^= mask
		if s.lineRoom() < minRoom {
			*free = SeedSet{}
			break
		}
		if s.seeds[id].room() < minRoom {
			free.Remove(id)
			candidates.Remove(id)
		}
	}
	return out
}

// lineRoom is how much more may be asked, of all seeds together. What the CDN is
// to bring comes down the same line; but half of that is for seeds whatever the
// CDN is asked for, or one that hangs would keep them idle.
func (s *Scheduler) lineRoom() int {
	most := s.line.most()
	return most - min(s.fromCDN, most/2) - s.outstanding
}

// best returns the seed expected to deliver bytes more first.
func (s *Scheduler) best(candidates SeedSet, bytes int) Seed {
	var best Seed
	bestETA := time.Duration(-1)
	for candidates != (SeedSet{}) {
		id := candidates.Pop()
		if eta := s.seeds[id].eta(bytes); bestETA < 0 || eta < bestETA {
			best, bestETA = id, eta
		}
	}
	return best
}

func (s *Scheduler) ask(at time.Duration, t *task, id Seed, mask uint64, tier Tier) Ask {
	d := &s.seeds[id]
	if d.outstanding == 0 {
		s.heard(at, d)
		d.meter.begin(at)
	}
	d.outstanding += chunkBytes(mask)
	s.outstanding += chunkBytes(mask)
	s.owing.Add(id)
	due := at + d.patience() + s.line.time(s.outstanding-d.outstanding)
	s.furnish(t)
	t.asks = append(t.asks, ask{seed: id, mask: mask, all: mask, at: at, told: t.deadline, due: due})
	t.pending |= mask
	if !slices.Contains(d.owes, t) {
		d.owes = append(d.owes, t)
	}
	s.expiry = min(s.expiry, due, d.stalls())
	return Ask{Seed: id, Piece: t.piece, Mask: mask, Tier: tier, Deadline: s.epoch.Add(t.deadline)}
}

// endGame asks a second seed for chunks that are nearly due and still out, if
// it is expected to be faster and the duplicate budget allows.
func (s *Scheduler) endGame(at time.Duration, t *task, free *SeedSet, out []Ask) []Ask {
	if len(t.asks) != 1 {
		return out // already shared; a second copy is in nobody's interest
	}
	first := t.asks[0]
	others := t.holders.and(*free).AndNot(t.avoid)
	others.Remove(first.seed)
	if others.Empty() || at-first.at < (first.due-first.at)/2 {
		return out
	}
	bytes := chunkBytes(first.mask)
	if float64(s.duplicate+int64(bytes)) > max(duplicateShare*float64(s.received), duplicateFloor) {
		return out
	}
	id := s.best(others, bytes)
	s.duplicate += int64(bytes)
	out = append(out, s.ask(at, t, id, first.mask, TierOf(t.deadline-at)))
	if s.seeds[id].room() < minRoom {
		free.Remove(id)
	}
	return out
}
