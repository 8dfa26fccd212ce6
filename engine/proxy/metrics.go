package proxy

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"shoal/engine"
	"shoal/engine/origin"
)

// metrics are the node's Prometheus metrics: those of the engine are read from
// its Status when they are scraped, those of HTTP are counted here.
//
// Every label is bounded, most of them by constants of the code. Those that are
// not: title by the open titles (256); viewer by the sessions followed at once
// (64), but a player names each viewing anew, so that a scraper gathers series
// over time. No sum and no alert needs the latter; docs/operations.md says how
// to drop them.
type metrics struct {
	node     node
	sessions *sessions

	requests  *prometheus.CounterVec
	firstByte prometheus.Histogram

	mu          sync.Mutex       // guards what follows; scrapes may overlap
	stallsSeen  map[string]int64 // by viewer, at the last scrape
	stallsTotal int64
}

// originCounter is a node that tells what its CDN client did; the proxy's own
// tests have none.
type originCounter interface{ originStats() origin.Stats }

func (n engineNode) originStats() origin.Stats { return n.e.Origin().Stats() }

// Of the node; described with their labels.
var (
	descBuild   = desc("build_info", "1; the version of shoal and of Go as labels.", "version", "goversion")
	descUptime  = desc("uptime_seconds", "Time since the node started.")
	descTracker = desc("tracker_connected", "1 while the tracker answers; absent without a tracker.")
)

// Of bytes.
var (
	descBytes    = desc("bytes_total", "Payload bytes. p2p and cdn: verified, by where they came from; cache and played: handed to players; served: to other peers; duplicate and hash_failed: wasted. Not to be summed over source.", "source")
	descCDN      = desc("cdn_bytes_total", "Verified bytes taken from the CDN, by the reason for it; they sum up to shoal_bytes_total of source cdn.", "reason")
	descSaving   = desc("saving_ratio", "P2P bytes / (P2P bytes + CDN bytes) since the node started.")
	descUploadOn = desc("upload_enabled", "1 when the node serves other peers.")
	descUpload   = desc("upload_limit_bytes_per_second", "Bound of what is served; 0 for none.")
)

// Of the CDN client.
var (
	descCDNFetches  = desc("cdn_fetches", "CDN downloads in progress.")
	descCDNRequests = desc("cdn_requests_total", "Range requests to the CDN, repeated ones included.")
	descCDNRetries  = desc("cdn_retries_total", "Range requests that repeat a failed one.")
	descCDNStalls   = desc("cdn_stalls_total", "Range requests given up because no bytes came.")
	descCDNErrors   = desc("cdn_errors_total", "CDN downloads that failed after all their requests.")
	descCDNTransfer = desc("cdn_transfer_bytes_total", "Body bytes of range requests: media, manifests, and what was thrown away. With shoal_passthrough_bytes_total, what the CDN bills.")
	descCDNSkipped  = desc("cdn_skipped_bytes_total", "Body bytes thrown away because the CDN ignored the range.")
	descPassed      = desc("passthrough_requests_total", "Requests for playlists and other files without a record, passed on to the CDN.")
	descPassedBytes = desc("passthrough_bytes_total", "Bytes of playlists and other files without a record, passed through from the CDN.")
)

// Of viewers.
var (
	descViewers  = desc("viewers", "Viewing sessions.")
	descSessions = desc("http_sessions", "Players followed by their requests.")
	descStalls   = desc("stalls_total", "Stalls that players told of, all viewers together.")
	descVBuffer  = desc("viewer_buffer_seconds", "Media that a player holds beyond its playhead.", "viewer")
	descVReady   = desc("viewer_ready_seconds", "Media that the node holds beyond a playhead.", "viewer")
	descVStalls  = desc("viewer_stalls_total", "Stalls that a player told of; gone with the viewer.", "viewer")
	descReaders  = desc("readers", "Open reads.")
	descPieces   = desc("pieces", "Pieces waiting for a seed (ready) or in progress (active).", "state")
)

// Of peers.
var (
	descSwarm   = desc("swarm_peers", "Size of a title's swarm, as the tracker says.", "title")
	descSeeds   = desc("seeds", "Connected peers as sources, by state.", "state")
	descGrades  = desc("seed_grades", "Connected peers as sources, by the tracker's grade, A being the best.", "grade")
	descRTT     = desc("seed_rtt_seconds", "Round-trip time to the connected peers; absent without any.", "stat")
	descLoss    = desc("seed_loss_ratio", "Share of lost datagrams of the connected peers; absent without any.", "stat")
	descLeeches = desc("leeches", "Connected peers that take from this one.")
	descDropped = desc("dropped_total", "Garbage from peers that was dropped, by kind.", "kind")
)

// Of the cache and of the UDP socket.
var (
	descCache       = desc("cache_bytes", "Bytes in the cache.")
	descCacheLimit  = desc("cache_limit_bytes", "Bound of the cache.")
	descCachePieces = desc("cache_pieces", "Pieces in the cache.")
	descCacheMode   = desc("cache_mode", "1 for the mode of the cache: disk or memory.", "mode")

	descDatagrams = desc("transport_datagrams_total", "UDP datagrams, QUIC included.", "direction")
	descUDPBytes  = desc("transport_bytes_total", "UDP payload bytes, QUIC included.", "direction")
	descTransport = desc("transport_total", "What went wrong at the UDP socket, by outcome: datagrams dropped before a session, sessions refused, sends that failed, paths that moved.", "outcome")
	descPeerings  = desc("transport_sessions", "Sessions with other peers and the tracker.")
	descOffload   = desc("transport_offload", "1 when the kernel splits and joins datagrams (GSO, GRO).", "direction")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("shoal_"+name, help, labels, nil)
}

func newMetrics(registry *prometheus.Registry, n node, s *sessions) *metrics {
	m := &metrics{
		node: n, sessions: s, stallsSeen: make(map[string]int64),
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
	s, out := m.node.status(), samples{ch}
	version, goversion := build()
	out.gauge(descBuild, 1, version, goversion)
	out.gauge(descUptime, s.UptimeS)
	if s.Tracker.URL != "" {
		out.gauge(descTracker, boolValue(s.Tracker.Connected))
	}
	out.bytes(s)
	out.counter(descPassedBytes, int64(m.node.passthroughBytes()))
	if n, ok := m.node.(originCounter); ok {
		out.origin(n.originStats())
	}
	out.gauge(descCDNFetches, float64(s.Fetches))
	out.gauge(descSessions, float64(m.sessions.count()))
	out.gauge(descReaders, float64(s.Readers))
	out.gauge(descPieces, float64(s.Ready), "ready")
	out.gauge(descPieces, float64(s.Active), "active")
	m.viewers(out, s.Titles)
	out.peers(s)
	for kind, n := range s.Dropped {
		out.counter(descDropped, n, kind)
	}
	out.gauge(descCache, float64(s.Cache.Bytes))
	out.gauge(descCacheLimit, float64(s.Cache.Limit))
	out.gauge(descCachePieces, float64(s.Cache.Pieces))
	if s.Cache.Mode != "" {
		out.gauge(descCacheMode, 1, s.Cache.Mode)
	}
	out.transport(s.Transport)
}

// viewers tells of each viewing session, and of their stalls together: a sum
// that does not fall when a viewer leaves.
func (m *metrics) viewers(out samples, titles []engine.TitleStatus) {
	stalls := make(map[string]int64)
	for _, t := range titles {
		out.gauge(descSwarm, float64(t.N), t.ID)
		for _, v := range t.Viewers {
			// A viewer's ID is unique inside its title, and the beginning of a
			// title's ID nearly so; one series told twice would fail the scrape.
			id := t.ID[:min(len(t.ID), 8)] + "/" + v.ID
			if _, taken := stalls[id]; taken {
				id = t.ID + "/" + v.ID
			}
			stalls[id] = int64(v.Stalls)
			out.gauge(descVBuffer, v.BufferS, id)
			out.gauge(descVReady, v.ReadyS, id)
			out.counter(descVStalls, int64(v.Stalls), id)
		}
	}
	out.gauge(descViewers, float64(len(stalls)))
	out.counter(descStalls, m.addStalls(stalls))
}

// addStalls takes the stalls of the present viewers and returns the total. A
// viewer that stalls stays for minutes after its last request, longer than
// scrapes are apart, so that none is missed.
func (m *metrics) addStalls(now map[string]int64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, n := range now {
		before := m.stallsSeen[id]
		if n < before {
			before = 0 // it left and came back
		}
		m.stallsTotal += n - before
	}
	m.stallsSeen = now
	return m.stallsTotal
}

// samples is what a scrape takes.
type samples struct{ ch chan<- prometheus.Metric }

func (s samples) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s samples) counter(d *prometheus.Desc, v int64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (s samples) bytes(st engine.Status) {
	b := st.Bytes
	for source, n := range map[string]int64{
		"p2p": b.P2P, "cdn": b.CDN, "cache": b.Cache, "served": b.Served,
		"played": b.Played, "duplicate": b.Duplicate, "hash_failed": b.HashFailed,
	} {
		s.counter(descBytes, n, source)
	}
	for reason, n := range st.CDNReasons {
		s.counter(descCDN, n, reason)
	}
	s.gauge(descSaving, st.Saving)
	s.gauge(descUploadOn, boolValue(st.Upload.On))
	s.gauge(descUpload, float64(st.Upload.LimitBytesPerSec))
}

func (s samples) origin(st origin.Stats) {
	s.counter(descCDNRequests, int64(st.Requests))
	s.counter(descCDNRetries, int64(st.Retries))
	s.counter(descCDNStalls, int64(st.Stalls))
	s.counter(descCDNErrors, int64(st.Errors))
	s.counter(descCDNTransfer, int64(st.Bytes))
	s.counter(descCDNSkipped, int64(st.SkippedBytes))
	s.counter(descPassed, int64(st.Passthroughs))
}

func (s samples) peers(st engine.Status) {
	frozen := 0
	grades := map[string]int{"A": 0, "B": 0, "C": 0, "D": 0}
	var rtts, losses []float64
	for _, seed := range st.Seeds {
		if seed.FrozenMillis > 0 {
			frozen++
		}
		if _, known := grades[seed.Grade]; known { // the tracker's word: no further labels
			grades[seed.Grade]++
		}
		if seed.RTTMillis > 0 { // measured
			rtts = append(rtts, seed.RTTMillis/1000)
		}
		losses = append(losses, seed.Loss)
	}
	s.gauge(descSeeds, float64(len(st.Seeds)-frozen), "active")
	s.gauge(descSeeds, float64(frozen), "frozen")
	for grade, n := range grades {
		s.gauge(descGrades, float64(n), grade)
	}
	s.distribution(descRTT, rtts)
	s.distribution(descLoss, losses)
	s.gauge(descLeeches, float64(len(st.Leeches)))
}

// distribution tells the middle and the worst: a label per peer would never end.
func (s samples) distribution(d *prometheus.Desc, values []float64) {
	if len(values) == 0 {
		return
	}
	slices.Sort(values)
	s.gauge(d, values[len(values)/2], "median")
	s.gauge(d, values[len(values)-1], "max")
}

// transportMetrics are the counters of the socket that are metrics of their
// own: other units, or no counters at all. The rest are outcomes.
var transportMetrics = map[string]struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	label []string
}{
	"packets_in":      {descDatagrams, prometheus.CounterValue, []string{"in"}},
	"packets_out":     {descDatagrams, prometheus.CounterValue, []string{"out"}},
	"bytes_in":        {descUDPBytes, prometheus.CounterValue, []string{"in"}},
	"bytes_out":       {descUDPBytes, prometheus.CounterValue, []string{"out"}},
	"sessions":        {descPeerings, prometheus.GaugeValue, nil},
	"offload_send":    {descOffload, prometheus.GaugeValue, []string{"send"}},
	"offload_receive": {descOffload, prometheus.GaugeValue, []string{"receive"}},
}

func (s samples) transport(counters map[string]int64) {
	for name, n := range counters {
		if t, ok := transportMetrics[name]; ok {
			s.ch <- prometheus.MustNewConstMetric(t.desc, t.kind, float64(n), t.label...)
			continue
		}
		s.counter(descTransport, n, name)
	}
}

// build is the version of this binary, as the module system knows it.
var build = sync.OnceValues(func() (version, goversion string) {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	return cmp.Or(version, "devel"), runtime.Version()
})

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
