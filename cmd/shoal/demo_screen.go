package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"shoal/bench/player"
)

// pipeInterval is between two blocks of lines when nobody watches a terminal.
const pipeInterval = 5 * time.Second

// screen shows the demo: in place on a terminal, line by line in a pipe, and
// nothing but the result with --json.
type screen struct {
	out   io.Writer
	json  bool
	live  bool // a terminal: redraw in place
	lines int  // of the last drawing
	next  time.Duration
	last  string
}

func newScreen(out io.Writer, asJSON bool) *screen {
	s := &screen{out: out, json: asJSON}
	if f, ok := out.(*os.File); ok && !asJSON {
		s.live = isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
	}
	return s
}

// print is where output errors are dropped: a demo whose terminal is gone still
// has to end its processes.
func (s *screen) print(text string) { _, _ = io.WriteString(s.out, text) }

// line prints a remark above the table.
func (s *screen) line(format string, args ...any) {
	if !s.json {
		s.print(fmt.Sprintf(format, args...) + "\n")
	}
}

// draw shows the viewers after some time.
func (s *screen) draw(elapsed time.Duration, rows []row) {
	if s.json {
		return
	}
	if !s.live {
		s.last = s.table(elapsed, rows)
		if elapsed >= s.next {
			s.next = elapsed.Truncate(pipeInterval) + pipeInterval
			s.print(s.last)
			s.last = ""
		}
		return
	}
	var b strings.Builder
	if s.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.lines)
	}
	s.lines = 0
	for text := range strings.Lines(s.table(elapsed, rows)) {
		b.WriteString("\r" + strings.TrimSuffix(text, "\n") + "\x1b[K\n")
		s.lines++
	}
	s.print(b.String())
}

// done leaves the last drawing standing.
func (s *screen) done() {
	if s.last != "" {
		s.print(s.last)
		s.last = ""
	}
	s.lines = 0
}

func (s *screen) table(elapsed time.Duration, rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %-8s %8s %7s %6s %11s %9s %9s %7s\n",
		clock(elapsed), "state", "playhead", "buffer", "seeds", "from peers", "from CDN", "cached", "saved")
	for _, r := range rows {
		if r.state == "" {
			fmt.Fprintf(&b, "%-8s joins at %s\n", r.name, clock(r.joins))
			continue
		}
		state := string(r.state)
		if r.report.Stalls > 0 && r.state == player.Playing {
			state = fmt.Sprintf("%d stall(s)", r.report.Stalls)
		}
		fmt.Fprintf(&b, "%-8s %-8s %8s %5.1f s %6d %11s %9s %9s %7s\n", r.name, state,
			clock(r.report.Position), r.report.Buffer.Seconds(), r.seeds,
			megabytes(r.bytes.P2P), megabytes(r.bytes.CDN), megabytes(r.bytes.Cache), share(r.saving, r.bytes.P2P+r.bytes.CDN))
	}
	return b.String()
}

// summary prints the result.
func (s *screen) summary(r demoReport) error {
	if s.json {
		enc := json.NewEncoder(s.out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	var b strings.Builder
	var p2p, cdn int64
	b.WriteString("\n")
	fmt.Fprintf(&b, "%-8s %7s %9s %7s %7s %11s %9s %10s %7s   %s\n",
		"viewer", "joined", "start-up", "played", "stalls", "from peers", "from CDN", "duplicate", "saved", "why the CDN")
	for _, p := range r.Peers {
		p2p, cdn = p2p+p.P2PBytes, cdn+p.CDNBytes
		startup := "none"
		if p.StartupMillis >= 0 {
			startup = fmt.Sprintf("%d ms", p.StartupMillis)
		}
		fmt.Fprintf(&b, "%-8s %5.1f s %9s %7s %7d %11s %9s %10s %7s   %s\n", p.Name, p.JoinedS, startup,
			clock(time.Duration(p.PlayedS*float64(time.Second))), p.Stalls, megabytes(p.P2PBytes), megabytes(p.CDNBytes),
			megabytes(p.DuplicateBytes), share(p.Saving, p.P2PBytes+p.CDNBytes), reasons(p.CDNReasons))
	}
	fmt.Fprintf(&b, "\nSaved %s of the CDN's bytes: %s came from other viewers, %s from the CDN",
		share(r.Saving, p2p+cdn), megabytes(p2p), megabytes(cdn))
	fmt.Fprintf(&b, " (the origin counted %s, playlists and manifest%s included).\n", megabytes(r.OriginBytes), yours(r))
	fmt.Fprintf(&b, "First frame without shoal after %d ms; %s.\n", r.CDNStartupMillis, stallsText(r.Stalls))
	if you := r.You; you != nil {
		fmt.Fprintf(&b, "You: %s from other viewers, %s from the CDN, %s for others.\n",
			megabytes(you.P2PBytes), megabytes(you.CDNBytes), megabytes(you.ServedBytes))
	}
	s.print(b.String())
	return nil
}

func yours(r demoReport) string {
	if r.You != nil {
		return " and what you watched"
	}
	return ""
}

func stallsText(n int) string {
	switch n {
	case 0:
		return "the picture never stopped"
	case 1:
		return "the picture stopped once"
	default:
		return fmt.Sprintf("the picture stopped %d times", n)
	}
}

// reasons lists CDN bytes by reason, in the order of their names.
func reasons(m map[string]int64) string {
	var parts []string
	for _, name := range []string{"startup", "first_copy", "rescue", "hash_failure"} {
		if n := m[name]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", name, megabytes(n)))
		}
	}
	return strings.Join(parts, ", ")
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

func megabytes(n int64) string {
	if n > 0 && n < 100_000 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.2f MB", float64(n)/1e6)
}

func share(saving float64, of int64) string {
	if of == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", saving*100)
}
