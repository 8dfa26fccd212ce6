// Command realtraces replays recorded days of a real live service under every
// policy and says how much of the way to the bound shoal goes beyond the best of
// the others. It runs the shoal binary as anybody would; docs/replay.md says where
// the recordings are published.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// policies are compared; cdn-only is what stalls are held against.
var policies = []string{"shoal", "whole-segment", "rarest-first", "sequential", "cdn-only"}

const missing = `%w.
Set TRACES to a folder with recordings of the P2P live streaming dataset
(https://github.com/j-maz/p2p-live-streaming-dataset, MIT), summed by peer into
files named peers_*.csv, as docs/replay.md describes under "From public formats":
  make bench-replay TRACES=/path/to/traces
Ofcom's panel of home lines (panel.csv) is used for the lines if it is there, too`

func main() {
	var r run
	flag.StringVar(&r.shoal, "shoal", "build/shoal", "the binary")
	flag.StringVar(&r.traces, "traces", "", "folder with peers_*.csv, and panel.csv")
	flag.StringVar(&r.out, "out", "bench-out", "folder for sessions, results (JSON) and pages (HTML)")
	flag.Parse()
	r.options = flag.Args() // of shoal replay, such as --from 20h --to 21h
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := r.all(ctx); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type run struct {
	shoal, traces, out string
	options            []string
}

func (r *run) all(ctx context.Context) error {
	days, panel, err := find(r.traces)
	if err != nil {
		return fmt.Errorf(missing, err)
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	profile := "live"
	if panel != "" {
		profile = filepath.Join(r.out, "homes.json")
		if err := r.command(ctx, "trace", "import", "ofcom", panel, "-o", profile); err != nil {
			return err
		}
	}
	var lines []string
	for _, day := range days {
		line, err := r.day(ctx, day, profile)
		if err != nil {
			return err
		}
		lines = append(lines, line)
	}
	fmt.Println(strings.Join(lines, "\n"))
	return nil
}

// find returns the recordings in a folder, and the panel of lines.
func find(dir string) (days []string, panel string, err error) {
	if dir == "" {
		return nil, "", errors.New("no folder with traces is set")
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(entry.Name(), "peers_") && strings.HasSuffix(strings.TrimSuffix(entry.Name(), ".gz"), ".csv"):
			days = append(days, path)
		case entry.Name() == "panel.csv":
			panel = path
		}
		return nil
	})
	if err == nil && len(days) == 0 {
		err = fmt.Errorf("%s has no peers_*.csv", dir)
	}
	return days, panel, err
}

func (r *run) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, r.shoal, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // prints what it has
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("shoal %s: %w", args[0], err)
	}
	return nil
}

// day replays one recording.
func (r *run) day(ctx context.Context, file, profile string) (string, error) {
	name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".gz"), ".csv")
	base := filepath.Join(r.out, name)
	if err := r.command(ctx, "trace", "import", "p2p-live", file, "-o", base+"-sessions.csv"); err != nil {
		return "", err
	}
	args := append([]string{
		"replay", "--sessions", base + "-sessions.csv", "--profile", profile, "--policy", strings.Join(policies, ","),
		"--json", base + ".json", "--report", base + ".html",
	}, r.options...)
	if err := r.command(ctx, args...); err != nil {
		return "", err
	}
	doc, err := os.ReadFile(base + ".json")
	if err != nil {
		return "", err
	}
	summary, err := compare(doc)
	return name + ": " + summary, err
}

// result is what is compared of a policy.
type result struct {
	Policy     string  `json:"policy"`
	Saving     float64 `json:"saving"`
	Bound      float64 `json:"bound"`
	Stalls     int     `json:"stalls"`
	StallRatio float64 `json:"stall_ratio"`
}

// compare says how much of the gap between the best other policy and the bound
// shoal closes. Each policy has a bound of its own, of what it played; shoal's is
// taken.
func compare(doc []byte) (string, error) {
	var results struct {
		Policies []result `json:"policies"`
	}
	if err := json.Unmarshal(doc, &results); err != nil {
		return "", fmt.Errorf("results: %w", err)
	}
	of := func(name string) int {
		return slices.IndexFunc(results.Policies, func(r result) bool { return r.Policy == name })
	}
	at, twin := of("shoal"), of("cdn-only")
	if at < 0 || twin < 0 {
		return "", errors.New("results: shoal or cdn-only is not among them")
	}
	shoal, cdn := results.Policies[at], results.Policies[twin]
	best := cdn
	for _, r := range results.Policies {
		if r.Policy != "shoal" && r.Saving > best.Saving {
			best = r
		}
	}
	text := fmt.Sprintf("shoal saves %.1f %%, the best other (%s) %.1f %%, bound %.1f %%", 100*shoal.Saving, best.Policy, 100*best.Saving, 100*shoal.Bound)
	if gap := shoal.Bound - best.Saving; gap > 0 {
		text += fmt.Sprintf(": %.0f %% of the gap closed", 100*(shoal.Saving-best.Saving)/gap)
	}
	return text + fmt.Sprintf("; %d stalls (%.3f %% of the time) beside %d (%.3f %%) from the CDN alone",
		shoal.Stalls, 100*shoal.StallRatio, cdn.Stalls, 100*cdn.StallRatio), nil
}
