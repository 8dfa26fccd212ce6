package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fake measures nothing: figures decides what a run of these arguments shows.
func fake(figures func(args string, seed uint64) *result) *measurer {
	return &measurer{traces: "traces", atOnce: 1, made: make(map[string]*result), run: func(args []string, seed uint64) (*result, error) {
		return figures(strings.Join(args, " "), seed), nil
	}}
}

func flows(list ...flowResult) *result { return &result{Flows: list, Jain: 1} }

func TestEveryRowJudgesRunsThatCanBeMade(t *testing.T) {
	traces := t.TempDir()
	for _, name := range tracesUsed {
		path := filepath.Join(traces, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("t_ms,down_kbps,up_kbps,rtt_ms\n0,8000,,\n"), 0o600))
	}
	seconds := 0.0
	m := fake(func(args string, _ uint64) *result {
		o, err := parseRun(strings.Fields(args), io.Discard)
		require.NoError(t, err, args)
		seconds += (o.scenario.Length + setUp).Seconds()
		r := &result{Jain: 1, Queue: make([]point, o.scenario.Length/binOf)}
		for range o.scenario.Flows {
			r.Flows = append(r.Flows, flowResult{GoodputMbps: 1, CapacityShare: 1})
		}
		return r
	})
	m.traces = traces
	for _, r := range rows {
		v, err := m.measure(r, 1)
		require.NoError(t, err, r.name)
		require.NotEmpty(t, v.checks, r.name)
		for _, c := range v.checks {
			_, err := parseRun(strings.Fields(strings.ReplaceAll(c.command, tracesHere, traces)), io.Discard)
			require.NoError(t, err, c.command)
		}
	}
	require.Less(t, time.Duration(seconds)*time.Second, time.Hour, "one run of the whole table")
	t.Logf("one run of the whole table: %.0f minutes", seconds/60)
}

func TestVerdictGoesByTheMedianAndTheWorst(t *testing.T) {
	m := fake(func(args string, seed uint64) *result {
		share := []float64{0.99, 0.90, 0.98}[seed-1]
		if strings.Contains(args, "--loss 0.05") {
			share = []float64{0.2, 0.92, 0.91}[seed-1]
		}
		return flows(flowResult{CapacityShare: share})
	})
	v, err := m.measure(row{name: "loss", judge: judgeLoss}, 3)
	require.NoError(t, err)
	require.InDelta(t, 0.98, v.checks[0].value, 1e-9)
	require.InDelta(t, 0.91, v.checks[3].value, 1e-9)
	require.Equal(t, v.checks[3].what, v.worst().what)
	require.False(t, v.holds(), "0.91 is below 0.975 · 0.95")
	require.Equal(t, "falls short", v.word())

	v, err = m.measure(row{name: "loss", judge: judgeLoss}, 1)
	require.NoError(t, err)
	require.InDelta(t, 0.2, v.worst().value, 1e-9)
}

func TestDisturbedRunsAreMadeAgainWhateverTheyShow(t *testing.T) {
	late := []float64{4, 1.5, 0.1, 9, 9, 9, 9, 3}
	made := 0
	m := fake(func(_ string, seed uint64) *result {
		r := flows(flowResult{CapacityShare: float64(seed) / 10})
		r.LateMillisP95 = late[made]
		made++
		return r
	})
	m.seed = 1
	require.InDelta(t, 0.1, m.of("--rate 1mbit").r.LateMillisP95, 1e-9, "the first in time")
	require.Equal(t, 3, made)
	m.of("--rate 1mbit")
	require.Equal(t, 3, made, "it is known")
	m.seed = 2
	require.InDelta(t, 3, m.of("--rate 1mbit").r.LateMillisP95, 1e-9, "the least late")
	require.Equal(t, 3+attempts, made)
	failures := []error{errors.New("too slow"), nil, usageError{errors.New("no root")}, nil}
	tries := 0
	run := func() (*result, error) {
		tries++
		return &result{}, failures[tries-1]
	}
	_, _, err := undisturbed(run)
	require.NoError(t, err, "what failed is made again")
	require.Equal(t, 2, tries)
	_, _, err = undisturbed(run)
	require.ErrorContains(t, err, "no root")
	require.Equal(t, 3, tries, "but not where it cannot be made")
	require.InDelta(t, 2.5, (&result{LateMillisP95: 0.1, StolenRatio: 0.25}).disturbance(), 1e-9)
	require.Equal(t, "Of 8 runs 6 were made again because they failed, or the machine was more than 1 ms late (p95) or without a tenth of its processors; still so after 5 attempts, and counted all the same: 1.", m.disturbances())
}

func TestStolenTimeIsWhatTheHostSays(t *testing.T) {
	before := parseProcessorTime("cpu  100 0 50 800 10 5 5 30 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	after := parseProcessorTime("cpu  150 0 60 810 10 5 5 60 9 0\n")
	require.InDelta(t, 0.3, after.stolenSince(before), 1e-9)
	require.Zero(t, before.stolenSince(after), "a clock that goes back")
	require.Zero(t, parseProcessorTime("").stolenSince(processorTime{}))
	require.Zero(t, parseProcessorTime("cpu x").all)
}

func TestBoundsAreOnTheirSide(t *testing.T) {
	require.True(t, atLeast("", 1, 1, "").holds())
	require.False(t, atLeast("", 0.99, 1, "").holds())
	require.True(t, atMost("", 1, 1, "").holds())
	require.False(t, atMost("", 1.01, 1, "").holds())
	require.Less(t, atMost("", 2, 1, "").margin(), atLeast("", 0.9, 1, "").margin(), "twice too much is worse than a tenth too little")
	for value, holds := range map[float64]bool{0.89: false, 0.91: true, 1: true, 1.09: true, 1.11: false} {
		require.Equal(t, holds, nearOne("", value, "").holds(), value)
	}
	require.Equal(t, "ratio: 1.07 (1 ± 0.1)", nearOne("ratio", 1.07, "").String())
	require.Equal(t, "queue: 12.3 (≤ 15)", atMost("queue", 12.34, 15, "").String())
}

func TestJitterLossCompares(t *testing.T) {
	m := fake(func(args string, _ uint64) *result {
		switch {
		case strings.Contains(args, "tcp-cubic"):
			return flows(flowResult{GoodputMbps: 2, CapacityShare: 0.1})
		case strings.Contains(args, "tcp-bbr"):
			return flows(flowResult{GoodputMbps: 17, CapacityShare: 0.9})
		}
		return flows(flowResult{GoodputMbps: 18, CapacityShare: 0.95})
	})
	v, err := m.measure(row{judge: judgeJitterLoss}, 1)
	require.NoError(t, err)
	require.True(t, v.checks[0].holds())
	require.InDelta(t, 9, v.checks[1].value, 1e-9)
	require.False(t, v.checks[1].holds())
	require.True(t, v.checks[2].holds())
}

func TestQueueIsShortAgain(t *testing.T) {
	queue := make([]point, 100)
	for i := 20; i < 34; i++ {
		queue[i][1] = 200
	}
	queue[38][1] = 31 // once more, within half a second
	o := outcome{&result{Queue: queue}}
	require.Equal(t, 1900*time.Millisecond, o.queueBelow(30, 2*time.Second))
	for i := 20; i < 100; i++ {
		queue[i][1] = 200
	}
	require.Equal(t, 8*time.Second, o.queueBelow(30, 2*time.Second), "never until the end")
}

func TestShareInAPartOfTheRun(t *testing.T) {
	f := flowResult{GoodputMbps: 8, CapacityShare: 0.5}
	for i := range 100 {
		f.Goodput = append(f.Goodput, point{float64(i) / 10, float64(i / 50 * 16)})
	}
	o := outcome{flows(f)}
	require.InDelta(t, 0, o.shareIn(0, time.Second, 4*time.Second), 1e-9)
	require.InDelta(t, 1, o.shareIn(0, 6*time.Second, 8*time.Second), 1e-9)
	require.Zero(t, o.shareIn(1, 0, time.Second), "no such flow")
}

func TestRunsAreSharedBetweenRows(t *testing.T) {
	count := 0
	m := fake(func(string, uint64) *result {
		count++
		return flows(flowResult{})
	})
	m.seed = 1
	m.of("--flow tcp-cubic")
	m.of("--flow tcp-cubic")
	require.Equal(t, 1, count)
	m.seed = 2
	m.of("--flow tcp-cubic")
	require.Equal(t, 2, count)
}

func TestRunsAreMadeAtOnce(t *testing.T) {
	for _, atOnce := range []int{1, 3} {
		begun, free := make(chan string, 99), make(chan struct{})
		var running, most atomic.Int32
		m := fake(nil)
		m.atOnce = atOnce
		m.run = func(args []string, seed uint64) (*result, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			begun <- fmt.Sprint(args, seed)
			<-free
			return flows(flowResult{CapacityShare: float64(seed)}), nil
		}
		var v verdict
		done := make(chan error)
		go func() {
			var err error
			v, err = m.measure(row{judge: judgeLoss}, 3)
			done <- err
		}()
		different := make(map[string]bool)
		for range atOnce {
			different[<-begun] = true
		}
		close(free)
		require.NoError(t, <-done)
		require.EqualValues(t, atOnce, most.Load())
		close(begun)
		for run := range begun {
			different[run] = true
		}
		require.Len(t, different, 4*3, "each once")
		require.Equal(t, 4*3, m.runs)
		for _, c := range v.checks {
			require.InDelta(t, 2, c.value, 0, "the median of the seeds")
		}
	}
}

func TestFailedRunEndsTheTable(t *testing.T) {
	count := 0
	m := fake(nil)
	m.run = func([]string, uint64) (*result, error) {
		count++
		return nil, usageError{errors.New("no root")}
	}
	for _, r := range rows {
		m.err = nil
		_, err := m.measure(r, 3)
		require.ErrorContains(t, err, "no root")
	}
	require.Equal(t, len(rows), count, "nothing is run after a failure")
}

func TestTableStandsBetweenItsMarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	require.NoError(t, os.WriteFile(path, []byte("before\n"+markBegin+"\nold\n"+markEnd+"\nafter\n\n## Next\n"), 0o600))
	require.NoError(t, checkMarks(path))
	v := verdict{row: row{name: "queue", target: "a short queue"}, checks: []check{atMost("p95", 20, 15, "--flow shoal-fast"), atMost("p50", 1, 15, "--x")}}
	require.NoError(t, writeTable(path, []verdict{v}, "go run ./bench/link table", "None was disturbed."))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(text), "before\n"+markBegin+"\n"))
	require.True(t, strings.HasSuffix(string(text), markEnd+"\nafter\n\n## Next\n"))
	require.NotContains(t, string(text), "old")
	require.Contains(t, string(text), "| a short queue | p95: 20 (≤ 15) | falls short | `--flow shoal-fast` |")
	require.Contains(t, string(text), "- queue: **p95: 20 (≤ 15)**; p50: 1 (≤ 15).")
	var printed strings.Builder
	require.NoError(t, printTable(&printed, path))
	require.Contains(t, printed.String(), "a short queue")
	require.Contains(t, printed.String(), "after", "what else was measured")
	require.NotContains(t, printed.String(), "Next")

	require.NoError(t, os.WriteFile(path, []byte(markEnd+markBegin), 0o600))
	require.ErrorAs(t, checkMarks(path), new(usageError))
}

func TestPlotShowsBothWindows(t *testing.T) {
	m := fake(func(args string, _ uint64) *result {
		return flows(flowResult{Flow: args[strings.LastIndex(args, " ")+1:], Window: []point{{0, 11080}, {1, 110800}}})
	})
	dir := t.TempDir()
	require.NoError(t, m.writePlots(dir))
	image, err := os.ReadFile(filepath.Join(dir, "window-jitter.svg"))
	require.NoError(t, err)
	for _, name := range []string{"shoal-fast", "tcp-cubic", "<svg", "seconds"} {
		require.Contains(t, string(image), name)
	}
}
