package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"shoal/engine/transport"
	"shoal/tracker"
	"shoal/tracker/store"
)

const (
	// healthTimeout is how long the owner's goroutine may take to answer before
	// the tracker counts as unhealthy.
	healthTimeout = 2 * time.Second

	// statsTitlesMax bounds /stats to its largest swarms: about 12 KiB.
	statsTitlesMax = 100
)

// Stats is the answer of /stats.
type Stats struct {
	URL       string       `json:"url"`
	UptimeS   float64      `json:"uptime_s"`
	Peers     int          `json:"peers"`
	Titles    int          `json:"titles"`
	Viewers   int          `json:"viewers"` // a peer counts once per title
	Joins     uint64       `json:"joins"`
	Announces uint64       `json:"announces"`
	Expired   uint64       `json:"expired"`
	Refused   uint64       `json:"refused"`
	Swarms    []SwarmStats `json:"swarms"` // the largest first, at most 100

	// What peers have reported since the tracker began.
	Watching int      `json:"watching"` // viewers, as peers say
	Reports  uint64   `json:"reports"`
	Saving   *float64 `json:"saving"` // P2P / (P2P + CDN); null: no bytes yet
	Reported Figures  `json:"reported"`
}

// SwarmStats is one title of /stats.
type SwarmStats struct {
	Title string `json:"title"` // hexadecimal
	Peers int    `json:"peers"`
}

type snapshot struct {
	state           tracker.Stats
	transport       transport.Stats
	largest         []store.TitleSize
	titles, viewers int
}

// snapshot reads the numbers on the owner's goroutine.
func (s *Server) snapshot(ctx context.Context, largest int) (snap snapshot, ok bool) {
	var got snapshot
	var err error
	ok = s.do(ctx, func(time.Time) {
		got.state = s.state.Stats()
		got.largest, got.titles, got.viewers, err = s.store.Titles(largest)
	})
	if !ok || err != nil {
		return snapshot{}, false
	}
	got.transport = s.endpoint.Stats()
	return got, true
}

func (s *Server) listenHTTP() error {
	if s.cfg.HTTP == "" {
		return nil
	}
	listener, err := net.Listen("tcp", s.cfg.HTTP)
	if err != nil {
		return fmt.Errorf("listen for HTTP on %s (choose another with --http ADDR): %w", s.cfg.HTTP, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.serveHealth)
	guard := newGuard(s.cfg.AllowHosts)
	mux.HandleFunc("GET /stats", guard.protect(s.serveStats))
	mux.HandleFunc("GET /api/swarms", guard.protect(s.serveSwarms))
	mux.HandleFunc("GET /{$}", guard.protect(servePage))
	mux.HandleFunc("GET "+assetsPath, guard.protect(serveAsset))
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	s.listener = listener
	s.web = &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
		// Operators and their scrapers send small requests and read at once.
		ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	return nil
}

func (s *Server) serveHTTP() {
	if err := s.web.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		s.cfg.Logger.Error("HTTP ended", slog.String("err", err.Error()))
	}
}

// serveHealth says whether the goroutine that owns the state still turns.
func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	if !s.do(ctx, func(time.Time) {}) {
		http.Error(w, "the tracker does not answer", http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

func (s *Server) serveStats(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	snapshot, ok := s.snapshot(ctx, statsTitlesMax)
	if !ok {
		http.Error(w, "the tracker does not answer", http.StatusServiceUnavailable)
		return
	}
	totals := snapshot.state.Totals
	stats := Stats{
		URL: s.URL().String(), UptimeS: time.Since(s.started).Seconds(),
		Peers: snapshot.state.Peers, Titles: snapshot.titles, Viewers: snapshot.viewers,
		Joins: snapshot.state.Joined, Announces: snapshot.state.Announces,
		Expired: snapshot.state.Expired, Refused: snapshot.state.Refused,
		Watching: snapshot.state.Watching, Reports: snapshot.state.Reports,
		Saving: saving(&totals), Reported: figures(&totals),
		Swarms: make([]SwarmStats, 0, len(snapshot.largest)),
	}
	for _, t := range snapshot.largest {
		stats.Swarms = append(stats.Swarms, SwarmStats{Title: hex.EncodeToString(t.Title[:]), Peers: t.Peers})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(stats)
}
