package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"shoal/bench/replay/trace"
)

// runOptions are the arguments of "run".
type runOptions struct {
	scenario scenario
	asJSON   bool
	series   bool
}

// A usageError is a command line, or a machine, with which nothing can be run.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

const runUsage = `usage: go run ./bench/link run --rate RATE --flow FLOW [--flow FLOW]... [options]

Runs flows through one emulated bottleneck and measures them. Needs Linux and root.

A FLOW is KIND[*CHANNELS][@START][:TIER@TIME]..., for instance tcp-cubic@5s or shoal-fast:slow@10s.
KIND is shoal-fast, shoal-medium, shoal-slow, shoal-upload, shoal-cubic, tcp-cubic, tcp-bbr or
tcp-reno; shoal-upload is what a node sends that yields to others. CHANNELS is to how many
leeches one node sends, of the first four kinds: shoal-fast*4. Times count from the run's start.

`

// parseRun reads the arguments of "run".
func parseRun(args []string, usage io.Writer) (o runOptions, err error) {
	s := &o.scenario
	s.RTT, s.WarmUp, s.BufferBDP = 40*time.Millisecond, 2*time.Second, 1
	seconds := 30.0
	var tracePath string
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	quiet(fs)
	fs.Func("rate", "`RATE` of the link: 20mbit", into(&s.RateBytesPerSec, parseRate))
	fs.Func("rtt", "round trip without queue; default 40ms", into(&s.RTT, parseDelay))
	fs.Func("jitter", "delay that wanders by up to this much more or less, there; packets keep their order", into(&s.Jitter, parseDelay))
	fs.BoolVar(&s.Reorder, "reorder", false, "draw the jitter for each packet by itself: they overtake each other")
	fs.Func("loss", "`RATIO` of packets lost behind the queue: 0.03", into(&s.Loss, parseRatio))
	fs.Func("burst-loss", "`RATIO:PACKETS` lost in bursts: 0.02:10", into(&s.Burst, parseBurst))
	fs.Func("buffer", "`SIZE` of the drop-tail queue: 64kib, or 0.5bdp; default 1bdp", func(v string) (err error) {
		s.BufferBytes, s.BufferBDP, err = parseBuffer(v)
		return err
	})
	fs.Func("policer", "`RATE:BUCKET` of a token bucket before the queue: 10mbit:16kib", into(&s.Policer, parsePolicer))
	fs.Func("step", "`TIME:RATE`: another rate from then on, 10s:5mbit; several times", func(v string) error {
		step, err := parseStep(v)
		s.Steps = append(s.Steps, step)
		return err
	})
	fs.StringVar(&tracePath, "trace", "", "`FILE.csv` (t_ms,down_kbps,up_kbps,rtt_ms) instead of --rate; see shoal trace import")
	fs.Func("flow", "`FLOW` that shares the link; several times", func(v string) error {
		f, err := parseFlow(v)
		s.Flows = append(s.Flows, f)
		return err
	})
	fs.IntVar(&s.SegmentBytes, "mss", 0, "`BYTES` of payload and options in a packet of the TCP flows; default what an MTU of 1500 holds")
	fs.BoolVar(&s.Paced, "paced", false, "the TCP flows spread their packets over the round trip, as shoal's do")
	fs.Float64Var(&seconds, "seconds", seconds, "length of the run")
	fs.Func("warmup", "time after the last flow's start that is not measured; default 2s", into(&s.WarmUp, parseDuration))
	fs.Uint64Var(&s.Seed, "seed", 1, "seed of losses and jitter")
	fs.BoolVar(&o.asJSON, "json", false, "print one JSON object")
	fs.BoolVar(&o.series, "series", false, "with --json: what happened over time, too")
	if err := parse(fs, args, runUsage, usage); err != nil {
		return o, err
	}
	if !(seconds >= 0 && seconds <= 1e6) {
		return o, usageError{errors.New("--seconds is not a length")}
	}
	s.Length = time.Duration(seconds * float64(time.Second))
	if tracePath != "" {
		if s.Trace, err = openTrace(tracePath); err != nil {
			return o, usageError{fmt.Errorf("--trace: %w", err)}
		}
	}
	if err := s.check(); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// quiet leaves it to the caller to tell what is wrong with a command line.
func quiet(fs *flag.FlagSet) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
}

// parse reads a command line that has options only.
func parse(fs *flag.FlagSet, args []string, text string, usage io.Writer) error {
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(usage, text)
		fs.SetOutput(usage)
		fs.PrintDefaults()
		return err
	case err != nil:
		return usageError{fmt.Errorf("%w; see %s --help", err, fs.Name())}
	case fs.NArg() > 0:
		return usageError{fmt.Errorf("%q is no option; see %s --help", fs.Arg(0), fs.Name())}
	}
	return nil
}

// into makes a flag of a variable and what reads it.
func into[T any](v *T, parse func(string) (T, error)) func(string) error {
	return func(s string) (err error) {
		*v, err = parse(s)
		return err
	}
}

func parseStep(s string) (step rateStep, err error) {
	at, rate, ok := strings.Cut(s, ":")
	if !ok {
		return step, errors.New("a step is TIME:RATE, such as 10s:5mbit")
	}
	if step.At, err = parseDuration(at); err != nil {
		return step, err
	}
	step.BytesPerSec, err = parseRate(rate)
	return step, err
}

func openTrace(path string) (n *trace.Network, err error) {
	f, err := trace.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return trace.ReadNetwork(f, path, trace.Options{})
}
