//go:build e2e

package browser

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"shoal/internal/chrome"
)

const (
	// scriptBytesMax: shoal.js is part of other people's pages.
	scriptBytesMax = 2 << 10

	// fallback is how old a picture may become when the node dies.
	fallback = 3 * time.Second

	// probe is how long the pages wait for the node: it is there, but the machine
	// may be busy with tests.
	probe = patience

	// opensMax bounds how often a page is opened anew that has left its node
	// before the node dies.
	opensMax = 5

	tooSlow = "too slow"

	hlsLibrary = assets + "vendor/hls.min.js"
)

func TestScriptIsSmall(t *testing.T) {
	script, err := os.ReadFile(assets + "shoal.js")
	require.NoError(t, err)
	require.Less(t, len(script), scriptBytesMax)
	require.Contains(t, string(script), "Apache-2.0")
}

// A site's page plays through the node, the node dies, and the viewer sees the
// film go on: at the place where it was, or at one that nobody had loaded yet.
func TestSiteGoesOnFromCDNWhenNodeDies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, section, file string
		signal              syscall.Signal
		seek                bool
	}{
		{"hls.js, killed", "hls.js", "master.m3u8", syscall.SIGKILL, false},
		{"hls.js, killed before a seek", "hls.js", "master.m3u8", syscall.SIGKILL, true},
		{"hls.js, hanging", "hls.js", "master.m3u8", syscall.SIGSTOP, true},
		{"video element, killed", "Plain video", "movie.mp4", syscall.SIGKILL, true},
		{"video element, hanging", "Plain video", "movie.mp4", syscall.SIGSTOP, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cdn := startCDN(t)
			cdn.limiter.SetLimit(rate.Limit(1.5e6 / 8)) // so that the player does not have it all at once
			site := startSite(t, c.section, hlsLibrary)
			p, node := node(t, "node", cdn.URL, "--cors", site)
			v := playsThrough(t, node, func() viewer { return watch(t, pageFor(site, cdn.film(c.file), node, probe)) })
			require.Equal(t, node+"/film/"+c.file, value[string](v, "s.src"))

			from, asked := v.reset(), len(v.Requests())
			p.signal(c.signal)
			cdn.limiter.SetLimit(cdnBitsPerSecond / 8)
			goal := from.Time + from.Buffer + 2
			if c.seek {
				v.eval(`document.querySelector('video').currentTime = 50`)
				goal = 52
			}
			v.playsTo(goal)
			v.neverOlder(fallback)
			require.Equal(t, "cdn", value[string](v, "s.via"))
			require.Equal(t, cdn.film(c.file), value[string](v, "s.src"))
			v.notes(func() bool {
				return slices.ContainsFunc(v.Requests()[asked:], func(r chrome.Request) bool {
					return strings.HasPrefix(r.URL, cdn.URL) && r.Status/100 == 2
				})
			}, "the page asked the CDN itself")
			v.quiet()
		})
	}
}

// playsThrough opens a page that plays through the node. A page whose node did
// not answer in time for once leaves it for good, as it should, and is opened
// anew: the machine was too busy.
func playsThrough(t *testing.T, node string, open func() viewer) viewer {
	t.Helper()
	for range opensMax {
		v := open()
		v.playsTo(3)
		if value[string](v, "s.via") == "node" {
			return v
		}
		silent := slices.ContainsFunc(v.Requests(), func(r chrome.Request) bool {
			return r.URL == node+"/api/node" && r.Failed != ""
		})
		require.True(t, silent || v.sample().LateInAll >= lateMin, "the page left a node that answers: %v %q", v.Requests(), v.Errors())
		v.Close()
	}
	require.FailNow(t, "the page always leaves its node")
	return viewer{}
}

// stranger is something that answers on the port where a node is expected. Its
// handler is asked for everything but the preflight.
func stranger(t *testing.T, handler http.HandlerFunc) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != "/api/node" {
			asked.Add(1)
		}
		handler(w, r)
	}), 0)
	return server.URL, asked
}

func TestSiteStaysOnCDNWithoutUsableNode(t *testing.T) {
	t.Parallel()
	says := func(format string, args ...any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, format, args...) }
	}
	cdn := startCDN(t)
	site := startSite(t, "hls.js", hlsLibrary)
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"something else answers", says("<!doctype html><title>my printer</title>")},
		{"another version", says(`{"shoal": 2, "version": "2.0.0", "origin": %q}`, cdn.URL+"/")},
		{"a node for another CDN", says(`{"shoal": 1, "version": "1.0.0", "origin": "https://cdn.example/vod/"}`)},
		{"an answer of rubbish", says(`{"shoal": 1, "origin": [null]}`)},
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }},
		{tooSlow, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, asked := stranger(t, c.handler)
			limit := probe
			if c.name == tooSlow {
				limit = 300 * time.Millisecond
			}
			v := watch(t, pageFor(site, cdn.film("master.m3u8"), url, limit))
			v.playsFromCDN(cdn)
			require.Zero(t, asked.Load(), "nothing but /api/node was asked")
		})
	}
	t.Run("nothing there", func(t *testing.T) {
		t.Parallel()
		port, err := freePort()
		require.NoError(t, err)
		watch(t, pageFor(site, cdn.film("master.m3u8"), fmt.Sprintf("http://127.0.0.1:%d", port), probe)).playsFromCDN(cdn)
	})
	t.Run("the site is not in --cors", func(t *testing.T) {
		t.Parallel()
		_, url := node(t, "node", cdn.URL, "--cors", "http://another."+siteName)
		watch(t, pageFor(site, cdn.film("master.m3u8"), url, probe)).playsFromCDN(cdn)
	})
}

// A node that says that it is there and then hangs is the worst: nothing was
// loaded before.
func TestSiteStartsFromCDNWhenNodeHangsAtStart(t *testing.T) {
	t.Parallel()
	cdn := startCDN(t)
	site := startSite(t, "hls.js", hlsLibrary)
	var answered atomic.Bool
	url, _ := stranger(t, func(w http.ResponseWriter, r *http.Request) {
		if answered.Swap(true) {
			<-r.Context().Done()
			return
		}
		_, _ = fmt.Fprintf(w, `{"shoal": 1, "version": "1.0.0", "origin": %q}`, cdn.URL+"/")
	})
	v := watch(t, pageFor(site, cdn.film("master.m3u8"), url, probe))
	v.playsFromCDN(cdn)
	v.neverOlder(10 * time.Second) // hls.js alone would wait for 20 s before it asked again
}

// playsFromCDN asserts that the picture came soon, and past any node.
func (v viewer) playsFromCDN(cdn *cdn) {
	v.t.Helper()
	v.playsTo(1)
	require.Equal(v.t, "cdn", value[string](v, "s.via"))
	require.Equal(v.t, cdn.film("master.m3u8"), value[string](v, "s.src"))
	for _, r := range v.Requests() {
		if strings.HasSuffix(r.URL, ".m4s") {
			require.True(v.t, strings.HasPrefix(r.URL, cdn.URL), r.URL)
		}
	}
	v.quiet()
}

// quiet asserts that no script failed. The browser itself notes each request
// that fails, which no page can prevent.
func (v viewer) quiet() {
	v.t.Helper()
	for _, e := range v.Errors() {
		if !strings.HasPrefix(e, "Failed to load resource") && !strings.Contains(e, "blocked by CORS policy") {
			require.Fail(v.t, "the page complained", "%s\nall: %q", e, v.Errors())
		}
	}
}
