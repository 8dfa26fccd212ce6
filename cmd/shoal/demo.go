package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// demoFlags are the settings of shoal demo.
type demoFlags struct {
	viewers  int
	duration time.Duration
	media    string
	json     bool
	fixed    int
	rate     float64
	latency  time.Duration
	open     bool
}

const (
	// demoViewersMax bounds the processes of one demo: beyond it a laptop
	// measures its own scheduler.
	demoViewersMax = 64

	// demoRate and demoLatency make the origin a modest CDN edge: about a
	// household's line for each of four viewers that start at once, and the
	// distance to the provider's nearest site.
	demoRate    = 50.0 // Mbit/s, all connections together
	demoLatency = 5 * time.Millisecond
)

func demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a title through a swarm of real processes on this machine",
		Long:  demoHelp,
		Example: `  shoal demo
  shoal demo --open
  shoal demo --viewers 8 --duration 90s
  shoal demo --media ./my-title --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, f) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.viewers, "viewers", 4, "number of viewers, each with a peer of its own")
	flags.DurationVar(&f.duration, "duration", time.Minute, "when the demo ends, unless all viewers have reached the end of the title before")
	flags.StringVar(&f.media, "media", "", "folder with an HLS title; default: the built-in sample")
	flags.BoolVar(&f.json, "json", false, "print nothing but one JSON object at the end")
	flags.IntVar(&f.fixed, "fixed", 0, "rendition that all viewers play, 1 being the lowest; 0: players adapt")
	flags.Float64Var(&f.rate, "origin-rate", demoRate, "what the origin sends at most, Mbit/s, all connections together")
	flags.DurationVar(&f.latency, "origin-latency", demoLatency, "time until the origin begins to answer")
	flags.BoolVar(&f.open, "open", false, "open the viewer page in a browser, to watch with the models")
	cmd.AddCommand(demoOriginCommand())
	return cmd
}

const demoHelp = `Watch a title through a swarm of real processes on this machine.

The demo starts an origin that counts what it sends, a tracker, and one peer
for each viewer, all as processes of their own on free loopback ports. A model
of a video player (GETs in real time, 30 s of buffer) plays through each peer.
Two viewers get a head start, the others join one after the other. First a
player without shoal measures how fast the title starts from the origin.

One more peer is yours: the demo prints the address of a page that plays the
title in a browser and shows where each byte comes from, and the address of the
tracker's view of the swarm. While you watch, the peers stay.

The exit status is 1 when any model viewer saw the picture stop. A folder given with
--media is not changed: when it has no title.shoal, one is made elsewhere.`

func (f demoFlags) check() error {
	switch {
	case f.viewers < 1 || f.viewers > demoViewersMax:
		return usagef("--viewers %d: choose 1 to %d", f.viewers, demoViewersMax)
	case f.duration < time.Second:
		return usagef("--duration %v: choose at least 1s", f.duration)
	case f.fixed < 0:
		return usagef("--fixed %d: choose 1 for the lowest rendition, 0 to adapt", f.fixed)
	case f.rate <= 0 || f.latency < 0:
		return usagef("--origin-rate must be above 0 and --origin-latency not below")
	}
	return nil
}

func runDemo(cmd *cobra.Command, f demoFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "shoal-demo-")
	if err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	crew, err := newCrew()
	if err != nil {
		return err
	}
	defer crew.close() // before the folder goes

	screen := newScreen(cmd.OutOrStdout(), f.json)
	d := &demo{flags: f, dir: dir, crew: crew, screen: screen, open: openBrowser}
	report, err := d.run(cmd.Context())
	if err != nil {
		return err
	}
	if err := screen.summary(report); err != nil {
		return err
	}
	return errors.Join(report.verdict(), d.stayForGuest(cmd.Context()))
}

// demo is one run. One goroutine owns it.
type demo struct {
	flags  demoFlags
	dir    string
	crew   *crew
	screen *screen
	open   func(page string) error // in a browser

	origin    string // URL prefix
	tracker   string
	swarmView string // URL
	playlist  string // path below the origin
	began     time.Time
	viewers   []*viewer
	guest     *guest
}

// run plays the demo and returns what came of it.
func (d *demo) run(ctx context.Context) (demoReport, error) {
	if err := d.startServices(ctx); err != nil {
		return demoReport{}, err
	}
	report := demoReport{DurationS: d.flags.duration.Seconds()}
	baseline, err := d.baseline(ctx)
	if err != nil {
		return report, err
	}
	report.CDNStartupMillis = millis(baseline)
	d.screen.line("A player straight from the origin shows its first frame after %d ms.", report.CDNStartupMillis)
	before, err := d.originStats(ctx)
	if err != nil {
		return report, err
	}
	if err := d.watch(ctx); err != nil {
		return report, err
	}
	after, err := d.originStats(ctx)
	if err != nil {
		return report, err
	}
	report.OriginBytes = after.Bytes - before.Bytes
	report.add(d.viewers)
	report.ViewerURL, report.SwarmURL, report.You = d.guest.page, d.swarmView, d.guest.report()
	return report, nil
}

// startServices brings up everything but the peers.
func (d *demo) startServices(ctx context.Context) error {
	media, err := d.prepareMedia(ctx)
	if err != nil {
		return err
	}
	f := d.flags
	origin, err := d.crew.start("origin", "demo", "origin", "--dir", media.dir, "--title", media.title,
		"--rate", fmt.Sprint(f.rate), "--latency", f.latency.String())
	if err != nil {
		return err
	}
	if d.origin, err = origin.firstLine(ctx); err != nil {
		return err
	}
	swarmFile := filepath.Join(d.dir, "swarm.url")
	tracker, err := d.crew.start("tracker", "tracker", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
		"--http-file", swarmFile, "--state", filepath.Join(d.dir, "tracker"))
	if err != nil {
		return err
	}
	if d.tracker, err = tracker.firstLine(ctx); err != nil {
		return err
	}
	if d.swarmView, err = readSwarmView(ctx, swarmFile); err != nil {
		return fmt.Errorf("%w%s", err, tracker.logs())
	}
	d.playlist = media.playlist
	d.screen.line("%s from %s (at most %g Mbit/s, %v away), %d viewers, %v.",
		media.name, d.origin, f.rate, f.latency, f.viewers, f.duration)
	return nil
}

// joinTimes spreads the viewers: two get a head start, the others follow one by
// one, the last of them in the first half of the demo.
func joinTimes(viewers int, duration time.Duration) []time.Duration {
	const (
		second   = time.Second // after the first viewer
		head     = 8 * time.Second
		interval = 4 * time.Second
	)
	times := make([]time.Duration, viewers)
	last := second
	if viewers > 2 {
		last = head + time.Duration(viewers-3)*interval
	}
	scale := min(1, float64(duration/2)/float64(last))
	for i := range times {
		at := time.Duration(min(i, 1)) * second
		if i >= 2 {
			at = head + time.Duration(i-2)*interval
		}
		times[i] = time.Duration(float64(at) * scale).Round(10 * time.Millisecond)
	}
	return times
}

const (
	demoRefresh = 250 * time.Millisecond // of the screen, and of what the peers are asked
	demoDrain   = 300 * time.Millisecond // between the last picture and the last count
)

// watch lets the viewers come and play until the time is over or all are done.
func (d *demo) watch(ctx context.Context) error {
	for i, at := range joinTimes(d.flags.viewers, d.flags.duration) {
		v := newViewer(d, i+1, at)
		if err := v.startNode(ctx); err != nil {
			return err
		}
		d.viewers = append(d.viewers, v)
	}
	if err := d.startGuest(ctx); err != nil {
		return err
	}
	playing, stopPlaying := context.WithTimeout(ctx, d.flags.duration)
	defer stopPlaying()
	d.began = time.Now()
	for _, v := range d.viewers {
		go v.run(playing)
	}
	defer d.screen.done()
	tick := time.NewTicker(demoRefresh)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-playing.Done():
			waiting = false
		case c := <-d.crew.died:
			stopPlaying()
			d.join()
			return c.deathError()
		case <-tick.C:
			waiting = !d.refresh(playing) && d.failure() == nil
		}
	}
	if err := ctx.Err(); err != nil {
		stopPlaying()
		d.join()
		return err
	}
	// What is on its way when the last player stops still counts.
	select {
	case <-time.After(demoDrain):
	case <-ctx.Done():
	}
	d.refresh(ctx)
	stopPlaying()
	d.join()
	return errors.Join(d.failure(), ctx.Err())
}

// failure is the first error of a viewer that has ended.
func (d *demo) failure() error {
	for _, v := range d.viewers {
		select {
		case <-v.done:
			if v.err != nil {
				return fmt.Errorf("%s: %w%s", v.name, v.err, v.logs())
			}
		default:
		}
	}
	return nil
}

func (d *demo) join() {
	for _, v := range d.viewers {
		<-v.done
	}
}

// refresh asks the peers, draws the screen, and tells whether all are done.
func (d *demo) refresh(ctx context.Context) bool {
	finished := true
	rows := make([]row, 0, len(d.viewers))
	for _, v := range d.viewers {
		v.poll(ctx)
		finished = finished && v.finished()
		rows = append(rows, v.row())
	}
	if d.guest.poll(ctx); d.guest.came {
		rows = append(rows, d.guest.row())
	}
	d.screen.draw(time.Since(d.began), rows)
	return finished
}
