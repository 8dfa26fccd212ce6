package replay

import (
	"cmp"
	"slices"
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
	mine := job{Job: bound.Job{Release: s(10), Deadline: s(40), Bytes: 1}}
	viewer := presence{from: s(10), to: s(40), nat: trace.NATSymmetric, uploads: true, jobs: []job{mine}}
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
			slices.SortStableFunc(b.people, func(x, y presence) int { return cmp.Compare(x.from, y.from) })
			var want []bound.Job
			if tc.to > 0 {
				want = []bound.Job{{Release: tc.from, Deadline: tc.to, Bytes: 1}}
			}
			require.Equal(t, want, b.reachable())
		})
	}
}

// Two who can reach each other need one copy of a segment; two whom nobody can
// reach, one each. What was taken for nothing is a copy as well.
func TestEachPartOfASwarmNeedsACopyOfItsOwn(t *testing.T) {
	watches := func(nat string, wasted int64) presence {
		p := presence{from: 0, to: time.Minute, nat: nat, uploads: true}
		p.jobs = []job{{bound.Job{Deadline: time.Minute, Bytes: 100}, played{seg: 7}}}
		if wasted > 0 {
			p.wasted = []waste{{played{seg: 7}, wasted}}
		}
		return p
	}
	cone, hard := trace.NATPortRestricted, trace.NATSymmetric
	for name, tc := range map[string]struct {
		people []presence
		want   int64
	}{
		"one":                   {[]presence{watches(cone, 0)}, 0},
		"two who reach another": {[]presence{watches(cone, 0), watches(cone, 0)}, 100},
		"two who do not":        {[]presence{watches(hard, 0), watches(hard, 0)}, 0},
		"and two others":        {[]presence{watches(hard, 0), watches(cone, 0), watches(hard, 0), watches(cone, 0)}, 100},
		"linked by a third":     {[]presence{watches(hard, 0), watches(trace.NATOpen, 0), watches(hard, 0)}, 200},
		"a copy for nothing":    {[]presence{watches(cone, 30), watches(cone, 0)}, 130},
	} {
		t.Run(name, func(t *testing.T) {
			b := swarmBound{people: tc.people}
			require.Equal(t, tc.want, b.copied())
		})
	}
}
