package scheduler

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestInvariantsHoldUnderAnyEvents drives a Scheduler with random events, those
// of liars among them, and checks its books after each.
func TestInvariantsHoldUnderAnyEvents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := time.Unix(0, 0)
		s := New(now, Config{MaxActive: 8})
		pieces := rapid.Uint32Range(0, 11)
		ids := rapid.Custom(func(rt *rapid.T) Seed { return Seed(rapid.IntRange(0, 5).Draw(rt, "seed")) })
		mask := rapid.Uint64()
		pc := func() Piece { return piece(pieces.Draw(rt, "piece")) }
		do := map[string]func(*rapid.T){
			"need": func(rt *rapid.T) {
				s.Need(now, Need{
					Piece: pc(), Full: whole >> rapid.IntRange(0, 63).Draw(rt, "short"),
					Deadline: now.Add(time.Duration(rapid.IntRange(-2000, 60_000).Draw(rt, "due")) * time.Millisecond),
					Holders:  SeedSet{mask.Draw(rt, "holders")},
				})
			},
			"forget": func(*rapid.T) { s.Forget(now, pc()) },
			"up": func(rt *rapid.T) {
				if id := ids.Draw(rt, "id"); !s.up.Has(id) {
					s.SeedUp(id, 0)
				}
			},
			"down":     func(rt *rapid.T) { s.SeedDown(now, ids.Draw(rt, "id")) },
			"holds":    func(rt *rapid.T) { s.Holds(now, ids.Draw(rt, "id"), pc(), rapid.Bool().Draw(rt, "has")) },
			"arrived":  func(rt *rapid.T) { s.Arrived(now, ids.Draw(rt, "id"), pc(), mask.Draw(rt, "mask")) },
			"fetched":  func(rt *rapid.T) { s.FetchedCDN(now, pc(), mask.Draw(rt, "mask")) },
			"taken":    func(rt *rapid.T) { s.TakenByCDN(now, pc(), mask.Draw(rt, "mask")) },
			"released": func(rt *rapid.T) { s.ReleasedByCDN(pc(), mask.Draw(rt, "mask")) },
			"failed":   func(*rapid.T) { s.Failed(now, pc()) },
			"freeze":   func(rt *rapid.T) { s.Freeze(now, ids.Draw(rt, "id"), time.Second) },
			"thaw":     func(rt *rapid.T) { s.Thaw(ids.Draw(rt, "id")) },
			"expire":   func(*rapid.T) { s.Expire(now) },
			"rescue":   func(*rapid.T) { checkGaps(rt, s, s.Rescue(now, fastCDN, 1<<20, nil)) },
			"copies":   func(*rapid.T) { checkGaps(rt, s, s.FirstCopies(now, 1<<20, nil)) },
			"wait": func(rt *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(rt, "ms")) * time.Millisecond)
			},
			"assign": func(*rapid.T) { checkAsks(rt, s, s.Assign(now, nil)) },
			"":       func(*rapid.T) { checkBooks(rt, s) },
		}
		rt.Repeat(do)
	})
}

// TestNothingDueIsOverlooked compares what is fetched by schedulers that look only
// when something may have become due with what one that always looks would.
func TestNothingDueIsOverlooked(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := time.Unix(0, 0)
		s := New(now, Config{})
		s.SeedUp(0, 0)
		s.SeedUp(1, 0)
		pc := func() Piece { return piece(rapid.Uint32Range(0, 3).Draw(rt, "piece")) }
		seconds := func(name string, from, to int) time.Duration {
			return time.Duration(rapid.IntRange(from*1000, to*1000).Draw(rt, name)) * time.Millisecond
		}
		id := func() Seed { return Seed(rapid.IntRange(0, 1).Draw(rt, "seed")) }
		joined := now.Add(seconds("joined", -4, 2))
		rt.Repeat(map[string]func(*rapid.T){
			"need": func(rt *rapid.T) {
				s.Need(now, Need{
					Piece: pc(), Full: whole, Deadline: now.Add(seconds("due", 5, 50)),
					Holders: SeedSet{rapid.Uint64Range(0, 3).Draw(rt, "holders")},
					Swarm:   rapid.SampledFrom([]int{0, 1, 2, 300}).Draw(rt, "swarm"), Joined: joined,
					Lot: rapid.Float64Range(0, 0.999).Draw(rt, "lot"), Lead: seconds("lead", 0, 30),
				})
			},
			"coming":   func(rt *rapid.T) { s.Coming(now, id(), pc()) },
			"holds":    func(rt *rapid.T) { s.Holds(now, id(), pc(), rapid.Bool().Draw(rt, "has")) },
			"up":       func(rt *rapid.T) { s.SeedUp(1, 0) },
			"down":     func(rt *rapid.T) { s.SeedDown(now, 1) },
			"taken":    func(rt *rapid.T) { s.TakenByCDN(now, pc(), whole) },
			"released": func(rt *rapid.T) { s.ReleasedByCDN(pc(), whole) },
			"arrived":  func(rt *rapid.T) { s.FetchedCDN(now, pc(), rapid.Uint64().Draw(rt, "mask")) },
			"failed":   func(rt *rapid.T) { s.Failed(now, pc()) },
			"wait":     func(rt *rapid.T) { now = now.Add(seconds("wait", 0, 3)) },
			"": func(rt *rapid.T) {
				cdn := fastCDN
				cdn.InFlight = rapid.SampledFrom([]int{0, 4 << 20}).Draw(rt, "in flight")
				rescued, copied := s.Rescue(now, cdn, 1<<20, nil), s.FirstCopies(now, 1<<20, nil)
				before := *s
				s.rescueAt, s.copiesAt = 0, 0
				require.Equal(rt, s.Rescue(now, cdn, 1<<20, nil), rescued)
				require.Equal(rt, s.FirstCopies(now, 1<<20, nil), copied)
				s.rescueAt, s.rescueBy, s.copiesAt = before.rescueAt, before.rescueBy, before.copiesAt
			},
		})
	})
}

func checkGaps(rt *rapid.T, s *Scheduler, gaps []Gap) {
	for _, g := range gaps {
		task := s.task(g.Piece)
		require.NotNil(rt, task)
		require.Zero(rt, g.Mask&(task.have|task.cdn), "what is here or on its way is not fetched")
	}
}

func checkAsks(rt *rapid.T, s *Scheduler, asks []Ask) {
	for _, a := range asks {
		task := s.task(a.Piece)
		require.NotZero(rt, a.Mask)
		require.Zero(rt, a.Mask&^task.full)
		require.Zero(rt, a.Mask&task.have)
		require.True(rt, task.holders.Has(a.Seed), "asked a seed that does not have it")
		require.True(rt, s.up.Has(a.Seed))
	}
}

func checkBooks(rt *rapid.T, s *Scheduler) {
	var outstanding [MaxSeeds]int
	var holds [MaxSeeds]int
	expiry := never
	s.tasks.All(func(task *task) {
		require.Zero(rt, task.have&^task.full)
		asked := uint64(0)
		require.Zero(rt, task.asked()&task.have, "a chunk that is here is still asked for")
		for _, a := range task.asks {
			outstanding[a.seed] += chunkBytes(a.mask)
			asked |= a.mask
			require.Contains(rt, s.seeds[a.seed].owes, task)
			expiry = min(expiry, a.due)
		}
		require.Equal(rt, asked, task.asked())
		if task.state <= stateActive && task.open() != 0 {
			require.Equal(rt, task.holders, task.holders.and(s.wanted), "a holder would not be asked")
		}
		if task.state == stateActive && task.open() != 0 {
			require.True(rt, s.opened, "nobody would look at the piece")
		}
		for h := task.holders; !h.Empty(); {
			holds[h.Pop()]++
		}
	})
	for id := range s.seeds {
		d := &s.seeds[id]
		require.Equal(rt, d.outstanding > 0, s.owing.Has(Seed(id)))
		if d.outstanding > 0 {
			expiry = min(expiry, d.stalls())
		}
		if d.outstanding != outstanding[id] || d.holds != holds[id] || d.success < 0 || d.success > 1 {
			rt.Fatalf("seed %d: outstanding %d (asks %d), holds %d (tasks %d), success %v",
				id, d.outstanding, outstanding[id], d.holds, holds[id], d.success)
		}
	}
	if expiry != never {
		require.LessOrEqual(rt, s.expiry, expiry, "Expire would be called too late")
	}
}

func TestTurnIsWhenTheLotIsBelowTheCopies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 10_000_000).Draw(t, "n")
		lot := rapid.Float64Range(0, 0.999999).Draw(t, "lot")
		ms := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Millisecond
		}
		waited, slack, lead := ms("waited", 60_000), ms("slack", 60_000), ms("lead", 30_000)
		when, done := progress(waited, time.Hour, slack, lead, n)
		if when != some || math.Abs(done-turn(lot, n)) < 1e-9 {
			return
		}
		require.Equal(t, lot*float64(n) < Copies(waited, time.Hour, slack, lead, n), done > turn(lot, n))
	})
}
