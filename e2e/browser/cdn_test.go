//go:build e2e

package browser

import (
	"context"
	"mime"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

const (
	// cdnLatency and cdnBitsPerSecond make the CDN a modest edge in the same city.
	cdnLatency       = 10 * time.Millisecond
	cdnBitsPerSecond = 50e6

	// cdnBurst is what it sends at once: less than any segment.
	cdnBurst = 16 << 10
)

// cdn serves the folder above the sample title, so that the title is at /film/,
// to whatever page asks.
type cdn struct {
	*httptest.Server
	limiter *rate.Limiter

	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request) bool // guarded by mu: answers in place of the CDN
}

// startCDN serves the sample title until the test ends.
func startCDN(t *testing.T) *cdn {
	t.Helper()
	return startCDNAt(t, 0)
}

func startCDNAt(t *testing.T, port int) *cdn {
	t.Helper()
	c := &cdn{limiter: rate.NewLimiter(cdnBitsPerSecond/8, cdnBurst)}
	c.Server = serve(t, c, port)
	return c
}

// film is the URL of the title's master playlist, or of another of its files.
func (c *cdn) film(file string) string { return c.URL + "/film/" + file }

// fail lets f answer instead, for what it reports true.
func (c *cdn) fail(f func(w http.ResponseWriter, r *http.Request) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = f
}

func (c *cdn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	fault := c.fault
	c.mu.Unlock()
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "*")
	if r.Method == http.MethodOptions {
		return
	}
	select {
	case <-time.After(cdnLatency):
	case <-r.Context().Done():
		return
	}
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/film/")
	switch path.Ext(name) {
	case ".m3u8":
		h.Set("Content-Type", "application/vnd.apple.mpegurl")
	case ".m4s":
		h.Set("Content-Type", "video/iso.segment")
	default:
		h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	}
	if fault != nil && fault(w, r) {
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/film/") {
		http.NotFound(w, r)
		return
	}
	out := &limitedWriter{ResponseWriter: w, ctx: r.Context(), cdn: c}
	http.ServeFile(out, r, path.Join(filmDir, name))
}

// limitedWriter sends no faster than all connections together may. It hides the
// server's ReadFrom, which would send a file past it.
type limitedWriter struct {
	http.ResponseWriter
	ctx context.Context //nolint:containedctx // the request's, for as long as it lasts
	cdn *cdn
}

func (w *limitedWriter) Write(b []byte) (written int, err error) {
	for len(b) > 0 && err == nil {
		part := b[:min(len(b), cdnBurst)]
		if err = w.cdn.limiter.WaitN(w.ctx, len(part)); err != nil {
			break
		}
		var n int
		n, err = w.ResponseWriter.Write(part)
		written += n
		b = b[len(part):]
	}
	return written, err
}
