package cc

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A listener is a Controller that records and keeps to fixed limits.
type listener struct {
	window  int
	rate    float64
	samples []Sample
	losses  []Loss
}

func (l *listener) Sent(time.Time, int, int)    {}
func (l *listener) Acked(_ time.Time, s Sample) { l.samples = append(l.samples, s) }
func (l *listener) Lost(_ time.Time, loss Loss) { l.losses = append(l.losses, loss) }
func (l *listener) WindowBytes() int            { return l.window }
func (l *listener) PacingBytesPerSec() float64  { return l.rate }
func (l *listener) last() Sample                { return l.samples[len(l.samples)-1] }

// A channelTest narrates what happens to one channel.
type channelTest struct {
	t *testing.T
	*Recovery
	told *listener
	now  time.Time
	next uint64
}

func newChannel(t *testing.T) *channelTest { return newLimitedChannel(t, 100*1000, 1e9) }

func newLimitedChannel(t *testing.T, window int, rate float64) *channelTest {
	told := &listener{window: window, rate: rate}
	return &channelTest{t: t, Recovery: NewRecovery(modelStart, told), told: told, now: modelStart}
}

// send sends packets of 1,000 bytes with the next numbers.
func (c *channelTest) send(packets int) {
	for range packets {
		c.Sent(c.now, c.next, 1000)
		c.next++
	}
}

func (c *channelTest) wait(d time.Duration) { c.now = c.now.Add(d) }

func (c *channelTest) ack(ranges ...Range) Result {
	c.t.Helper()
	result, err := c.Ack(c.now, ranges, 0)
	require.NoError(c.t, err)
	return result
}

func (c *channelTest) wantInFlight(packets int) {
	c.t.Helper()
	require.Equal(c.t, packets*1000, c.InFlightBytes())
}

// wantNext expects the next timer so long after now.
func (c *channelTest) wantNext(d time.Duration) {
	c.t.Helper()
	require.False(c.t, c.Next().IsZero(), "a timer is armed")
	require.Equal(c.t, d, c.Next().Sub(c.now))
}

// measured gives the channel a round trip of 100 ms, with a variation of 50.
func (c *channelTest) measured() {
	c.send(1)
	c.wait(100 * ms)
	c.ack(Range{c.next - 1, c.next - 1})
	require.Equal(c.t, 100*ms, c.RTT().Smoothed())
}

func TestPacketThreeNumbersBehindIsLost(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(5) // 1 to 5
	c.wait(100 * ms)
	require.Zero(t, c.ack(Range{2, 3}).LostPackets, "1 may be late: two numbers behind")
	c.wantInFlight(3)
	require.Equal(t, 1, c.ack(Range{2, 4}).LostPackets)
	c.wantInFlight(1)
	require.Zero(t, c.ack(Range{2, 5}).LostPackets, "lost once only")
	c.wantInFlight(0)
	require.Len(t, c.told.losses, 1)
	require.Equal(t, Loss{Bytes: 1000, Packets: 1, InFlight: 1000, SentAt: c.now.Add(-100 * ms)}, c.told.losses[0])
	require.True(t, c.Next().IsZero(), "nothing in flight, nothing to wait for")
}

func TestPacketOvertakenIsLostAfterNineEighthsOfTheRoundTrip(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(2) // 1 and 2
	c.wait(100 * ms)
	c.ack(Range{2, 2})
	c.wantNext(12500 * time.Microsecond)
	c.wait(12499 * time.Microsecond)
	require.Equal(t, Result{}, c.Advance(c.now), "too early is harmless")
	c.wait(time.Microsecond)
	require.Equal(t, Result{LostBytes: 1000, LostPackets: 1}, c.Advance(c.now))
	c.wantInFlight(0)
}

func TestProbeIsAskedForWhenTheTailIsLost(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(3) // 1 to 3, all lost
	c.wantNext(100*ms + 4*50*ms + 25*ms)
	c.wait(325 * ms)
	result := c.Advance(c.now)
	require.True(t, result.Probe)
	require.Zero(t, result.LostPackets, "no evidence yet")
	c.wantNext(650 * ms)
	c.wantInFlight(3)

	c.send(1) // the probe, 4
	c.wait(100 * ms)
	require.Equal(t, 3, c.ack(Range{4, 4}).LostPackets)
	c.wantInFlight(0)
	require.False(t, c.told.losses[0].Persistent, "one burst is no persistent congestion")

	c.send(1)
	c.wantNext(c.RTT().pto())
}

func TestSilentPathGivesItsWindowBack(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(10)
	base := c.RTT().pto()
	var waited time.Duration
	for range 2 {
		d := c.Next().Sub(c.now)
		waited += d
		c.wait(d)
		require.True(t, c.Advance(c.now).Probe)
		c.send(1)
	}
	require.Equal(t, 3*base, waited)
	c.wantInFlight(2) // the two probes; ten packets given up
	require.Equal(t, uint64(10), c.Stats().LostPackets)

	for range 10 {
		d := c.Next().Sub(c.now)
		require.LessOrEqual(t, d, maxProbeInterval)
		require.Positive(t, d)
		c.wait(d)
		require.True(t, c.Advance(c.now).Probe)
		c.send(1)
		require.LessOrEqual(t, c.InFlightBytes(), 3000)
	}
	require.NotZero(t, c.Stats().PersistentCongestion)
}

func TestProbeTimerAdvancesEvenIfNobodyProbes(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(1)
	for range 3 {
		require.True(t, c.Next().After(c.now))
		c.now = c.Next()
		c.Advance(c.now)
		if c.InFlightBytes() == 0 {
			return
		}
	}
	t.Fatal("the packet is in flight for ever")
}

func TestPersistentCongestionNeedsSilenceInBetween(t *testing.T) {
	for _, tc := range []struct {
		what       string
		ackBetween bool
		want       bool
	}{
		{"everything lost for 3 PTO", false, true},
		{"one packet in between arrived", true, false},
	} {
		t.Run(tc.what, func(t *testing.T) {
			c := newChannel(t)
			c.measured()
			c.send(1) // 1, lost
			c.wait(500 * ms)
			c.send(1) // 2, perhaps
			c.wait(600 * ms)
			c.send(2) // 3 lost, 4 arrives
			c.wait(100 * ms)
			if tc.ackBetween {
				c.ack(Range{4, 4}, Range{2, 2})
			} else {
				c.ack(Range{4, 4})
			}
			c.wait(c.RTT().expected() * 9 / 8)
			c.Advance(c.now)
			c.wantInFlight(0)
			persistent := false
			for _, l := range c.told.losses {
				persistent = persistent || l.Persistent
			}
			require.Equal(t, tc.want, persistent)
		})
	}
}

func TestLatePacketIsNoticed(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(5) // 1 to 5
	c.wait(100 * ms)
	require.Equal(t, 1, c.ack(Range{2, 5}).LostPackets)
	delivered := c.told.last().Delivered
	c.wait(10 * ms)
	result := c.ack(Range{1, 5})
	require.Equal(t, Result{LateBytes: 1000, LatePackets: 1}, result)
	require.Equal(t, 1, c.told.last().LatePackets)
	require.Equal(t, delivered+1000, c.told.last().Delivered)
	require.Equal(t, Result{}, c.ack(Range{1, 5}), "once only")
	c.wantInFlight(0)
}

func TestLateAckOfEverythingTeachesTheLongerRoundTrip(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(10)
	for range 3 { // a stall of the radio
		if c.InFlightBytes() > 0 {
			c.now = c.Next()
			c.Advance(c.now)
		}
	}
	c.wantInFlight(0) // given up
	since := c.now.Sub(modelStart) - 100*ms
	require.Equal(t, 10, c.ack(Range{1, 10}).LatePackets)
	require.Equal(t, since, c.RTT().Latest())
}

func TestDuplicateAcksChangeNothing(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(4)
	c.wait(100 * ms)
	c.ack(Range{0, 4})
	samples, smoothed := len(c.told.samples), c.RTT().Smoothed()
	c.wait(time.Second)
	for range 3 {
		require.Equal(t, Result{}, c.ack(Range{0, 4}))
	}
	require.Len(t, c.told.samples, samples)
	require.Equal(t, smoothed, c.RTT().Smoothed(), "a stale ACK is no round trip")
}

func TestRoundTripIsTakenFromTheLargestOrFromOneThatIsLate(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(1) // 1
	c.wait(50 * ms)
	c.send(1) // 2
	c.wait(100 * ms)
	c.ack(Range{2, 2})
	require.Equal(t, 100*ms, c.RTT().Latest())
	c.wait(5 * ms)
	c.ack(Range{1, 2}) // 1 comes 155 ms after it was sent: late, and by itself
	require.Equal(t, 155*ms, c.RTT().Latest())

	c.send(3) // 3 to 5
	c.wait(100 * ms)
	c.ack(Range{5, 5})
	require.Equal(t, 100*ms, c.RTT().Latest())
	c.wait(2 * ms)
	c.ack(Range{3, 5}) // 3 and 4 together: one may have waited for the other
	require.Equal(t, 100*ms, c.RTT().Latest())
	c.wantInFlight(0)
}

func TestLyingAcksAreRefusedAsAWhole(t *testing.T) {
	for _, tc := range []struct {
		what   string
		ranges []Range
		want   error
	}{
		{"a packet of the future", []Range{{0, 12}}, ErrNeverSent},
		{"the end of all numbers", []Range{{5, math.MaxUint64}}, ErrNeverSent},
		{"a number left out", []Range{{8, 11}}, ErrNeverSent},
		{"a number left out, in a second range", []Range{{11, 11}, {2, 9}}, ErrNeverSent},
		{"ends the wrong way round", []Range{{3, 2}}, ErrBadRanges},
		{"oldest first", []Range{{1, 2}, {4, 5}}, ErrBadRanges},
		{"overlapping", []Range{{4, 5}, {2, 4}}, ErrBadRanges},
		{"too many", make([]Range, MaxAckRanges+1), ErrBadRanges},
	} {
		t.Run(tc.what, func(t *testing.T) {
			c := newChannel(t)
			c.send(8) // 0 to 7
			c.next++  // 8 is left out
			c.send(3) // 9 to 11
			_, err := c.Ack(c.now, tc.ranges, 0)
			require.ErrorIs(t, err, tc.want)
			c.wantInFlight(11)
			require.Empty(t, c.told.samples)
			c.ack(Range{9, 11}, Range{0, 7})
			c.wantInFlight(0)
		})
	}
	_, err := newChannel(t).Ack(modelStart, []Range{{0, 0}}, 0)
	require.ErrorIs(t, err, ErrNeverSent, "nothing was sent at all")
}

func TestUncountedPacketsMayBeAcknowledged(t *testing.T) {
	c := newChannel(t)
	c.Sent(c.now, 0, 0)
	c.wantInFlight(0)
	require.True(t, c.Next().IsZero())
	c.Sent(c.now, 1, 1000)
	for n := uint64(2); n < 1000; n++ {
		c.Sent(c.now, n, 0)
	}
	c.wait(50 * ms)
	result := c.ack(Range{0, 999})
	require.Equal(t, 1, result.AckedPackets)
	require.Zero(t, result.LostPackets)
	require.Zero(t, c.sent.len())
}

func TestDeliveryRateOfAnEvenStream(t *testing.T) {
	c := newChannel(t)
	c.measured()
	for range 200 { // a packet each 2 ms, acknowledged 100 ms later
		c.send(1)
		if c.next > 51 {
			c.ack(Range{0, c.next - 51})
		}
		c.wait(2 * ms)
	}
	require.InEpsilon(t, 500_000, c.told.last().DeliveryRate, 0.01)
	require.False(t, c.told.last().AppLimited)
}

func TestBunchedAcksDoNotFeignAFastPath(t *testing.T) {
	c := newChannel(t)
	c.measured()
	for range 200 { // a packet each 2 ms; the ACKs are held back until the end
		c.send(1)
		c.wait(2 * ms)
	}
	for n := uint64(1); n <= 200; n++ {
		c.ack(Range{n, n})
		require.LessOrEqual(t, c.told.last().DeliveryRate, 510_000.0)
	}
}

// The packet sent between the first ACK after a stall and the rest of them has
// more delivered in its round trip than the path carries; the time that sending
// them took tells.
func TestStallOfAcksDoesNotFeignAFastPath(t *testing.T) {
	c := newChannel(t)
	acked := uint64(0)
	ackTo := func(end uint64) {
		for ; acked < end; acked++ {
			c.ack(Range{acked, acked})
			require.LessOrEqual(t, c.told.last().DeliveryRate, 510_000.0)
		}
	}
	for tick := uint64(0); tick < 1000; tick++ { // 2 ms each; 50 ticks of round trip
		switch {
		case tick < 50, tick > 500 && tick < 529:
		case tick == 529:
			ackTo(acked + 1)
		default:
			ackTo(tick - 50)
		}
		c.send(1)
		c.wait(2 * ms)
	}
	require.InEpsilon(t, 500_000, c.told.last().DeliveryRate, 0.01)
}

func TestAppLimitedSamplesAreMarked(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(2)
	c.SetAppLimited()
	c.send(1) // sent while the channel had been without work
	c.wait(100 * ms)
	c.ack(Range{1, 2})
	require.False(t, c.told.last().AppLimited)
	c.wait(5 * ms)
	c.send(1)
	c.ack(Range{1, 3})
	require.True(t, c.told.last().AppLimited)
	c.wait(100 * ms)
	c.ack(Range{1, 4})
	require.True(t, c.told.last().AppLimited, "sent before the bubble was through")
	c.send(1)
	c.wait(100 * ms)
	c.ack(Range{1, 5})
	require.False(t, c.told.last().AppLimited)
}

func TestRoundsAreCountedByPackets(t *testing.T) {
	c := newChannel(t)
	c.measured()
	var starts int
	for range 5 {
		first := c.next
		c.send(10)
		c.wait(100 * ms)
		for n := first; n < c.next; n++ {
			c.ack(Range{0, n})
			if c.told.last().RoundStart {
				starts++
				require.Equal(t, first, n)
			}
		}
	}
	require.Equal(t, 5, starts)
}

func TestWindowLimitIsEvidence(t *testing.T) {
	c := newLimitedChannel(t, 10_500, 1e9)
	c.measured()
	c.send(5)
	c.wait(100 * ms)
	c.ack(Range{0, 5})
	require.False(t, c.told.last().WindowLimited, "half of the window was free")
	c.send(10) // 6 to 15: full
	c.wait(100 * ms)
	c.ack(Range{0, 6})
	require.True(t, c.told.last().WindowLimited, "its flight was")
	c.ack(Range{0, 15})
	require.True(t, c.told.last().WindowLimited)
	c.send(1)
	c.wait(100 * ms)
	c.ack(Range{0, 16})
	require.False(t, c.told.last().WindowLimited)
}

func TestPacerIsEvidenceOnceHalfTheWindowIsInUse(t *testing.T) {
	c := newLimitedChannel(t, 20*PacketBytes, 20*PacketBytes) // one in 50 ms
	c.measured()
	paced := func(packets int) (limited bool) {
		first := c.next
		for range packets {
			c.now = c.NextSend(c.now)
			budget := c.Budget(c.now)
			require.Positive(t, budget)
			for ; budget >= 1000; budget -= 1000 {
				c.send(1)
			}
		}
		require.Zero(t, c.Budget(c.now), "the pacer holds back")
		c.ack(Range{first, c.next - 1})
		return c.told.last().WindowLimited
	}
	require.False(t, paced(1), "ten packets of the first burst are less than half")
	require.False(t, paced(5))
	require.True(t, paced(12))
}

func TestBudgetKeepsToTheWindow(t *testing.T) {
	c := newLimitedChannel(t, 5*PacketBytes, 1e9)
	require.Equal(t, 5*PacketBytes, c.Budget(c.now))
	for n := range uint64(5) {
		c.Sent(c.now, n, PacketBytes)
	}
	require.Zero(t, c.Budget(c.now))
	require.True(t, c.NextSend(c.now).IsZero(), "only an ACK can help")
	c.wait(10 * ms)
	c.ack(Range{0, 1})
	require.Equal(t, 2*PacketBytes, c.Budget(c.now))
	require.Equal(t, c.now, c.NextSend(c.now))
}

func TestPathChangeStartsAnew(t *testing.T) {
	c := newChannel(t)
	c.measured()
	c.send(10)
	other := &listener{window: 7 * PacketBytes, rate: 1e6}
	c.PathChanged(c.now, other)
	c.wantInFlight(0)
	require.False(t, c.RTT().Sampled())
	require.Equal(t, 7*PacketBytes, c.WindowBytes())
	require.True(t, c.Next().IsZero())
	c.send(1) // 11, on the new path
	c.wait(30 * ms)
	result := c.ack(Range{0, 11})
	require.Equal(t, Result{AckedBytes: 1000, AckedPackets: 1}, result, "the old path's packets are neither acknowledged nor lost")
	require.Equal(t, 30*ms, c.RTT().Smoothed())
	require.Empty(t, c.told.losses)
	require.Len(t, other.samples, 1)
}

func TestRingIsBounded(t *testing.T) {
	c := newChannel(t)
	const packets = maxTrackedPackets + 1000
	c.send(packets)
	require.Len(t, c.sent.packets, maxTrackedPackets)
	c.wantInFlight(maxTrackedPackets)
	require.Equal(t, uint64(1000), c.Stats().LostPackets)
	c.wait(100 * ms)
	c.ack(Range{0, packets - 1})
	c.wantInFlight(0)
}

func TestPacketNumbersOutOfOrderAreABug(t *testing.T) {
	for what, sent := range map[string]func(*Recovery){
		"twice":     func(r *Recovery) { r.Sent(modelStart, 5, 1) },
		"backwards": func(r *Recovery) { r.Sent(modelStart, 4, 1) },
		"far ahead": func(r *Recovery) { r.Sent(modelStart, 6+maxSkippedPackets+1, 1) },
		"negative":  func(r *Recovery) { r.Sent(modelStart, 6, -1) },
		"oversize":  func(r *Recovery) { r.Sent(modelStart, 6, 1<<16) },
	} {
		t.Run(what, func(t *testing.T) {
			r := NewRecovery(modelStart, NewCubic(modelStart))
			r.Sent(modelStart, 5, 1)
			require.Panics(t, func() { sent(r) })
		})
	}
}

func TestCongestionMarksAreToldOnce(t *testing.T) {
	c := newChannel(t)
	mark := func(marked uint64, r Range) int {
		_, err := c.AckMarked(c.now, []Range{r}, 0, marked)
		require.NoError(t, err)
		return c.told.last().CEPackets
	}
	c.send(10)
	c.wait(20 * time.Millisecond)
	require.Equal(t, 0, mark(0, Range{0, 1}))
	require.Equal(t, 2, mark(2, Range{0, 4}))
	require.Equal(t, 0, mark(2, Range{0, 5}), "told before")
	require.Equal(t, 1, mark(6, Range{0, 6}), "never more than the packets that are news")
	require.Equal(t, 0, mark(6, Range{7, 7}))
	_, err := c.AckMarked(c.now, []Range{{0, 3}}, 0, 1)
	require.NoError(t, err, "overtaken by a later ACK")
	c.ack(Range{0, 9})
	require.Zero(t, c.told.last().CEPackets, "of a path without ECN")

	kept, ok := c.Rest()
	require.True(t, ok)
	c.Recovery = Resume(c.now, c.told, kept)
	c.send(1)
	_, err = c.AckMarked(c.now, []Range{{10, 10}}, 0, 5)
	require.ErrorIs(t, err, ErrBadMarks, "a rest forgets no count")
}

func TestImpossibleCongestionMarksAreRefused(t *testing.T) {
	for name, then := range map[string]uint64{"falls": 1, "more than can have come": 8} {
		c := newChannel(t)
		c.send(10)
		_, err := c.AckMarked(c.now, []Range{{0, 4}}, 0, 2)
		require.NoError(t, err)
		before := c.Stats()
		_, err = c.AckMarked(c.now, []Range{{0, 6}}, 0, then)
		require.ErrorIs(t, err, ErrBadMarks, name)
		require.Equal(t, before, c.Stats(), "nothing of it is believed")
		_, err = c.AckMarked(c.now, []Range{{0, 6}}, 0, 7)
		require.NoError(t, err)
	}
}
