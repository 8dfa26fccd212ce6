package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTimersReturnTheDueInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		members := make([]*member, 8)
		for i := range members {
			members[i] = &member{heapIndex: unset}
		}
		var heap timers
		for range rapid.IntRange(0, 40).Draw(t, "changes") {
			m := members[rapid.IntRange(0, len(members)-1).Draw(t, "member")]
			at := time.Time{}
			if ms := rapid.IntRange(0, 20).Draw(t, "ms"); ms > 0 {
				at = start.Add(time.Duration(ms) * time.Millisecond)
			}
			heap.set(m, at)
			want := time.Time{}
			for _, other := range members {
				if !other.next.IsZero() && (want.IsZero() || other.next.Before(want)) {
					want = other.next
				}
			}
			require.Equal(t, want, heap.next())
		}
		now, waiting := start.Add(10*time.Millisecond), 0
		for _, m := range members {
			if m.next.After(now) {
				waiting++
			}
		}
		last := time.Time{}
		for m := heap.due(now); m != nil; m = heap.due(now) {
			require.False(t, m.next.Before(last))
			require.False(t, m.next.After(now))
			require.Equal(t, unset, m.heapIndex)
			last = m.next
		}
		require.Len(t, heap, waiting)
	})
}
