package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"shoal/bench/emulator"
)

// settle is the time between the last node's being ready and the first viewer:
// all have announced themselves by then.
const settle = 2 * time.Second

// run plays a world once with real processes.
func (l *lab) run(ctx context.Context, w *world, name string) (r *runResult, err error) {
	dir := filepath.Join(l.dir, "logs", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	links := w.links()
	uplinks := make([]kindCount, len(w.homes))
	for i := range w.homes {
		links[i+1].Up.Observe = uplinks[i].observe
	}
	network, err := emulator.NewStar(w.seed, links)
	if err != nil {
		return nil, err
	}
	// Ends all processes.
	defer func() { err = errors.Join(err, network.Close()) }()
	for _, h := range network.Hosts {
		h.Nice = l.nice
	}
	origin, tracker, err := l.startServers(ctx, network.Hosts[0], dir)
	if err != nil {
		return nil, err
	}
	sessions := make([]*session, len(w.homes))
	for i, h := range w.homes {
		sessions[i] = newSession(l, h, network.Hosts[i+1], dir)
		if err := sessions[i].startNode(ctx, origin, tracker); err != nil {
			return nil, err
		}
	}
	if err := watchAll(ctx, sessions, time.Now().Add(settle)); err != nil {
		return nil, err
	}
	r = &runResult{WaitMillis: float64(waiting(sessions)) / float64(time.Millisecond), Load: machineLoad()}
	for i, s := range sessions {
		v := s.result(l.title)
		v.Uplink = uplinks[i].list()
		r.Viewers = append(r.Viewers, v)
	}
	r.sum()
	if err := r.addNetwork(network); err != nil {
		return nil, err
	}
	return r, r.write(filepath.Join(dir, "result.json"))
}

// startServers starts the origin and the tracker.
func (l *lab) startServers(ctx context.Context, h *emulator.Host, dir string) (originURL, trackerURL string, err error) {
	origin, err := l.startOrigin(h, dir)
	if err != nil {
		return "", "", err
	}
	if originURL, err = origin.firstLine(ctx); err != nil {
		return "", "", err
	}
	tracker, err := start(h, dir, "tracker", l.shoal, "tracker", "--listen", fmt.Sprintf("%s:%d", h.Addr, trackerPort), "--http", "")
	if err != nil {
		return "", "", err
	}
	trackerURL, err = tracker.firstLine(ctx)
	origin.drain()
	tracker.drain()
	return strings.TrimSuffix(originURL, "/"), trackerURL, err
}

// startOrigin starts the server that stands for the CDN.
func (l *lab) startOrigin(h *emulator.Host, dir string) (*process, error) {
	return start(h, dir, "origin", l.self, "--serve", l.title.dir, "--listen", fmt.Sprintf("%s:%d", h.Addr, originPort))
}

// watcher is one viewer of a run.
type watcher interface {
	household() home
	watch(ctx context.Context, until time.Time) error
}

// watchAll lets each viewer join at its time and returns when the last one has
// left. The first error ends the run.
func watchAll[S watcher](ctx context.Context, sessions []S, begin time.Time) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var viewing sync.WaitGroup
	for _, s := range sessions {
		viewing.Go(func() {
			join := time.NewTimer(time.Until(begin.Add(s.household().Start)))
			defer join.Stop()
			select {
			case <-join.C:
			case <-ctx.Done():
				return
			}
			if err := s.watch(ctx, begin.Add(s.household().Start+s.household().Watch)); err != nil {
				cancel(err)
			}
		})
	}
	viewing.Wait()
	return context.Cause(ctx)
}
