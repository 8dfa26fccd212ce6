package replay

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestEventsComeByTimeAndThenInOrder pushes events near and far, some of them at
// the present moment while others are taken out.
func TestEventsComeByTimeAndThenInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type due struct {
			at  time.Duration
			seq int64
		}
		var q events
		var want []due
		var now time.Duration
		seq := int64(0)
		aheads := rapid.SampledFrom([]time.Duration{0, 1, time.Microsecond, time.Millisecond, 100 * time.Millisecond, 537 * time.Millisecond, time.Minute})
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			for range rapid.IntRange(0, 3).Draw(t, "pushes") {
				at := now + aheads.Draw(t, "ahead")*time.Duration(rapid.IntRange(1, 4).Draw(t, "times"))
				seq++
				q.push(at, evCycle, nil).n = seq
				want = append(want, due{at, seq})
			}
			if q.empty() {
				require.Empty(t, want)
				continue
			}
			first := slices.MinFunc(want, func(a, b due) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq)) })
			at, ev := q.pop()
			require.Equal(t, first, due{at, ev.n})
			want = slices.DeleteFunc(want, func(d due) bool { return d == first })
			now = at
		}
	})
}
