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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
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
}

// SwarmStats is one title of /stats.
type SwarmStats struct {
	Title string `json:"title"` // hexadecimal
	Peers int    `json:"peers"`
}

// metrics are counted where things happen; numbers of the state are read from
// it when Prometheus asks.
type metrics struct {
	registry *prometheus.Registry
	server   *Server
	dropped  *prometheus.CounterVec
	refused  *prometheus.CounterVec
	tickets  prometheus.Counter

	peers, titles, viewers                *prometheus.Desc
	joins, announces, expired, candidates *prometheus.Desc
	datagrams, bytes, transportDropped    *prometheus.Desc
}

func newMetrics(registry *prometheus.Registry, s *Server) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("shoal_tracker_"+name, help, labels, nil)
	}
	m := &metrics{
		registry: registry, server: s,
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_tracker_dropped_total", Help: "Messages of peers that were dropped, by reason.",
		}, []string{"reason"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_tracker_refused_total", Help: "Joins and announces that were refused, by reason.",
		}, []string{"reason"}),
		tickets: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shoal_tracker_tickets_total", Help: "Tickets issued.",
		}),
		peers:            desc("peers", "Peers online."),
		titles:           desc("titles", "Titles with a swarm."),
		viewers:          desc("viewers", "Viewers in all swarms."),
		joins:            desc("joins_total", "Joins admitted."),
		announces:        desc("announces_total", "Announces answered."),
		expired:          desc("expired_total", "Peers that missed three heartbeats."),
		candidates:       desc("candidates_total", "Candidates handed out."),
		datagrams:        desc("datagrams_total", "UDP datagrams, QUIC included.", "direction"),
		bytes:            desc("bytes_total", "UDP payload bytes, QUIC included.", "direction"),
		transportDropped: desc("datagrams_dropped_total", "Datagrams dropped before a session, by reason.", "reason"),
	}
	registry.MustRegister(m, m.dropped, m.refused, m.tickets,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.peers, m.titles, m.viewers, m.joins, m.announces, m.expired, m.candidates,
		m.datagrams, m.bytes, m.transportDropped,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	snapshot, ok := m.server.snapshot(ctx, 0)
	if !ok {
		return
	}
	gauge := func(d *prometheus.Desc, v int) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(m.peers, snapshot.state.Peers)
	gauge(m.titles, snapshot.titles)
	gauge(m.viewers, snapshot.viewers)
	counter(m.joins, snapshot.state.Joined)
	counter(m.announces, snapshot.state.Announces)
	counter(m.expired, snapshot.state.Expired)
	counter(m.candidates, snapshot.state.Handed)
	t := snapshot.transport
	counter(m.datagrams, t.PacketsIn, "in")
	counter(m.datagrams, t.PacketsOut, "out")
	counter(m.bytes, t.BytesIn, "in")
	counter(m.bytes, t.BytesOut, "out")
	for reason, n := range map[string]uint64{
		"garbage": t.DroppedGarbage, "unknown": t.DroppedUnknown, "forged": t.DroppedForged,
		"replayed": t.DroppedReplayed, "oversize": t.DroppedOversize, "inbox_full": t.DroppedInboxFull,
		"quic_full": t.DroppedQUICFull, "kernel": t.DroppedKernel,
	} {
		counter(m.transportDropped, n, reason)
	}
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
	mux.HandleFunc("GET /stats", s.serveStats)
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
	stats := Stats{
		URL: s.URL().String(), UptimeS: time.Since(s.started).Seconds(),
		Peers: snapshot.state.Peers, Titles: snapshot.titles, Viewers: snapshot.viewers,
		Joins: snapshot.state.Joined, Announces: snapshot.state.Announces,
		Expired: snapshot.state.Expired, Refused: snapshot.state.Refused,
		Swarms: make([]SwarmStats, 0, len(snapshot.largest)),
	}
	for _, t := range snapshot.largest {
		stats.Swarms = append(stats.Swarms, SwarmStats{Title: hex.EncodeToString(t.Title[:]), Peers: t.Peers})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(stats)
}
