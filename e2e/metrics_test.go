//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"shoal/bench/player"
	"shoal/testdata"
)

// What the test needs beside the repository's own files.
const (
	scrapeEvery = 500 * time.Millisecond
	rateRange   = "10s" // a segment is fetched every few seconds

	// promtoolMax is for what takes the tool seconds of processor time.
	promtoolMax = 3 * time.Minute
)

// quiet are the panels that have nothing to show while all is well.
var quiet = map[string]bool{
	"Stalls": true, "Answers that failed": true, "Dropped garbage": true, "Socket trouble": true,
	"Refusals": true, "Dropped messages": true, "Datagrams dropped by the tracker": true,
	"Upload limit": true, // none is set
}

// TestPrometheusReadsASwarm has Debian's Prometheus scrape a tracker and peers
// with the repository's own configuration while model players play, and asks it
// everything that the dashboard asks.
func TestPrometheusReadsASwarm(t *testing.T) {
	for _, program := range []string{"prometheus", "promtool"} {
		_, err := exec.LookPath(program)
		require.NoError(t, err, "this test needs %s: run make deps", program)
	}
	s := startScrapedSwarm(t)
	s.prometheus.eventually(func() bool { return len(s.up(t)) == 4 }, "tracker and peers are scraped")
	for _, target := range append([]string{s.trackerHTTP}, s.instances()...) {
		// The conventions as Prometheus' own tool judges them.
		must(t, promtoolMax, "sh", "-c", `curl --silent --fail "$0" | promtool check metrics`, "http://"+target+"/metrics")
	}

	ctx, stop := context.WithTimeout(t.Context(), 2*patience)
	var players sync.WaitGroup
	for i, p := range s.peers {
		m := player.New(player.Config{URL: p.url + "/film/master.m3u8", SessionID: p.name})
		players.Go(func() { _, _ = m.Run(ctx) })
		if i == 0 { // the others find somebody who has something
			p.eventually(func() bool { return m.Report().Position > 0 && p.status().Cache.Pieces > 20 }, "the first viewer plays")
		}
	}
	defer players.Wait()
	defer stop()
	viewer := s.peers[2]
	viewer.eventually(func() bool { return viewer.status().Bytes.P2P > 0 }, "a viewer plays from peers")

	d := readDashboard(t)
	s.unanswered(t, d) // an expression that cannot be parsed never gets better
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Empty(c, s.unanswered(t, d), "panels without data")
	}, patience, scrapeEvery)

	stop()
	players.Wait()
	for _, p := range s.peers {
		s.requireEqual(t, p, d)
	}
	s.requireRules(t)
}

// scrapedSwarm is a tracker, three peers and the Prometheus that scrapes them.
type scrapedSwarm struct {
	prometheus  *process
	api         string
	trackerHTTP string
	peers       []*peer
}

func startScrapedSwarm(t *testing.T) *scrapedSwarm {
	t.Helper()
	www := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(www, "film"), testdata.Media()))
	pack(t, www, "film")
	origin := startNginx(t, www, 1)
	ports := freePorts(t, 2)
	s := &scrapedSwarm{
		trackerHTTP: fmt.Sprintf("127.0.0.1:%d", ports[0]),
		api:         fmt.Sprintf("http://127.0.0.1:%d/api/v1/", ports[1]),
	}
	tracker := start(t, "tracker", shoal, "tracker", "--listen", "127.0.0.1:0", "--http", s.trackerHTTP, "--state", t.TempDir())
	for i := range 3 {
		s.peers = append(s.peers, startPeer(t, fmt.Sprintf("peer-%d", i+1), origin.url(0), tracker.firstLine(), t.TempDir()))
	}

	// The example, with these machines and in a hurry.
	const dir = "../deploy/prometheus"
	must(t, promtoolMax, "promtool", "check", "config", filepath.Join(dir, "prometheus.yml"))
	must(t, promtoolMax, "promtool", "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(dir, "shoal.rules.yml"))
	must(t, promtoolMax, "promtool", "test", "rules", filepath.Join(dir, "shoal.rules.test.yml"))
	text, err := os.ReadFile(filepath.Join(dir, "prometheus.yml"))
	require.NoError(t, err)
	config := string(text)
	for from, to := range map[string]string{
		"scrape_interval: 15s":        "scrape_interval: " + scrapeEvery.String(),
		"evaluation_interval: 15s":    "evaluation_interval: 1s",
		`targets: ["127.0.0.1:7001"]`: fmt.Sprintf("targets: [%q]", s.trackerHTTP),
		`targets: ["127.0.0.1:7070"]`: `targets: ["` + strings.Join(s.instances(), `", "`) + `"]`,
	} {
		require.Contains(t, config, from)
		config = strings.Replace(config, from, to, 1)
	}
	temp := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(temp, "prometheus.yml"), []byte(config), 0o600))
	rules, err := os.ReadFile(filepath.Join(dir, "shoal.rules.yml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(temp, "shoal.rules.yml"), rules, 0o600))
	s.prometheus = start(t, "prometheus", "prometheus", "--config.file="+filepath.Join(temp, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(temp, "data"), "--web.listen-address=127.0.0.1:"+strconv.Itoa(ports[1]), "--log.level=warn")
	s.prometheus.eventually(func() bool {
		resp, err := client.Get(strings.TrimSuffix(s.api, "api/v1/") + "-/ready")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	}, "Prometheus is ready")
	return s
}

// instances are the peers as Prometheus calls them.
func (s *scrapedSwarm) instances() (out []string) {
	for _, p := range s.peers {
		out = append(out, instance(p))
	}
	return out
}

func instance(p *peer) string { return strings.TrimPrefix(p.url, "http://") }

// ask calls Prometheus' API and returns the data of its answer.
func (s *scrapedSwarm) ask(t *testing.T, path string, parameters url.Values, data any) {
	t.Helper()
	resp, err := client.Get(s.api + path + "?" + parameters.Encode())
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	require.NoError(t, json.Unmarshal(body, &answer), "%s", body)
	require.Equal(t, "success", answer.Status, "%v: %s", parameters, answer.Error)
}

// up are the targets that answer. One that was too slow is scraped again.
func (s *scrapedSwarm) up(t *testing.T) (out []string) {
	t.Helper()
	var data struct {
		ActiveTargets []struct{ ScrapePool, ScrapeURL, Health string }
	}
	s.ask(t, "targets", nil, &data)
	for _, target := range data.ActiveTargets {
		if target.Health == "up" {
			out = append(out, target.ScrapePool+" "+target.ScrapeURL)
		}
	}
	return out
}

// sample is one element of an instant vector.
type sample struct {
	labels map[string]string
	value  float64
}

// query evaluates an expression now.
func (s *scrapedSwarm) query(t *testing.T, expr string) (out []sample) {
	t.Helper()
	var data struct {
		ResultType string
		Result     []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	s.ask(t, "query", url.Values{"query": {expr}}, &data)
	require.Equal(t, "vector", data.ResultType, expr)
	for _, r := range data.Result {
		value, err := strconv.ParseFloat(r.Value[1].(string), 64)
		require.NoError(t, err)
		out = append(out, sample{r.Metric, value})
	}
	return out
}

// grafanaDashboard is what is read of deploy/grafana/shoal.json.
type grafanaDashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr, LegendFormat string }
	}
	Templating struct {
		List []struct{ Type, Definition string }
	}
}

func readDashboard(t *testing.T) (d grafanaDashboard) {
	t.Helper()
	text, err := os.ReadFile("../deploy/grafana/shoal.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &d))
	return d
}

// panel returns the expression of a panel that has one.
func (d grafanaDashboard) panel(t *testing.T, title string) string {
	t.Helper()
	for _, p := range d.Panels {
		if p.Title == title {
			require.Len(t, p.Targets, 1)
			return p.Targets[0].Expr
		}
	}
	require.Fail(t, "no such panel", title)
	return ""
}

// forInstances replaces Grafana's variables.
func forInstances(expr, instances string) string {
	return strings.NewReplacer("$__rate_interval", rateRange, "$__range", "1m", "$instance", instances, "$tracker", ".*").Replace(expr)
}

// unanswered evaluates everything on the dashboard, and lists what should have
// an answer and has none.
func (s *scrapedSwarm) unanswered(t *testing.T, d grafanaDashboard) (out []string) {
	t.Helper()
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			result := s.query(t, forInstances(target.Expr, ".*"))
			numbers := 0
			for _, r := range result {
				if !math.IsNaN(r.value) {
					numbers++
				}
			}
			if numbers == 0 && !quiet[p.Title] && !quiet[p.Title+" "+target.LegendFormat] {
				out = append(out, p.Title+": "+target.Expr)
			}
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		metric := strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ", instance)")
		var values []string
		s.ask(t, "label/instance/values", url.Values{"match[]": {metric}}, &values)
		if len(values) == 0 {
			out = append(out, v.Definition)
		}
	}
	return out
}

// requireEqual waits until Prometheus knows what a peer says of itself.
func (s *scrapedSwarm) requireEqual(t *testing.T, p *peer, d grafanaDashboard) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		want, got := figures(p.status()), map[string]float64{}
		for name := range want {
			metric, label, _ := strings.Cut(name, " ")
			if result := s.query(t, fmt.Sprintf("%s{instance=%q%s}", metric, instance(p), label)); len(result) == 1 {
				got[name] = result[0].value
			}
		}
		assert.Equal(c, want, got, "%s: /api/status and Prometheus differ", p.name)
		saving := s.query(t, forInstances(d.panel(t, "Saving since the start"), instance(p)))
		if assert.Len(c, saving, 1) {
			assert.InDelta(c, want["shoal_saving_ratio"], saving[0].value, 1e-9, "the dashboard's saving of %s", p.name)
		}
	}, patience, scrapeEvery)
	t.Logf("%s: saving %.2f", p.name, p.status().Saving)
}

// figures are numbers of /api/status by the series that has them.
func figures(s status) map[string]float64 {
	out := map[string]float64{
		`shoal_saving_ratio`: s.Saving, `shoal_cache_bytes`: float64(s.Cache.Bytes), `shoal_cache_pieces`: float64(s.Cache.Pieces),
	}
	b := s.Bytes
	for source, n := range map[string]int64{
		"p2p": b.P2P, "cdn": b.CDN, "cache": b.Cache, "served": b.Served, "duplicate": b.Duplicate, "hash_failed": b.HashFailed,
	} {
		out[fmt.Sprintf(`shoal_bytes_total ,source=%q`, source)] = float64(n)
	}
	for reason, n := range s.CDNReasons {
		out[fmt.Sprintf(`shoal_cdn_bytes_total ,reason=%q`, reason)] = float64(n)
	}
	for _, title := range s.Titles {
		out[fmt.Sprintf(`shoal_swarm_peers ,title=%q`, title.ID)] = float64(title.N)
	}
	return out
}

// requireRules waits until all alerts are evaluated, and none is about to fire
// while all is well. None may have fired because of a scrape that came late.
func (s *scrapedSwarm) requireRules(t *testing.T) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var data struct {
			Groups []struct {
				Rules []struct{ Name, State, Health, LastError string }
			}
		}
		s.ask(t, "rules", nil, &data)
		count := 0
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				count++
				require.NotEqual(t, "firing", r.State, r.Name)
				assert.Equal(c, "ok", r.Health, "%s: %s", r.Name, r.LastError)
				assert.Equal(c, "inactive", r.State, r.Name)
			}
		}
		assert.Greater(c, count, 10)
	}, patience, scrapeEvery)
}
