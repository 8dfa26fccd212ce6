//go:build e2e

package abr

import (
	"context"
	"errors"
	"flag"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/abr/rig"
)

// unpaced shows what the test is worth: with it, it fails.
var unpaced = flag.Bool("unpaced", false, "switch the node's pacing off")

const (
	// lineKbps is the line: between two renditions, and far below the top.
	lineKbps = 3000

	// playedSegments are 48 s of the title's 64: players have their buffers full
	// after half of that.
	playedSegments = 12

	// limit bounds all of it; the plays of each player take 35 s.
	limit = 5 * time.Minute
)

// switchNoise is what may be added to the switches of the direct plays. hls.js does
// the same again and again. dash.js goes by its buffer (BOLA) from 12 s on, and which
// side of a threshold that is on is a matter of milliseconds: plays straight from the
// origin had 3 to 7 switches, and two at the same time differed by up to 4.
var switchNoise = map[string]int{rig.Hls: 0, rig.Dash: 4}

// seedKbps is a seed that is slower than the lowest rendition, and that adds too
// little to the line to change what a player chooses: waiting for it would push
// the player down.
const seedKbps = 300

// ways through the node. Direct is played twice: its range is the measure.
var ways = []rig.Scenario{
	{Way: rig.Direct}, {Way: rig.Direct}, {Way: rig.Cold}, {Way: rig.Warm}, {Way: rig.JustInTime, SeedKbps: seedKbps},
}

func TestPlayersChooseAsWithoutTheNode(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	lab, err := rig.Open(ctx, "../../build/abr")
	require.NoError(t, err)
	defer func() { require.NoError(t, lab.Close()) }()

	// One player after the other: ten browsers at once take two processors whole,
	// and a picture that waits for a processor is no choice of the player's.
	for _, player := range []string{rig.Hls, rig.Dash} {
		results := play(ctx, t, lab, player)
		var table strings.Builder
		require.NoError(t, rig.Table(&table, results))
		t.Logf("\n%s", &table)
		direct := results[:2]
		for _, r := range results[2:] {
			t.Run(r.Scenario.String(), func(t *testing.T) {
				compare(t, r, direct, switchNoise[player])
				if t.Failed() {
					t.Logf("\n%s", r.Timeline())
				}
			})
		}
	}
}

// play plays the title with one player, all ways at once, and returns the results
// in the order of ways.
func play(ctx context.Context, t *testing.T, lab *rig.Lab, player string) []*rig.Result {
	t.Helper()
	results, errs := make([]*rig.Result, len(ways)), make([]error, len(ways))
	var wg sync.WaitGroup
	for i, s := range ways {
		s.Player, s.LineKbps, s.Segments, s.CMCD, s.Unpaced = player, lineKbps, playedSegments, true, *unpaced
		wg.Go(func() { results[i], errs[i] = lab.Run(ctx, s) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	return results
}

// compare holds a play through the node to the range of the direct ones.
func compare(t *testing.T, r *rig.Result, direct []*rig.Result, noise int) {
	t.Helper()
	name := r.Scenario.String()
	modal, mean := span(direct, func(d *rig.Result) float64 { return float64(d.Modal()) }), span(direct, (*rig.Result).MeanStep)
	if got := float64(r.Modal()); got < modal.low-1 || got > modal.high+1 {
		t.Errorf("%s: plays rendition %v, direct %v", name, got, modal)
	}
	if got := r.MeanStep(); got < mean.low-1 || got > mean.high+1 {
		t.Errorf("%s: mean step %.2f, direct %v", name, got, mean)
	}
	switches := span(direct, func(d *rig.Result) float64 { return float64(d.Switches()) })
	if got := r.Switches(); got > int(switches.high)+noise {
		t.Errorf("%s: %d switches, direct %v", name, got, switches)
	}
	stalls := span(direct, func(d *rig.Result) float64 { return float64(d.Stalls) })
	if got := r.Stalls; got > int(stalls.high) {
		t.Errorf("%s: %d stalls, direct %v", name, got, stalls)
	}
	above := span(direct, func(d *rig.Result) float64 { return float64(d.Above()) })
	if got := r.Above(); got > int(above.high)+1 {
		t.Errorf("%s: %d segments above the line, direct %v", name, got, above)
	}
}

// bounds is a range of values, ends included.
type bounds struct{ low, high float64 }

func span(results []*rig.Result, of func(*rig.Result) float64) bounds {
	b := bounds{of(results[0]), of(results[0])}
	for _, r := range results[1:] {
		b.low, b.high = min(b.low, of(r)), max(b.high, of(r))
	}
	return b
}
