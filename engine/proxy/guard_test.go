package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyLoopbackAndConfiguredHostsAreAnswered(t *testing.T) {
	g := newGuard([]string{"Node.local", "192.168.1.5:7070"}, nil)
	for host, allowed := range map[string]bool{
		"127.0.0.1:7070":         true,
		"127.8.9.10":             true,
		"localhost:7070":         true,
		"LOCALHOST.":             true,
		"player.localhost":       true,
		"[::1]:7070":             true,
		"[::1]":                  true,
		"[::ffff:127.0.0.1]:80":  true,
		"node.local:7070":        true,
		"192.168.1.5":            true,
		"192.168.1.6":            false,
		"rebound.example:7070":   false,
		"localhost.example":      false,
		"127.0.0.1.nip.io":       false,
		"0.0.0.0:7070":           false,
		"":                       false,
		"127.0.0.1@evil.example": false,
	} {
		require.Equal(t, allowed, g.hostAllowed(host), host)
	}
}

type guardCase struct {
	method string
	header map[string]string
	code   int // 0: admitted
	want   map[string]string
}

func (tc guardCase) run(t *testing.T, g guard) {
	r := httptest.NewRequest(tc.method, "http://127.0.0.1:7070/film/a.m4s", nil)
	for k, v := range tc.header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	admitted := g.admit(w, r)
	require.Equal(t, tc.code == 0, admitted)
	if tc.code != 0 {
		require.Equal(t, tc.code, w.Code)
	}
	for k, v := range tc.want {
		require.Equal(t, v, w.Header().Get(k), k)
	}
	if w.Code >= 400 {
		require.Equal(t, 1, strings.Count(w.Body.String(), "\n"), "one sentence")
	}
}

func TestOnlyConfiguredPagesMayPlay(t *testing.T) {
	g := newGuard(nil, []string{"https://player.example", "http://lan.example:8080/"})
	for name, tc := range map[string]guardCase{
		"a player outside browsers": {"GET", nil, 0, map[string]string{"Access-Control-Allow-Origin": ""}},
		"configured page": {"GET", map[string]string{"Origin": "https://player.example"}, 0, map[string]string{
			"Access-Control-Allow-Origin": "https://player.example", "Vary": "Origin",
			"Timing-Allow-Origin": "https://player.example",
		}},
		"configured with a port": {"GET", map[string]string{"Origin": "http://lan.example:8080"}, 0, nil},
		"other port":             {"GET", map[string]string{"Origin": "http://lan.example:8081"}, 403, nil},
		"the node's own page":    {"GET", map[string]string{"Origin": "http://127.0.0.1:7070"}, 0, nil},
		"foreign page": {"GET", map[string]string{"Origin": "https://evil.example"}, 403, map[string]string{
			"Access-Control-Allow-Origin": "",
		}},
		"opaque origin": {"GET", map[string]string{"Origin": "null"}, 403, nil},
		"foreign page's video element": {"GET", map[string]string{
			"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Referer": "https://evil.example/",
		}, 403, nil},
		"video element of another port's page": {"GET", map[string]string{
			"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Referer": "http://127.0.0.1:8000/",
		}, 403, nil},
		"configured page's video element": {"GET", map[string]string{
			"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Referer": "https://player.example/watch",
		}, 0, nil},
		"typed into the address bar": {"GET", map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 0, nil},
		"a link on another site":     {"GET", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 0, nil},
		"POST":                       {"POST", nil, 405, map[string]string{"Allow": "GET, HEAD, OPTIONS"}},
		"DELETE":                     {"DELETE", nil, 405, nil},
		"preflight of CMCD headers": {"OPTIONS", map[string]string{
			"Origin": "https://player.example", "Access-Control-Request-Method": "GET",
			"Access-Control-Request-Headers":         "cmcd-object,cmcd-request,range",
			"Access-Control-Request-Private-Network": "true",
		}, 204, map[string]string{
			"Access-Control-Allow-Origin": "https://player.example", "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
			"Access-Control-Allow-Headers": "cmcd-object,cmcd-request,range", "Access-Control-Max-Age": "600",
			"Access-Control-Allow-Private-Network": "true",
		}},
		"preflight of a foreign page": {"OPTIONS", map[string]string{
			"Origin": "https://evil.example", "Access-Control-Request-Method": "GET",
			"Access-Control-Request-Private-Network": "true",
		}, 403, map[string]string{"Access-Control-Allow-Private-Network": "", "Access-Control-Allow-Methods": ""}},
		"OPTIONS outside CORS": {"OPTIONS", nil, 204, map[string]string{"Allow": "GET, HEAD, OPTIONS"}},
	} {
		t.Run(name, func(t *testing.T) { tc.run(t, g) })
	}
	all := newGuard(nil, []string{"*"})
	guardCase{"GET", map[string]string{"Origin": "https://any.example"}, 0, map[string]string{
		"Access-Control-Allow-Origin": "https://any.example", "Access-Control-Allow-Credentials": "",
	}}.run(t, all)
}

func TestRebindingIsRefusedWithASentence(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://rebound.example:7070/api/status", nil)
	w := httptest.NewRecorder()
	require.False(t, newGuard(nil, nil).admit(w, r))
	require.Equal(t, http.StatusMisdirectedRequest, w.Code)
	require.Contains(t, w.Body.String(), "rebound.example")
}

// What shows peers' addresses and what is watched is for no other site, also
// not for one that may play.
func TestTheNodesOwnAPIIsForItsOwnPagesAndPrograms(t *testing.T) {
	n := newFakeNode(t)
	p := newTestProxy(t, n) // https://player.example is configured
	const own = "http://127.0.0.1:7070"
	for name, tc := range map[string]struct {
		header []string
		code   int
	}{
		"a program":                      {nil, 200},
		"the node's own page":            {[]string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, 200},
		"the node's own page, by Origin": {[]string{"Origin", own, "Sec-Fetch-Site", "same-origin"}, 200},
		"typed into the address bar":     {[]string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		"a link elsewhere":               {[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		"a frame elsewhere":              {[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		"a configured page":              {[]string{"Origin", "https://player.example", "Sec-Fetch-Site", "cross-site"}, 403},
		"a configured page's script":     {[]string{"Referer", "https://player.example/", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"}, 403},
		"a foreign page":                 {[]string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403},
		"a foreign page's image":         {[]string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 403},
		"another port of this machine":   {[]string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"}, 403},
		"that one, with an Origin":       {[]string{"Origin", "http://127.0.0.1:8000", "Sec-Fetch-Site", "same-site"}, 403},
		"an opaque origin":               {[]string{"Origin", "null"}, 403},
	} {
		for _, path := range []string{"/api/status", "/api/titles", "/metrics", "/api/live"} {
			method := http.MethodGet
			if path == "/api/live" {
				method = http.MethodHead
			}
			w := request(t, p, method, path, tc.header...)
			require.Equal(t, tc.code, w.Code, "%s: %s", name, path)
			require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"), "%s: %s", name, path)
			if tc.code == 403 && method == http.MethodGet {
				require.Equal(t, 1, strings.Count(w.Body.String(), "\n"), "one sentence")
				require.Equal(t, "1", w.Header().Get(refusalHeader))
			}
		}
	}
	preflight := request(t, p, http.MethodOptions, "/api/status", "Origin", "https://player.example", "Access-Control-Request-Method", "GET")
	require.Equal(t, 403, preflight.Code)
	require.Empty(t, preflight.Header().Get("Access-Control-Allow-Methods"))
	require.Equal(t, 405, request(t, p, http.MethodPost, "/api/status").Code)
}

func TestAnyOriginIsNotAnyPageOfTheAPI(t *testing.T) {
	p := newProxy(Config{Origins: []string{"*"}}, newFakeNode(t))
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	require.Equal(t, 200, request(t, p, "GET", "/api/node", "Origin", "https://any.example").Code)
	require.Equal(t, 403, request(t, p, "GET", "/api/status", "Origin", "https://any.example").Code)
}

func TestConfiguredPagesMayAskWhetherANodeIsHere(t *testing.T) {
	base, err := url.Parse("https://user:secret@cdn.example/vod?key=secret#x")
	require.NoError(t, err)
	p := newProxy(Config{Base: base, Origins: []string{"https://player.example"}, Version: "v1 go linux"}, newFakeNode(t))
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	w := request(t, p, "GET", "/api/node", "Origin", "https://player.example")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "https://player.example", w.Header().Get("Access-Control-Allow-Origin"))
	require.JSONEq(t, `{"shoal": 1, "version": "v1 go linux", "origin": "https://cdn.example/vod/"}`, w.Body.String())
	foreign := request(t, p, "GET", "/api/node", "Origin", "https://evil.example")
	require.Equal(t, 403, foreign.Code)
	require.NotContains(t, foreign.Body.String(), "cdn.example")
	require.Equal(t, 204, request(t, p, "OPTIONS", "/api/node", "Origin", "https://player.example",
		"Access-Control-Request-Method", "GET", "Access-Control-Request-Private-Network", "true").Code)
}

func TestThePageIsShownToPeopleAndToNoFrame(t *testing.T) {
	p := newTestProxy(t, newFakeNode(t))
	w := request(t, p, "GET", "/", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")
	require.Equal(t, 200, w.Code)
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'")
	require.Equal(t, 404, request(t, p, "GET", "/_shoal/none.js").Code)
	r := httptest.NewRequest(http.MethodGet, "http://rebound.example:7070/", nil)
	refused := httptest.NewRecorder()
	p.ServeHTTP(refused, r)
	require.Equal(t, http.StatusMisdirectedRequest, refused.Code)
}

// A page on the CDN would run under the node's name and could read its API.
func TestDocumentsOfTheCDNHaveNoRightsHere(t *testing.T) {
	n := newFakeNode(t)
	contentType := ""
	n.origin = func(w http.ResponseWriter, _ *http.Request) {
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.Header().Set("Content-Security-Policy", "script-src *")
		_, _ = w.Write([]byte("<script>"))
	}
	p := newTestProxy(t, n)
	for _, contentType = range []string{"", "text/html", "image/svg+xml", "application/xhtml+xml", "text/plain", "application/octet-stream"} {
		w := request(t, p, "GET", "/film/x.html")
		require.Equal(t, []string{"sandbox"}, w.Header().Values("Content-Security-Policy"), contentType)
	}
	// Browsers show a film that is opened by itself in a document of their own.
	for _, contentType = range []string{"video/mp4", "audio/aac", "application/vnd.apple.mpegurl"} {
		require.NotContains(t, request(t, p, "GET", "/film/x.bin").Header().Get("Content-Security-Policy"), "sandbox", contentType)
	}
}
