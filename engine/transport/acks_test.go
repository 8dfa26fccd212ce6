package transport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/internal/wire"
)

func TestReplayFilterRemembersItsWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f replayFilter
		seen := map[uint64]bool{}
		next := uint64(0)
		for range rapid.IntRange(1, 300).Draw(t, "packets") {
			// Around the window's end, in the past, and far ahead.
			number := uint64(max(0, int64(next)+rapid.OneOf(
				rapid.Int64Range(-20, 20), rapid.Int64Range(-replayWindow-100, 0), rapid.Int64Range(0, 3*replayBits),
			).Draw(t, "step")))
			tooOld := number < next && next-number > replayWindow
			require.Equal(t, !tooOld && !seen[number], f.fresh(number), "number %d, next %d", number, next)
			if f.fresh(number) {
				f.seen(number)
				seen[number] = true
				next = max(next, number+1)
			}
		}
	})
}

func TestAckRangesSayWhatArrived(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tracker ackTracker
		arrived, told := map[uint64]bool{}, map[uint64]bool{}
		now := time.Unix(0, 0)
		for _, number := range rapid.SliceOfNDistinct(rapid.Uint64Range(0, 150), 1, 150, rapid.ID).Draw(t, "numbers") {
			tracker.received(now, number, true, false)
			arrived[number] = true
			var a wire.Ack
			tracker.fill(now, &a)
			require.LessOrEqual(t, len(a.Ranges), wire.MaxAckRanges)
			for i, r := range a.Ranges {
				require.LessOrEqual(t, r.First, r.Last)
				if i > 0 {
					require.Less(t, r.Last+1, a.Ranges[i-1].First, "descending and apart")
				}
				for n := r.First; n <= r.Last; n++ {
					require.True(t, arrived[n], "packet %d never arrived", n)
					told[n] = true
				}
			}
			require.Equal(t, len(arrived), len(told), "everything has been named")
		}
	})
}

func TestAckForgetsTheOldestRangeFirst(t *testing.T) {
	var tracker ackTracker
	now := time.Unix(0, 0)
	for i := range uint64(wire.MaxAckRanges + 10) {
		tracker.received(now, 2*i, true, false)
	}
	require.Len(t, tracker.ranges, wire.MaxAckRanges)
	require.EqualValues(t, 2*(wire.MaxAckRanges+9), tracker.ranges[0].Last)
	require.EqualValues(t, 20, tracker.ranges[wire.MaxAckRanges-1].First)
}

func TestAckForgetsWhatItHasSaidOften(t *testing.T) {
	var tracker ackTracker
	var a wire.Ack
	now := time.Unix(0, 0)
	receive := func(number uint64) []wire.AckRange {
		tracker.received(now, number, true, false)
		tracker.fill(now, &a)
		return a.Ranges
	}
	receive(0)
	for i := range uint64(maxTold - 1) { // 1 is lost
		require.Len(t, receive(2+i), 2, "said %d times", i+1)
	}
	require.Equal(t, []wire.AckRange{{First: 2, Last: maxTold + 1}}, receive(maxTold+1), "and no more")
	require.Equal(t, []wire.AckRange{{First: 1, Last: maxTold + 1}}, receive(1), "a late packet is named all the same")
	for range maxTold + 1 {
		tracker.fill(now, &a)
	}
	require.Len(t, a.Ranges, 1, "the newest stays")
}

func TestAckNamesARangeAnewThatHasChanged(t *testing.T) {
	var tracker ackTracker
	var a wire.Ack
	now := time.Unix(0, 0)
	for _, number := range []uint64{0, 2} {
		tracker.received(now, number, true, false)
	}
	for range maxTold - 1 {
		tracker.fill(now, &a)
	}
	tracker.received(now, 4, true, false)
	tracker.received(now, 1, true, false) // 0 to 2
	for range maxTold {
		tracker.fill(now, &a)
		require.Equal(t, []wire.AckRange{{First: 4, Last: 4}, {First: 0, Last: 2}}, a.Ranges)
	}
	tracker.fill(now, &a)
	require.Equal(t, []wire.AckRange{{First: 4, Last: 4}}, a.Ranges)
}

func TestAckPolicy(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	var a wire.Ack
	next := uint64(0)
	var tracker ackTracker
	receive := func(d time.Duration, n int) {
		for range n {
			tracker.received(at(d), next, true, false)
			next++
		}
	}

	receive(0, 1)
	require.False(t, tracker.due(at(0)), "one packet waits")
	receive(0, 1)
	require.True(t, tracker.due(at(0)), "at the beginning two are enough")
	tracker.fill(at(0), &a)
	require.False(t, tracker.due(at(time.Hour)), "nothing to say")
	receive(0, eagerPackets)
	tracker.fill(at(0), &a)

	receive(time.Second, ackEvery-1)
	require.False(t, tracker.due(at(time.Second)))
	require.True(t, tracker.due(at(time.Second+maxAckDelay)), "the oldest has waited long enough")
	receive(time.Second, 1)
	require.True(t, tracker.due(at(time.Second)), "64 packets")
	tracker.fill(at(time.Second+3*time.Millisecond), &a)
	require.Equal(t, 3*time.Millisecond, a.Delay)

	next++ // one is missing
	receive(2*time.Second, 1)
	require.True(t, tracker.due(at(2*time.Second)), "a gap is news")
	tracker.fill(at(2*time.Second), &a)
	tracker.received(at(2*time.Second), next-2, true, false)
	require.True(t, tracker.due(at(2*time.Second)), "a late packet is news")
	tracker.fill(at(2*time.Second), &a)

	tracker.received(at(3*time.Second), next, false, false)
	require.False(t, tracker.due(at(time.Hour)), "an ACK wants no ACK")
	next++
	tracker.received(at(3*time.Second), next, true, true)
	require.True(t, tracker.due(at(3*time.Second)), "a PING wants one at once")
	tracker.fill(at(3*time.Second), &a)
	next++

	tracker.roundTrip = 32 * time.Millisecond
	receive(4*time.Second, 1)
	require.False(t, tracker.due(at(4*time.Second+8*time.Millisecond-1)))
	require.True(t, tracker.due(at(4*time.Second+8*time.Millisecond)), "a lone packet waits for a quarter of a short round trip")
	receive(4*time.Second, 1)
	require.False(t, tracker.due(at(4*time.Second+2*time.Millisecond-1)))
	require.True(t, tracker.due(at(4*time.Second+2*time.Millisecond)), "two wait for a sixteenth")
	receive(4*time.Second+time.Millisecond, 1)
	require.True(t, tracker.due(at(4*time.Second+2*time.Millisecond)), "a third does not put it off")
}
