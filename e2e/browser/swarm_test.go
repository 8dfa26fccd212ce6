//go:build e2e

package browser

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"shoal/bench/player"
	"shoal/internal/chrome"
)

// screenshots is where people look for what the tests have seen.
const screenshots = "../../build/screenshots"

// Four viewers of one title: two model players and, somewhat later, two people
// with browsers. Both of these get a part of the film from the others.
func TestBrowsersInSwarmTakeFromPeers(t *testing.T) {
	t.Parallel()
	cdn := startCDN(t)
	viewFile := filepath.Join(t.TempDir(), "view.url")
	_, tracker := start(t, "tracker", "tracker", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-file", viewFile,
		"--state", t.TempDir(), "--title", filepath.Join(filmDir, "title.shoal"))
	var ids []string // as the swarm view shows them
	for _, name := range []string{"Ann", "Ben"} {
		_, url := node(t, name, cdn.URL, "--tracker", tracker)
		model := player.New(player.Config{URL: url + "/film/master.m3u8", Fixed: 2, SessionID: name})
		go func() { _, _ = model.Run(t.Context()) }()
		require.Eventually(t, func() bool { return model.Report().Position > time.Second }, patience, look, "%s plays", name)
		ids = append(ids, status(t, url)["peer_id"].(string)[:8])
	}
	var people []viewer
	var nodes []string
	for _, name := range []string{"Cleo", "Dan"} {
		_, url := node(t, name, cdn.URL, "--tracker", tracker, "--title", "film/master.m3u8")
		v := openViewer(t, url, "film/master.m3u8")
		v.reset()
		people, nodes = append(people, v), append(nodes, url)
		ids = append(ids, status(t, url)["peer_id"].(string)[:8])
	}
	for i, v := range people {
		var s map[string]any
		require.Eventually(t, func() bool {
			s = status(t, nodes[i])
			return pick(s, "bytes.p2p").(float64) > 0
		}, patience, 200*time.Millisecond, "bytes from peers: %v", s["bytes"])
		v.playsTo(12)
		v.neverOlder(fallback)
		v.neverStalled()
		v.eventually("+document.querySelector('[data-field=\"bytes.p2p\"]').dataset.value > 0")
		t.Logf("%s: saving %.2f, %v", nodes[i], s["saving"], s["bytes"])
	}
	takeViewerPictures(t, people[0])
	takeSwarmPictures(t, viewFile, ids)

	for _, v := range people {
		v.eval("video.pause()")
	}
	compareDashboard(t, people[0], nodes[0])
	for i, v := range people {
		v.staysAtHome(nodes[i])
	}
}

// shoot writes a screenshot, and asserts that the screen needs no scrolling
// sideways.
func shoot(t *testing.T, tab *chrome.Tab, name string, width, height int64, phone bool, scheme string) {
	t.Helper()
	require.NoError(t, tab.Viewport(width, height, phone))
	require.NoError(t, tab.Media("prefers-color-scheme", scheme))
	// Two frames later, styles and canvases have followed.
	_, err := chrome.Eval[chrome.Nothing](tab, "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
	require.NoError(t, err)
	require.NoError(t, tab.Wait("document.documentElement.scrollWidth <= innerWidth", patience), "%s: the page is wider than the screen", name)
	require.NoError(t, tab.Screenshot(filepath.Join(screenshots, name+".png")))
}

func takeViewerPictures(t *testing.T, v viewer) {
	t.Helper()
	shoot(t, v.Tab, "viewer-desktop", 1440, 900, false, "light")
	shoot(t, v.Tab, "viewer-dark", 1440, 900, false, "dark")
	shoot(t, v.Tab, "viewer-phone", 360, 740, true, "light")
}

// takeSwarmPictures waits until the tracker's page knows all peers and what
// they have saved together.
func takeSwarmPictures(t *testing.T, viewFile string, ids []string) {
	t.Helper()
	view, err := os.ReadFile(viewFile)
	require.NoError(t, err)
	v := viewer{newTab(t), t}
	require.NoError(t, v.Open(strings.TrimSpace(string(view))))
	for _, id := range ids {
		v.eventually(fmt.Sprintf("document.body.innerText.includes(%q)", id))
	}
	v.eventually("document.body.innerText.includes('The shoal')")
	v.eventually("fetch('/api/swarms').then(async r => { const s = await r.json(); return s.saving > 0 && s.swarm.feeds.length > 0 })")
	shoot(t, v.Tab, "swarm-desktop", 1440, 900, false, "light")
	shoot(t, v.Tab, "swarm-dark", 1440, 900, false, "dark")
	shoot(t, v.Tab, "swarm-phone", 360, 740, true, "light")
	require.Empty(t, v.Errors())
}

// restless are the fields that change while nothing happens, each by itself.
var restless = regexp.MustCompile(`^uptime_s$|^seeds\..*\.(score|rtt_ms|loss|rate_bytes_per_sec|frozen_ms|grade)$|^leeches\..*\.(rtt_ms|window_bytes|pacing_bytes_per_sec|tier|mode)$|^viewers\.`)

// element is what a numeric element of the dashboard holds and reads.
type element struct{ Value, Text string }

// dashboard reads all elements by their fields.
func (v viewer) dashboard() map[string]element {
	v.t.Helper()
	return value[map[string]element](v, "Object.fromEntries([...document.querySelectorAll('[data-field]')].map(e => [e.dataset.field, {value: e.dataset.value, text: e.innerText}]))")
}

// compareDashboard asserts that every number of the page is that of the node's
// status, and those of bytes also that of its metrics. The picture is paused.
// Others in the swarm may still play: all have to agree at one moment.
func compareDashboard(t *testing.T, v viewer, node string) {
	t.Helper()
	var restlessFields []string
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		shown, told, m := v.dashboard(), status(t, node), metrics(t, node)
		restlessFields = nil
		for field, e := range shown {
			switch {
			case field == "passthrough_bytes": // a metric alone
				assert.Equal(c, number(t, e.Value), m["shoal_passthrough_bytes_total"])
			case field == "uptime_s":
				assert.InDelta(c, told["uptime_s"], number(t, e.Value), 2)
			case !restless.MatchString(field):
				assert.Equal(c, raw(find(told, field)), e.Value, "%s: status and page", field)
			case !strings.HasPrefix(field, "viewers."):
				restlessFields = append(restlessFields, field)
			}
		}
		assert.Greater(c, len(shown), 40, "fields: %v", slices.Sorted(maps.Keys(shown)))
		for _, field := range []string{
			"bytes.p2p", "bytes.cdn", "bytes.cache", "bytes.served", "saving", "upload.on", "upload.limit_bytes_per_sec",
			"cdn_reasons.startup", "cdn_reasons.rescue", "cdn_reasons.first_copy", "cache.bytes", "tracker.connected",
		} {
			assert.Contains(c, shown, field)
		}
		for _, field := range []string{"bytes.p2p", "bytes.cdn", "cache.bytes", "saving"} {
			e := shown[field]
			assert.InEpsilon(c, number(t, e.Value)+1e-9, read(t, e.Text)+1e-9, 0.06, "%s reads %q", field, e.Text)
		}
		compareMetrics(c, told, m)
	}, patience, time.Second, "page, status and metrics agree")
	for _, field := range restlessFields { // each by itself is right at some moment
		require.Eventually(t, func() bool {
			e, there := v.dashboard()[field]
			return !there || e.Value == raw(find(status(t, node), field))
		}, patience, look, "%s: page and status", field)
	}
}

// compareMetrics asserts that a node's metrics are those of its status.
func compareMetrics(c *assert.CollectT, told map[string]any, m map[string]float64) {
	for source, n := range told["bytes"].(map[string]any) {
		assert.Equal(c, n, m[fmt.Sprintf("shoal_bytes_total{source=%q}", source)], source)
	}
	for reason, n := range told["cdn_reasons"].(map[string]any) {
		assert.Equal(c, n, m[fmt.Sprintf("shoal_cdn_bytes_total{reason=%q}", reason)], reason)
	}
	assert.Equal(c, told["saving"], m["shoal_saving_ratio"])
	assert.Equal(c, pick(told, "cache.bytes"), m["shoal_cache_bytes"])
	assert.Equal(c, pick(told, "cache.limit"), m["shoal_cache_limit_bytes"])
	assert.InDelta(c, len(told["seeds"].([]any)), m[`shoal_seeds{state="active"}`]+m[`shoal_seeds{state="frozen"}`], 0)
	assert.InDelta(c, len(told["leeches"].([]any)), m["shoal_leeches"], 0)
}

// status is a node's /api/status.
func status(t *testing.T, node string) (s map[string]any) {
	t.Helper()
	resp, err := http.Get(node + "/api/status")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&s))
	return s
}

// metrics are a node's, by name and labels as they are written.
func metrics(t *testing.T, node string) map[string]float64 {
	t.Helper()
	resp, err := http.Get(node + "/metrics")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	out := make(map[string]float64)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, n, ok := strings.Cut(lines.Text(), " "); ok && !strings.HasPrefix(name, "#") {
			out[name] = number(t, n)
		}
	}
	return out
}

// find is what a data-field of the page names.
func find(status map[string]any, field string) any {
	list, rest, _ := strings.Cut(field, ".")
	if list != "seeds" && list != "leeches" {
		return pick(status, field)
	}
	id, name, _ := strings.Cut(rest, ".")
	for _, item := range status[list].([]any) {
		if item := item.(map[string]any); item["id"] == id {
			return item[name]
		}
	}
	return nil
}

// pick follows a dotted path.
func pick(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// raw is a value as JavaScript writes it into an attribute.
func raw(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		b, _ := json.Marshal(v) // it came from JSON
		return string(b)
	}
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(s, 64)
	require.NoError(t, err)
	return n
}

// read is a number with a unit as people write it: 3.4 MB, 67 %.
func read(t *testing.T, text string) float64 {
	t.Helper()
	n, unit, _ := strings.Cut(text, " ")
	scale, known := map[string]float64{"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "%": 0.01}[unit]
	require.True(t, known, "unit of %q", text)
	return number(t, n) * scale
}
