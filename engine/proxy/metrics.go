package proxy

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the node's Prometheus metrics: those of the engine are read from
// its Status when they are scraped, those of HTTP are counted here.
type metrics struct {
	node     node
	sessions *sessions

	requests  *prometheus.CounterVec
	firstByte prometheus.Histogram
}

// described with their labels; read from Status at each scrape.
var (
	descBytes       = desc("bytes_total", "Payload bytes: p2p and cdn as verified, cache and played as handed to players, served to other peers, duplicate and hash_failed as wasted.", "source")
	descCDN         = desc("cdn_bytes_total", "Bytes taken from the CDN, by reason.", "reason")
	descPassthrough = desc("passthrough_bytes_total", "Bytes of playlists and other files without a record, passed through from the CDN.")
	descSaving      = desc("saving_ratio", "P2P bytes / (P2P bytes + CDN bytes).")
	descTracker     = desc("tracker_connected", "1 while the tracker answers.")
	descSeeds       = desc("seeds", "Connected peers as sources, by state.", "state")
	descLeeches     = desc("leeches", "Connected peers that take from this one.")
	descSwarm       = desc("swarm_peers", "Size of a title's swarm, as the tracker says.", "title")
	descViewers     = desc("viewers", "Viewing sessions.")
	descBuffer      = desc("viewer_buffer_seconds", "Media that a player holds beyond its playhead.", "viewer")
	descReady       = desc("viewer_ready_seconds", "Media that the node holds beyond a playhead.", "viewer")
	descStalls      = desc("viewer_stalls_total", "Stalls that a player told of.", "viewer")
	descCache       = desc("cache_bytes", "Bytes in the cache.")
	descCacheLimit  = desc("cache_limit_bytes", "Bound of the cache.")
	descCacheMode   = desc("cache_mode", "1 for the mode of the cache: disk or memory.", "mode")
	descPieces      = desc("pieces", "Pieces waiting for a seed (ready) or in progress (active).", "state")
	descFetches     = desc("cdn_fetches", "CDN downloads in progress.")
	descReaders     = desc("readers", "Open reads.")
	descTransport   = desc("transport_total", "Datagrams and bytes of the UDP socket, by outcome.", "outcome")
	descDropped     = desc("dropped_total", "Garbage from peers that was dropped, by kind.", "kind")
	descUptime      = desc("uptime_seconds", "Time since the node started.")
	descSessions    = desc("http_sessions", "Players followed by their requests.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("shoal_"+name, help, labels, nil)
}

func newMetrics(registry *prometheus.Registry, n node, s *sessions) *metrics {
	m := &metrics{
		node: n, sessions: s,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_http_requests_total", Help: "Requests of players and monitors, by what was asked and the status.",
		}, []string{"kind", "code"}),
		firstByte: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "shoal_http_first_byte_seconds", Help: "Time from a media request to its first verified byte.",
			Buckets: []float64{.001, .003, .01, .03, .1, .2, .4, .8, 1.6, 3.2, 6.4},
		}),
	}
	registry.MustRegister(m, m.requests, m.firstByte)
	return m
}

// request counts an answer.
func (m *metrics) request(w *statusWriter) {
	code := "none" // the player went away first
	if w.code != 0 {
		code = strconv.Itoa(w.code)
	}
	m.requests.WithLabelValues(w.kind, code).Inc()
}

// Describe implements prometheus.Collector; without descriptions the collector
// is unchecked, and families without a value yet are simply absent.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := m.node.status()
	b := s.Bytes
	for source, n := range map[string]int64{
		"p2p": b.P2P, "cdn": b.CDN, "cache": b.Cache, "served": b.Served,
		"played": b.Played, "duplicate": b.Duplicate, "hash_failed": b.HashFailed,
	} {
		counter(descBytes, n, source)
	}
	for reason, n := range s.CDNReasons {
		counter(descCDN, n, reason)
	}
	counter(descPassthrough, int64(m.node.passthroughBytes()))
	gauge(descSaving, s.Saving)
	gauge(descTracker, boolValue(s.Tracker.Connected))
	frozen := 0
	for _, seed := range s.Seeds {
		if seed.FrozenMillis > 0 {
			frozen++
		}
	}
	gauge(descSeeds, float64(len(s.Seeds)-frozen), "active")
	gauge(descSeeds, float64(frozen), "frozen")
	gauge(descLeeches, float64(len(s.Leeches)))
	viewers := 0
	for _, t := range s.Titles {
		gauge(descSwarm, float64(t.N), t.ID)
		for _, v := range t.Viewers {
			viewers++
			id := t.ID[:min(len(t.ID), 8)] + "/" + v.ID // a viewer's ID is unique inside its title
			gauge(descBuffer, v.BufferS, id)
			gauge(descReady, v.ReadyS, id)
			counter(descStalls, int64(v.Stalls), id)
		}
	}
	gauge(descViewers, float64(viewers))
	gauge(descCache, float64(s.Cache.Bytes))
	gauge(descCacheLimit, float64(s.Cache.Limit))
	if s.Cache.Mode != "" {
		gauge(descCacheMode, 1, s.Cache.Mode)
	}
	gauge(descPieces, float64(s.Ready), "ready")
	gauge(descPieces, float64(s.Active), "active")
	gauge(descFetches, float64(s.Fetches))
	gauge(descReaders, float64(s.Readers))
	for outcome, n := range s.Transport {
		counter(descTransport, n, outcome)
	}
	for kind, n := range s.Dropped {
		counter(descDropped, n, kind)
	}
	gauge(descUptime, s.UptimeS)
	gauge(descSessions, float64(m.sessions.count()))
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
