package swarm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/scheduler"
)

func TestChannelTakesTheTierOfItsMostUrgentRequest(t *testing.T) {
	var c channelTier
	var now time.Duration
	require.Equal(t, scheduler.Slow, c.next(now, scheduler.Slow))
	require.Equal(t, scheduler.Fast, c.next(now, scheduler.Fast), "urgent at once")
	now += tierHold / 2
	require.Equal(t, scheduler.Fast, c.next(now, scheduler.Slow), "but not calm at once")
	require.Equal(t, scheduler.Fast, c.next(now, scheduler.Fast))
	now += tierHold * 3 / 4
	require.Equal(t, scheduler.Fast, c.next(now, scheduler.Slow))
	now += tierHold / 4
	require.Equal(t, scheduler.Slow, c.next(now, scheduler.Slow))
}

func TestCallingEverythingUrgentGainsNothing(t *testing.T) {
	var c channelTier
	var now time.Duration
	var fast, all time.Duration
	for range 600 { // a minute, in which three minutes of media are sent
		const media = 300 * time.Millisecond
		if c.next(now, scheduler.Fast) == scheduler.Fast {
			c.spend(media)
			fast += media
		}
		all += media
		now += 100 * time.Millisecond
	}
	require.InDelta(t, (fastCredit + 90*time.Second).Seconds(), fast.Seconds(), 5, "the credit, and 1.5 × the bitrate")
	require.Greater(t, all, 3*time.Minute-time.Second)
}

func TestMediaTimeOfBytes(t *testing.T) {
	f := file{length: 1 << 20, places: []place{{}, {from: time.Second, to: 5 * time.Second, timed: true}}}
	require.Equal(t, time.Second, f.mediaTime(1<<18))
	require.Zero(t, (&file{length: 1, places: []place{{}}}).mediaTime(1))
}
