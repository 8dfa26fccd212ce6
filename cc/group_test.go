package cc

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// addGroup adds channels of one node, so long after each other.
func (w *world) addGroup(g *Group, channels int, apart time.Duration) (flows []*flow) {
	for range channels {
		f := w.addFlow(g.NewTiered(w.now, Fast), pathRTT)
		f.batchedAcks = true
		flows = append(flows, f)
		w.run(apart)
	}
	return flows
}

// keptBeside is what a Cubic keeps of the link beside what joins it: the mean of some
// starts, for which of them loses when the queue is full is a matter of moments.
func keptBeside(queueBytes, starts int, join func(w *world)) (share float64) {
	for start := range starts {
		w := newWorld(pathMbit, queueBytes)
		cubic := w.addFlow(NewCubic(w.now), pathRTT)
		w.run(5*time.Second + time.Duration(start)*130*ms)
		join(w)
		w.run(10 * time.Second)
		kept, _, _ := cubic.measure(30 * time.Second)
		share += kept / float64(starts)
	}
	return share
}

// However many channels a node has, a Cubic keeps 0.8 of what it keeps beside another
// Cubic at least, as beside one FAST flow. Each for itself, eight leave it 0.07 of the
// link in half a BDP.
func TestGroupTakesOneFlowsPlace(t *testing.T) {
	for _, tc := range []struct {
		queueBytes, starts int // in short queues chance decides more
		channels           []int
	}{
		{pathBDP / 2, 10, []int{2, 4, 8}},
		{pathBDP, 1, []int{2, 4, 8}},
		{4 * pathBDP, 1, []int{4, 8}},
	} {
		equal := keptBeside(tc.queueBytes, tc.starts, func(w *world) { w.addFlow(NewCubic(w.now), pathRTT) })
		for _, n := range tc.channels {
			t.Run(fmt.Sprintf("%d channels, queue of %d bytes", n, tc.queueBytes), func(t *testing.T) {
				t.Parallel()
				kept := keptBeside(tc.queueBytes, tc.starts, func(w *world) {
					var g Group
					w.addGroup(&g, n, 500*ms)
				})
				t.Logf("Cubic keeps %.3f, beside another Cubic %.3f", kept, equal)
				require.GreaterOrEqual(t, kept, 0.8*equal)
			})
		}
	}
}

// With a least window for each, thirty-two would fill a short queue by that alone.
func TestCrowdOfAGroupHasSmallWindows(t *testing.T) {
	kept := keptBeside(pathBDP, 1, func(w *world) {
		var g Group
		w.addGroup(&g, 32, 100*ms)
	})
	t.Logf("Cubic keeps %.3f", kept)
	require.Greater(t, kept, 0.3)
}

func TestGroupSharesEvenly(t *testing.T) {
	for _, queueBytes := range []int{pathBDP / 2, pathBDP, 4 * pathBDP} {
		w := newWorld(pathMbit, queueBytes)
		var g Group
		flows := w.addGroup(&g, 4, 500*ms)
		w.run(10 * time.Second)
		before := make([]int, len(flows))
		for i, f := range flows {
			before[i] = f.delivered
		}
		w.run(20 * time.Second)
		sum, squares := 0.0, 0.0
		for i, f := range flows {
			x := f.share(before[i], 20*time.Second)
			sum, squares = sum+x, squares+x*x
		}
		jain := sum * sum / (4 * squares)
		t.Logf("queue of %d bytes: %.3f of the link, Jain %.3f", queueBytes, sum, jain)
		require.Greater(t, sum, 0.95)
		require.Greater(t, jain, 0.95)
	}
}

// Eight channels to eight leeches, each with a bottleneck of its own, one beside a
// Cubic and one that loses 3 %: the others' losses are none of theirs.
func TestGroupSparesWhoHasAnotherBottleneck(t *testing.T) {
	var g Group
	var worlds []*world
	var flows []*flow
	for i := range 8 {
		w := newWorld(pathMbit, pathBDP/2)
		if i == 0 {
			w.addFlow(NewCubic(w.now), pathRTT)
		}
		f := w.addGroup(&g, 1, 0)[0]
		if i == 1 {
			f.lossRate = 0.03
		}
		worlds, flows = append(worlds, w), append(flows, f)
	}
	run := func(d time.Duration) {
		for range d / ms {
			for _, w := range worlds {
				w.run(ms)
			}
		}
	}
	run(10 * time.Second)
	before := make([]int, len(flows))
	for i, f := range flows {
		before[i] = f.delivered
	}
	run(20 * time.Second)
	for i, f := range flows {
		share := f.share(before[i], 20*time.Second)
		t.Logf("channel %d: %.3f of its link", i, share)
		switch i {
		case 0:
			require.Greater(t, share, 0.2, "beside a Cubic")
		case 1:
			require.Greater(t, share, 0.9*0.97, "at 3 %% loss")
		default:
			require.Greater(t, share, 0.95)
		}
	}
}

// What is measured of one channel holds for a node that has one.
func TestGroupOfOneIsAlone(t *testing.T) {
	run := func(c func(w *world) *Tiered) int {
		w := newWorld(pathMbit, pathBDP)
		w.addFlow(NewCubic(w.now), pathRTT)
		f := w.addFlow(c(w), pathRTT)
		f.batchedAcks, f.lossRate, f.jitter = true, 0.01, 5*ms
		w.run(20 * time.Second)
		return f.delivered
	}
	var g Group
	require.Equal(t, run(func(w *world) *Tiered { return NewTiered(w.now, Fast) }), run(func(w *world) *Tiered { return g.NewTiered(w.now, Fast) }))
}

// inCruise is a channel of a group that has 10 Mbit/s of a path of 40 ms.
func inCruise(g *Group, now time.Time) *Tiered {
	c := g.NewTiered(now, Fast)
	c.phase, c.filled, c.inFlight = cruise, true, 50_000
	for i := range 40 {
		c.path.acked(int64(i+1), Sample{RTT: pathRTT, RoundStart: true, DeliveryRate: 1.25e6}, true)
	}
	c.place = g.place(now, c, c.inFlight)
	return c
}

// standInQueue shows the channel round trips of a queue that is nearly full.
func (c *Tiered) standInQueue() {
	for i := range 40 {
		c.path.acked(int64(100+i), Sample{RTT: pathRTT + 30*ms}, true)
	}
}

// oneQueueOfTwo is a group of which two channels stand in the same queue, and the moment
// at which it is about to overflow.
func oneQueueOfTwo() (now time.Time, one, other, elsewhere *Tiered) {
	g := new(Group)
	one, other, elsewhere = inCruise(g, modelStart), inCruise(g, modelStart), inCruise(g, modelStart)
	one.standInQueue()
	other.standInQueue()
	return modelStart.Add(100 * ms), one, other, elsewhere
}

// One loses a packet where the queue overflows: who stands in that queue slows down
// with it, once, and who has a queue of its own that is low does not.
func TestOverflowSlowsDownAllInTheQueueOnce(t *testing.T) {
	now, one, other, elsewhere := oneQueueOfTwo()
	one.Lost(now, Loss{Bytes: PacketBytes, Packets: 1, SentAt: now.Add(-70 * ms), InFlight: 50_000})
	require.InDelta(t, 0.8*1.25e6, one.delayBound, 1)
	require.InDelta(t, 0.8*1.25e6, other.delayBound, 1)
	require.Zero(t, elsewhere.delayBound)
	require.Equal(t, 2.0, one.sharers)
	require.Equal(t, 2.0, other.sharers)

	other.Lost(now.Add(ms), Loss{Bytes: PacketBytes, Packets: 1, SentAt: now.Add(-69 * ms), InFlight: 50_000})
	require.InDelta(t, 0.8*1.25e6, one.delayBound, 1, "the same congestion")
	require.InDelta(t, 0.8*1.25e6, other.delayBound, 1, "the same congestion")
}

// Of several that start at once the first loss ends all their startups; alone a flow goes
// on until its bandwidth does not grow.
func TestOverflowEndsTheStartupsOfAGroup(t *testing.T) {
	lose := func(others int) (c *Tiered) {
		var g Group
		now := modelStart
		for range others + 1 {
			c = inCruise(&g, now)
			c.phase, c.filled = startup, false
			c.standInQueue()
		}
		c.Lost(now.Add(100*ms), Loss{Bytes: PacketBytes, Packets: 1, SentAt: now.Add(30 * ms), InFlight: 50_000})
		c.startUp(int64(100*ms), Sample{RoundStart: true, AckedBytes: PacketBytes})
		for _, m := range g.members {
			require.Equal(t, c.start.over, m.start.over)
		}
		return c
	}
	require.Equal(t, startup, lose(0).phase)
	require.Equal(t, drainStartup, lose(3).phase)

	idle := NewTiered(modelStart, Fast)
	idle.start.over = true
	idle.startUp(1, Sample{RoundStart: true, AppLimited: true})
	require.False(t, idle.start.over, "who had little to send did not fill the path")
}

// Requests and announcements to those that a node downloads from take no place.
func TestRequestsTakeNoPlace(t *testing.T) {
	var g Group
	c := inCruise(&g, modelStart)
	for range 10 {
		asking := g.NewTiered(modelStart, Fast)
		asking.inFlight = 150
		require.Equal(t, alone, g.place(modelStart, asking, 300))
	}
	require.Equal(t, alone, g.place(modelStart, c, c.inFlight))
	require.Len(t, g.members, 1)
}

// The controller of a path that was left is nobody, whatever it had in flight.
func TestPathThatWasLeftTakesNoPlace(t *testing.T) {
	var g Group
	old := inCruise(&g, modelStart)
	r := NewRecovery(modelStart, old)
	next := g.NewTiered(modelStart, Fast)
	r.PathChanged(modelStart, next)
	require.Equal(t, alone, g.place(modelStart, next, 10*PacketBytes))
}

// Congestion that others meet later does not count who shared the one before.
func TestLoneCongestionLeavesOthersTheirPace(t *testing.T) {
	now, one, other, elsewhere := oneQueueOfTwo()
	one.congested(now, now.Add(-ms))
	elsewhere.congested(now, now.Add(-ms))
	require.Equal(t, []float64{2, 2, 1}, []float64{one.sharers, other.sharers, elsewhere.sharers})
}

// The faster of a group keeps less and the slower more, so that they come to have the same.
func TestBackOffEvensOut(t *testing.T) {
	var g Group
	fast, slow := inCruise(&g, modelStart), inCruise(&g, modelStart)
	slow.path.bandwidth = windowedMax{}
	slow.path.bandwidth.add(slow.path.round, 250_000, bandwidthRounds)
	fast.place, slow.place = g.place(modelStart, fast, fast.inFlight), g.place(modelStart, slow, slow.inFlight)
	fast.backOff(modelStart)
	slow.backOff(modelStart)
	require.Less(t, fast.delayBound/1.25e6, 0.75)
	require.Greater(t, slow.delayBound/250e3, 0.85)
}

// Who has nothing under way, was not heard of for a second, or yields, takes no place.
func TestSilentChannelsDoNotCount(t *testing.T) {
	var g Group
	now := modelStart
	c, idle, scavenger := inCruise(&g, now), inCruise(&g, now), inCruise(&g, now)
	require.Equal(t, 3.0, g.place(now, c, c.inFlight).channels)
	idle.inFlight = 0
	require.Equal(t, 2.0, g.place(now, c, c.inFlight).channels)
	scavenger.SetTier(now, Slow)
	require.Equal(t, 1.0, g.place(now, c, c.inFlight).channels)
	require.Equal(t, 1.0, g.place(now, scavenger, scavenger.inFlight).channels)

	idle.inFlight = 50_000
	require.Equal(t, 2.0, g.place(now, c, c.inFlight).channels)
	require.Equal(t, 1.0, g.place(now.Add(groupMemory+ms), c, c.inFlight).channels)
	require.Len(t, g.members, 1, "what is gone is forgotten")
}

// Four that compete grow together by no more than one alone.
func TestCompetitorsOfAGroupShareTheGrowthOfOne(t *testing.T) {
	grown := func(flows int) (packets float64) {
		const start = 40 * PacketBytes
		for range flows {
			var x competition
			x.enter(start/float64(flows), 0.8)
			x.backOff(0.8, 0)
			begin := x.windowBytes
			for now := modelStart; now.Before(modelStart.Add(3 * time.Second)); now = now.Add(pathRTT) {
				x.acked(now, int(x.windowBytes), pathRTT, 1/float64(flows))
			}
			packets += (x.windowBytes - begin) / PacketBytes
		}
		return packets
	}
	one, four := grown(1), grown(4)
	t.Logf("one grows by %.1f packets, four by %.1f", one, four)
	require.LessOrEqual(t, four, one)
	require.Positive(t, four)
}
