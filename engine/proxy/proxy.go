package proxy

import (
	"context"
	"encoding/json"
	"errors"
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
	"shoal/engine/proxy/page"
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
	// Version of the program, for /api/node.
	Version string
	// Titles are paths on the CDN that the viewer page offers before anything
	// was played. Default: none.
	Titles []string
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
	version  string
	guard    guard
	titles   *titleList
	live     *live
	log      *slog.Logger
	metrics  *metrics
	scrape   http.Handler
	sessions *sessions
	pacing   pacing // see pace.go
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
		node: n, base: cfg.Base, version: cfg.Version, log: log,
		guard:    newGuard(cfg.Hosts, cfg.Origins),
		titles:   newTitleList(cfg.Titles),
		live:     newLive(n),
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

// EndLive ends the streams of open dashboards, which would otherwise last as
// long as their pages: what http.Server.Shutdown waits for. Give it to
// http.Server.RegisterOnShutdown.
func (p *Proxy) EndLive() { p.live.close() }

// Close ends the Proxy's goroutines. Requests under way are the server's to end.
func (p *Proxy) Close() error {
	p.stop()
	p.live.close()
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
	case path == "/" || strings.HasPrefix(path, page.Prefix):
		if !page.Serve(rec, r) {
			refuse(rec, http.StatusNotFound, "shoal has no such file; "+page.Prefix+" is not asked of the origin.")
		}
	case path == "/healthz":
		rec.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = rec.Write([]byte("ok\n"))
	case path == "/metrics":
		p.scrape.ServeHTTP(rec, r)
	case path == "/api/status":
		writeJSON(rec, p.node.status())
	case path == "/api/titles":
		p.serveTitles(rec)
	case path == "/api/live":
		p.live.serve(rec, r)
	case path == nodePath:
		p.serveNode(rec)
	case path == linePath:
		p.serveLine(rec, r)
	case path == "/api" || strings.HasPrefix(path, "/api/"):
		refuse(rec, http.StatusNotFound, "shoal has /api/status, /api/live, /api/titles, /api/line and /api/node here; /api/ is not asked of the origin.")
	default:
		p.serveOrigin(rec, r)
	}
}

// nodePath is what a site's page asks to find out whether a node is here.
const nodePath = "/api/node"

// nodeAPI is the number of what a page may rely on: where media, /api/node and
// CORS are. A page stays on the CDN when it knows another.
const nodeAPI = 1

// serveNode tells a page what it needs to play through the node, and nothing of
// what is played. Configured origins may read it.
func (p *Proxy) serveNode(w http.ResponseWriter) {
	answer := struct {
		Shoal   int    `json:"shoal"`
		Version string `json:"version"`
		Origin  string `json:"origin"` // the CDN's prefix, with a slash at its end
	}{Shoal: nodeAPI, Version: p.version}
	if p.base != nil {
		base := *p.base
		base.User, base.RawQuery, base.Fragment = nil, "", "" // may be secrets
		answer.Origin = strings.TrimSuffix(base.String(), "/") + "/"
	}
	writeJSON(w, answer)
}

func writeJSON(w http.ResponseWriter, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client may be gone
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
	if f != nil && isMovie(path) && len(f.record().Segments) > 0 {
		p.titles.movie(path, r.Header.Get("Sec-Fetch-Dest"))
	}
	if f == nil || p.isStale(f.etag()) || !p.serveFile(w, r, t, f, c) {
		w.kind = "passthrough"
		p.servePlaylist(w, r, path) // also when its name does not say so
		if f == nil && isMovie(path) && (w.code == http.StatusOK || w.code == http.StatusPartialContent) {
			p.titles.movie(path, r.Header.Get("Sec-Fetch-Dest"))
		}
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

// statusWriter remembers what was answered.
type statusWriter struct {
	http.ResponseWriter
	kind string
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	if w.code == 0 && code >= 200 {
		w.code = code
		w.confine()
	}
	w.ResponseWriter.WriteHeader(code)
}

// confine takes the rights of the node's own pages from what the origin has,
// which is shown under the same name: a document among it could read /api/. A
// film that is opened by itself is left alone, for browsers make a document of
// their own around it, and in a sandbox that one may not load the film.
func (w *statusWriter) confine() {
	if w.kind != "media" && w.kind != "playlist" && w.kind != "passthrough" {
		return
	}
	h := w.Header()
	t := strings.ToLower(h.Get("Content-Type"))
	if !strings.HasPrefix(t, "video/") && !strings.HasPrefix(t, "audio/") && !isPlaylistType(t) {
		h.Set("Content-Security-Policy", "sandbox")
	}
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the server's writer.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush() // a writer that cannot flush does not buffer
}
