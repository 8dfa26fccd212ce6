package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
)

// A row is one target: judge makes the runs that it needs and says what they
// showed, always the same checks in the same order.
type row struct {
	name, target string
	judge        func(m *measurer) []check
}

// A side is where a value may lie.
type side string

const (
	above side = "≥"
	below side = "≤"
	near  side = "±" // 1, by as much as the bound
)

// A check is a figure and its bound.
type check struct {
	what  string
	value float64
	bound float64
	side  side
	// command is the arguments of the run that shows the value.
	command string
}

func atLeast(what string, value, bound float64, command string) check {
	return check{what: what, value: value, bound: bound, side: above, command: command}
}

func atMost(what string, value, bound float64, command string) check {
	return check{what: what, value: value, bound: bound, side: below, command: command}
}

// nearOne is of a ratio that chance moves to either side: within a tenth of 1.
func nearOne(what string, value float64, command string) check {
	return check{what: what, value: value, bound: 0.1, side: near, command: command}
}

func (c check) holds() bool { return c.margin() >= 0 }

// margin tells how far the value is from its bound, relative to it: below zero
// it falls short.
func (c check) margin() float64 {
	switch c.side {
	case near:
		return 1 - math.Abs(c.value-1)/c.bound
	case below:
		return 1 - c.value/c.bound
	default:
		return c.value/c.bound - 1
	}
}

func (c check) String() string {
	if c.side == near {
		return fmt.Sprintf("%s: %.3g (1 ± %.3g)", c.what, c.value, c.bound)
	}
	return fmt.Sprintf("%s: %.3g (%s %.3g)", c.what, c.value, c.side, c.bound)
}

// A verdict is a row as measured: each check with the median of its runs.
type verdict struct {
	row    row
	checks []check
}

func (v verdict) holds() bool {
	return !slices.ContainsFunc(v.checks, func(c check) bool { return !c.holds() })
}

// worst is the check with the least margin.
func (v verdict) worst() check {
	return slices.MinFunc(v.checks, func(a, b check) int { return compare(a.margin(), b.margin()) })
}

func (v verdict) word() string {
	if v.holds() {
		return "pass"
	}
	return "falls short"
}

// A measurer makes the runs of rows, each once per seed.
type measurer struct {
	run    func(args []string, seed uint64) (*result, error)
	traces string // folder with recorded links
	atOnce int    // runs, each on a link of its own
	seed   uint64

	mu   sync.Mutex // guards what follows
	made map[string]*result
	runs int   // so far, those made again included
	err  error // the first; what comes after it is not run
}

// of returns the result of a run with these arguments.
func (m *measurer) of(args string) outcome { return m.at(args, m.seed) }

func (m *measurer) at(args string, seed uint64) outcome {
	key := fmt.Sprintf("%s --seed %d", args, seed)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil && m.made[key] == nil {
		m.mu.Unlock()
		r, runs, err := undisturbed(func() (*result, error) { return m.run(strings.Fields(args), seed) })
		m.mu.Lock()
		if err != nil && m.err == nil {
			m.err = fmt.Errorf("run %s: %w", key, err)
		}
		m.made[key] = r
		m.runs += runs
	}
	return outcome{m.made[key]}
}

// prepare makes the runs of a row before it is judged, several at once. What they are is
// seen by judging runs that show nothing.
func (m *measurer) prepare(r row, runs int) {
	wanted := make(map[string]bool)
	r.judge(&measurer{traces: m.traces, made: make(map[string]*result), run: func(args []string, _ uint64) (*result, error) {
		wanted[strings.Join(args, " ")] = true
		return &result{}, nil
	}})
	places := make(chan struct{}, m.atOnce)
	var all sync.WaitGroup
	for seed := range runs {
		for _, args := range slices.Sorted(maps.Keys(wanted)) {
			places <- struct{}{}
			all.Go(func() {
				defer func() { <-places }()
				m.at(args, uint64(seed+1))
			})
		}
	}
	all.Wait()
}

// An outcome is a result that may be missing after an error.
type outcome struct{ r *result }

// flow returns the figures of one flow.
func (o outcome) flow(i int) flowResult {
	if o.r == nil || i >= len(o.r.Flows) {
		return flowResult{}
	}
	return o.r.Flows[i]
}

// measure judges a row with so many seeds and takes the medians.
func (m *measurer) measure(r row, runs int) (verdict, error) {
	m.prepare(r, runs)
	v := verdict{row: r}
	values := make(map[int][]float64)
	for seed := range runs {
		m.seed = uint64(seed + 1)
		v.checks = r.judge(m)
		if m.err != nil {
			return v, m.err
		}
		for i, c := range v.checks {
			values[i] = append(values[i], c.value)
		}
	}
	for i := range v.checks {
		v.checks[i].value = median(values[i])
	}
	return v, nil
}

// tableOptions are the arguments of "table".
type tableOptions struct {
	rows   []row
	runs   int
	atOnce int
	traces string
	docs   string
	images string
}

const tableUsage = `usage: go run ./bench/link table [options]

Measures the targets of congestion control, one after another, and writes them to
docs/congestion-control.md: about 45 minutes for each of --runs, --at-once times less, and
more where the machine disturbs runs, which are then made again. Needs Linux and root.

`

func parseTable(args []string, usage io.Writer) (o tableOptions, err error) {
	fs := flag.NewFlagSet("table", flag.ContinueOnError)
	quiet(fs)
	var names []string
	fs.Func("row", "`NAME` of a row to measure, and to write nothing; several times. Names: "+strings.Join(rowNames(), ", "), func(v string) error {
		names = append(names, v)
		return nil
	})
	fs.IntVar(&o.runs, "runs", 3, "runs of each, with seeds from 1; medians are taken")
	fs.IntVar(&o.atOnce, "at-once", 1, "runs at a time, each on a link of its own: where there are processors to spare")
	fs.StringVar(&o.traces, "traces", "", "`FOLDER` of recorded links; without it, the row about them is left out")
	fs.StringVar(&o.docs, "docs", documentPath, "`FILE` to write the table into, between its marks")
	fs.StringVar(&o.images, "images", "docs/images", "`FOLDER` for the plots")
	if err := parse(fs, args, tableUsage, usage); err != nil {
		return o, err
	}
	if o.runs < 1 || o.runs > 99 {
		return o, usageError{errors.New("--runs lies between 1 and 99")}
	}
	if o.atOnce < 1 || o.atOnce > 16 {
		return o, usageError{errors.New("--at-once lies between 1 and 16")}
	}
	for _, r := range rows {
		switch {
		case len(names) > 0 && !slices.Contains(names, r.name):
		case r.name == tracesRow && o.traces == "" && len(names) > 0:
			return o, usageError{errors.New("the row traces needs --traces FOLDER")}
		case r.name == tracesRow && o.traces == "":
		default:
			o.rows = append(o.rows, r)
		}
	}
	for _, name := range names {
		if !slices.Contains(rowNames(), name) {
			return o, usageError{fmt.Errorf("there is no row %q; there are %s", name, strings.Join(rowNames(), ", "))}
		}
	}
	if len(names) > 0 {
		o.docs = ""
	}
	return o, nil
}

// command is what measures alike.
func (o *tableOptions) command() string {
	command := fmt.Sprintf("go run ./bench/link table --runs %d", o.runs)
	if o.traces != "" {
		command += " --traces " + tracesHere
	}
	if o.atOnce > 1 {
		command += fmt.Sprintf(" --at-once %d", o.atOnce)
	}
	return command
}

func rowNames() (names []string) {
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

// newMeasurer measures for real.
func newMeasurer(ctx context.Context, traces string, atOnce int) *measurer {
	return &measurer{traces: traces, atOnce: atOnce, made: make(map[string]*result), run: func(args []string, seed uint64) (*result, error) {
		o, err := parseRun(args, io.Discard)
		if err != nil {
			return nil, err
		}
		o.scenario.Seed = seed
		return measure(ctx, &o.scenario)
	}}
}

// table measures the rows, prints them as they come, and writes the documents.
func table(ctx context.Context, o tableOptions) error {
	if o.docs != "" {
		if err := checkMarks(o.docs); err != nil {
			return err
		}
	}
	if err := becomeRealtime(linkPriority); err != nil {
		return err
	}
	m := newMeasurer(ctx, o.traces, o.atOnce)
	var verdicts []verdict
	for _, r := range o.rows {
		v, err := m.measure(r, o.runs)
		if err != nil {
			return err
		}
		verdicts = append(verdicts, v)
		if err := v.print(os.Stdout); err != nil {
			return err
		}
	}
	fmt.Println(m.disturbances())
	if o.docs == "" {
		return nil
	}
	return errors.Join(writeTable(o.docs, verdicts, o.command(), m.disturbances()), m.writePlots(o.images))
}

// disturbances tells how far the machine let runs be made.
func (m *measurer) disturbances() string {
	disturbed := 0
	for _, r := range m.made {
		if r != nil && r.disturbance() > 1 {
			disturbed++
		}
	}
	return fmt.Sprintf("Of %d runs %d were made again because they failed, or the machine was more than %g ms late (p95) or without a tenth of its processors; still so after %d attempts, and counted all the same: %d.",
		m.runs, m.runs-len(m.made), lateMost, attempts, disturbed)
}

// print writes a row as text: the target, each figure, and how to see the worst.
func (v verdict) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n  %s\n", v.row.name, v.row.target, v.word())
	for _, c := range v.checks {
		mark := "  "
		if !c.holds() {
			mark = "! "
		}
		fmt.Fprintf(&b, "  %s%s\n", mark, c)
	}
	fmt.Fprintf(&b, "    go run ./bench/link run %s\n\n", v.worst().command)
	_, err := io.WriteString(w, b.String())
	return err
}
