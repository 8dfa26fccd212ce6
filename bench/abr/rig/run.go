package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"shoal/engine"
	"shoal/internal/chrome"
)

// The players.
const (
	Hls  = "hls.js"
	Dash = "dash.js"
)

// Way is how a player reaches the origin.
type Way string

// Ways. All but Direct lead through a node.
const (
	// Direct: the player asks the origin.
	Direct Way = "direct"
	// Cold: a node that has nothing.
	Cold Way = "cold"
	// Replay: a node through which the title was played just before.
	Replay Way = "replay"
	// Warm: a node that has every rendition in its cache and has measured its line.
	Warm Way = "warm"
	// Unmeasured: as Warm, but nothing was ever fetched over the line.
	Unmeasured Way = "unmeasured"
	// Seed: a cold node beside a peer that has everything.
	Seed Way = "seed"
	// JustInTime: a cold node that fetches nothing before it is asked for it; with
	// SeedKbps, beside a peer that has everything.
	JustInTime Way = "jit"
)

// Scenario is one run of one player.
type Scenario struct {
	Player   string `json:"player"`
	Way      Way    `json:"way"`
	LineKbps int    `json:"line_kbps"`
	// Segments is how many are played; 0: all.
	Segments int `json:"segments,omitempty"`
	// SeedKbps limits the seed's uplink; 0: as fast as the path.
	SeedKbps int `json:"seed_kbps,omitempty"`
	// CMCD makes the player tell its state (CTA-5004).
	CMCD bool `json:"cmcd"`
	// Unpaced hands over what a node has as fast as the player takes it.
	Unpaced bool `json:"unpaced"`
}

// String names the scenario.
func (s Scenario) String() string {
	name := s.Player + " " + string(s.Way)
	if s.SeedKbps > 0 {
		name += fmt.Sprintf(" %.1f Mbit/s", float64(s.SeedKbps)/1000)
	}
	return name
}

// Run plays the title until its last segment is loaded.
func (l *Lab) Run(ctx context.Context, s Scenario) (*Result, error) {
	r, err := l.run(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	return r, nil
}

func (l *Lab) run(ctx context.Context, s Scenario) (r *Result, err error) {
	dir, err := os.MkdirTemp(l.dir, "run-")
	if err != nil {
		return nil, err
	}
	o, err := l.newOrigin(s.LineKbps)
	if err != nil {
		return nil, err
	}
	cdn, err := serve(o)
	if err != nil {
		return nil, err
	}
	defer cdn.close()
	if s.Way == Direct {
		return l.play(ctx, s, cdn.url)
	}
	c := nodeConfig{origin: cdn.url, cache: filepath.Join(dir, "cache"), unpaced: s.Unpaced, players: l.pages.url}
	if s.Way == Warm || s.Way == Unmeasured {
		if err := copyTree(c.cache, l.full); err != nil {
			return nil, err
		}
	}
	if s.Way == JustInTime {
		c.ahead = time.Millisecond
	}
	if s.Way == Seed || s.SeedKbps > 0 {
		peer, err := l.startSeed(ctx, dir, float64(s.SeedKbps)*1000/8)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, peer.close()) }()
		c.tracker = peer.tracker.URL().String()
	}
	n, err := startNode(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	if err := l.prepare(ctx, s, n); err != nil {
		return nil, err
	}
	before := n.engine.Status().Bytes
	if r, err = l.play(ctx, s, n.web.url); err != nil {
		return nil, err
	}
	r.take(before, n.engine.Status().Bytes)
	r.LineKbps = int(n.engine.LineRate() * 8 / 1000)
	return r, nil
}

// prepare brings a node into the state that the scenario begins with.
func (l *Lab) prepare(ctx context.Context, s Scenario, n *node) error {
	if s.Way == Warm {
		return n.get(ctx, probeFile())
	}
	if s.Way == Replay {
		_, err := l.play(ctx, s, n.web.url)
		return err
	}
	if s.Way != Seed && s.SeedKbps == 0 {
		return nil
	}
	t, err := n.engine.OpenTitle(ctx, titleName+"/"+masterPlaylist, nil)
	if err != nil {
		return err
	}
	for _, path := range l.paths {
		if _, err := t.File(ctx, path); err != nil {
			return err
		}
	}
	return until(ctx, "the seed", func() bool { return len(n.engine.Status().Seeds) > 0 })
}

// playMargin is what a run may take beyond the title's length: the start, and
// stalls on the way.
const playMargin = 40 * time.Second

// playLook is how often a play is looked at. Each look costs the browser a
// millisecond, and there are many plays.
const playLook = 500 * time.Millisecond

// play opens a frame and waits until the last segment is there.
func (l *Lab) play(ctx context.Context, s Scenario, base string) (*Result, error) {
	file := masterPlaylist
	if s.Player == Dash {
		file = mpd
	}
	q := url.Values{
		"player": {s.Player}, "url": {base + "/" + titleName + "/" + file},
		"segments": {fmt.Sprint(cmp.Or(s.Segments, segments))}, "duration": {fmt.Sprint(segmentLength.Seconds())},
	}
	if s.CMCD {
		q.Set("cmcd", "1")
	}
	frame := fmt.Sprintf("open(%q)", "/player?"+q.Encode())
	id, err := ask[int](l, frame)
	if err != nil {
		return nil, err
	}
	defer func() { _, _ = ask[bool](l, fmt.Sprintf("shut(%d)", id)) }() // the browser may have gone
	ctx, cancel := context.WithTimeout(ctx, titleLength+playMargin)
	defer cancel()
	tick := time.NewTicker(playLook)
	defer tick.Stop()
	for {
		r, err := ask[*Result](l, fmt.Sprintf("look(%d)", id))
		switch {
		case err != nil:
			return nil, err
		case r != nil && r.Error != "":
			return nil, fmt.Errorf("the player gave up: %s", r.Error)
		case r != nil && r.Done:
			r.Scenario = s
			return r, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			n := 0
			if r != nil {
				n = len(r.Segments)
			}
			return nil, fmt.Errorf("the last segment was not loaded, but %d others: %w", n, ctx.Err())
		}
	}
}

// ask evaluates an expression in the page that holds the frames.
func ask[T any](l *Lab, expression string) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return chrome.Eval[T](l.tab, expression)
}

// take notes where the bytes of a run came from.
func (r *Result) take(before, after engine.Bytes) {
	r.CDNBytes, r.P2PBytes, r.CacheBytes = after.CDN-before.CDN, after.P2P-before.P2P, after.Cache-before.Cache
}
