package replay

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The share that a progress bar shows must move while nobody leaves: the viewers of
// a channel may stay for hours.
func TestMeterMovesWhileNobodyLeaves(t *testing.T) {
	list := []Session{homely("a", 0, 0), homely("b", 10*time.Second, 0)}
	build, err := policyByName("cdn-only")
	require.NoError(t, err)
	m := new(Meter)
	sw := cut(list)[0]
	w := newWorld(Config{Seed: 1}.withDefaults(), build, sw, m)
	for w.now < 41*time.Second {
		at, ev := w.events.pop()
		w.now = at
		w.do(&ev, sw)
	}
	require.EqualValues(t, 2, m.Online.Load())
	require.InDelta(t, 40+30, m.ViewerSeconds.Load(), 1, "as of the 40th second")
	require.InDelta(t, 40, m.Simulated().Seconds(), 1)
	m.reached(new(world), 20*time.Second)
	require.Equal(t, 20*time.Second, m.Simulated(), "another is farther behind")
}

func TestMeterEndsWithWhatWasWatched(t *testing.T) {
	m := new(Meter)
	results, err := Run(context.Background(), Config{Seed: 1, Policies: []string{"cdn-only"}},
		[]Session{homely("a", 0, time.Minute), homely("b", 10*time.Second, 0)}, m)
	require.NoError(t, err)
	require.EqualValues(t, results[0].ViewerSeconds, m.ViewerSeconds.Load())
	require.EqualValues(t, 2, m.Sessions.Load())
	require.Zero(t, m.Online.Load())
	require.Greater(t, m.Simulated(), time.Minute)
}
