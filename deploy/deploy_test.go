// Package deploy_test holds the dashboard, the alerts and the scrape
// configuration beside it to what peers and trackers really export. There is no
// package deploy to import; e2e has Prometheus itself judge the same files.
package deploy_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"shoal/engine"
	"shoal/engine/manifest"
	"shoal/engine/manifest/pack"
	"shoal/engine/proxy"
	"shoal/engine/transport"
	"shoal/internal/wire"
	"shoal/testdata"
	"shoal/tracker/server"
)

// notShown are the metrics that the dashboard leaves out on purpose.
var notShown = map[string]string{
	"shoal_tracker_saving_ratio": "the quotient of the sums holds for several trackers too",
	"shoal_uptime_seconds":       "process_start_time_seconds says it for every process",
	"shoal_http_sessions":        "shoal_viewers says it, sessions without media apart",
	"shoal_viewer_stalls_total":  "shoal_stalls_total does not fall when a viewer leaves",
}

// ofPrometheus are series that Prometheus makes itself.
var ofPrometheus = exports{
	"up":     {"job": {}, "instance": {}},
	"ALERTS": {"alertname": {}, "alertstate": {"firing": true}, "severity": {}},
}

// exports are metrics with their labels and the values that these have.
type exports map[string]map[string]map[string]bool

func (e exports) add(name string, labels ...*dto.LabelPair) {
	if e[name] == nil {
		e[name] = map[string]map[string]bool{}
	}
	for _, l := range labels {
		if e[name][l.GetName()] == nil {
			e[name][l.GetName()] = map[string]bool{}
		}
		e[name][l.GetName()][l.GetValue()] = true
	}
}

// read takes a scrape apart.
func (e exports) read(t *testing.T, text io.Reader) {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	require.NoError(t, err)
	for name, f := range families {
		require.NotEmpty(t, f.GetHelp(), name)
		for _, m := range f.GetMetric() {
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				le := "le"
				e.add(name+"_bucket", append(m.GetLabel(), &dto.LabelPair{Name: &le})...)
				e.add(name+"_sum", m.GetLabel()...)
				e.add(name+"_count", m.GetLabel()...)
			case dto.MetricType_SUMMARY:
				quantile := "quantile"
				for _, q := range m.GetSummary().GetQuantile() {
					value := model.SampleValue(q.GetQuantile()).String()
					e.add(name, append(m.GetLabel(), &dto.LabelPair{Name: &quantile, Value: &value})...)
				}
				e.add(name+"_sum", m.GetLabel()...)
				e.add(name+"_count", m.GetLabel()...)
			default:
				e.add(name, m.GetLabel()...)
			}
		}
	}
}

func TestDashboardAndAlertsAreMadeOfExportedMetrics(t *testing.T) {
	all := exported(t)
	maps.Copy(all, ofPrometheus)
	placeholder := regexp.MustCompile(`\{\{ ?(?:\$labels\.)?(\w+) ?\}\}`)
	shown := map[string]bool{}
	for _, e := range expressions(t) {
		q, err := parse(e.expr)
		require.NoError(t, err, "%s: %s", e.where, e.expr)
		require.NotEmpty(t, q.selectors, "%s: %s", e.where, e.expr)
		known := map[string]bool{"job": true, "instance": true}
		for _, s := range q.selectors {
			shown[s.metric] = true
			require.True(t, all[s.metric] != nil, "%s: nobody exports %s", e.where, s.metric)
			for label := range all[s.metric] {
				known[label] = true
			}
			for _, m := range s.matchers {
				if m.label == "job" || m.label == "instance" {
					continue
				}
				require.Contains(t, all[s.metric], m.label, "%s: %s has no such label", e.where, s.metric)
				for _, value := range m.words() {
					require.Contains(t, all[s.metric][m.label], value, "%s: %s has no such %s", e.where, s.metric, m.label)
				}
			}
		}
		for _, label := range q.grouping {
			require.Contains(t, known, label, "%s: grouped by a label that nothing has", e.where)
		}
		for _, found := range placeholder.FindAllStringSubmatch(e.legend, -1) {
			require.Contains(t, known, found[1], "%s: a legend of a label that nothing has", e.where)
		}
	}
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	for name := range all {
		family := suffix.ReplaceAllString(name, "")
		if !strings.HasPrefix(name, "shoal_") || shown[name] || shown[family+"_bucket"] {
			continue
		}
		require.True(t, notShown[name] != "", "%s is neither on the dashboard nor left out on purpose", name)
	}
	for name := range notShown {
		require.True(t, all[name] != nil, "%s is left out, but nobody exports it either", name)
		require.False(t, shown[name], "%s is called left out, and is shown", name)
	}
}

// TestMetricsFollowTheConventions of Prometheus' "Metric and label naming".
func TestMetricsFollowTheConventions(t *testing.T) {
	all := exports{}
	scrapeText := scrape(t)
	all.read(t, bytes.NewReader(scrapeText))
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(scrapeText))
	require.NoError(t, err)
	for name, f := range families {
		if !strings.HasPrefix(name, "shoal_") {
			continue
		}
		require.Equal(t, f.GetType() == dto.MetricType_COUNTER, strings.HasSuffix(name, "_total"), "%s: counters, and nothing else, end in _total", name)
		require.NotRegexp(t, `_(ms|millis|milliseconds|kb|mb|kib|mib|percent|minutes|hours)(_|$)`, name, "base units")
		for label, values := range all[name] {
			// Values of the code's own choice are words; those from outside are IDs.
			switch label {
			case "title", "viewer", "version", "goversion":
				continue
			}
			require.LessOrEqual(t, len(values), 20, "%s: label %s", name, label)
			for value := range values {
				require.Regexp(t, `^([a-z0-9_]+|[A-D])$`, value, "%s: label %s", name, label)
			}
		}
	}
}

// exported scrapes a viewer's node and a tracker, to which all has happened that
// they count.
func exported(t *testing.T) exports {
	t.Helper()
	all := exports{}
	all.read(t, bytes.NewReader(scrape(t)))
	return all
}

// patience bounds every wait for something that takes milliseconds.
const patience = time.Minute

// scrape returns the metrics of a node that plays from another one, and of
// their tracker, which has other visitors too.
func scrape(t *testing.T) []byte {
	t.Helper()
	cdn := startOrigin(t)
	tracker, err := server.Start(server.Config{Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tracker.Close()) })
	seed, viewer := startNode(t, cdn, tracker), startNode(t, cdn, tracker)
	play := func(n *node) {
		for _, path := range []string{"film/180p/index.m3u8", "film/180p/init_1.mp4", "film/180p/segment_000.m4s", "film/180p/segment_001.m4s"} {
			n.get(t, "/"+path+"?CMCD=sid%3D%22a%22%2Cbl%3D4000%2Csf%3Dh")
		}
	}
	play(seed)
	play(viewer)
	require.Eventually(t, func() bool {
		s := viewer.engine.Status()
		return len(s.Seeds) > 0 && s.Seeds[0].RTTMillis > 0 && len(s.Titles) > 0
	}, patience, 5*time.Millisecond, "the nodes meet")
	visit(t, tracker)

	ask, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+tracker.HTTPAddr()+"/metrics", nil)
	require.NoError(t, err)
	var text []byte
	require.Eventually(t, func() bool {
		resp, err := http.DefaultClient.Do(ask)
		require.NoError(t, err)
		text, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		for _, name := range []string{"dropped_total{", "refused_total{", "saving_ratio "} {
			if !bytes.Contains(text, []byte("\nshoal_tracker_"+name)) {
				return false
			}
		}
		return true
	}, patience, 5*time.Millisecond, "the tracker counts its visitors")
	// One exposition of both: what they share, the runtime's, is told once.
	own := regexp.MustCompile(`(?m)^(# (HELP|TYPE) )?shoal_tracker_(\w+).*\n`)
	return append(viewer.get(t, "/metrics"), bytes.Join(own.FindAll(text, -1), nil)...)
}

// startOrigin serves the sample title in the folder film.
func startOrigin(t *testing.T) string {
	t.Helper()
	www := t.TempDir()
	film := filepath.Join(www, "film")
	require.NoError(t, os.CopyFS(film, testdata.Media()))
	packed, err := pack.Pack(t.Context(), pack.Options{Source: film})
	require.NoError(t, err)
	key := sha256.Sum256([]byte("publisher"))
	out, err := os.Create(filepath.Join(film, manifest.FileName))
	require.NoError(t, err)
	require.NoError(t, manifest.Write(out, ed25519.NewKeyFromSeed(key[:]), packed.Content))
	require.NoError(t, out.Close())
	cdn := httptest.NewServer(http.FileServer(http.Dir(www)))
	t.Cleanup(cdn.Close)
	return cdn.URL
}

type node struct {
	engine *engine.Engine
	proxy  *proxy.Proxy
}

func startNode(t *testing.T, cdn string, tracker *server.Server) *node {
	t.Helper()
	e, err := engine.New(engine.Config{
		Origin: cdn, Tracker: tracker.URL().String(), UDP: "127.0.0.1:0", CacheDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	p := proxy.New(proxy.Config{Engine: e})
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return &node{e, p}
}

func (n *node) get(t *testing.T, path string) []byte {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.Host = "127.0.0.1:7070"
	n.proxy.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
	return w.Body.Bytes()
}

// visit has three strangers come to a tracker: one of another version, one who
// talks nonsense, and one who reports bytes at once; nodes do so every 5 s.
func visit(t *testing.T, tracker *server.Server) {
	t.Helper()
	identity, err := transport.LoadOrCreateIdentity("")
	require.NoError(t, err)
	endpoint, err := transport.Listen(transport.Config{Listen: "127.0.0.1:0", Identity: identity})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, endpoint.Close()) })
	join := func(frame []byte) *transport.Session {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		session, err := endpoint.Dial(ctx, transport.DialConfig{
			ALPN: wire.TrackerALPN, Addrs: []netip.AddrPort{netip.MustParseAddrPort(tracker.URL().HostPort())},
			Verify: transport.Verify{ID: tracker.URL().Fingerprint},
		})
		require.NoError(t, err)
		_, err = session.Stream().Write(frame)
		require.NoError(t, err)
		_, _ = wire.ReadTrackerFrame(session.Stream()) // a welcome, a refusal, or the end
		return session
	}
	join(wire.AppendTrackerFrame(nil, &wire.TrackerJoin{Version: wire.TrackerVersion + 1}))
	join(slices.Repeat([]byte{0xff}, 8))
	reporter := join(wire.AppendTrackerFrame(nil, &wire.TrackerJoin{Version: wire.TrackerVersion}))
	report := wire.TrackerReport{Request: 1, FirstSession: true}
	report.Totals[wire.CounterP2P], report.Totals[wire.CounterCDN] = 1, 1
	reporter.Channel().SendMessage(time.Now(), wire.KindTrackerReport, wire.AppendTrackerReport(nil, &report))
	reporter.Channel().Flush()
}
