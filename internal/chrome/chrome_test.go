//go:build e2e

package chrome

import (
	"context"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	patience = time.Minute
	look     = 10 * time.Millisecond
)

const page = `<!doctype html><title>a page</title><style>@media (prefers-color-scheme: dark) {body {color: #fff}}</style>
<script>
console.error('told %d', 7);
fetch('/missing');
Promise.reject(new Error('nobody caught it'));
</script>`

func TestTabRemembersWhatThePageDid(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(page))
	}))
	defer server.Close()
	b, err := Start(context.Background())
	require.NoError(t, err)
	defer b.Close()
	tab, err := b.Tab()
	require.NoError(t, err)
	defer tab.Close()

	require.NoError(t, tab.Viewport(360, 640, true))
	require.NoError(t, tab.Media("prefers-color-scheme", "dark"))
	require.NoError(t, tab.Open(server.URL))
	require.NoError(t, tab.Wait(`document.title == 'a page'`, patience))
	width, err := Eval[int](tab, `Promise.resolve(innerWidth)`)
	require.NoError(t, err)
	dark, err := Eval[bool](tab, `matchMedia('(prefers-color-scheme: dark)').matches`)
	require.NoError(t, err)
	require.True(t, dark)
	require.GreaterOrEqual(t, width, 360)
	require.Error(t, tab.Wait(`false`, 50*time.Millisecond))
	_, err = Eval[int](tab, `nowhere.at.all`)
	require.ErrorContains(t, err, "nowhere")

	// What the browser tells comes by itself, in an order of its own.
	for _, want := range []string{"told %d 7", "nobody caught it", "404"} {
		require.Eventually(t, func() bool {
			return slices.ContainsFunc(tab.Errors(), func(e string) bool { return strings.Contains(e, want) })
		}, patience, look, "%q", want)
	}
	missing := Request{URL: server.URL + "/missing", Kind: "Fetch", Status: http.StatusNotFound}
	require.Eventually(t, func() bool { return slices.Contains(tab.Requests(), missing) }, patience, look)

	file := filepath.Join(t.TempDir(), "shots", "page.png")
	require.NoError(t, tab.Screenshot(file))
	f, err := os.Open(file)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	picture, err := png.Decode(f)
	require.NoError(t, err)
	require.GreaterOrEqual(t, picture.Bounds().Dx(), 720, "two device pixels per CSS pixel")
}

func TestMissingBrowserSaysWhatToDo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context())
	require.ErrorIs(t, err, ErrMissing)
	require.ErrorContains(t, err, "make deps")
}
