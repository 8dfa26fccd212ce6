package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// What a machine may do to a run, in milliseconds at the 95th percentile and as a part of
// all processors' time. On one whose processors the host gives to others FAST sees
// queues that are none, and gets half of the link: of a run that is worse, the machine
// was measured. 0.1 ms and a few percent are usual.
const (
	lateMost   = 1.0
	stolenMost = 0.1
)

// attempts bounds how often a run is made that was disturbed.
const attempts = 5

// disturbance is how far the machine disturbed a run; above 1 it was too far.
func (r *result) disturbance() float64 {
	return max(r.LateMillisP95/lateMost, r.StolenRatio/stolenMost)
}

// undisturbed makes a run again while the machine disturbed it or it failed, whatever the
// flows did. It returns the first that was not, else the least disturbed, and how many it made.
func undisturbed(run func() (*result, error)) (best *result, runs int, err error) {
	for runs < attempts {
		var r *result
		runs++
		if r, err = run(); errors.As(err, new(usageError)) || errors.Is(err, context.Canceled) {
			return nil, runs, err
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "link: a run failed, and is made again:", err)
		}
		if err == nil && (best == nil || r.disturbance() < best.disturbance()) {
			best = r
		}
		if best != nil && best.disturbance() <= 1 {
			break
		}
	}
	if best != nil {
		return best, runs, nil
	}
	return nil, runs, err
}

// A processorTime is what the processors have done since the start of the machine, in
// ticks: time that the host gave to others, and all.
type processorTime struct{ stolen, all float64 }

// readProcessorTime reads /proc/stat, proc_stat(5); zero where there is none.
func readProcessorTime() processorTime {
	text, _ := os.ReadFile("/proc/stat")
	return parseProcessorTime(string(text))
}

func parseProcessorTime(stat string) (t processorTime) {
	line, _, _ := strings.Cut(stat, "\n")
	const steal = 7 // after user, nice, system, idle, iowait, irq, softirq
	for i, field := range strings.Fields(strings.TrimPrefix(line, "cpu ")) {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil || i > steal {
			break
		}
		t.all += ticks
		if i == steal {
			t.stolen = ticks
		}
	}
	return t
}

// stolenSince is the part that was stolen since an earlier reading.
func (t processorTime) stolenSince(earlier processorTime) float64 {
	if t.all <= earlier.all {
		return 0
	}
	return (t.stolen - earlier.stolen) / (t.all - earlier.all)
}
