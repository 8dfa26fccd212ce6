package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"shoal/bench/player"
	"shoal/engine"
)

const (
	// guestLeft is how long the person must not have watched to be gone: a pause
	// to answer the door is none of it.
	guestLeft = 20 * time.Second

	// guestPoll is how often the person's peer is asked while only the person
	// watches.
	guestPoll = 500 * time.Millisecond

	// swarmViewReady bounds the wait for the address of the swarm view, which
	// the tracker writes when it listens.
	swarmViewReady = 10 * time.Second
)

// guest is the place that the demo keeps for a person: a peer as the others
// have, and a page in a browser instead of a model player. One goroutine, the
// demo's, owns it.
type guest struct {
	demo *demo
	peer *child
	url  string // of the peer
	page string // of the viewer page, with the title

	status   engine.Status
	came     bool      // ever watched
	seen     time.Time // watching, the last time
	joined   time.Duration
	lastView engine.ViewerStatus
}

// startGuest brings the person's peer up and says where to watch.
func (d *demo) startGuest(ctx context.Context) error {
	peer, err := d.crew.start("you", "peer", "--listen", "127.0.0.1:0", "--udp", "127.0.0.1:0",
		"--origin", d.origin, "--tracker", d.tracker, "--cache", filepath.Join(d.dir, "you"), "--name", "you",
		"--title", d.playlist)
	if err != nil {
		return err
	}
	line, err := peer.firstLine(ctx)
	if err != nil {
		return err
	}
	g := &guest{demo: d, peer: peer, url: strings.TrimSuffix(line, "/")}
	g.page = g.url + "/#" + (&url.URL{Path: d.playlist}).EscapedPath()
	d.guest = g
	d.screen.line("Watch with them: %s", g.page)
	d.screen.line("See the swarm: %s", d.swarmView)
	if d.flags.open {
		if err := d.open(g.page); err != nil {
			d.screen.line("No browser could be started (%v): open the address above.", err)
		}
	}
	return nil
}

// poll asks the peer what the person does. A peer that does not answer keeps
// the last answer: its death is told elsewhere.
func (g *guest) poll(ctx context.Context) {
	var s engine.Status
	if err := getJSON(ctx, g.url+"/api/status", &s); err != nil {
		return
	}
	g.status = s
	for _, t := range s.Titles {
		for _, v := range t.Viewers {
			if v.Rate <= 0 {
				continue
			}
			if !g.came {
				g.came, g.joined = true, time.Since(g.demo.began)
			}
			g.seen, g.lastView = time.Now(), v
		}
	}
}

// watching tells whether the person watches, or did a moment ago.
func (g *guest) watching(now time.Time) bool { return g.came && now.Sub(g.seen) < guestLeft }

// row is the person's line on the screen.
func (g *guest) row() row {
	v := g.lastView
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	state := player.Playing
	if time.Since(g.seen) > 2*demoRefresh {
		state = "paused"
	}
	return row{
		name: "you", state: state, bytes: g.status.Bytes, saving: g.status.Saving, seeds: len(g.status.Seeds),
		report: player.Report{Position: seconds(v.PositionS), Buffer: seconds(v.BufferS), Stalls: v.Stalls},
	}
}

// report describes the person's peer; nil when nobody came.
func (g *guest) report() *guestReport {
	if !g.came {
		return nil
	}
	b := g.status.Bytes
	return &guestReport{
		JoinedS: round(g.joined.Seconds(), 2), P2PBytes: b.P2P, CDNBytes: b.CDN,
		ServedBytes: b.Served, Saving: round(saving(b.P2P, b.CDN), 4),
	}
}

// stayForGuest keeps the peers while a person still watches. Ctrl-C is a good
// end here, and no interruption.
func (d *demo) stayForGuest(ctx context.Context) error {
	g := d.guest
	if d.flags.json || g == nil || !g.watching(time.Now()) {
		return nil
	}
	d.screen.line("\nThe model players are done. You still watch, so the peers stay: stop the picture or press Ctrl-C to end.")
	tick := time.NewTicker(guestPoll)
	defer tick.Stop()
	for g.watching(time.Now()) {
		select {
		case <-ctx.Done():
			return nil
		case c := <-d.crew.died:
			return c.deathError()
		case <-tick.C:
			g.poll(ctx)
		}
	}
	d.screen.line("The picture was stopped; the demo ends.")
	return nil
}

// readSwarmView waits for the file in which the tracker tells where its swarm
// view is.
func readSwarmView(ctx context.Context, file string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, swarmViewReady)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		body, err := os.ReadFile(file)
		if err == nil {
			return strings.TrimSpace(string(body)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("swarm view: %w", err)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the tracker did not tell where its swarm view is: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// openBrowser shows a page in the person's browser. The browser is not the
// demo's child to end: whoever opened it closes it.
func openBrowser(page string) error {
	name, args := "xdg-open", []string{page}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", page}
	}
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // only so that no dead process is left
	return nil
}
