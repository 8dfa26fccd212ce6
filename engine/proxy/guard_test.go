package proxy

import (
	"net/http"
	"net/http/httptest"
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
