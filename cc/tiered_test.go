package cc

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Whole flows in the model of link_test.go, one story for each amendment to the
// talk's rules (docs/congestion-control.md). Thresholds leave room below what was seen
// with several seeds.

// measure lets time pass and returns the flow's share of the link, the part of its
// packets that was lost for good, and the 95th percentile of their time in the queue.
func (f *flow) measure(d time.Duration) (share, lost float64, queue time.Duration) {
	bytes, before, sent := f.delivered, f.r.Stats(), f.next
	f.delays = f.delays[:0]
	f.w.run(d)
	after := f.r.Stats()
	gone := int(after.LostPackets-after.LatePackets) - int(before.LostPackets-before.LatePackets)
	slices.Sort(f.delays)
	if n := len(f.delays); n > 0 {
		queue = f.delays[n*95/100]
	}
	return f.share(bytes, d), float64(gone) / float64(max(f.next-sent, 1)), queue
}

func jain(shares ...float64) float64 {
	var sum, squares float64
	for _, x := range shares {
		sum += x
		squares += x * x
	}
	return sum * sum / (float64(len(shares)) * squares)
}

func TestRandomLossIsNotCongestion(t *testing.T) {
	for _, loss := range []float64{0, 0.01, 0.03, 0.05} {
		w := newWorld(pathMbit, pathBDP)
		f, _ := w.addTiered(Fast, pathRTT)
		f.lossRate = loss
		w.run(6 * time.Second)
		share, lost, _ := f.measure(15 * time.Second)
		t.Logf("loss %.2f: share %.3f, lost %.4f", loss, share, lost)
		require.Greater(t, share, 0.97*(1-loss))
		require.Less(t, lost, loss+0.01)
	}
}

func TestLossInBurstsIsNotCongestion(t *testing.T) {
	w := newWorld(pathMbit, pathBDP)
	f, _ := w.addTiered(Fast, pathRTT)
	f.lossRate, f.burstLoss = 0.02, 10
	w.run(6 * time.Second)
	share, lost, _ := f.measure(15 * time.Second)
	t.Logf("share %.3f, lost %.4f", share, lost)
	require.Greater(t, share, 0.88)
}

// On a thin line the least window is a queue of its own; taken for somebody else's,
// it would be competed with: seconds of it, and 12 % lost.
func TestThinLineIsNotCompetedFor(t *testing.T) {
	for _, tier := range []Tier{Fast, Medium, Slow} {
		for _, mbitPerSec := range []float64{0.2, 0.4, 0.6, 1} {
			w := newWorld(mbitPerSec, 64<<10)
			f, _ := w.addTiered(tier, 30*ms)
			w.run(10 * time.Second)
			share, lost, queue := f.measure(30 * time.Second)
			t.Logf("%v, %.1f Mbit/s: share %.3f, lost %.4f, queue %v", tier, mbitPerSec, share, lost, queue)
			require.Greater(t, share, 0.93)
			require.Zero(t, lost)
			require.Less(t, queue, 300*ms)
		}
	}
}

// The pipe is short while the delay is at its lowest: a window without J would
// hold less than the path does.
func TestJitterDoesNotEmptyThePipe(t *testing.T) {
	run := func(c Controller, batched bool) (share float64, queue time.Duration) {
		w := newWorld(pathMbit, pathBDP)
		f := w.addFlow(c, pathRTT)
		f.batchedAcks, f.lossRate, f.jitter = batched, 0.03, 20*ms
		w.run(6 * time.Second)
		share, _, queue = f.measure(20 * time.Second)
		return share, queue
	}
	fast, queue := run(NewTiered(modelStart, Fast), true)
	cubic, _ := run(NewCubic(modelStart), false)
	t.Logf("fast %.3f with queues of %v, cubic %.3f", fast, queue, cubic)
	require.Greater(t, fast, 0.95, "0.948 without what chance loses more than its mean")
	require.Less(t, queue, 39*ms)
	require.Greater(t, fast, 8*cubic)
}

// What jitter makes of round trips and rates is no reason to send more or less: the talk's
// picture of a window that stands still. Drains for a queue that jitter has feigned are the
// other half of it.
func TestJitterLeavesTheWindowAlone(t *testing.T) {
	var moves []float64
	drains := 0
	for seed := range uint64(8) {
		w := newWorld(pathMbit, pathBDP)
		w.rng = rand.New(rand.NewPCG(seed, 2))
		f, c := w.addTiered(Fast, pathRTT)
		f.jitter = 20 * ms
		w.run(2 * time.Second)
		var sum, squares float64
		const samples = 600
		draining := false
		for range samples {
			w.run(20 * ms)
			window := float64(c.WindowBytes())
			sum, squares = sum+window, squares+window*window
			if c.phase == drainTest && !draining {
				drains++
			}
			draining = c.phase == drainTest
		}
		mean := sum / samples
		moves = append(moves, math.Sqrt(squares/samples-mean*mean)/mean)
	}
	slices.Sort(moves)
	t.Logf("coefficients of variation %.3f, %d drains", moves, drains)
	require.Less(t, moves[len(moves)/2], 0.067)
	require.Less(t, drains, 2)
}

// A window that jitter leaves alone follows the capacity all the same.
func TestCapacityThatComesUnderJitterIsFound(t *testing.T) {
	for seed := range uint64(4) {
		w := newWorld(pathMbit/2, pathBDP)
		w.rng = rand.New(rand.NewPCG(seed, 2))
		f, _ := w.addTiered(Fast, pathRTT)
		f.jitter = 20 * ms
		w.run(8 * time.Second)
		w.rateBytesPerSec *= 4
		w.run(2 * time.Second)
		share, _, _ := f.measure(2 * time.Second)
		t.Logf("two seconds after: %.3f", share)
		require.Greater(t, share, 0.75)
	}
}

func TestReorderingIsNotLoss(t *testing.T) {
	w := newWorld(pathMbit, pathBDP)
	f, _ := w.addTiered(Fast, pathRTT)
	f.shake = 20 * ms
	w.run(5 * time.Second)
	before := f.r.Stats().LatePackets
	share, _, _ := f.measure(15 * time.Second)
	spurious := float64(f.r.Stats().LatePackets-before) / float64(f.r.Stats().SentPackets)
	t.Logf("share %.3f, taken for lost %.4f", share, spurious)
	require.Greater(t, share, 0.93)
	require.Less(t, spurious, 0.002)
}

func TestQueueOfALoneFlowIsShort(t *testing.T) {
	for _, tier := range []Tier{Fast, Medium, Slow} {
		w := newWorld(pathMbit, 4*pathBDP)
		f, _ := w.addTiered(tier, pathRTT)
		w.run(5 * time.Second)
		share, lost, queue := f.measure(15 * time.Second)
		t.Logf("%v: share %.3f, lost %.4f, queue %v", tier, share, lost, queue)
		require.Greater(t, share, 0.94)
		require.Zero(t, lost)
		require.Less(t, queue, 17*ms)
	}
}

// With the talk's lifetime rttMax, the queue of the narrow quarter of a minute would
// make every later loss look harmless: 97 % of what is sent is lost.
func TestCapacityDropsAndComesBackWithoutCollapse(t *testing.T) {
	w := newWorld(pathMbit, 2*pathBDP)
	f, _ := w.addTiered(Fast, pathRTT)
	w.run(10 * time.Second)

	w.rateBytesPerSec /= 4
	w.run(600 * ms) // what was under way alone takes 160 ms to leave
	var queue time.Duration
	for range 50 {
		w.run(10 * ms)
		queue = max(queue, w.queueDelay())
	}
	t.Logf("queue within the next half second: %v", queue)
	require.Less(t, queue, 45*ms)
	share, lost, _ := f.measure(8 * time.Second)
	t.Logf("at a quarter of the capacity: share %.3f, lost %.4f", share, lost)
	require.Greater(t, share, 0.9)
	require.Less(t, lost, 0.03)

	w.rateBytesPerSec *= 4
	w.run(3 * time.Second)
	share, lost, _ = f.measure(8 * time.Second)
	t.Logf("at the old capacity again: share %.3f, lost %.4f", share, lost)
	require.Greater(t, share, 0.93)
	require.Less(t, lost, 0.01, "no loss is taken for harmless because a queue once was deep")
}

// A policer drops what a probe adds and delays nothing: making up for such losses
// by sending more would go on for ever.
func TestPacedFlowPassesAPolicer(t *testing.T) {
	w := newPolicer(pathMbit, 16<<10)
	f, _ := w.addTiered(Fast, pathRTT)
	w.run(5 * time.Second)
	share, lost, _ := f.measure(20 * time.Second)
	t.Logf("share %.3f, lost %.4f", share, lost)
	require.Greater(t, share, 0.95)
	require.Less(t, lost, 0.03)
}

func TestFourFlowsShareFairly(t *testing.T) {
	fourFlowsShareFairly(t, func(*world, []*flow) {})
}

// A round trip as no queue makes it, once, must not let all that a full queue drops
// pass for the path's own losses: the queue would stay full.
func TestFourFlowsSurviveAStall(t *testing.T) {
	fourFlowsShareFairly(t, func(w *world, flows []*flow) {
		for _, f := range flows {
			f.stall = w.now.Add(100 * ms)
		}
		w.run(time.Second)
	})
}

// What a flow makes of the others depends on who drains when, and so on the start.
func fourFlowsShareFairly(t *testing.T, disturb func(*world, []*flow)) {
	for _, queueBytes := range []int{pathBDP / 2, pathBDP, 4 * pathBDP} {
		for start := range 3 {
			shares, lost := fourFlows(queueBytes, time.Duration(start)*10*ms, disturb)
			t.Logf("queue of %d bytes: shares %.3f, Jain %.3f, lost %.4f", queueBytes, shares, jain(shares...), lost)
			require.Greater(t, jain(shares...), 0.9)
			require.Less(t, lost, 0.02)
		}
	}
}

func fourFlows(queueBytes int, offset time.Duration, disturb func(*world, []*flow)) (shares []float64, lost float64) {
	w := newWorld(pathMbit, queueBytes)
	var flows []*flow
	for range 4 {
		f, _ := w.addTiered(Fast, pathRTT)
		flows = append(flows, f)
		w.run(3*time.Second + offset)
	}
	w.run(5 * time.Second)
	disturb(w, flows)
	before, all := make([]int, 4), Stats{}
	for i, f := range flows {
		before[i] = f.delivered
		all.SentPackets -= f.r.Stats().SentPackets
		all.LostPackets -= f.r.Stats().LostPackets
	}
	w.run(40 * time.Second)
	for i, f := range flows {
		shares = append(shares, f.share(before[i], 40*time.Second))
		all.SentPackets += f.r.Stats().SentPackets
		all.LostPackets += f.r.Stats().LostPackets
	}
	return shares, float64(all.LostPackets) / float64(all.SentPackets)
}

func TestSlowYieldsToCubic(t *testing.T) {
	for _, queueBytes := range []int{pathBDP / 2, pathBDP, 4 * pathBDP} {
		w := newWorld(pathMbit, queueBytes)
		cubic := w.addFlow(NewCubic(w.now), pathRTT)
		w.run(5 * time.Second)
		slow, _ := w.addTiered(Slow, pathRTT)
		w.run(5 * time.Second)
		before := slow.delivered
		share, _, _ := cubic.measure(15 * time.Second)
		took := slow.share(before, 15*time.Second)
		t.Logf("queue of %d bytes: Cubic %.3f, SLOW %.3f", queueBytes, share, took)
		require.Less(t, took, 0.05)
		require.Greater(t, took, 0.0, "it is not starved either")
		require.Greater(t, share, 0.9)
	}
}

func TestFastLeavesCubicItsPlace(t *testing.T) {
	const starts = 4 // which of the two loses when the queue is full is a matter of moments
	total := 0.0
	for start := range starts {
		w := newWorld(pathMbit, pathBDP)
		cubic := w.addFlow(NewCubic(w.now), pathRTT)
		w.run(5*time.Second + time.Duration(start)*130*time.Millisecond)
		_, c := w.addTiered(Fast, pathRTT)
		w.run(10 * time.Second)
		share, _, _ := cubic.measure(40 * time.Second)
		t.Logf("Cubic keeps %.3f", share)
		require.Greater(t, share, 0.35)
		total += share

		cubic.sending = false
		w.run(15 * time.Second)
		require.NotEqual(t, "compete", c.Mode(), "nobody else is there any more")
	}
	require.Less(t, total/starts, 0.7, "and FAST takes its own")
}

func TestTierSwitchYieldsAtOnceAndComesBackSoon(t *testing.T) {
	w := newWorld(pathMbit, pathBDP)
	w.addFlow(NewCubic(w.now), pathRTT)
	w.run(300 * ms)
	f, c := w.addTiered(Fast, pathRTT)
	w.run(15 * time.Second)
	window := f.r.WindowBytes()
	former := float64(window)
	c.SetTier(w.now, Slow)
	require.LessOrEqual(t, f.r.WindowBytes(), window)
	w.run(time.Second)
	share, _, _ := f.measure(5 * time.Second)
	t.Logf("after a second of SLOW: %.3f", share)
	require.Less(t, share, 0.1)

	window = f.r.WindowBytes()
	c.SetTier(w.now, Fast)
	require.LessOrEqual(t, f.r.WindowBytes(), max(window, minTieredWindow), "the window does not jump")
	require.InEpsilon(t, aimOfFormer*former, c.compete.aim, 0.01, "it goes for what it had")
	w.run(3 * time.Second)
	share, _, _ = f.measure(5 * time.Second)
	t.Logf("after three seconds of FAST: %.3f", share)
	require.Greater(t, share, 0.4)
}

func TestTierSwitchOfALoneFlowCostsNothing(t *testing.T) {
	w := newWorld(pathMbit, pathBDP)
	f, c := w.addTiered(Fast, pathRTT)
	w.run(8 * time.Second)
	for _, tier := range []Tier{Slow, Fast, Medium, Fast} {
		c.SetTier(w.now, tier)
		require.Equal(t, tier, c.Tier())
		share, _, _ := f.measure(4 * time.Second)
		t.Logf("%v: %.3f", tier, share)
		require.Greater(t, share, 0.85)
	}
}

// A viewer who seeks to and fro changes the tier every few seconds. What the flow did
// to the queue itself must not pass for somebody else: it would compete with nobody,
// and overflow the queue each time.
func TestTierFlipsOfALoneFlowAreNotACompetition(t *testing.T) {
	w := newWorld(pathMbit, pathBDP)
	_, c := w.addTiered(Fast, pathRTT)
	w.run(8 * time.Second)
	drops, competed := w.queueDrops, 0
	for range 10 {
		c.SetTier(w.now, Slow)
		w.run(3 * time.Second)
		c.SetTier(w.now, Fast)
		w.run(3 * time.Second)
		if c.compete.on {
			competed++
		}
	}
	t.Logf("%d packets dropped, %d of 10 times competing", w.queueDrops-drops, competed)
	require.Zero(t, competed)
	require.Less(t, w.queueDrops-drops, 100)
}

// A Cubic's full queue drops something of whoever comes back, at a few packets as well as
// at many: one early loss must not leave a flow that had half of the link with a tenth.
// But what it had may be there no longer.
func TestSlowStartGoesForTheFormerWindow(t *testing.T) {
	var x competition
	x.enter(20*PacketBytes, 0.8)
	x.slowStart, x.aim = true, 64*PacketBytes
	x.backOff(0.8, minCompeteBytes)
	require.True(t, x.slowStart)
	x.windowBytes = 80 * PacketBytes
	x.backOff(0.8, minCompeteBytes)
	require.False(t, x.slowStart)

	x.enter(20*PacketBytes, 0.8)
	x.slowStart, x.aim = true, 64*PacketBytes
	for range 4 {
		x.windowBytes = 20 * PacketBytes
		x.backOff(0.8, minCompeteBytes)
	}
	require.False(t, x.slowStart)
}

// After a short pause the path is still known; after a long one it is not
// (RFC 7661), and the next window is an initial one.
func TestPauseKeepsWhatTheFiltersWouldKeep(t *testing.T) {
	for _, tc := range []struct {
		pause time.Duration
		mode  string
	}{{2 * time.Second, "cruise"}, {30 * time.Second, "startup"}} {
		w := newWorld(pathMbit, pathBDP)
		f, c := w.addTiered(Fast, pathRTT)
		w.run(5 * time.Second)
		f.sending = false
		w.run(tc.pause)
		require.Zero(t, f.r.InFlightBytes())
		drops := w.queueDrops
		f.sending = true
		f.send()
		require.Equal(t, tc.mode, c.Mode())
		require.LessOrEqual(t, f.r.InFlightBytes(), InitialWindowBytes, "paced, whatever the window is")
		w.run(2 * time.Second)
		share, _, _ := f.measure(3 * time.Second)
		t.Logf("after %v: %.3f", tc.pause, share)
		require.Greater(t, share, 0.9)
		if tc.mode == "cruise" {
			require.Equal(t, drops, w.queueDrops, "nothing overflows")
		}
	}
}

func TestCongestionMarkIsCongestionWhateverTheDelay(t *testing.T) {
	w := newWorld(pathMbit, pathBDP)
	f, c := w.addTiered(Fast, pathRTT)
	w.run(8 * time.Second)
	f.sending = false
	rate := c.rate()
	sample := Sample{AckedBytes: PacketBytes, AckedPackets: 1, SentAt: w.now, RTT: pathRTT, SmoothedRTT: pathRTT, MinRTT: pathRTT}
	c.Acked(w.now.Add(pathRTT), sample)
	require.InEpsilon(t, rate, c.rate(), 0.05)
	sample.CEPackets = 1
	c.Acked(w.now.Add(pathRTT), sample)
	require.Less(t, c.rate(), 0.85*rate)
	backedOff := c.rate()
	c.Acked(w.now.Add(pathRTT), sample)
	require.InEpsilon(t, backedOff, c.rate(), 0.01, "once per flight")
}

// lies are what a receiver may claim to get more than its due.
var lies = map[string]func(*flow){
	"acknowledges ahead": func(f *flow) {
		f.lie = func(f *flow, honest []Range) []Range { return []Range{{0, honest[0].Last + 20}} }
	},
	"acknowledges ahead what was surely sent": func(f *flow) {
		f.lie = func(f *flow, honest []Range) []Range { return []Range{{0, min(honest[0].Last+20, f.next-1)}} }
	},
	"conceals losses": func(f *flow) {
		f.lie = func(_ *flow, honest []Range) []Range { return []Range{{0, honest[0].Last}} }
	},
	"claims that the path is shorter": func(f *flow) { f.claimed = time.Hour },
	"claims a negative delay":         func(f *flow) { f.claimed = -time.Hour },
}

func TestLyingReceiverGainsNothing(t *testing.T) {
	run := func(tier Tier, lie func(*flow)) *flow {
		w := newWorld(pathMbit, pathBDP)
		f, _ := w.addTiered(tier, pathRTT)
		f.skips, f.lossRate = true, 0.01
		lie(f)
		w.run(15 * time.Second)
		return f
	}
	for _, tier := range []Tier{Fast, Slow} {
		honest := run(tier, func(*flow) {})
		require.NoError(t, honest.refused)
		for name, lie := range lies {
			f := run(tier, lie)
			t.Logf("%v, %s: %.3f of an honest receiver's, closed: %v", tier, name, float64(f.delivered)/float64(honest.delivered), f.refused)
			require.Less(t, float64(f.delivered), 1.05*float64(honest.delivered), name)
			if f.lie != nil {
				require.ErrorIs(t, f.refused, ErrNeverSent, name)
			}
		}
	}
}

// Who begins to lie in the midst of it, beside an honest receiver, is closed before it has
// taken more than its due.
func TestLyingReceiverTakesNothingFromAnother(t *testing.T) {
	run := func(lie func(*flow)) (delivered int, f *flow) {
		const starts = 4
		for start := range time.Duration(starts) {
			w := newWorld(pathMbit, pathBDP)
			f, _ = w.addTiered(Fast, pathRTT)
			f.skips = true
			w.run(500 * ms)
			w.addTiered(Fast, pathRTT)
			w.run(5*time.Second + start*130*ms)
			before := f.delivered
			lie(f)
			w.run(5 * time.Second)
			delivered += f.delivered - before
		}
		return delivered, f
	}
	honest, f := run(func(*flow) {})
	require.NoError(t, f.refused)
	for name, lie := range lies {
		delivered, f := run(lie)
		t.Logf("%s: %.3f of an honest receiver's, closed: %v", name, float64(delivered)/float64(honest), f.refused)
		require.Less(t, float64(delivered), 1.05*float64(honest), name)
		if f.lie != nil {
			require.ErrorIs(t, f.refused, ErrNeverSent, name)
		}
	}
}

func TestTiersHaveNamesAndBounds(t *testing.T) {
	require.Equal(t, "fast", Fast.String())
	require.Equal(t, "slow", Tier(200).String())
	require.Equal(t, Slow, NewTiered(modelStart, 200).Tier())
}
