package cc

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const segment = PacketBytes

// A cubicDriver feeds a Cubic one round trip after the other, without a link.
type cubicDriver struct {
	*Cubic
	t   *testing.T
	now time.Time
	rtt time.Duration
}

func newCubicDriver(t *testing.T, rtt time.Duration) *cubicDriver {
	return &cubicDriver{Cubic: NewCubic(modelStart).(*Cubic), t: t, now: modelStart.Add(time.Second), rtt: rtt}
}

// inAvoidance skips slow start.
func (d *cubicDriver) inAvoidance(windowSegments float64) {
	d.windowBytes, d.thresholdBytes = windowSegments*segment, windowSegments*segment
}

func (d *cubicDriver) segments() float64 { return d.windowBytes / segment }

// ack acknowledges bytes sent one round trip ago, by a sender held back by its window.
func (d *cubicDriver) ack(bytes int) {
	d.Acked(d.now, Sample{
		AckedBytes: bytes, AckedPackets: bytes / segment, SentAt: d.now.Add(-d.rtt),
		RTT: d.rtt, SmoothedRTT: d.rtt, MinRTT: d.rtt, WindowLimited: true,
	})
}

// round acknowledges a window, one ACK for every two segments, over a round trip.
func (d *cubicDriver) round() {
	left := d.WindowBytes()
	step := 2 * segment * d.rtt / time.Duration(left)
	for ; left > 0; left -= 2 * segment {
		d.now = d.now.Add(step)
		d.ack(min(left, 2*segment))
	}
}

func (d *cubicDriver) lose() {
	d.Lost(d.now, Loss{Bytes: segment, Packets: 1, SentAt: d.now.Add(-d.rtt)})
	d.now = d.now.Add(d.rtt + time.Nanosecond) // what is acknowledged next was sent after the back-off
}

func TestSlowStartDoublesTheWindow(t *testing.T) {
	d := newCubicDriver(t, 50*time.Millisecond)
	require.Equal(t, InitialWindowBytes, d.WindowBytes())
	for _, want := range []float64{20, 40, 80} {
		d.round()
		require.Equal(t, want, d.segments())
	}
}

func TestLossMultipliesTheWindowByBeta(t *testing.T) {
	d := newCubicDriver(t, 50*time.Millisecond)
	d.inAvoidance(100)
	d.lose()
	require.InDelta(t, 70, d.segments(), 1e-9)
	require.InDelta(t, 70*segment, d.thresholdBytes, 1e-6)
}

func TestLossesOfOneFlightBackOffOnce(t *testing.T) {
	d := newCubicDriver(t, 50*time.Millisecond)
	d.inAvoidance(100)
	sent := d.now.Add(-d.rtt)
	d.Lost(d.now, Loss{Bytes: segment, Packets: 1, SentAt: sent})
	d.Lost(d.now.Add(10*time.Millisecond), Loss{Bytes: segment, Packets: 1, SentAt: d.now})
	require.InDelta(t, 70, d.segments(), 1e-9, "sent before the back-off")
	d.Lost(d.now.Add(20*time.Millisecond), Loss{Bytes: segment, Packets: 1, SentAt: d.now.Add(time.Millisecond)})
	require.InDelta(t, 49, d.segments(), 1e-9, "sent after it")
}

func TestNothingSentBeforeTheBackOffGrowsTheWindow(t *testing.T) {
	d := newCubicDriver(t, 50*time.Millisecond)
	d.inAvoidance(100)
	d.Lost(d.now, Loss{Bytes: segment, Packets: 1, SentAt: d.now.Add(-d.rtt)})
	d.now = d.now.Add(d.rtt / 2)
	d.ack(50 * segment)
	require.InDelta(t, 70, d.segments(), 1e-9)
}

func TestWindowStaysAtTwoSegmentsAtLeast(t *testing.T) {
	d := newCubicDriver(t, 50*time.Millisecond)
	for range 20 {
		d.lose()
	}
	require.Equal(t, MinWindowBytes, d.WindowBytes())
}

// W_cubic(t) = C(t-K)³ + W_max, K = cbrt((W_max - cwnd_epoch)/C), a large
// window so that Reno's estimate stays below.
func TestGrowthFollowsTheFormula(t *testing.T) {
	d := newCubicDriver(t, 100*time.Millisecond)
	const wMax = 2000.0
	d.inAvoidance(wMax)
	d.lose()
	k := math.Cbrt(wMax * (1 - cubicBeta) / cubicC) // 11.4 s

	d.ack(2 * segment) // the epoch begins
	epoch := d.now
	var worst float64
	var growth []float64 // per second
	last := d.segments()
	for second := 1; second <= 18; second++ {
		for range 10 {
			d.round()
		}
		at := d.now.Sub(epoch).Seconds()
		want := cubicC*(at-k)*(at-k)*(at-k) + wMax
		worst = max(worst, math.Abs(d.segments()-want)/want)
		growth = append(growth, d.segments()-last)
		last = d.segments()
	}
	t.Logf("K = %.2f s; worst distance from the formula %.2f %%; growth per second %.0f", k, 100*worst, growth)
	require.Less(t, worst, 0.01)

	// Concave before K, flat at it, convex after it.
	require.IsDecreasing(t, growth[:11])
	require.IsIncreasing(t, growth[12:])
	require.Less(t, growth[11], 3.0)
}

func TestWindowGrowsByHalfInARoundTripAtMost(t *testing.T) {
	d := newCubicDriver(t, 10*time.Second) // the curve rises by 400 segments in it
	d.inAvoidance(20)
	d.round()
	for range 3 {
		before := d.segments()
		d.round()
		require.Greater(t, d.segments(), 1.2*before)
		require.LessOrEqual(t, d.segments(), 1.67*before, "1.5 per window acknowledged, compounded within the round")
	}
}

// On a short path cubic growth is slower than Reno's, and the Reno estimate
// takes over: alpha = 3(1-beta)/(1+beta) = 0.53 segments per round trip up to
// the window of the loss; beyond it still, as Linux does, or else one (RFC 9438).
func TestShortPathsGrowLikeReno(t *testing.T) {
	for steady, beyond := range map[bool]float64{true: renoAlpha(cubicBeta), false: 1} {
		d := newCubicDriver(t, 10*time.Millisecond)
		require.True(t, d.curve.steady)
		d.curve.steady = steady
		d.inAvoidance(20)
		d.lose()
		require.InDelta(t, 14, d.segments(), 1e-9)
		require.InDelta(t, 0.529, renoAlpha(cubicBeta), 0.001)
		for d.segments() < 19 {
			before := d.segments()
			d.round()
			require.InDelta(t, renoAlpha(cubicBeta), d.segments()-before, 0.06)
		}
		for d.segments() < 21 {
			d.round()
		}
		for range 5 {
			before := d.segments()
			d.round()
			require.InDelta(t, beyond, d.segments()-before, 0.1)
		}
	}
}

func TestFastConvergenceLeavesRoomForNewcomers(t *testing.T) {
	d := newCubicDriver(t, 50*time.Millisecond)
	d.inAvoidance(100)
	d.lose()
	require.Equal(t, 100.0, d.curve.wMax)
	d.lose() // at 70, below the last maximum
	require.InDelta(t, 70*(1+cubicBeta)/2, d.curve.wMax, 1e-9)
	require.InDelta(t, 70, d.curve.wPrior, 1e-9)
}

func TestGrowthNeedsAWindowInUse(t *testing.T) {
	d := newCubicDriver(t, 50*time.Millisecond)
	for range 100 {
		d.now = d.now.Add(d.rtt)
		d.Acked(d.now, Sample{AckedBytes: segment, AckedPackets: 1, SentAt: d.now.Add(-d.rtt), RTT: d.rtt, SmoothedRTT: d.rtt})
	}
	require.Equal(t, InitialWindowBytes, d.WindowBytes())
}

func TestTimeWithoutUseDoesNotCountInTheCurve(t *testing.T) {
	d := newCubicDriver(t, 100*time.Millisecond)
	d.inAvoidance(1000)
	d.lose()
	for range 20 {
		d.round()
	}
	before := d.segments()
	d.round()
	step := d.segments() - before

	for range 600 { // a minute of a sender with little to say
		d.now = d.now.Add(d.rtt)
		d.Acked(d.now, Sample{AckedBytes: segment, AckedPackets: 1, SentAt: d.now.Add(-d.rtt), SmoothedRTT: d.rtt})
	}
	before = d.segments()
	d.round()
	require.Less(t, d.segments()-before, 2*step)
}

func TestSpuriousLossIsUndone(t *testing.T) {
	d := newCubicDriver(t, 50*time.Millisecond)
	d.inAvoidance(100)
	d.Lost(d.now, Loss{Bytes: 2 * segment, Packets: 2, SentAt: d.now.Add(-d.rtt)})
	require.InDelta(t, 70, d.segments(), 1e-9)
	late := Sample{LateBytes: segment, LatePackets: 1, SentAt: d.now.Add(-d.rtt)}
	d.Acked(d.now, late)
	require.InDelta(t, 70, d.segments(), 1e-9, "the other packet may be lost indeed")
	d.Acked(d.now, late)
	require.InDelta(t, 100, d.segments(), 1e-9)
	require.InDelta(t, 100*segment, d.thresholdBytes, 1e-6)
}

func TestPersistentCongestionStartsOver(t *testing.T) {
	d := newCubicDriver(t, 50*time.Millisecond)
	d.inAvoidance(100)
	d.Lost(d.now, Loss{Bytes: 50 * segment, Packets: 50, SentAt: d.now.Add(-d.rtt), Persistent: true})
	require.Equal(t, MinWindowBytes, d.WindowBytes())
	require.InDelta(t, 70*segment, d.thresholdBytes, 1e-6)
	d.round()
	require.Equal(t, 4.0, d.segments(), "slow start up to the threshold")
}

func TestPacingIsAboveWindowPerRoundTrip(t *testing.T) {
	d := newCubicDriver(t, 100*time.Millisecond)
	d.ack(0)
	require.InDelta(t, slowStartPacingGain*InitialWindowBytes/0.1, d.PacingBytesPerSec(), 1)
	d.inAvoidance(10)
	require.InDelta(t, cubicPacingGain*InitialWindowBytes/0.1, d.PacingBytesPerSec(), 1)
}

func TestHyStartGoesThroughItsPhases(t *testing.T) {
	h := newHyStart()
	round := func(rtt time.Duration, packets int) bool {
		over := h.acked(Sample{RoundStart: true, RTT: rtt, AckedPackets: 1})
		return h.acked(Sample{RTT: rtt, AckedPackets: packets - 1}) || over
	}
	require.False(t, round(40*time.Millisecond, 10))
	require.False(t, round(44*time.Millisecond, 20))
	require.False(t, h.conservative, "4 ms more are less than an eighth of 40")
	require.False(t, round(51*time.Millisecond, 7))
	require.False(t, h.conservative, "seven packets are too few to judge by")
	require.False(t, round(57*time.Millisecond, 40))
	require.False(t, h.conservative, "6 ms more are less than an eighth of 51")
	require.False(t, round(65*time.Millisecond, 40))
	require.True(t, h.conservative)
	require.Equal(t, 250.0, h.growth(1000))

	require.False(t, round(60*time.Millisecond, 40))
	require.False(t, h.conservative, "the queue went away: it was jitter")
	require.Equal(t, 1000.0, h.growth(1000))

	require.False(t, round(70*time.Millisecond, 40))
	require.True(t, h.conservative)
	for range hystartCSSRounds - 1 {
		require.False(t, round(80*time.Millisecond, 40))
	}
	require.True(t, round(80*time.Millisecond, 40), "five rounds of it: slow start is over")
}

func TestCubicTakesAMarkForALossOncePerFlight(t *testing.T) {
	now := modelStart
	c := NewCubic(now)
	now = now.Add(time.Second)
	marked := Sample{AckedBytes: PacketBytes, AckedPackets: 1, SentAt: now, SmoothedRTT: 20 * time.Millisecond, CEPackets: 1, WindowLimited: true}
	window := c.WindowBytes()
	now = now.Add(20 * time.Millisecond)
	c.Acked(now, marked)
	backedOff := int(cubicBeta * float64(window))
	require.Equal(t, backedOff, c.WindowBytes())
	c.Acked(now, marked)
	require.Equal(t, backedOff, c.WindowBytes(), "of the same flight")
	late := marked
	late.CEPackets, late.AckedBytes, late.LatePackets = 0, 0, 9
	c.Lost(now, Loss{Bytes: PacketBytes, Packets: 1, SentAt: marked.SentAt})
	c.Acked(now, late)
	require.Equal(t, backedOff, c.WindowBytes(), "nothing undoes it")
}
