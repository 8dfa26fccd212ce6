package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"shoal/cc"
	"shoal/engine"
	"shoal/engine/proxy"
	"shoal/tracker/server"
)

const (
	// cacheBytes holds the whole ladder, 140 MB.
	cacheBytes = 1 << 30

	// readyTimeout bounds the wait for a seed or a cache to be complete.
	readyTimeout = 30 * time.Second

	// lookEvery is how often readiness is looked at.
	lookEvery = 20 * time.Millisecond
)

// web is an HTTP server on a free port of the loopback interface.
type web struct {
	url    string
	server *http.Server
}

func serve(h http.Handler) (*web, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &web{url: "http://" + l.Addr().String(), server: &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}}
	go func() { _ = w.server.Serve(l) }() // ends with close
	return w, nil
}

func (w *web) close() { _ = w.server.Close() }

// node is a peer with its proxy, as shoal peer makes them.
type node struct {
	engine *engine.Engine
	proxy  *proxy.Proxy
	web    *web
}

// nodeConfig is what differs between the nodes of a scenario.
type nodeConfig struct {
	origin, tracker, cache string
	upload                 bool
	uploadBytesPerSec      float64 // 0: as fast as the path
	unpaced                bool
	ahead                  time.Duration // 0: as usual
	players                string        // the web origin that may play
}

func startNode(c nodeConfig) (*node, error) {
	cfg := engine.Config{
		Origin: c.origin, Tracker: c.tracker, UDP: "127.0.0.1:0", CacheDir: c.cache, CacheBytes: cacheBytes,
		NoUpload: !c.upload, Ahead: c.ahead, Logger: slog.New(slog.DiscardHandler),
	}
	if c.uploadBytesPerSec > 0 {
		cfg.NewController = func(time.Time) cc.Controller { return fixedRate(c.uploadBytesPerSec) }
	}
	e, err := engine.New(cfg)
	if err != nil {
		return nil, err
	}
	n := &node{engine: e, proxy: proxy.New(proxy.Config{Engine: e, Origins: []string{c.players}})}
	if c.unpaced {
		n.proxy.Unpaced()
	}
	if n.web, err = serve(n.proxy); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *node) close() error {
	if n.web != nil {
		n.web.close()
	}
	return errors.Join(n.proxy.Close(), n.engine.Close())
}

// get reads a path through the node and throws it away. As players do, it tries
// again when the node says that the origin was too slow.
func (n *node) get(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		status, err := n.try(ctx, path)
		switch {
		case err != nil:
			return fmt.Errorf("get %s: %w", path, err)
		case status == http.StatusOK:
			return nil
		case status != http.StatusGatewayTimeout:
			return fmt.Errorf("get %s: status %d", path, status)
		}
	}
}

func (n *node) try(ctx context.Context, path string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.web.url+"/"+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "Lavf/rig") // a player that does not adapt is not paced
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// fill makes the full cache.
func (l *Lab) fill(ctx context.Context) error {
	n, err := startNode(nodeConfig{origin: l.fast.url, cache: l.full, players: l.pages.url})
	if err != nil {
		return err
	}
	for _, path := range l.paths {
		if err := n.get(ctx, path); err != nil {
			return errors.Join(err, n.close())
		}
	}
	if err := n.close(); err != nil {
		return err
	}
	return forget(l.full)
}

// forget removes from a cache folder what makes it one node's.
func forget(dir string) error {
	for _, name := range []string{"identity.key", "line.json", "lock"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// seed is a peer that has the whole title, with the tracker of its swarm.
type seed struct {
	tracker *server.Server
	node    *node
}

// startSeed opens the title on a copy of the full cache, and waits until its
// pieces are checked.
func (l *Lab) startSeed(ctx context.Context, dir string, uploadBytesPerSec float64) (*seed, error) {
	if err := copyTree(filepath.Join(dir, "seed"), l.full); err != nil {
		return nil, err
	}
	tr, err := server.Start(server.Config{Listen: "127.0.0.1:0", StateDir: filepath.Join(dir, "tracker")})
	if err != nil {
		return nil, err
	}
	s := &seed{tracker: tr}
	s.node, err = startNode(nodeConfig{
		origin: l.fast.url, tracker: tr.URL().String(), cache: filepath.Join(dir, "seed"), upload: true,
		uploadBytesPerSec: uploadBytesPerSec,
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	t, err := s.node.engine.OpenTitle(ctx, titleName+"/"+masterPlaylist, nil)
	for _, path := range l.paths {
		if err == nil {
			_, err = t.File(ctx, path) // loads its page: the files there are checked and announced
		}
	}
	if err == nil {
		err = until(ctx, "the seed's cache", func() bool { return s.node.engine.Status().Cache.Pieces >= l.pieces })
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *seed) close() error {
	var err error
	if s.node != nil {
		err = s.node.close()
	}
	return errors.Join(err, s.tracker.Close())
}

// until waits for a condition.
func until(ctx context.Context, what string, met func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !met() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
	return nil
}

// fixedRate is a congestion controller that sends at one rate whatever happens:
// a household's uplink.
type fixedRate float64

var _ cc.Controller = fixedRate(0)

func (fixedRate) Sent(time.Time, int, int)     {}
func (fixedRate) Acked(time.Time, cc.Sample)   {}
func (fixedRate) Lost(time.Time, cc.Loss)      {}
func (r fixedRate) PacingBytesPerSec() float64 { return float64(r) }

// WindowBytes is what the rate brings in 100 ms, far more than the path holds.
func (r fixedRate) WindowBytes() int { return max(int(r/10), cc.InitialWindowBytes) }
