package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"shoal/bench/replay"
)

// completionBytes are what a flow is timed for, as far as it gets.
var completionBytes = []int64{250e3, 1e6, 4e6}

// A calibrationCase is a bottleneck that both worlds run, like the uplink of a seed: the
// queue is what the replay takes a router's to be.
type calibrationCase struct {
	name string
	// heldOut: the model was never fitted to it. Which cases are was chosen before
	// any was measured.
	heldOut bool
	args    string
}

const uplinkLike = " --buffer 64kib "

var calibrationCases = []calibrationCase{
	{"thin", false, "--rate 1mbit --rtt 20ms --seconds 10 --flow shoal-fast"},
	{"middling", false, "--rate 5mbit --rtt 50ms --seconds 8 --flow shoal-fast"},
	{"long", false, "--rate 10mbit --rtt 100ms --seconds 6 --flow shoal-fast"},
	{"slow", false, "--rate 2mbit --rtt 30ms --seconds 10 --flow shoal-slow"},
	{"medium-lossy", false, "--rate 5mbit --rtt 40ms --seconds 8 --loss 0.01 --flow shoal-medium"},
	{"latecomer", false, "--rate 2mbit --rtt 40ms --seconds 14 --flow shoal-fast --flow shoal-fast@2s"},
	{"slow-joins", false, "--rate 5mbit --rtt 60ms --seconds 10 --flow shoal-fast --flow shoal-slow@2s"},
	{"four", false, "--rate 10mbit --rtt 20ms --seconds 14 --flow shoal-fast --flow shoal-fast --flow shoal-fast --flow shoal-fast"},

	{"thin-far", true, "--rate 2mbit --rtt 60ms --seconds 8 --flow shoal-fast"},
	{"medium", true, "--rate 10mbit --rtt 40ms --seconds 6 --flow shoal-medium"},
	{"slow-near", true, "--rate 5mbit --rtt 20ms --seconds 8 --flow shoal-slow"},
	{"thin-lossy", true, "--rate 1mbit --rtt 80ms --seconds 10 --loss 0.01 --flow shoal-fast"},
	{"fast-lossy", true, "--rate 10mbit --rtt 80ms --seconds 6 --loss 0.02 --flow shoal-fast"},
	{"three-tiers", true, "--rate 5mbit --rtt 30ms --seconds 14 --flow shoal-fast --flow shoal-medium@1s --flow shoal-slow@1s"},
	{"fast-joins", true, "--rate 1mbit --rtt 40ms --seconds 12 --flow shoal-slow --flow shoal-fast@3s"},
	{"latecomers", true, "--rate 2mbit --rtt 100ms --seconds 14 --flow shoal-fast --flow shoal-fast@1s --flow shoal-fast@2s"},
}

func caseNames() (names []string) {
	for _, c := range calibrationCases {
		names = append(names, c.name)
	}
	return names
}

// scenario is what the arguments say.
func (c *calibrationCase) scenario() (*scenario, error) {
	o, err := parseRun(strings.Fields(c.args+uplinkLike), io.Discard)
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", c.name, err)
	}
	return &o.scenario, nil
}

// A completion is how long a flow took from its start until it had delivered so
// many bytes, in seconds, once for each run; no longer than the run lasted.
type completion struct {
	Flow    string    `json:"flow"`
	Bytes   int64     `json:"bytes"`
	Within  float64   `json:"within_s"`
	Seconds []float64 `json:"seconds"`
}

// A calibrationRecord is a case as it was measured.
type calibrationRecord struct {
	Case        string       `json:"case"`
	Run         string       `json:"run"` // its arguments
	Completions []completion `json:"completions"`
}

// add takes a run's flows, each with its payload over time.
func (r *calibrationRecord) add(s *scenario, payload [][]point) {
	for i, f := range s.Flows {
		for k, bytes := range completionBytes {
			at := i*len(completionBytes) + k
			if at == len(r.Completions) {
				r.Completions = append(r.Completions, completion{Flow: f.String(), Bytes: bytes, Within: (s.Length - f.Start).Seconds()})
			}
			c := &r.Completions[at]
			c.Seconds = append(c.Seconds, round(min(reached(payload[i], float64(bytes))-f.Start.Seconds(), c.Within)))
		}
	}
}

// timesWhat tells whether a record has times of the same completions as another.
func (r *calibrationRecord) timesWhat(o calibrationRecord) bool {
	return slices.EqualFunc(r.Completions, o.Completions, func(a, b completion) bool {
		return a.Flow == b.Flow && a.Bytes == b.Bytes && len(a.Seconds) > 0 && len(a.Seconds) == len(r.Completions[0].Seconds)
	})
}

// inOrder gives flows that are alike their times in ascending order, in each run:
// chance decides which of them is ahead, in either world.
func (r *calibrationRecord) inOrder() {
	for i := range r.Completions {
		for k := i + 1; k < len(r.Completions); k++ {
			a, b := &r.Completions[i], &r.Completions[k]
			if a.Flow != b.Flow || a.Bytes != b.Bytes {
				continue
			}
			for run := range a.Seconds {
				a.Seconds[run], b.Seconds[run] = min(a.Seconds[run], b.Seconds[run]), max(a.Seconds[run], b.Seconds[run])
			}
		}
	}
}

// reached is when a value that never falls gets there; a year if it does not.
func reached(series []point, value float64) float64 {
	i, _ := slices.BinarySearchFunc(series, value, func(p point, v float64) int { return compare(p[1], v) })
	switch i {
	case len(series):
		return (365 * 24 * time.Hour).Seconds()
	case 0:
		return series[0][0]
	}
	a, b := series[i-1], series[i]
	return a[0] + (b[0]-a[0])*(value-a[1])/(b[1]-a[1])
}

// model plays a scenario in the replay's model of an uplink.
func (s *scenario) model(seed uint64) (payload [][]point) {
	var flows []replay.Flow
	for _, f := range s.Flows {
		flows = append(flows, replay.Flow{Tier: tiers[strings.TrimPrefix(f.Kind, shoalPrefix)], Start: f.Start})
	}
	all := replay.RunFlows(replay.Bottleneck{
		UpKbps: int(s.RateBytesPerSec / mbit * 1000), QueueBytes: s.BufferBytes, RTT: s.RTT, LossRatio: s.Loss, Seed: seed,
	}, flows, s.Length)
	for _, flow := range all {
		var series []point
		for _, d := range flow {
			series = append(series, point{d.At.Seconds(), float64(d.Bytes)})
		}
		payload = append(payload, series)
	}
	return payload
}

// readRecords reads a file of one record a line.
func readRecords(path string) (records []calibrationRecord, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var r calibrationRecord
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		records = append(records, r)
	}
	return records, nil
}

func writeRecords(path string, records []calibrationRecord) error {
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	for i := range records {
		if err := lines.Encode(&records[i]); err != nil {
			return err
		}
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}
