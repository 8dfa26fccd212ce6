package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"shoal/bench/replay"
	"shoal/bench/replay/report"
)

// replayFlags are the flags of shoal replay.
type replayFlags struct {
	sessions, profile, network, rtt string
	policies                        []string
	seed                            uint64
	json, report, events            string
	maxSessions, workers, cdnRate   int
	from, to                        secondsFlag
	buffer, cdnRTT, segment         time.Duration
	progressive, skipBad            bool
	ladder                          []int
	crashShare, loss, networkShare  float64
}

const replayHelp = `Play recorded sessions through the decision code that ships, on a virtual
clock, and say what the swarm would have saved. Without --sessions it plays a
small synthetic evening that comes with shoal.

What a trace does not say is drawn from a profile, with the seed: the same
inputs and seed give the same digest, on any number of cores. Every policy plays
the same sessions on the same lines. docs/replay.md describes the formats, the
model and its limits.

Interrupt it, and it prints what it has, marked partial, writes the files that
were asked for, and exits with status 1.`

func replayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Play recorded sessions and measure what the swarm saves",
		Long:  replayHelp,
		Example: `  shoal replay
  shoal replay --sessions sessions.csv --profile homes.json --policy shoal,whole-segment,cdn-only --json out.json --report out.html
  shoal replay --sessions day.csv.gz --from 20h --to 22h --max-sessions 2000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.sessions, "sessions", "", "CSV `FILE` of sessions (default: a synthetic evening)")
	flags.StringVar(&f.profile, "profile", "default", "`NAME` of a profile that comes with shoal, or a JSON file: what missing columns are drawn from")
	flags.StringVar(&f.network, "network", "", "`DIR` of network traces, for the sessions that name one")
	flags.Float64Var(&f.networkShare, "network-share", 0, "share of the sessions that name no network trace and get one of those in --network, drawn with the seed")
	flags.StringVar(&f.rtt, "rtt", "", "CSV `FILE`: matrix of round-trip times")
	flags.StringSliceVar(&f.policies, "policy", []string{"shoal", "cdn-only"}, "policies to compare: "+strings.Join(replay.Policies(), ", "))
	flags.Uint64Var(&f.seed, "seed", 1, "seed of all randomness")
	flags.StringVar(&f.json, "json", "", "write the results to this `FILE` (- is stdout)")
	flags.StringVar(&f.report, "report", "", "write a page with plots to this HTML `FILE` (- is stdout)")
	flags.StringVar(&f.events, "events", "", "write one line per session and policy to this CSV `FILE` (- is stdout)")
	flags.IntVar(&f.maxSessions, "max-sessions", 0, "play the first `N` sessions only (default all)")
	f.to = secondsFlag(never)
	flags.Var(&f.from, "from", "play sessions that start at this time or later, seconds since the trace's beginning (or 20h15m)")
	flags.Var(&f.to, "to", "play sessions that start before this time")
	flags.DurationVar(&f.buffer, "buffer", 2*time.Second, "media that a player wants before it starts")
	flags.DurationVar(&f.cdnRTT, "cdn-rtt", 20*time.Millisecond, "round trip between an access line and the CDN")
	flags.IntVar(&f.cdnRate, "cdn-rate", 100_000, "most that the CDN gives one viewer, in `KBIT/S`")
	flags.DurationVar(&f.segment, "segment", 6*time.Second, "length of a segment")
	flags.BoolVar(&f.progressive, "progressive", false, "players append byte by byte, not whole segments")
	flags.IntSliceVar(&f.ladder, "ladder", nil, "bitrates in `KBIT/S`, such as 400,1200,2500,5000: viewers whose track and bitrate the trace does not tell adapt")
	flags.Float64Var(&f.crashShare, "crash-share", 0.1, "share of the viewers that leave without a goodbye")
	flags.Float64Var(&f.loss, "loss", 0, "share of the datagrams between peers that are lost")
	flags.IntVar(&f.workers, "workers", runtime.NumCPU(), "swarms that are played at once")
	flags.BoolVar(&f.skipBad, "skip-bad", false, "count rows that cannot be read and go on")
	return cmd
}

func (f *replayFlags) run(cmd *cobra.Command) error {
	if err := errors.Join(f.check(), f.checkOutputs()); err != nil {
		return usageError{err}
	}
	in, err := f.load(cmd)
	if err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return usageError{err}
	}
	if err := f.checkLadder(in); err != nil {
		return usageError{err}
	}
	cfg := replay.Config{
		Seed: f.seed, Policies: f.policies, Workers: f.workers, StartBuffer: f.buffer, CDNRTT: f.cdnRTT,
		CDNBytesPerSec: float64(f.cdnRate) * 1000 / 8,
		Segment:        f.segment, Progressive: f.progressive, LossRatio: f.loss, RTT: in.matrix, Ladder: f.ladder,
	}
	meter := new(replay.Meter)
	bar := startProgress(cmd.ErrOrStderr(), meter, in.watched()*float64(len(replay.Runs(cfg))))
	begin := time.Now()
	results, err := replay.Run(cmd.Context(), cfg, in.sessions, meter)
	wall := time.Since(begin)
	bar.stop()
	if err != nil {
		return usageError{err}
	}
	for i := range results {
		results[i].WallSeconds, results[i].SkippedRows = wall.Seconds(), in.skipped
	}
	var printed error
	if f.toStdout() == 0 {
		printed = printReplay(cmd.OutOrStdout(), results)
	}
	if err := errors.Join(printed, f.write(cmd, results)); err != nil {
		return err
	}
	if slices.ContainsFunc(results, func(r replay.Result) bool { return r.Partial }) {
		return errors.New("interrupted: the results are partial")
	}
	return nil
}

func (f *replayFlags) check() error {
	for i, name := range f.policies {
		if err := replay.CheckPolicy(name); err != nil {
			return err
		}
		if slices.Contains(f.policies[:i], name) {
			return fmt.Errorf("--policy names %s twice", name)
		}
	}
	switch {
	case len(f.policies) == 0:
		return errors.New("--policy is empty: choose from " + strings.Join(replay.Policies(), ", "))
	case f.maxSessions < 0:
		return errors.New("--max-sessions is negative")
	case f.workers < 1:
		return errors.New("--workers must be at least 1")
	case f.buffer <= 0 || f.buffer > time.Minute || f.cdnRTT <= 0 || f.cdnRTT > time.Minute || f.segment < 100*time.Millisecond || f.segment > time.Minute:
		return errors.New("--buffer and --cdn-rtt must be above 0 and at most 1m, and --segment from 100ms to 1m")
	case f.cdnRate < 1 || f.cdnRate > bitrateMax:
		return errors.New("--cdn-rate must be from 1 to 100000000 kbit/s")
	case len(f.ladder) == 1 || !rises(f.ladder):
		return errors.New("--ladder wants two bitrates or more, rising, from 1 to 100000000 kbit/s")
	case f.ladder != nil && f.progressive:
		return errors.New("--ladder is for players that append whole segments: leave --progressive out")
	case f.from >= f.to:
		return errors.New("--from must be before --to")
	case !(f.crashShare >= 0 && f.crashShare <= 1) || !(f.loss >= 0 && f.loss <= 0.5):
		return errors.New("--crash-share must be from 0 to 1, and --loss from 0 to 0.5")
	case !(f.networkShare >= 0 && f.networkShare <= 1):
		return errors.New("--network-share must be from 0 to 1")
	case f.networkShare > 0 && f.network == "":
		return errors.New("--network-share needs the traces: name their folder with --network")
	}
	return nil
}

// checkOutputs finds out before hours of replay where the results cannot be written.
func (f *replayFlags) checkOutputs() error {
	if f.toStdout() > 1 {
		return errors.New("only one of --json, --report and --events can go to standard output (-)")
	}
	for flag, path := range map[string]string{"--json": f.json, "--report": f.report, "--events": f.events} {
		if path == "" || path == stdout {
			continue
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
			return fmt.Errorf("%s %s: there is no folder %s: make it first", flag, path, filepath.Dir(path))
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return fmt.Errorf("%s %s is a folder: name a file in it", flag, path)
		}
	}
	return nil
}

// toStdout counts the results that go to standard output, in place of the table.
func (f *replayFlags) toStdout() (n int) {
	for _, path := range []string{f.json, f.report, f.events} {
		if path == stdout {
			n++
		}
	}
	return n
}

// rises tells whether bitrates are in order.
func rises(kbps []int) bool {
	for i, n := range kbps {
		if n < 1 || n > bitrateMax || i > 0 && n <= kbps[i-1] {
			return false
		}
	}
	return true
}

// bitrateMax is what a trace may have, too.
const bitrateMax = 100_000_000

// write writes the files that were asked for. One that fails does not take the
// others with it: a replay of hours would have to be repeated for them.
func (f *replayFlags) write(cmd *cobra.Command, results []replay.Result) error {
	title := "a synthetic evening"
	if f.sessions != "" {
		title = f.sessions
	}
	output := func(name string, write func(io.Writer) error) error {
		if name == "" {
			return nil
		}
		return writeOutput(cmd, name, write)
	}
	return errors.Join(
		output(f.json, func(w io.Writer) error {
			doc := json.NewEncoder(w)
			doc.SetIndent("", "  ")
			return doc.Encode(map[string]any{"policies": results})
		}),
		output(f.report, func(w io.Writer) error { return report.Write(w, title, results) }),
		output(f.events, func(w io.Writer) error { return replay.WriteEvents(w, results) }),
	)
}

// never is later than any session.
const never = time.Duration(1<<63 - 1)

// secondsFlag takes seconds, or a duration as Go writes it.
type secondsFlag time.Duration

// String is the value as the flag takes it.
func (s *secondsFlag) String() string {
	if *s == secondsFlag(never) {
		return ""
	}
	return strconv.FormatFloat(time.Duration(*s).Seconds(), 'f', -1, 64)
}

// Set parses the flag.
func (s *secondsFlag) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 && n <= 9e9 { // as far as start_s goes
		*s = secondsFlag(n * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("want seconds since the trace's beginning, or a duration like 20h15m")
	}
	*s = secondsFlag(d)
	return nil
}

// Type names the flag's kind in the help.
func (s *secondsFlag) Type() string { return "seconds" }

// progress shows how far a replay is.
type progress struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (p *progress) stop() {
	p.cancel()
	<-p.done
}
