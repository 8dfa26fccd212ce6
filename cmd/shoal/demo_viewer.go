package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"shoal/bench/player"
	"shoal/engine"
)

// baselineTimeout bounds the wait for the picture without shoal.
const baselineTimeout = 20 * time.Second

// viewer is one viewer with a peer of its own.
type viewer struct {
	// constant after newViewer
	demo *demo
	name string
	dir  string
	at   time.Duration // when it joins
	done chan struct{} // run has ended
	err  error         // valid after done

	// constant after startNode
	url  string // of the peer
	peer *child

	mu      sync.Mutex // guards what follows
	player  *player.Player
	joined  time.Duration
	started bool // run is past the join
	over    bool // the player has ended
	status  engine.Status
}

func newViewer(d *demo, number int, at time.Duration) *viewer {
	name := fmt.Sprintf("peer-%d", number)
	return &viewer{demo: d, name: name, dir: filepath.Join(d.dir, name), at: at, done: make(chan struct{})}
}

// run joins, plays, and stays as a peer until the demo ends.
func (v *viewer) run(ctx context.Context) {
	defer close(v.done)
	err := v.watch(ctx)
	v.mu.Lock()
	v.over = true
	v.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		v.err = err
	}
}

// startNode brings the viewer's peer up. As beside a real player, the node runs
// before anybody presses play.
func (v *viewer) startNode(ctx context.Context) error {
	d := v.demo
	peer, err := d.crew.start(v.name, "peer", "--listen", "127.0.0.1:0", "--udp", "127.0.0.1:0",
		"--origin", d.origin, "--tracker", d.tracker, "--cache", v.dir, "--name", v.name)
	if err != nil {
		return err
	}
	v.peer = peer
	url, err := peer.firstLine(ctx)
	v.url = strings.TrimSuffix(url, "/")
	return err
}

func (v *viewer) watch(ctx context.Context) error {
	join := time.NewTimer(v.at)
	defer join.Stop()
	select {
	case <-join.C:
	case <-ctx.Done():
		return nil
	}
	d := v.demo
	p := player.New(player.Config{URL: v.url + "/" + d.playlist, Fixed: d.flags.fixed, SessionID: v.name})
	v.mu.Lock()
	v.player, v.joined, v.started = p, time.Since(d.began), true
	v.mu.Unlock()
	_, err := p.Run(ctx)
	return err
}

// poll asks the peer for its counters. A peer that does not answer keeps the
// last ones: its death is told elsewhere.
func (v *viewer) poll(ctx context.Context) {
	var s engine.Status
	if err := getJSON(ctx, v.url+"/api/status", &s); err != nil {
		return
	}
	v.mu.Lock()
	v.status = s
	v.mu.Unlock()
}

func (v *viewer) finished() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.over
}

func (v *viewer) logs() string {
	return v.peer.logs()
}

// row is the viewer's line on the screen.
type row struct {
	name   string
	state  player.State // empty: not here yet
	joins  time.Duration
	report player.Report
	bytes  engine.Bytes
	saving float64
	seeds  int
}

func (v *viewer) row() row {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := row{name: v.name, joins: v.at, bytes: v.status.Bytes, saving: v.status.Saving, seeds: len(v.status.Seeds)}
	if v.player != nil {
		r.report = v.player.Report()
		r.state = r.report.State
	}
	return r
}

// baselineRuns of a player without shoal; their median counts.
const baselineRuns = 3

// baseline measures the start of a player that knows nothing of shoal.
func (d *demo) baseline(ctx context.Context) (time.Duration, error) {
	var starts []time.Duration
	for range baselineRuns {
		start, err := d.startWithoutShoal(ctx)
		if err != nil {
			return 0, fmt.Errorf("play %s without shoal: %w", d.playlist, err)
		}
		starts = append(starts, start)
	}
	slices.Sort(starts)
	return starts[len(starts)/2], nil
}

func (d *demo) startWithoutShoal(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, baselineTimeout)
	defer cancel()
	p := player.New(player.Config{URL: d.origin + "/" + d.playlist, Fixed: d.flags.fixed, SessionID: "baseline"})
	ended, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		_, err := p.Run(ctx)
		ended <- err
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return 0, errors.Join(err, ctx.Err(), errors.New("no picture"))
		case <-tick.C:
			if r := p.Report(); r.State != player.Loading {
				cancel()
				<-gone // it was told to leave
				return r.Startup, nil
			}
		}
	}
}
