package scheduler

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scenario drives one Scheduler and reads like the story it tests.
type scenario struct {
	t   *testing.T
	now time.Time
	s   *Scheduler
}

const (
	whole   = ^uint64(0)
	quarter = uint64(0xffff)
)

func newScenario(t *testing.T) *scenario {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &scenario{t: t, now: now, s: New(now, Config{})}
}

func piece(i uint32) Piece { return Piece{File: 1, Index: i} }

func seeds(ids ...Seed) SeedSet {
	var s SeedSet
	for _, id := range ids {
		s.Add(id)
	}
	return s
}

func (sc *scenario) advance(d time.Duration) { sc.now = sc.now.Add(d) }

func (sc *scenario) seedUp(ids ...Seed) {
	for _, id := range ids {
		sc.s.SeedUp(id, 20*time.Millisecond)
	}
}

func (sc *scenario) need(i uint32, due time.Duration, holders ...Seed) {
	sc.s.Need(sc.now, Need{Piece: piece(i), Full: whole, Deadline: sc.now.Add(due), Holders: seeds(holders...)})
}

// asks returns what is asked now, by seed.
func (sc *scenario) asks() map[Seed][]Ask {
	by := make(map[Seed][]Ask)
	for _, a := range sc.s.Assign(sc.now, nil) {
		by[a.Seed] = append(by[a.Seed], a)
	}
	return by
}

// proven makes a seed deliver its first piece at a rate, so that it is measured.
func (sc *scenario) proven(id Seed, bytesPerSec float64) {
	p := Piece{File: 99, Index: uint32(id)}
	sc.s.Need(sc.now, Need{Piece: p, Full: whole, Deadline: sc.now.Add(time.Minute), Holders: seeds(id)})
	require.Len(sc.t, sc.s.Assign(sc.now, nil), 1)
	sc.advance(time.Duration(pieceBytes / bytesPerSec * float64(time.Second)))
	_, complete := sc.s.Arrived(sc.now, id, p, whole)
	require.True(sc.t, complete)
	sc.s.Forget(sc.now, p)
}

const pieceBytes = ChunksPerPiece * ChunkBytes

func (sc *scenario) revoked() map[Seed]uint64 {
	by := make(map[Seed]uint64)
	for _, r := range sc.s.Revoked(nil) {
		by[r.Seed] |= r.Mask
	}
	return by
}

var fastCDN = CDN{BytesPerSec: 1e6, FirstByte: 100 * time.Millisecond, Margin: time.Second}

func (sc *scenario) rescued(c CDN) []Gap { return sc.s.Rescue(sc.now, c, 64<<20, nil) }

func TestPiecesAreAskedInTheOrderOfDeadlines(t *testing.T) {
	sc := newScenario(t)
	sc.need(3, 50*time.Second, 1)
	sc.need(1, 40*time.Second, 1)
	sc.need(2, 45*time.Second, 1)
	sc.seedUp(1)
	for i := range uint32(3) {
		sc.s.Holds(sc.now, 1, piece(i+1), true)
	}
	var order []uint32
	for _, a := range sc.asks()[1] {
		order = append(order, a.Piece.Index)
	}
	require.Equal(t, []uint32{1, 2, 3}, order)
}

func TestUrgentPieceIsSpreadOverSeveralSeeds(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1, 2, 3)
	sc.need(1, 5*time.Second, 1, 2, 3)
	asks := sc.asks()
	require.Len(t, asks, 3)
	var union uint64
	for _, a := range asks {
		require.Zero(t, union&a[0].Mask, "a chunk was asked twice")
		require.Equal(t, Fast, a[0].Tier)
		union |= a[0].Mask
	}
	require.Equal(t, whole, union)
}

func TestDistantPieceComesWholeFromOneSeed(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1, 2, 3)
	sc.need(1, 50*time.Second, 1, 2, 3)
	asks := sc.s.Assign(sc.now, nil)
	require.Len(t, asks, 1)
	require.Equal(t, whole, asks[0].Mask)
	require.Equal(t, Slow, asks[0].Tier)
}

func TestUrgentPieceSkipsSlowPeer(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1, 2)
	sc.proven(1, 50_000)
	sc.proven(2, 5_000_000)
	sc.need(1, 40*time.Second, 1, 2)
	asks := sc.asks()
	require.Empty(t, asks[1])
	require.Equal(t, whole, asks[2][0].Mask)
}

func TestSeedIsNeverAskedForMoreThanItCanCarry(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	for i := range uint32(100) {
		sc.need(i, time.Minute, 1)
	}
	bytes := 0
	for _, a := range sc.asks()[1] {
		bytes += chunkBytes(a.Mask)
	}
	require.LessOrEqual(t, bytes, sc.s.seeds[1].budget())
	require.Greater(t, bytes, sc.s.seeds[1].budget()-minRoom)
	require.Empty(t, sc.asks(), "no room, no request")
}

func TestStalledSeedsChunksGoToTheOthersBeforeNewPiecesAreOpened(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.need(1, 20*time.Second, 1)
	require.Len(t, sc.asks()[1], 1)
	sc.seedUp(2)
	sc.s.Holds(sc.now, 2, piece(1), true)
	sc.need(2, 19*time.Second, 2)
	sc.s.Arrived(sc.now, 1, piece(1), quarter)

	sc.advance(sc.s.seeds[1].stalls() - sc.s.at(sc.now))
	require.True(t, sc.s.Expire(sc.now).Has(1), "it is frozen")
	require.Equal(t, whole&^quarter, sc.revoked()[1], "and told that it is too late")
	asks := sc.asks()
	require.Empty(t, asks[1])
	require.Equal(t, piece(1), asks[2][0].Piece, "the active piece first, although the other one is due earlier")
	require.Equal(t, whole&^quarter, asks[2][0].Mask, "exactly the missing chunks")
	require.Equal(t, piece(2), asks[2][1].Piece)
}

func TestGapInADeliveryIsAskedForAgainAtOnce(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.need(1, 40*time.Second, 1)
	require.Len(t, sc.asks()[1], 1)
	lost := uint64(1<<2 | 1<<9)
	sc.s.Arrived(sc.now, 1, piece(1), quarter&^lost)
	asks := sc.asks()
	require.Len(t, asks[1], 1)
	require.Equal(t, lost, asks[1][0].Mask, "the chunks behind the gap are still on their way")
}

func TestPieceOvertakenByALaterOneIsAskedForAgainSoon(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.proven(1, 10e6)
	sc.need(1, 10*time.Second, 1)
	sc.need(2, 11*time.Second, 1)
	require.Len(t, sc.asks()[1], 2)
	sc.advance(10 * time.Millisecond)
	sc.s.Arrived(sc.now, 1, piece(2), quarter) // piece 1 was to come first
	require.Empty(t, sc.s.Expire(sc.now))
	require.Empty(t, sc.revoked(), "it may be reordered")
	sc.advance(30 * time.Millisecond) // a quarter of the round trip and 25 ms
	require.False(t, sc.s.NextExpiry(sc.now).After(sc.now))
	require.Empty(t, sc.s.Expire(sc.now), "the seed is not to blame")
	require.Equal(t, whole, sc.revoked()[1], "what is left of piece 2 is still on its way")
	require.Equal(t, piece(1), sc.asks()[1][0].Piece)
}

func TestSeedThatCannotTellDeadlinesApartHasLostNothing(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.proven(1, 10e6)
	sc.need(1, 10*time.Second, 1)
	sc.need(2, 10*time.Second+10*time.Millisecond, 1)
	require.Len(t, sc.asks()[1], 2)
	// Both move, and piece 1 becomes the later one: the seed does not know.
	sc.need(1, 10*time.Second+500*time.Millisecond)
	sc.need(2, 10*time.Second)
	sc.advance(10 * time.Millisecond)
	sc.s.Arrived(sc.now, 1, piece(1), quarter)
	// A third, of the same segment as piece 2: of deadlines told at different
	// moments, in milliseconds, the seed may take either for the earlier one.
	sc.need(3, 10*time.Second-10*time.Millisecond+time.Microsecond, 1)
	require.Len(t, sc.asks()[1], 1)
	sc.advance(10 * time.Millisecond)
	sc.s.Arrived(sc.now, 1, piece(3), quarter)
	sc.advance(60 * time.Millisecond)
	require.Empty(t, sc.s.Expire(sc.now))
	require.Empty(t, sc.revoked())
}

func TestReorderedChunksAreNotTakenForLost(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.need(1, 40*time.Second, 1)
	sc.asks()
	sc.s.Arrived(sc.now, 1, piece(1), 1<<0|1<<3) // 1 and 2 are at most two behind
	require.Empty(t, sc.asks())
}

func TestChunkThatCameElsewhereIsWithdrawn(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1, 2)
	sc.need(1, 5*time.Second, 1, 2)
	asks := sc.asks()
	mine, others := asks[1][0].Mask, asks[2][0].Mask
	fresh, complete := sc.s.FetchedCDN(sc.now, piece(1), others)
	require.Equal(t, others, fresh)
	require.False(t, complete)
	require.Equal(t, map[Seed]uint64{2: others}, sc.revoked())
	_, complete = sc.s.Arrived(sc.now, 1, piece(1), mine)
	require.True(t, complete)
	require.ElementsMatch(t, []Source{{FromCDN, others}, {1, mine}}, sc.s.Sources(piece(1)))
}

func TestLateChunkIsADuplicateAndHarmless(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.need(1, 5*time.Second, 1)
	sc.asks()
	fresh, complete := sc.s.Arrived(sc.now, 1, piece(1), whole)
	require.Equal(t, whole, fresh)
	require.True(t, complete)
	fresh, complete = sc.s.Arrived(sc.now, 1, piece(1), whole)
	require.Zero(t, fresh)
	require.False(t, complete, "complete is said once")
}

func TestBusySeedIsFrozenForAGrowingInterval(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.need(1, time.Minute, 1)
	var waits []time.Duration
	for range 4 {
		require.Len(t, sc.asks()[1], 1)
		wait := sc.s.Freeze(sc.now, 1, 100*time.Millisecond)
		require.Empty(t, sc.asks())
		waits = append(waits, wait)
		sc.advance(wait)
	}
	require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}, waits)
	sc.s.Freeze(sc.now, 1, 0)
	sc.s.Thaw(1)
	require.Len(t, sc.asks()[1], 1, "ready ends the freeze")
}

func TestEndGameAsksTwiceInsideItsBudget(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.need(1, time.Second, 1)
	require.Len(t, sc.asks()[1], 1)
	sc.seedUp(2)
	sc.s.Holds(sc.now, 2, piece(1), true)
	require.Empty(t, sc.asks(), "the first seed still has time")
	sc.advance(sc.s.seeds[1].patience() * 6 / 10)
	asks := sc.asks()
	require.Equal(t, whole, asks[2][0].Mask)
	require.Empty(t, sc.asks(), "never a third time")

	sc.s.duplicate = duplicateFloor
	sc.need(2, time.Second, 1, 2)
	sc.asks()
	sc.advance(sc.s.seeds[1].patience() * 6 / 10)
	require.Empty(t, sc.asks(), "the budget is spent")
}

func TestRescueComesAtTheLastResponsibleMoment(t *testing.T) {
	sc := newScenario(t)
	for i := range uint32(16) { // 1 MiB, due together in 10 s, held by nobody
		sc.need(i, 10*time.Second)
	}
	work := seconds(float64(16*pieceBytes)/1e6) + fastCDN.FirstByte + fastCDN.Margin
	require.Empty(t, sc.rescued(fastCDN))
	sc.advance(10*time.Second - work - 10*time.Millisecond)
	require.Empty(t, sc.rescued(fastCDN), "there is still time")
	sc.advance(20 * time.Millisecond)
	require.Len(t, sc.rescued(fastCDN), 16)
}

func TestRescueLooksAtEveryDeadlineNotOnlyTheFirst(t *testing.T) {
	sc := newScenario(t)
	sc.need(0, 5*time.Second)
	for i := uint32(1); i <= 100; i++ { // 6.5 MB due in 7 s: no way unless it starts now
		sc.need(i, 7*time.Second)
	}
	require.Len(t, sc.rescued(fastCDN), 101)
}

func TestWhatSeedsWillDeliverIsNotRescued(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.proven(1, 1_000_000)
	for i := range uint32(10) {
		sc.need(i, 1500*time.Millisecond, 1)
	}
	require.Empty(t, sc.rescued(fastCDN), "0.66 MB at 1 MB/s")
	sc.s.Freeze(sc.now, 1, 0)
	require.Len(t, sc.rescued(fastCDN), 10, "a frozen seed delivers nothing")
}

func TestOnlyWhatSeedsCannotCarryIsRescued(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.proven(1, 500_000)
	for i := range uint32(20) { // 1.3 MB due in 1.4 s: the seed carries about half
		sc.need(i, 1400*time.Millisecond, 1)
	}
	n := len(sc.rescued(fastCDN))
	require.Greater(t, n, 7)
	require.Less(t, n, 14)
}

func TestStartUpIsSharedByWhoeverIsFirst(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.proven(1, 1_000_000)
	for i := range uint32(10) {
		sc.need(i, 0, 1)
	}
	gaps := sc.rescued(fastCDN)
	require.NotEmpty(t, gaps)
	require.Less(t, len(gaps), 10)
	require.True(t, gaps[0].Late)
}

func TestChunksJustAskedOfASeedAreLeftToIt(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.need(1, 0, 1)
	require.Len(t, sc.asks()[1], 1)
	require.Empty(t, sc.rescued(fastCDN))
	sc.advance(20*time.Millisecond + answerGrace)
	require.Len(t, sc.rescued(fastCDN), 1, "it did not even begin to answer")
}

func TestFailedPieceAvoidsItsSources(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1, 2)
	sc.need(1, 40*time.Second, 1)
	sc.asks()
	sc.s.Arrived(sc.now, 1, piece(1), whole)
	sc.s.Failed(sc.now, piece(1))
	require.Equal(t, whole, sc.s.Missing(piece(1)))
	require.Equal(t, piece(1), sc.rescued(fastCDN)[0].Piece, "nobody trusted has it: the CDN")
	sc.s.Holds(sc.now, 2, piece(1), true)
	asks := sc.asks()
	require.Len(t, asks[2], 1)
	require.Empty(t, asks[1])
}

func TestDepartedSeedsAsksAreOpenAgain(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1, 2)
	sc.need(1, 5*time.Second, 1, 2)
	first := sc.asks()[1][0].Mask
	sc.s.Arrived(sc.now, 1, piece(1), first&-first)
	sc.s.SeedDown(sc.now, 1)
	require.Equal(t, first&^(first&-first), sc.asks()[2][0].Mask)
	require.Equal(t, Departed, sc.s.Sources(piece(1))[0].Seed, "a later owner of the slot is not blamed")
}

func TestFirstCopiesFollowTheLot(t *testing.T) {
	for _, tc := range []struct {
		name                        string
		waited, member, slack, lead time.Duration
		n                           int
		low, high                   float64
	}{
		{"alone, at once", 0, 0, time.Minute, 0, 1, math.Inf(1), math.Inf(1)},
		{"a new member looks around first", 500 * time.Millisecond, 500 * time.Millisecond, time.Minute, 0, 10, 0, 0},
		{"swarm unknown: look around", 0, 0, time.Minute, 0, 0, 0, 0},
		{"swarm unknown: then alone", 3 * time.Second, 3 * time.Second, time.Minute, 0, 0, math.Inf(1), math.Inf(1)},
		{"near the start", 2 * time.Second, time.Hour, time.Minute, 0, 10, 0.25, 0.3},
		{"half of the time", 27 * time.Second, time.Hour, 33 * time.Second, 0, 10, 1.4, 1.7},
		{"the player will ask soon", 27 * time.Second, time.Hour, 33 * time.Second, 30 * time.Second, 10, 3, 5},
		{"nobody came", 53 * time.Second, time.Hour, 7 * time.Second, 0, 10, 9, 10},
		{"urgent", 55 * time.Second, time.Hour, 5 * time.Second, 0, 10, math.Inf(1), math.Inf(1)},
		{"live: a new segment is nobody's at first", 0, time.Hour, 4 * time.Second, 0, 10, 0.25, 0.25},
		{"live: and half of the time is left for its way through the swarm", time.Second, time.Hour, 3 * time.Second, 0, 10, 1.4, 1.7},
		{"live: then anybody's", 2 * time.Second, time.Hour, 2 * time.Second, 0, 10, math.Inf(1), math.Inf(1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := Copies(tc.waited, tc.member, tc.slack, tc.lead, tc.n)
			require.GreaterOrEqual(t, k, tc.low)
			require.LessOrEqual(t, k, tc.high)
		})
	}
}

// A neighbor that says that it fetches a piece is waited for, once.
func TestAPieceThatIsComingIsNotTakenAgain(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	sc.s.Need(sc.now, Need{Piece: piece(1), Full: ^uint64(0), Deadline: sc.now.Add(4 * time.Second), Swarm: 2, Lot: 0.01, Joined: sc.now.Add(-time.Hour)})
	require.Len(t, sc.s.FirstCopies(sc.now, 1<<20, nil), 1, "it would be ours to take")
	sc.s.Coming(sc.now, 1, piece(1))
	sc.s.Coming(sc.now, 7, piece(1)) // not connected
	sc.s.Coming(sc.now, 1, piece(9)) // not needed
	require.Empty(t, sc.s.FirstCopies(sc.now, 1<<20, nil))
	sc.advance(comingPatience - time.Millisecond)
	require.Empty(t, sc.s.FirstCopies(sc.now, 1<<20, nil))
	sc.s.Coming(sc.now, 1, piece(1))
	sc.advance(time.Millisecond)
	require.Len(t, sc.s.FirstCopies(sc.now, 1<<20, nil), 1, "who says so again is not believed")
}

// Thirty seeds have room for four pieces each; a line of 2 Mbit/s carries four.
func TestOutstandingIsBoundedByTheOwnLine(t *testing.T) {
	sc := newScenario(t)
	var all []Seed
	for id := range Seed(30) {
		all = append(all, id)
	}
	sc.seedUp(all...)
	for i := range uint32(200) {
		sc.need(i, time.Minute, all...)
	}
	asked := func() (bytes int) {
		for _, asks := range sc.asks() {
			for _, a := range asks {
				bytes += chunkBytes(a.Mask)
			}
		}
		return bytes
	}
	require.Equal(t, lineUnknown, asked(), "of a line that is not known")
	for range 20 { // 250 kB/s, from the CDN
		sc.advance(100 * time.Millisecond)
		sc.s.FetchedCDN(sc.now, piece(999), ^uint64(0)>>(ChunksPerPiece-25))
	}
	for id := range Seed(30) {
		sc.s.SeedDown(sc.now, id)
	}
	sc.seedUp(all...)
	for i := range uint32(200) {
		for _, id := range all {
			sc.s.Holds(sc.now, id, piece(i), true)
		}
	}
	require.Equal(t, lineLeast, asked())
}

func TestFastLineShowsItselfBeforeItsFirstSample(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	require.Equal(t, lineUnknown, sc.s.line.most())
	for range 8 { // half a megabyte at once
		sc.s.FetchedCDN(sc.now, piece(999), whole)
	}
	const arrived = 8 * ChunksPerPiece * ChunkBytes
	require.Equal(t, 5*arrived/2, sc.s.line.most(), "as much as it brings in lineAhead, if it brought no more in lineWindow")
}

// What the CDN is to bring comes down the same line, but seeds keep half of it.
func TestCDNTakesItsShareOfTheLine(t *testing.T) {
	sc := newScenario(t)
	sc.seedUp(1)
	for i := range uint32(20) {
		sc.need(i, time.Minute, 1)
		sc.need(100+i, time.Minute)
	}
	sc.s.TakenByCDN(sc.now, piece(100), whole)
	require.Equal(t, lineUnknown-chunkBytes(whole), sc.s.lineRoom())
	for i := range uint32(20) {
		sc.s.TakenByCDN(sc.now, piece(100+i), whole)
	}
	require.Equal(t, lineUnknown/2, sc.s.lineRoom())
	sc.s.FetchedCDN(sc.now, piece(100), quarter)
	sc.s.ReleasedByCDN(piece(101), whole)
	for i := range uint32(20) {
		sc.s.Forget(sc.now, piece(100+i))
	}
	require.Equal(t, lineUnknown, sc.s.lineRoom())
}

// Two seeds send 64 KiB each down a line of 250 kB/s: neither has failed while
// the other's data may stand before its own.
func TestSeedBehindOthersOnTheOwnLineIsNotStalled(t *testing.T) {
	silence := func(others bool) time.Duration {
		sc := newScenario(t)
		for range 20 {
			sc.advance(100 * time.Millisecond)
			sc.s.FetchedCDN(sc.now, piece(999), ^uint64(0)>>(ChunksPerPiece-25))
		}
		sc.seedUp(1, 2)
		if others {
			sc.need(1, time.Minute, 1)
			sc.asks()
		}
		sc.need(2, time.Minute, 2)
		require.NotEmpty(t, sc.asks()[2])
		for wait := time.Duration(0); ; wait += 10 * time.Millisecond {
			if sc.s.Expire(sc.now).Has(2) {
				return wait
			}
			sc.advance(10 * time.Millisecond)
		}
	}
	require.InDelta(t, 0.25, (silence(true) - silence(false)).Seconds(), 0.02)
}

func TestLotsAreUniformAndDifferByPeer(t *testing.T) {
	var below [10]int
	for i := range uint32(10_000) {
		lot := Lot([32]byte{1}, i, 0.3)
		require.GreaterOrEqual(t, lot, 0.0)
		require.Less(t, lot, 1.0)
		below[int(lot*10)]++
	}
	for _, n := range below {
		require.InDelta(t, 1000, n, 120)
	}
	require.NotEqual(t, Lot([32]byte{1}, 7, 0.3), Lot([32]byte{1}, 7, 0.4))
	require.Equal(t, Lot([32]byte{1}, 7, 0.3), Lot([32]byte{1}, 7, 0.3))
}

func TestScoreRanksByQoS(t *testing.T) {
	good := seed{success: 1, holds: 10, rtt: 10 * time.Millisecond, meter: meter{rate: 4e6}}
	better := func(worse func(*seed)) {
		d := good
		worse(&d)
		require.Greater(t, good.score(10), d.score(10))
	}
	better(func(d *seed) { d.holds = 3 })
	better(func(d *seed) { d.success = 0.5 })
	better(func(d *seed) { d.loss = 0.2 })
	better(func(d *seed) { d.meter.rate = 1e5 })
	better(func(d *seed) { d.rtt = 300 * time.Millisecond })
	better(func(d *seed) { d.freezeCount = 3 })
	require.LessOrEqual(t, good.score(10), 1.0)
}

func TestCDNMeterMeasuresTheLineAndTheTail(t *testing.T) {
	now := time.Unix(0, 0)
	m := NewCDNMeter(now)
	require.Equal(t, float64(priorCDNRate), m.Estimate().BytesPerSec)
	for i := range 20 {
		m.Started(now)
		for range 10 {
			now = now.Add(50 * time.Millisecond)
			m.Received(now, 100_000)
		}
		m.Done(now, time.Duration(10+i)*time.Millisecond)
		now = now.Add(time.Hour) // idle time is no measurement
	}
	est := m.Estimate()
	require.InDelta(t, 2e6, est.BytesPerSec, 0.1e6)
	require.Equal(t, 28*time.Millisecond, est.FirstByte)
}
