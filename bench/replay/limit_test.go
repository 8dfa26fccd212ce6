package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/replay/bound"
	"shoal/bench/replay/trace"
)

// Nobody is sent anything by itself, by who never uploads, by who is not online,
// or through two NATs that do not let it pass.
func TestOnlyWhatSomebodyCouldHaveSentCountsForTheBound(t *testing.T) {
	s := func(n int) time.Duration { return time.Duration(n) * time.Second }
	job := bound.Job{Release: s(10), Deadline: s(40), Bytes: 1}
	viewer := presence{from: s(10), to: s(40), nat: trace.NATSymmetric, uploads: true, jobs: []bound.Job{job}}
	for name, tc := range map[string]struct {
		others   []presence
		from, to time.Duration // 0, 0: not at all
	}{
		"alone":               {nil, 0, 0},
		"who never uploads":   {[]presence{{from: 0, to: s(60), nat: trace.NATOpen}}, 0, 0},
		"both NATs are hard":  {[]presence{{from: 0, to: s(60), nat: trace.NATPortRestricted, uploads: true}}, 0, 0},
		"left before":         {[]presence{{from: 0, to: s(10), nat: trace.NATOpen, uploads: true}}, 0, 0},
		"comes after":         {[]presence{{from: s(40), to: s(60), nat: trace.NATOpen, uploads: true}}, 0, 0},
		"all the time":        {[]presence{{from: 0, to: s(60), nat: trace.NATOpen, uploads: true}}, s(10), s(40)},
		"in the middle":       {[]presence{{from: s(20), to: s(30), nat: trace.NATOpen, uploads: true}}, s(20), s(30)},
		"with a gap between":  {[]presence{{from: s(25), to: s(30), nat: trace.NATOpen, uploads: true}, {from: 0, to: s(15), nat: trace.NATOpen, uploads: true}}, s(10), s(30)},
		"one within the next": {[]presence{{from: s(12), to: s(35), nat: trace.NATOpen, uploads: true}, {from: s(15), to: s(20), nat: trace.NATOpen, uploads: true}}, s(12), s(35)},
	} {
		t.Run(name, func(t *testing.T) {
			b := swarmBound{people: append([]presence{viewer}, tc.others...)}
			var want []bound.Job
			if tc.to > 0 {
				want = []bound.Job{{Release: tc.from, Deadline: tc.to, Bytes: 1}}
			}
			require.Equal(t, want, b.reachable())
		})
	}
}
