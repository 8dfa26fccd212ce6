package bound_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize/convex/lp"
	"pgregory.net/rapid"

	"shoal/bench/replay/bound"
)

func TestEarlierDeadlinesComeFirst(t *testing.T) {
	// 10 bytes a second for 10 s. The urgent job takes seconds 2 to 4 entirely;
	// the patient one gets the other eight seconds of its ten.
	steps := []bound.Step{{At: 0, BytesPerSec: 10}, {At: 10 * time.Second, BytesPerSec: -10}}
	jobs := []bound.Job{
		{Release: 0, Deadline: 10 * time.Second, Bytes: 200},
		{Release: 2 * time.Second, Deadline: 4 * time.Second, Bytes: 20},
	}
	require.InDelta(t, 100, bound.MaxFlow(steps, jobs), 0.01)
	require.InDelta(t, 0, bound.MaxFlow(nil, jobs), 0.01)
	require.InDelta(t, 0, bound.MaxFlow(steps, nil), 0.01)
}

func TestCapacityOutsideAJobsTimeIsOfNoUse(t *testing.T) {
	steps := []bound.Step{{At: 0, BytesPerSec: 10}, {At: 3 * time.Second, BytesPerSec: -10}}
	jobs := []bound.Job{
		{Release: 2 * time.Second, Deadline: 9 * time.Second, Bytes: 50},
		{Release: 5 * time.Second, Deadline: 9 * time.Second, Bytes: 50},
	}
	require.InDelta(t, 10, bound.MaxFlow(steps, jobs), 0.01)
}

// The same maximum as a linear program: variables are the bytes that a job gets
// in an interval between two events.
func TestMaxFlowIsThatOfTheLinearProgram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var steps []bound.Step
		var jobs []bound.Job
		span := func(what string) (time.Duration, time.Duration) {
			from := rapid.IntRange(0, 19).Draw(t, what+"_from")
			return time.Duration(from) * time.Second, time.Duration(rapid.IntRange(from+1, 20).Draw(t, what+"_to")) * time.Second
		}
		for range rapid.IntRange(1, 5).Draw(t, "peers") {
			from, to := span("peer")
			rate := float64(rapid.IntRange(1, 30).Draw(t, "rate"))
			steps = append(steps, bound.Step{At: from, BytesPerSec: rate}, bound.Step{At: to, BytesPerSec: -rate})
		}
		for range rapid.IntRange(1, 6).Draw(t, "jobs") {
			from, to := span("job")
			jobs = append(jobs, bound.Job{Release: from, Deadline: to, Bytes: float64(rapid.IntRange(1, 300).Draw(t, "bytes"))})
		}
		want := byLinearProgram(t, steps, jobs)
		require.InDelta(t, want, bound.MaxFlow(steps, slices.Clone(jobs)), 1e-3*math.Max(want, 1))
	})
}

func byLinearProgram(t *rapid.T, steps []bound.Step, jobs []bound.Job) float64 {
	var times []time.Duration
	for _, s := range steps {
		times = append(times, s.At)
	}
	for _, j := range jobs {
		times = append(times, j.Release, j.Deadline)
	}
	slices.Sort(times)
	times = slices.Compact(times)
	intervals := len(times) - 1
	// Columns: x[job][interval], then one slack per row. Rows: what an interval
	// can carry, then what a job needs.
	n, rows := len(jobs)*intervals, intervals+len(jobs)
	a := mat.NewDense(rows, n+rows, nil)
	b := make([]float64, rows)
	c := make([]float64, n+rows)
	for i := range intervals {
		rate := 0.0
		for _, s := range steps {
			if s.At <= times[i] {
				rate += s.BytesPerSec
			}
		}
		b[i] = rate * (times[i+1] - times[i]).Seconds()
		for j, job := range jobs {
			if job.Release <= times[i] && times[i+1] <= job.Deadline {
				a.Set(i, j*intervals+i, 1)
				c[j*intervals+i] = -1
			} else {
				c[j*intervals+i] = 1 // of no use: costs
			}
		}
	}
	for j, job := range jobs {
		b[intervals+j] = job.Bytes
		for i := range intervals {
			a.Set(intervals+j, j*intervals+i, 1)
		}
	}
	for r := range rows {
		a.Set(r, n+r, 1)
	}
	value, _, err := lp.Simplex(c, a, b, 1e-9, nil)
	require.NoError(t, err)
	return -value
}
