package emulator

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/replay/trace"
)

const mbit = 1e6 / 8 // bytes per second

// scene narrates packets of 1,000 bytes that arrive at a line.
type scene struct {
	t *testing.T
	s *shaper
}

func start(t *testing.T, l Line) *scene {
	t.Helper()
	require.NoError(t, l.check())
	return &scene{t, newShaper(l, 1)}
}

func (sc *scene) arrives(now, want time.Duration) {
	sc.t.Helper()
	fate, at, _ := sc.s.arrive(now, 1000)
	require.Equal(sc.t, Delivered, fate)
	require.Equal(sc.t, want, at)
}

func (sc *scene) drops(now time.Duration, want Fate) {
	sc.t.Helper()
	fate, _, _ := sc.s.arrive(now, 1000)
	require.Equal(sc.t, want, fate)
}

const ms = time.Millisecond

func TestPacketsTakeTheirTimeOnTheLineAndOnTheWay(t *testing.T) {
	sc := start(t, Line{BytesPerSec: 8 * mbit, Delay: 20 * ms})
	sc.arrives(0, 21*ms)
	sc.arrives(0, 22*ms) // behind the first
	sc.arrives(5*ms, 26*ms)
	sc.arrives(5500*time.Microsecond, 27*ms)
}

func TestQueueDropsAtItsTail(t *testing.T) {
	sc := start(t, Line{BytesPerSec: 8 * mbit, Queue: Queue{Bytes: 4000}})
	for i := range 4 {
		sc.arrives(0, time.Duration(i+1)*ms)
	}
	sc.drops(0, QueueFull)
	sc.drops(999*time.Microsecond, QueueFull)
	sc.arrives(ms, 5*ms) // the first has left
}

func TestQueueInTimeFollowsTheRate(t *testing.T) {
	sc := start(t, Line{
		Steps: []Step{{BytesPerSec: 8 * mbit, Delay: -1}, {At: time.Second, BytesPerSec: 0.8 * mbit, Delay: -1}},
		Queue: Queue{Time: 50 * ms},
	})
	for i := range 50 {
		sc.arrives(0, time.Duration(i+1)*ms)
	}
	sc.drops(0, QueueFull)
	for i := range 5 {
		sc.arrives(time.Second, time.Second+time.Duration(10*(i+1))*ms)
	}
	sc.drops(time.Second, QueueFull)
}

func TestAnyQueueTakesTwoPackets(t *testing.T) {
	sc := start(t, Line{BytesPerSec: 0.08 * mbit, Queue: Queue{Bytes: 1, Time: 1}})
	for i := range 3 {
		sc.arrives(0, time.Duration(i+1)*100*ms)
	}
	sc.drops(0, QueueFull)
}

func TestTraceHoldsItsValuesAndRepeats(t *testing.T) {
	n, err := trace.ReadNetwork(strings.NewReader("t_ms,down_kbps,up_kbps,rtt_ms\n0,8000,,40\n100,0,800,\n200,16000,800,10\n"), "test", trace.Options{})
	require.NoError(t, err)
	require.Equal(t, 300*ms, n.Period())
	down, up := FromTrace(n, Line{BytesPerSec: mbit, Delay: 7 * ms}, Line{BytesPerSec: 80 * mbit, Delay: 7 * ms})

	sc := start(t, down)
	sc.arrives(0, 21*ms)
	sc.arrives(99500*time.Microsecond, 200*ms+250*time.Microsecond+5*ms) // half before the outage, half after
	sc.arrives(300*ms, 321*ms)
	sc.arrives(3_000_000*ms, 3_000_021*ms)

	sc = start(t, up)
	sc.arrives(0, 100*time.Microsecond+20*ms) // not measured: the line's own rate
	sc.arrives(100*ms, 117*ms)                // and delay
}

func TestPolicerLetsItsBucketPass(t *testing.T) {
	sc := start(t, Line{Policer: Policer{BytesPerSec: 8 * mbit, Bucket: 3000}})
	for range 3 {
		sc.arrives(0, 0)
	}
	sc.drops(0, Policed)
	sc.drops(900*time.Microsecond, Policed)
	sc.arrives(ms, ms)
	sc.drops(ms, Policed)
	sc.arrives(time.Hour, time.Hour)
	sc.arrives(time.Hour, time.Hour)
	sc.arrives(time.Hour, time.Hour)
	sc.drops(time.Hour, Policed)
}

// fates sends n packets one millisecond apart.
func fates(l Line, seed uint64, n int) (fates []Fate, delays []time.Duration) {
	s := newShaper(l, seed)
	for i := range n {
		now := time.Duration(i) * ms
		f, at, _ := s.arrive(now, 1000)
		fates = append(fates, f)
		if f == Delivered {
			delays = append(delays, at-now)
		}
	}
	return fates, delays
}

func TestRandomLossIsAsSetAndRepeatable(t *testing.T) {
	const n = 100_000
	line := Line{Loss: 0.03}
	first, _ := fates(line, 1, n)
	lost := 0
	for _, f := range first {
		if f == Lost {
			lost++
		}
	}
	require.InDelta(t, 0.03, float64(lost)/n, 0.002)
	again, _ := fates(line, 1, n)
	require.Equal(t, first, again)
	other, _ := fates(line, 2, n)
	require.NotEqual(t, first, other)
}

func TestBurstsHaveTheLengthAndShareThatTheirProbabilitiesMean(t *testing.T) {
	const n = 500_000
	got, _ := fates(Line{Burst: Burst{Enter: 0.01, Leave: 0.2, Loss: 1}}, 1, n)
	lost, bursts := 0, 0
	for i, f := range got {
		if f == Lost {
			lost++
			if i == 0 || got[i-1] != Lost {
				bursts++
			}
		}
	}
	require.InDelta(t, 0.01/(0.01+0.2), float64(lost)/n, 0.003, "stationary share of the bad state")
	require.InDelta(t, 5, float64(lost)/float64(bursts), 0.2, "mean length 1/Leave")
}

func TestLostPacketsHaveUsedTheLine(t *testing.T) {
	sc := start(t, Line{BytesPerSec: 8 * mbit, Loss: 1})
	sc.drops(0, Lost)
	sc.s.line.Loss = 0
	sc.arrives(0, 2*ms)
}

func TestJitterStaysInItsBoundsAndKeepsOrder(t *testing.T) {
	const n = 50_000
	l := Line{Delay: 50 * ms, Jitter: 20 * ms}
	_, delays := fates(l, 1, n)
	least, most, sum := time.Hour, time.Duration(0), time.Duration(0)
	for i, d := range delays {
		least, most, sum = min(least, d), max(most, d), sum+d
		if i > 0 {
			require.GreaterOrEqual(t, d+ms, delays[i-1], "packet %d overtook", i)
		}
	}
	require.InDelta(t, 30, float64(least)/float64(ms), 1)
	require.InDelta(t, 70, float64(most)/float64(ms), 1)
	require.InDelta(t, 50, float64(sum)/float64(ms)/n, 1)

	l.Reorder = true
	_, delays = fates(l, 1, n)
	overtook := 0
	for i := 1; i < n; i++ {
		if delays[i]+ms < delays[i-1] {
			overtook++
		}
	}
	require.Greater(t, overtook, n/4)
}

func TestJitterNeverMakesADelayNegative(t *testing.T) {
	_, delays := fates(Line{Delay: ms, Jitter: 20 * ms}, 1, 10_000)
	for _, d := range delays {
		require.GreaterOrEqual(t, d, time.Duration(0))
	}
}

func TestJitterGoesOnAfterALongSilence(t *testing.T) {
	s := newShaper(Line{Delay: 50 * ms, Jitter: 20 * ms}, 1)
	for _, now := range []time.Duration{0, 24 * time.Hour, 24*time.Hour + ms} {
		_, at, _ := s.arrive(now, 1000)
		require.InDelta(t, 50*ms, at-now, float64(20*ms))
	}
}

func TestAClockThatGoesBackIsTakenAsStanding(t *testing.T) {
	sc := start(t, Line{BytesPerSec: 8 * mbit})
	sc.arrives(10*ms, 11*ms)
	sc.arrives(5*ms, 12*ms)
}

func TestQueueDelayDoesNotCountThePacketItself(t *testing.T) {
	s := newShaper(Line{BytesPerSec: 8 * mbit}, 1)
	_, _, queued := s.arrive(0, 1000)
	require.Zero(t, queued)
	_, _, queued = s.arrive(0, 1000)
	require.Equal(t, ms, queued)
}

func TestWrongLinesAreRefused(t *testing.T) {
	const rate, duration, probability = "a rate is negative", "a duration is negative", "a probability is not between 0 and 1"
	for _, c := range []struct {
		line Line
		want string
	}{
		{Line{BytesPerSec: -1}, rate},
		{Line{Policer: Policer{BytesPerSec: 1, Bucket: 100}}, "never lets a packet of 1500 pass"},
		{Line{Delay: -1}, duration},
		{Line{Queue: Queue{Bytes: -1}}, "the queue is negative"},
		{Line{Loss: math.NaN()}, probability},
		{Line{Burst: Burst{Leave: 2}}, probability},
		{Line{Period: 1}, "a period needs steps"},
		{Line{Steps: []Step{{At: 1, BytesPerSec: 1}}}, "step 0: the times must rise from 0"},
		{Line{Steps: []Step{{BytesPerSec: 1}, {At: 1, BytesPerSec: -1}}}, "step 1: the rate is negative"},
		{Line{Steps: []Step{{BytesPerSec: 1}, {At: 2, BytesPerSec: 1}}, Period: 2}, "the period ends before its last step"},
		{Line{Steps: []Step{{BytesPerSec: 1}, {At: 2}}}, "ends with a rate of 0"},
		{Line{Steps: []Step{{}}, Period: time.Second}, "ends with a rate of 0"},
	} {
		require.ErrorContains(t, c.line.check(), c.want)
	}
}

func TestFlightReturnsPacketsInOrder(t *testing.T) {
	var f flight
	for _, at := range []time.Duration{5, 3, 9, 3, 1, 7, 3} {
		f.push(at, nil, &packet{n: int(f.next)})
	}
	var order []int
	for f.len() > 0 {
		order = append(order, f.pop().p.n)
	}
	require.Equal(t, []int{4, 1, 3, 6, 0, 5, 2}, order)
}

func TestHistogramQuantiles(t *testing.T) {
	var h histogram
	require.Zero(t, h.quantile(0.5))
	for i := range 1000 {
		h.add(time.Duration(i) * ms)
	}
	h.add(time.Hour)
	require.InDelta(t, 500*ms, h.quantile(0.5), float64(ms))
	require.InDelta(t, 950*ms, h.quantile(0.95), float64(ms))
	require.Equal(t, time.Hour, h.most)
}

func BenchmarkArrive(b *testing.B) {
	s := newShaper(Line{BytesPerSec: 100 * mbit, Delay: 20 * ms, Jitter: 5 * ms, Loss: 0.01, Burst: Burst{0.001, 0.2, 1}}, 1)
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		now += 100 * time.Microsecond
		s.arrive(now, 1200)
	}
}
