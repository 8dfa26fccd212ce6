package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"shoal/engine"
	"shoal/engine/origin"
)

const (
	// titleWait is how long a GET waits for its title's manifest. A slower
	// origin serves the bytes themselves as a plain proxy would: the player is
	// better off with them than with a peer network that comes too late.
	titleWait = 2 * time.Second

	// warmMax bounds the titles that are opened ahead of their first segment.
	warmMax = 4

	// warmTimeout ends such an attempt.
	warmTimeout = 15 * time.Second

	// staleMax bounds the remembered files whose bytes at the origin are not
	// those of the manifest.
	staleMax = 1024
)

// Config of a Proxy. Only Engine is needed.
type Config struct {
	// Engine answers for media files.
	Engine *engine.Engine
	// Origins are the web origins whose pages may play through the node
	// (https://player.example), or "*". Default: none but the node's own.
	Origins []string
	// Hosts are the names, beside loopback ones, under which the node answers.
	Hosts []string
	// Base is the origin's URL prefix, Config.Origin of the engine. With it,
	// absolute URLs in playlists are led through the node; without it they
	// stay, and the player leaves the node where it meets one.
	Base *url.URL
	// Logger; default: discard.
	Logger *slog.Logger
	// Registry takes the metrics and is what /metrics shows. Default: one of
	// its own, with those of the Go runtime and the process.
	Registry *prometheus.Registry
}

// Proxy is the node's HTTP handler.
type Proxy struct {
	// constant after New
	node     node
	base     *url.URL
	guard    guard
	log      *slog.Logger
	metrics  *metrics
	scrape   http.Handler
	sessions *sessions
	now      func() time.Time

	stop context.CancelFunc
	ctx  context.Context //nolint:containedctx // lifetime of the owned goroutines; ended by Close
	wg   sync.WaitGroup
	warm chan struct{} // a token per title being opened ahead

	mu    sync.Mutex
	stale map[string]bool // guarded by mu: files that changed at the origin
}

var _ http.Handler = (*Proxy)(nil)

// New returns the handler. Close ends it.
func New(cfg Config) *Proxy {
	return newProxy(cfg, engineNode{cfg.Engine})
}

func newProxy(cfg Config, n node) *Proxy {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	registry := cfg.Registry
	if registry == nil {
		registry = prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Proxy{
		node: n, base: cfg.Base, log: log,
		guard:    newGuard(cfg.Hosts, cfg.Origins),
		sessions: newSessions(log),
		now:      time.Now,
		stop:     stop, ctx: ctx,
		warm:  make(chan struct{}, warmMax),
		stale: make(map[string]bool),
	}
	p.metrics = newMetrics(registry, n, p.sessions)
	p.scrape = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	p.wg.Go(p.sweep)
	return p
}

// Close ends the Proxy's goroutines. Requests under way are the server's to end.
func (p *Proxy) Close() error {
	p.stop()
	p.wg.Wait()
	return nil
}

func (p *Proxy) sweep() {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
			p.sessions.sweep(p.now())
		}
	}
}

// ServeHTTP answers one request of a player, a browser or a monitor.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &statusWriter{ResponseWriter: w, kind: "refused"}
	defer p.metrics.request(rec)
	if !p.guard.admit(rec, r) {
		return
	}
	rec.kind = "own"
	switch path := r.URL.Path; {
	case path == "/" || path == "":
		serveIndex(rec)
	case path == "/healthz":
		rec.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = rec.Write([]byte("ok\n"))
	case path == "/metrics":
		p.scrape.ServeHTTP(rec, r)
	case path == "/api/status":
		p.serveStatus(rec)
	case path == "/api" || strings.HasPrefix(path, "/api/"):
		refuse(rec, http.StatusNotFound, "shoal has /api/status here; /api/ is not asked of the origin.")
	default:
		p.serveOrigin(rec, r)
	}
}

func (p *Proxy) serveStatus(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(p.node.status()) // the client may be gone
}

// serveOrigin answers for a path of the origin.
func (p *Proxy) serveOrigin(w *statusWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	for segment := range strings.SplitSeq(path, "/") {
		if segment == ".." || strings.ContainsRune(segment, 0) {
			refuse(w, http.StatusBadRequest, "A path must not lead out of the origin's prefix.")
			return
		}
	}
	c, query := takeCMCD(r)
	r = withoutCMCD(r, query)
	creds := origin.CredentialsFrom(r)
	if isPlaylist(path) {
		w.kind = "playlist"
		p.openAhead(path, creds)
		p.servePlaylist(w, r, path)
		return
	}
	w.kind = "media"
	t, f := p.lookup(r.Context(), path, creds)
	if f == nil || p.isStale(f.etag()) || !p.serveFile(w, r, t, f, c) {
		w.kind = "passthrough"
		p.servePlaylist(w, r, path) // also when its name does not say so
	}
}

// withoutCMCD returns the request as the origin shall see it.
func withoutCMCD(r *http.Request, query string) *http.Request {
	out := r.Clone(r.Context())
	out.URL.RawQuery = query
	for _, name := range cmcdHeaders {
		out.Header.Del(name)
	}
	// The node's client compresses towards the CDN by itself; towards a player
	// on the same machine there is nothing to gain.
	out.Header.Del("Accept-Encoding")
	return out
}

// lookup finds the file that a manifest describes at path; nil when there is
// none, or no telling in time.
func (p *Proxy) lookup(ctx context.Context, path string, creds *origin.Credentials) (title, file) {
	ctx, cancel := context.WithTimeout(ctx, titleWait)
	defer cancel()
	t, err := p.node.openTitle(ctx, path, creds)
	if err == nil {
		var f file
		if f, err = t.file(ctx, path); err == nil {
			return t, f
		}
	}
	switch {
	case errors.Is(err, engine.ErrNoTitle), errors.Is(err, engine.ErrNotFound), errors.Is(err, context.Canceled):
	default:
		// The engine says what is wrong with a manifest once; here it is only
		// the reason for one more plain GET.
		p.log.Debug("no manifest for a request", slog.String("path", path), slog.Any("error", err))
	}
	return nil, nil
}

// openAhead opens the title of a playlist while the playlist is on its way: the
// first segment then finds manifest, tracker and peers ready.
func (p *Proxy) openAhead(path string, creds *origin.Credentials) {
	select {
	case p.warm <- struct{}{}:
	default:
		return
	}
	if p.ctx.Err() != nil {
		<-p.warm
		return
	}
	p.wg.Go(func() {
		defer func() { <-p.warm }()
		ctx, cancel := context.WithTimeout(p.ctx, warmTimeout)
		defer cancel()
		if _, err := p.node.openTitle(ctx, path, creds); err != nil && !errors.Is(err, engine.ErrNoTitle) {
			p.log.Debug("title not opened ahead", slog.String("path", path), slog.Any("error", err))
		}
	})
}

func (p *Proxy) isStale(etag string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stale[etag]
}

// markStale remembers that the origin has other bytes than the manifest says.
func (p *Proxy) markStale(f file) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.stale) >= staleMax {
		clear(p.stale)
	}
	p.stale[f.etag()] = true
	p.log.Warn("the origin has other bytes than the manifest says; passing them through unverified and unshared: run shoal pack again",
		slog.String("path", f.record().Path))
}

const index = `<!doctype html>
<meta charset="utf-8"><title>shoal</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}</style>
<h1>shoal</h1>
<p>This is a shoal peer. It plays video from other viewers, and from the CDN only when the picture would stop otherwise.</p>
<p>Open <code>http://%s/&lt;path on the CDN&gt;</code> in a player: hls.js, dash.js, VLC, mpv, ffplay, ExoPlayer, AVPlayer.</p>
<ul><li><a href="api/status">status</a> (JSON)</li><li><a href="metrics">metrics</a> (Prometheus)</li><li><a href="healthz">health</a></li></ul>
`

func serveIndex(w *statusWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_, _ = fmt.Fprintf(w, index, "127.0.0.1:7070") // the client may be gone
}

// statusWriter remembers what was answered.
type statusWriter struct {
	http.ResponseWriter
	kind string
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	if w.code == 0 && code >= 200 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the server's writer.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush() // a writer that cannot flush does not buffer
}
