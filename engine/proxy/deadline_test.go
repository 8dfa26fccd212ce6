package proxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPatienceFollowsTheClockThatRunsOutFirst(t *testing.T) {
	const d = 6 * time.Second
	with := func(change func(*cmcd)) cmcd {
		c := newCMCD()
		c.present = true
		change(&c)
		return c
	}
	for name, tc := range map[string]struct {
		c           cmcd
		buffer      time.Duration
		duration    time.Duration
		bytes       int64
		progressive bool
		top         bool
		want        time.Duration
	}{
		"full buffer: half the segment keeps the estimate up": {newCMCD(), 30 * time.Second, d, 1e6, false, false, 3 * time.Second},
		"nothing to go up to":       {newCMCD(), 30 * time.Second, d, 1e6, false, true, 4500 * time.Millisecond},
		"the buffer runs dry first": {newCMCD(), 2 * time.Second, d, 1e6, false, false, 1500 * time.Millisecond},
		"empty buffer":              {newCMCD(), 0, d, 1e6, false, false, patienceMin},
		"the player's own deadline": {
			with(func(c *cmcd) { c.deadline = 1200 * time.Millisecond }), 30 * time.Second, d, 1e6, false, false, 700 * time.Millisecond,
		},
		"starting": {with(func(c *cmcd) { c.startup, c.deadline = true, time.Hour }), 0, d, 1e6, false, false, patienceMin},
		"starved":  {with(func(c *cmcd) { c.starved = true }), 20 * time.Second, d, 1e6, false, false, patienceMin},
		"double speed": {
			with(func(c *cmcd) { c.playbackRate = 2 }), 4 * time.Second, d, 1e6, false, false, 1500 * time.Millisecond,
		},
		"all the throughput that suffices": {
			with(func(c *cmcd) { c.sufficientKbps = 2000 }), 30 * time.Second, d, 1e6, false, false, 4 * time.Second,
		},
		"no duration known":   {newCMCD(), 30 * time.Second, 0, 1e6, false, false, patienceMax},
		"a very long segment": {newCMCD(), 60 * time.Second, time.Minute, 1e6, false, false, patienceMax},
		"progressive":         {newCMCD(), 5 * time.Second, time.Hour, 1e9, true, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, patience(tc.c, tc.buffer, tc.duration, tc.bytes, tc.progressive, tc.top))
		})
	}
}
