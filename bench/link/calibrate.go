package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
)

// completionWithin is how far the model's completion times may be from the real runs'
// median, as a part of it, in the cases held out; between their least and most is as good.
const completionWithin = 0.10

// modelRuns is how often the model plays a case, with another seed each time.
const modelRuns = 9

const completionsPath = "bench/link/testdata/completions.jsonl"

// calibrateOptions are the arguments of "calibrate".
type calibrateOptions struct {
	cases    []calibrationCase
	runs     int
	path     string
	recorded bool
}

const calibrateUsage = `usage: go run ./bench/link calibrate [options]

Runs single bottlenecks with real flows and in shoal replay's model of an uplink, and
compares how long flows take to deliver so many bytes. About three minutes for each of
--runs. Needs Linux and root, but for --recorded. The exit status is 1 when a completion of
a case that was held out errs by more than 10 % and lies outside the real runs.

`

func parseCalibrate(args []string, usage io.Writer) (o calibrateOptions, err error) {
	fs := flag.NewFlagSet("calibrate", flag.ContinueOnError)
	quiet(fs)
	var names []string
	fs.Func("case", "`NAME` of a case to measure anew; several times; default all. Names: "+strings.Join(caseNames(), ", "), func(v string) error {
		if !slices.Contains(caseNames(), v) {
			return fmt.Errorf("there is no case %q; there are %s", v, strings.Join(caseNames(), ", "))
		}
		names = append(names, v)
		return nil
	})
	fs.IntVar(&o.runs, "runs", 5, "runs of each, with seeds from 1; medians are taken")
	fs.StringVar(&o.path, "file", completionsPath, "`FILE` of what was measured")
	fs.BoolVar(&o.recorded, "recorded", false, "measure nothing: compare with what is in the file")
	if err := parse(fs, args, calibrateUsage, usage); err != nil {
		return o, err
	}
	if o.runs < 1 || o.runs > 99 {
		return o, usageError{errors.New("--runs lies between 1 and 99")}
	}
	for _, c := range calibrationCases {
		if len(names) == 0 || slices.Contains(names, c.name) {
			o.cases = append(o.cases, c)
		}
	}
	return o, nil
}

// calibrate measures the cases, writes down what they showed, and compares the
// model with all that is written.
func calibrate(ctx context.Context, o calibrateOptions) error {
	if !o.recorded {
		if err := becomeRealtime(linkPriority); err != nil {
			return err
		}
		if err := o.record(ctx); err != nil {
			return err
		}
	}
	records, err := readRecords(o.path)
	if err != nil {
		return usageError{fmt.Errorf("%w; run this command from the repository's root, or measure first", err)}
	}
	all, err := compareRecords(records)
	if err != nil {
		return err
	}
	if err := printComparisons(os.Stdout, all); err != nil {
		return err
	}
	if n := misses(all, true); n > 0 {
		return fmt.Errorf("the model misses %d completions of cases that were held out by more than %.0f %%", n, 100*completionWithin)
	}
	return nil
}

// record runs the cases; the file keeps what it has of the others.
func (o *calibrateOptions) record(ctx context.Context) error {
	records, err := readRecords(o.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return usageError{err}
	}
	for _, c := range o.cases {
		s, err := c.scenario()
		if err != nil {
			return err
		}
		record := calibrationRecord{Case: c.name, Run: c.args + uplinkLike}
		for seed := range o.runs {
			s.Seed = uint64(seed + 1)
			r, _, err := undisturbed(func() (*result, error) { return measure(ctx, s) })
			if err != nil {
				return fmt.Errorf("case %s: %w", c.name, err)
			}
			var payload [][]point
			for _, f := range r.Flows {
				payload = append(payload, f.Payload)
			}
			record.add(s, payload)
		}
		if i := slices.IndexFunc(records, func(r calibrationRecord) bool { return r.Case == c.name }); i >= 0 {
			records[i] = record
		} else {
			records = append(records, record)
		}
		if err := writeRecords(o.path, records); err != nil {
			return err
		}
	}
	return nil
}

// A comparison is one completion in both worlds, medians.
type comparison struct {
	of          calibrationCase
	flow        string
	bytes       int64
	real, model float64
	least, most float64 // of the real runs
}

// err is the model's, as a part of the real time.
func (c *comparison) err() float64 { return c.model/c.real - 1 }

// missed tells that the model is neither near the real runs nor among them.
func (c *comparison) missed() bool {
	return math.Abs(c.err()) > completionWithin && (c.model < c.least || c.model > c.most)
}

// misses counts those of one of the sets.
func misses(all []comparison, heldOut bool) (count int) {
	for _, c := range all {
		if c.of.heldOut == heldOut && c.missed() {
			count++
		}
	}
	return count
}

// compareRecords plays all recorded cases in the model. What neither world completes
// is left out.
func compareRecords(records []calibrationRecord) (all []comparison, err error) {
	for _, c := range calibrationCases {
		i := slices.IndexFunc(records, func(r calibrationRecord) bool { return r.Case == c.name })
		if i < 0 {
			continue
		}
		if records[i].Run != c.args+uplinkLike {
			return nil, fmt.Errorf("case %s is another one since it was measured: run calibrate --case %s", c.name, c.name)
		}
		s, err := c.scenario()
		if err != nil {
			return nil, err
		}
		var model calibrationRecord
		for seed := range modelRuns {
			model.add(s, s.model(uint64(seed+1)))
		}
		if !records[i].timesWhat(model) {
			return nil, fmt.Errorf("case %s was measured otherwise, or by halves: run calibrate --case %s", c.name, c.name)
		}
		model.inOrder()
		records[i].inOrder()
		for k, real := range records[i].Completions {
			x := comparison{
				of: c, flow: real.Flow, bytes: real.Bytes, real: median(real.Seconds), model: median(model.Completions[k].Seconds),
				least: slices.Min(real.Seconds), most: slices.Max(real.Seconds),
			}
			if x.real < real.Within || x.model < real.Within {
				all = append(all, x)
			}
		}
	}
	return all, nil
}

// errorsOf are the absolute errors of one of the sets, ascending.
func errorsOf(all []comparison, heldOut bool) (errs []float64) {
	for _, c := range all {
		if c.of.heldOut == heldOut {
			errs = append(errs, math.Abs(c.err()))
		}
	}
	slices.Sort(errs)
	return errs
}

// printComparisons writes the table, and what is true of each set.
func printComparisons(w io.Writer, all []comparison) error {
	var b strings.Builder
	for _, heldOut := range []bool{false, true} {
		title := "fitted"
		if heldOut {
			title = "held out"
		}
		fmt.Fprintf(&b, "%-14s %-18s %8s %20s %8s %8s\n", title, "flow", "MB", "real s (runs)", "model s", "error")
		for _, c := range all {
			if c.of.heldOut != heldOut {
				continue
			}
			mark := ""
			if c.missed() {
				mark = " !"
			}
			fmt.Fprintf(&b, "%-14s %-18s %8.2f %7.2f %5.2f–%-5.2f %8.2f %+7.1f%%%s\n",
				c.of.name, c.flow, float64(c.bytes)/1e6, c.real, c.least, c.most, c.model, 100*c.err(), mark)
		}
		if errs := errorsOf(all, heldOut); len(errs) > 0 {
			fmt.Fprintf(&b, "%s: %d completions err by %.1f %% (median), %.1f %% (p90), %.1f %% (most); %d err by more than %.0f %% and lie outside the real runs (!)\n\n",
				title, len(errs), 100*quantile(errs, 0.5), 100*quantile(errs, 0.9), 100*quantile(errs, 1), misses(all, heldOut), 100*completionWithin)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
