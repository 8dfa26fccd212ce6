package cc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const ms = time.Millisecond

func TestRTTBeforeTheFirstSample(t *testing.T) {
	var r RTT
	require.False(t, r.Sampled())
	require.Zero(t, r.Smoothed())
	require.Equal(t, 333*ms+4*(333*ms/2)+25*ms, r.pto())
}

func TestRTTFollowsRFC9002(t *testing.T) {
	var r RTT
	require.Equal(t, 100*ms, r.sample(0, 100*ms, 20*ms), "the first sample is taken as it is")
	require.Equal(t, 100*ms, r.Smoothed())
	require.Equal(t, 50*ms, r.Var())
	require.Equal(t, 100*ms, r.Min())

	for _, tc := range []struct {
		what                                  string
		measured, delay                       time.Duration
		adjusted, smoothed, variation, leastR time.Duration
	}{
		{"the receiver's delay is taken off", 180 * ms, 20 * ms, 160 * ms, 107500 * time.Microsecond, 52500 * time.Microsecond, 100 * ms},
		{"not more than it may claim", 180 * ms, 5 * time.Second, 155 * ms, 113437500, 51250 * time.Microsecond, 100 * ms},
		{"nor below the minimum", 110 * ms, 20 * ms, 110 * ms, 113007812, 39296875, 100 * ms},
		{"a negative delay is none", 110 * ms, -time.Second, 110 * ms, 112631835, 30224609, 100 * ms},
		{"a new minimum", 80 * ms, 0, 80 * ms, 108552855, 30826415, 80 * ms},
	} {
		require.Equal(t, tc.adjusted, r.sample(0, tc.measured, tc.delay), tc.what)
		require.Equal(t, tc.smoothed, r.Smoothed(), tc.what)
		require.Equal(t, tc.variation, r.Var(), tc.what)
		require.Equal(t, tc.leastR, r.Min(), tc.what)
		require.Equal(t, tc.measured, r.Latest(), tc.what)
	}
	require.Equal(t, r.Smoothed(), r.expected())
	require.Equal(t, r.Smoothed()+4*r.Var()+25*ms, r.pto())

	r.distrust(0)
	require.Equal(t, 80*ms, r.Min())
}

func TestWindowedMinimumForgets(t *testing.T) {
	var r RTT
	r.sample(0, 10*ms, 0)
	for at := time.Second; at <= 10*time.Second; at += time.Second {
		r.sample(int64(at), 50*ms, 0)
	}
	require.Equal(t, 10*ms, r.WindowMin(), "ten seconds are not over")
	r.sample(int64(11*time.Second), 60*ms, 0)
	require.Equal(t, 50*ms, r.WindowMin())
	require.Equal(t, 10*ms, r.Min(), "RFC 9002's minimum stays")
}

// The filter is an approximation from above: it never reports less than the
// window held, and nothing that has left it.
func TestWindowedMinimumIsAValueOfTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const window = 1000
		var w windowedMin
		var all []timedValue
		at := int64(0)
		for range rapid.IntRange(1, 100).Draw(t, "samples") {
			at += rapid.Int64Range(0, 400).Draw(t, "step")
			v := timedValue{at, rapid.Int64Range(1, 50).Draw(t, "value")}
			all = append(all, v)
			w.add(at, v.value, window)
			found := false
			for _, s := range all {
				if at-s.at > window {
					continue
				}
				if s.value < w.value() && s == v {
					t.Fatalf("reports %d although %d just came", w.value(), v.value)
				}
				found = found || s.value == w.value()
			}
			if !found {
				t.Fatalf("reports %d, which is not in the window of %v", w.value(), all)
			}
		}
	})
}
