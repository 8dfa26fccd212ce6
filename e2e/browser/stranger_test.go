//go:build e2e

package browser

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"shoal/internal/chrome"
)

// secrets are parts of what a node must not tell a stranger's page: who it is,
// whom it knows, what is watched.
var secrets = []string{"peer_id", "film/", "shoal_bytes_total", "#EXTM3U"}

func TestStrangersNameGetsNothing(t *testing.T) {
	t.Parallel()
	cdn := startCDN(t)
	_, url := node(t, "node", cdn.URL)
	openViewer(t, url, "film/master.m3u8") // there is something to steal

	// The stranger's own name now leads to this machine, so that the browser
	// takes the node for the stranger's server: no rule of CORS stands between.
	evil := strings.Replace(url, "127.0.0.1", evilName, 1)
	v := viewer{newTab(t), t}
	for _, path := range []string{"/", "/api/status", "/api/node", "/api/titles", "/metrics", "/film/master.m3u8", "/film/360p/init_0.mp4"} {
		require.NoError(t, v.Open(evil+path))
		refused := chrome.Request{URL: evil + path, Kind: "Document", Status: http.StatusMisdirectedRequest}
		v.notes(func() bool { return slices.Contains(v.Requests(), refused) }, "%s is refused", path)
		seen := value[string](v, "document.documentElement.outerHTML")
		require.Contains(t, seen, "shoal does not answer for host", path)
		require.Contains(t, seen, "use 127.0.0.1 or localhost, or add the name with --allow-host", path)
		for _, s := range secrets {
			require.NotContains(t, seen, s, path)
		}
		got := value[string](v, fmt.Sprintf("fetch(%q).then(r => r.status + ' ' + r.type)", path))
		require.Equal(t, "421 basic", got, "by script: %s", path)
	}
}

func TestStrangersPageGetsNothing(t *testing.T) {
	t.Parallel()
	cdn := startCDN(t)
	site := startSite(t, "hls.js", hlsLibrary)
	_, closed := node(t, "closed node", cdn.URL)
	_, open := node(t, "open node", cdn.URL, "--cors", site)
	v := viewer{newTab(t), t}
	require.NoError(t, v.Open(site+"/shoal.js")) // any document of that origin

	read := func(url string) string {
		return value[string](v, fmt.Sprintf("fetch(%q).then(async r => r.status + ' ' + await r.text(), () => 'unreadable')", url))
	}
	for _, private := range []string{"/api/status", "/api/titles", "/api/live", "/metrics"} {
		require.Equal(t, "unreadable", read(closed+private))
		require.Equal(t, "unreadable", read(open+private), "configured sites play, and see nobody's address")
	}
	for _, path := range []string{"/api/node", "/film/master.m3u8", "/film/360p/init_0.mp4"} {
		require.Equal(t, "unreadable", read(closed+path))
		require.True(t, strings.HasPrefix(read(open+path), "200 "), path)
	}
	loads := func(element, url string) string {
		return value[string](v, fmt.Sprintf(`new Promise(done => {
			const e = document.createElement(%q)
			e.onload = e.onloadeddata = () => done('loaded')
			e.onerror = () => done('refused')
			e.src = %q
			document.documentElement.append(e)
		})`, element, url))
	}
	require.Equal(t, "refused", loads("video", closed+"/film/movie.mp4"))
	require.Equal(t, "loaded", loads("video", open+"/film/movie.mp4"))
	require.Equal(t, "refused", loads("script", closed+"/api/status"))
	require.Equal(t, "refused", loads("script", open+"/api/status"))
	require.Equal(t, "unreadable", value[string](v, fmt.Sprintf(`new Promise(done => {
		const s = new EventSource(%q)
		s.onopen = s.onmessage = () => done('open')
		s.onerror = () => done('unreadable')
	})`, open+"/api/live")))

	t.Log("the page in a frame, under a stranger's buttons, is empty")
	v.eval(fmt.Sprintf(`new Promise(done => {
		const f = document.createElement('iframe')
		f.onload = () => done()
		f.src = %q
		document.documentElement.append(f)
	})`, closed+"/"))
	v.complains("frame-ancestors")

	t.Log("whoever set it up wrongly can read why")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, closed+"/film/master.m3u8", nil)
	require.NoError(t, err)
	req.Header.Set("Origin", site)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Contains(t, string(body), "add the page's origin with --cors")
	require.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))
}

// Chrome asks the viewer before a public site may reach the viewer's own
// machine. Until then, and after a no, the site plays from the CDN.
func TestSiteWithoutPermissionStaysOnCDN(t *testing.T) {
	t.Parallel()
	cdn := startCDNAt(t, publicCDN)
	site := serve(t, siteHandler(t, "hls.js", hlsLibrary), publicSite).URL
	_, url := node(t, "node", cdn.URL, "--cors", site)
	page := pageFor(site, cdn.film("master.m3u8"), url, probe)
	asked := watch(t, page)
	asked.playsFromCDN(cdn)
	asked.complains("Permission was denied") // the browser did ask

	playsThrough(t, url, func() viewer {
		allowed := viewer{newTab(t), t}
		require.NoError(t, allowed.Permit("loopback-network", site))
		require.NoError(t, allowed.Open(page))
		allowed.eval(watchScript)
		return allowed
	}).quiet()
}
