package server

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

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

	// what peers report
	reports, watching, saving, stalls *prometheus.Desc
	reported, cdn, waste              *prometheus.Desc
	served, played                    *prometheus.Desc
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

		reports:  desc("reports_total", "Reports of peers that were taken."),
		watching: desc("watching_viewers", "Viewers that watch now, as peers report."),
		saving:   desc("saving_ratio", "Bytes from peers / (bytes from peers + bytes from the CDN), as reported since the tracker began; absent before the first byte."),
		stalls:   desc("reported_stalls_total", "Stalls of players, as reported."),
		reported: desc("reported_bytes_total", "Bytes by source, as reported by peers.", "source"),
		cdn:      desc("reported_cdn_bytes_total", "Bytes taken from the CDN by the reason for it, as reported; they sum up to shoal_tracker_reported_bytes_total of source cdn.", "reason"),
		waste:    desc("reported_waste_bytes_total", "Bytes that came in vain, by kind, as reported.", "kind"),
		served:   desc("reported_served_bytes_total", "Bytes sent to other peers, as reported."),
		played:   desc("reported_played_bytes_total", "Bytes handed to players, as reported."),
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
		m.reports, m.watching, m.saving, m.stalls, m.reported, m.cdn, m.waste, m.served, m.played,
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
	if ratio := saving(&snapshot.state.Totals); ratio != nil {
		out <- prometheus.MustNewConstMetric(m.saving, prometheus.GaugeValue, *ratio)
	}
	gauge(m.watching, snapshot.state.Watching)
	counter(m.reports, snapshot.state.Reports)
	f := figures(&snapshot.state.Totals)
	counter(m.stalls, f.Stalls)
	counter(m.reported, f.P2P, "p2p")
	counter(m.reported, f.CDN, "cdn")
	counter(m.reported, f.Cache, "cache")
	for reason, n := range f.CDNReasons {
		counter(m.cdn, n, reason)
	}
	counter(m.waste, f.Duplicate, "duplicate")
	counter(m.waste, f.HashFailed, "hash_failed")
	counter(m.served, f.Served)
	counter(m.played, f.Played)
}
