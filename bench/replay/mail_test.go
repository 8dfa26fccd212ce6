package replay

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestMailIsReadWhenItHasComeAndAsItWasSent compares a mailbox with a list that is
// looked through.
func TestMailIsReadWhenItHasComeAndAsItWasSent(t *testing.T) {
	type sent struct {
		at     time.Duration
		urgent bool
		number int
	}
	rapid.Check(t, func(t *rapid.T) {
		var box mailbox
		var waiting []sent
		now := time.Duration(0)
		for number := range rapid.IntRange(1, 50).Draw(t, "messages") {
			m := sent{now + time.Duration(rapid.IntRange(0, 5).Draw(t, "way")), rapid.Bool().Draw(t, "urgent"), number}
			box.put(mail{msg: number, at: m.at, urgent: m.urgent})
			waiting = append(waiting, m)
			now += time.Duration(rapid.IntRange(0, 2).Draw(t, "pause"))

			var read []int
			due, next := box.take(now, nil)
			for _, m := range due {
				read = append(read, m.msg.(int))
			}
			var come []int
			wakes := never
			waiting = slices.DeleteFunc(waiting, func(m sent) bool {
				if m.at <= now {
					come = append(come, m.number)
				} else if m.urgent {
					wakes = min(wakes, m.at)
				}
				return m.at <= now
			})
			require.Equal(t, come, read)
			require.Equal(t, wakes, next)
		}
	})
}
