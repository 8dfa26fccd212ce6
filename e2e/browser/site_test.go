//go:build e2e

package browser

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// docs is the page whose examples the tests run as they are written there.
	docs = "../../docs/players.md"

	// assets are the files that a node ships.
	assets = "../../engine/proxy/page/static/"
)

// exampleURL stands in the examples for what is to be played.
var exampleURL = regexp.MustCompile(`'https://cdn\.example/vod/film/[^']*'`)

// sitePage is somebody's page with a player on it.
const sitePage = `<!doctype html>
<meta charset="utf-8"><title>A site</title><link rel="icon" href="data:,">
<video muted autoplay playsinline></video>
<script src="/library.js"></script>
<script type="module">
const video = document.querySelector('video')
%s
window.s = s
</script>
`

// example returns the first JavaScript of a section of the documentation.
func example(t *testing.T, section string) string {
	t.Helper()
	text, err := os.ReadFile(docs)
	require.NoError(t, err)
	_, text, found := bytes.Cut(text, []byte("\n## "+section+"\n"))
	require.True(t, found, "%s has a section %s", docs, section)
	_, text, found = bytes.Cut(text, []byte("\n```js\n"))
	require.True(t, found, "section %s has an example", section)
	code, _, _ := bytes.Cut(text, []byte("\n```\n"))
	return string(code)
}

// siteHandler serves an example of the documentation as a page, with the URLs
// that the page is asked for in place of those of the text.
func siteHandler(t *testing.T, section, library string) http.Handler {
	t.Helper()
	code := example(t, section)
	require.Regexp(t, exampleURL, code)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, sitePage, exampleURL.ReplaceAllLiteralString(code, fmt.Sprintf("%q, {node: %q, timeout: %s}", q.Get("url"), q.Get("node"), q.Get("timeout"))))
	})
	serve := func(path, file string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
	}
	serve("/shoal.js", assets+"shoal.js")
	serve("/library.js", library)
	return mux
}

// startSite serves an example as a page, and returns its web origin.
func startSite(t *testing.T, section, library string) (origin string) {
	t.Helper()
	return strings.Replace(serve(t, siteHandler(t, section, library), 0).URL, "127.0.0.1", siteName, 1)
}

// serve serves until the test ends, on a port of its own or the one given.
func serve(t *testing.T, handler http.Handler, port int) *httptest.Server {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// pageFor is the URL of the site's page that plays film, through node when it
// answers within timeout.
func pageFor(site, film, node string, timeout time.Duration) string {
	return site + "/?" + url.Values{"url": {film}, "node": {node}, "timeout": {fmt.Sprint(timeout.Milliseconds())}}.Encode()
}
