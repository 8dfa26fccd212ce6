package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
	"shoal/tracker"
	"shoal/tracker/client"
	"shoal/tracker/server"
	"shoal/tracker/store"
)

// watcher is a viewer that reports what the test sets.
type watcher struct {
	*viewer
	report atomic.Pointer[client.Report]
}

func newWatcher(t *testing.T, s *server.Server, seed byte) *watcher {
	t.Helper()
	w := &watcher{}
	w.says(0, 0)
	w.viewer = newViewer(t, s.URL().String(), seed, func(c *client.Config) {
		c.ReportInterval = 20 * time.Millisecond
		c.Report = func() (client.Report, bool) { return *w.report.Load(), true }
	})
	return w
}

func (w *watcher) says(p2p, cdn uint64, from ...wire.FedBy) {
	r := client.Report{Title: film, Viewers: 1, FedBy: from}
	r.Totals[wire.CounterP2P], r.Totals[wire.CounterCDN] = p2p, cdn
	r.Totals[wire.CounterCDNRescue] = cdn / 2
	w.report.Store(&r)
}

func liveOf(t testing.TB, s *server.Server, query string) (live server.Live) {
	t.Helper()
	code, body := get(t, s, "/api/swarms"+query)
	require.Equal(t, http.StatusOK, code, body)
	require.NoError(t, json.Unmarshal([]byte(body), &live))
	return live
}

func TestSwarmViewShowsWhoFeedsWhom(t *testing.T) {
	s := start(t, server.Config{
		Titles: map[store.TitleID]string{film: "The Film"},
		Bounds: tracker.Config{Locate: func(netip.Addr) tracker.Place { return tracker.Place{ISP: "Net", Region: "DE"} }},
	})
	require.Contains(t, liveOf(t, s, "").Says, "Nobody is here yet.")
	alice, bob, carol := newWatcher(t, s, 1), newWatcher(t, s, 2), newWatcher(t, s, 3)
	for _, w := range []*watcher{alice, bob, carol} {
		w.wantUpdate("everybody", func(u client.Update) bool { return u.SwarmSize == 3 && len(u.Candidates) == 2 })
	}
	alice.says(0, 4_000)
	bob.says(3_000, 1_000, wire.FedBy{ID: alice.id, Bytes: 3_000})
	carol.says(3_000, 1_000, wire.FedBy{ID: alice.id, Bytes: 1_000}, wire.FedBy{ID: bob.id, Bytes: 2_000})

	var live server.Live
	eventually(t, "all reports", func() bool {
		live = liveOf(t, s, "")
		return live.Figures.P2P == 6_000 && live.Figures.CDN == 6_000 && live.Swarm != nil && len(live.Swarm.Feeds) == 3
	})
	require.Equal(t, "3 viewers watch 1 title; 50 % of all bytes came from each other.", live.Says)
	require.InDelta(t, 0.5, *live.Saving, 1e-9)
	require.Equal(t, map[string]uint64{"startup": 0, "first_copy": 0, "rescue": 3_000, "hash_failure": 0, "other": 3_000}, live.Figures.CDNReasons)
	require.Len(t, live.Titles, 1)
	require.Equal(t, "The Film", live.Titles[0].Name)
	require.Equal(t, 3, live.Titles[0].Peers)
	swarm := live.Swarm
	require.Equal(t, []server.Group{{Name: "Net", Peers: 3}}, swarm.ISPs)
	require.Equal(t, []server.Group{{Name: "DE", Peers: 3}}, swarm.Regions)
	name := func(w *watcher) string { return w.id.Hex()[:8] }
	feeds := map[string]uint64{}
	for _, f := range swarm.Feeds {
		feeds[swarm.Members[f[0]].ID+" "+swarm.Members[f[1]].ID] = f[2]
	}
	require.Equal(t, map[string]uint64{
		name(alice) + " " + name(bob): 3_000, name(alice) + " " + name(carol): 1_000, name(bob) + " " + name(carol): 2_000,
	}, feeds)
	for _, m := range swarm.Members {
		require.Regexp(t, "[A-D]", m.Grade)
		require.True(t, m.Reports)
		require.InDelta(t, 1, m.Held, 0)
	}

	require.Equal(t, 6_000, metric(t, s, `shoal_tracker_reported_bytes_total\{source="p2p"\}`))
	require.Equal(t, 6_000, metric(t, s, `shoal_tracker_reported_bytes_total\{source="cdn"\}`))
	require.Equal(t, 3_000, metric(t, s, `shoal_tracker_reported_cdn_bytes_total\{reason="rescue"\}`))
	require.Equal(t, 3, metric(t, s, "shoal_tracker_watching_viewers"))
	_, text := get(t, s, "/metrics")
	require.Contains(t, text, "shoal_tracker_saving_ratio 0.5\n")
	stats := statsOf(t, s)
	require.Equal(t, 3, stats.Watching)
	require.InDelta(t, 0.5, *stats.Saving, 1e-9)
	require.Equal(t, uint64(6_000), stats.Reported.P2P)
}

// A stranger who reaches the port learns no address and no whole ID.
func TestSwarmViewHasNoAddresses(t *testing.T) {
	s := start(t, server.Config{})
	alice, bob := newWatcher(t, s, 1), newWatcher(t, s, 2)
	bob.says(9_000, 1, wire.FedBy{ID: alice.id, Bytes: 9_000})
	eventually(t, "an edge", func() bool {
		live := liveOf(t, s, "")
		return live.Swarm != nil && len(live.Swarm.Feeds) == 1
	})
	_, body := get(t, s, "/api/swarms")
	for _, w := range []*watcher{alice, bob} {
		require.NotContains(t, body, w.id.Hex()[:9])
		require.NotContains(t, body, fmt.Sprint(w.endpoint.LocalAddr().Port()))
	}
	require.NotContains(t, body, "127.0.0.1")
	require.NotRegexp(t, regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`), body)
}

// However many look, the state is asked once a second.
func TestAnswersAreSharedForASecond(t *testing.T) {
	s := start(t, server.Config{})
	eventually(t, "the same answer twice", func() bool {
		_, first := get(t, s, "/api/swarms")
		_, second := get(t, s, "/api/swarms")
		return first == second // uptime_s would differ
	})
}

func TestSwarmViewOfOneTitle(t *testing.T) {
	s := start(t, server.Config{})
	newWatcher(t, s, 1).wantUpdate("an answer", anything)
	asked := liveOf(t, s, fmt.Sprintf("?title=%x", film))
	require.Equal(t, fmt.Sprintf("%x", film), asked.Swarm.ID)
	require.Empty(t, asked.Swarm.Name)
	require.Nil(t, liveOf(t, s, "?title="+strings.Repeat("ab", 32)).Swarm, "nobody is there")
	for _, query := range []string{"?title=x", "?title=" + strings.Repeat("a", 63), "?title=" + strings.Repeat("a", 66), "?title=" + strings.Repeat("zz", 32)} {
		code, body := get(t, s, "/api/swarms"+query)
		require.Equal(t, http.StatusBadRequest, code, query)
		require.Contains(t, body, "64 hexadecimal digits")
	}
}

func TestHostileReportsAreCountedAndChangeNothing(t *testing.T) {
	s := start(t, server.Config{})
	honest := newWatcher(t, s, 1)
	honest.says(1_000, 1_000)
	eventually(t, "the honest report", func() bool { return liveOf(t, s, "").Figures.P2P == 1_000 })

	session, reply := raw(t, s, 2, wire.AppendTrackerFrame(nil, &wire.TrackerJoin{Version: wire.TrackerVersion}))
	require.IsType(t, &wire.TrackerWelcome{}, reply)
	say := func(m wire.TrackerReport) {
		session.Channel().SendMessage(time.Now(), wire.KindTrackerReport, wire.AppendTrackerReport(nil, &m))
		session.Channel().Flush()
	}
	count := func(reason string) func() bool {
		return func() bool {
			_, metrics := get(t, s, "/metrics")
			return strings.Contains(metrics, `shoal_tracker_dropped_total{reason="`+reason+`"} `)
		}
	}
	huge := wire.TrackerReport{Request: 1, FirstSession: true, Title: film, Viewers: 60_000}
	for i := range huge.Totals {
		huge.Totals[i] = 1 << 63
	}
	say(huge)
	eventually(t, "the huge report to be dropped", count("report_implausible"))
	made := wire.TrackerReport{Request: 10, FirstSession: true, Title: film, Viewers: 60_000}
	for i := range wire.ReportFedMax {
		made.FedBy = append(made.FedBy, wire.FedBy{ID: wire.PeerID{1, 2, byte(i)}, Bytes: 1 << 60})
	}
	say(made)
	eventually(t, "made-up sources to be forgotten", func() bool { return liveOf(t, s, "").Tracker.FeedsRefused == wire.ReportFedMax })
	for range 10 {
		made.Request++
		say(made)
	}
	eventually(t, "a report at once to be dropped", count("report_too_often"))

	live := liveOf(t, s, "")
	require.Equal(t, uint64(1_000), live.Figures.P2P)
	require.Equal(t, 1, live.Titles[0].Peers, "a report is no announce")
	require.Empty(t, live.Swarm.Feeds)
	honest.says(2_000, 1_000)
	eventually(t, "honest reports to go on", func() bool { return liveOf(t, s, "").Figures.P2P == 2_000 })
}

// ask sends a GET under a host name of its own.
func ask(t *testing.T, s *server.Server, path, host string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.HTTPAddr()+path, nil)
	require.NoError(t, err)
	request.Host = host
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, response.Body.Close()) })
	return response
}

func TestRebindingNamesReadNothing(t *testing.T) {
	s := start(t, server.Config{AllowHosts: []string{"Tracker.Example:7001", "view.example"}})
	for _, path := range []string{"/", "/api/swarms", "/stats", "/_shoal/swarm.js"} {
		for _, host := range []string{"127.0.0.1", "localhost:7001", "x.localhost", "[::1]:7001", "198.51.100.7:7001", "tracker.example", "VIEW.example.:80"} {
			require.Equal(t, http.StatusOK, ask(t, s, path, host).StatusCode, "%s at %s", path, host)
		}
		for _, host := range []string{"evil.example", "127.0.0.1.evil.example:7001", "localhost.evil.example", "tracker.example.evil", "1"} {
			response := ask(t, s, path, host)
			require.Equal(t, http.StatusMisdirectedRequest, response.StatusCode, "%s at %s", path, host)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Contains(t, string(body), "--allow-host")
		}
	}
	// Scrapers and load balancers use names of services.
	for _, path := range []string{"/metrics", "/healthz"} {
		require.Equal(t, http.StatusOK, ask(t, s, path, "tracker.monitoring.svc:7001").StatusCode)
	}
}

func TestPageLoadsNothingFromElsewhere(t *testing.T) {
	s := start(t, server.Config{})
	outside := regexp.MustCompile(`(?i)https?://[^"'\s]+|@import|url\(`)
	for path, kind := range map[string]string{
		"/": "text/html", "/_shoal/swarm.css": "text/css", "/_shoal/swarm.js": "text/javascript",
		"/_shoal/graph.js": "text/javascript", "/_shoal/format.js": "text/javascript", "/_shoal/icon.svg": "image/svg+xml",
	} {
		response := ask(t, s, path, "localhost")
		require.Equal(t, http.StatusOK, response.StatusCode, path)
		require.Contains(t, response.Header.Get("Content-Type"), kind)
		require.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'")
		require.Contains(t, response.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
		require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
		require.Empty(t, response.Header.Get("Access-Control-Allow-Origin"))
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		for _, found := range outside.FindAllString(string(body), -1) {
			require.True(t, strings.HasPrefix(found, "http://www.w3.org/") || found == "url(" && strings.Contains(string(body), "url(#arrow"), "%s: %s", path, found)
		}
	}
	for _, path := range []string{"/_shoal/", "/_shoal/..%2fpage.go", "/_shoal/none.js", "/index.html"} {
		require.Equal(t, http.StatusNotFound, ask(t, s, path, "localhost").StatusCode, path)
	}
}

func TestViewURLIsOneThatABrowserHereCanOpen(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", ":0", "0.0.0.0:0", "[::]:0"} {
		s := start(t, server.Config{HTTP: listen})
		require.Regexp(t, `^http://127\.0\.0\.1:\d+/$`, s.ViewURL())
		response, err := http.Get(s.ViewURL())
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode)
	}
}
