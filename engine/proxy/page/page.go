// Package page holds what a node shows in a browser: the viewer page with its
// dashboard, and the files that it loads. All of it is embedded, nothing comes
// from anywhere else when it runs.
//
// It serves files and knows no node: what the page shows it asks of the node's
// API by itself. Who may ask is the caller's decision, on any goroutine.
//
// static/vendor holds distribution files of hls.js 1.7.4 (Apache-2.0) and uPlot
// 1.6.32 (MIT), unchanged, each with its licence beside it.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// Prefix is where the page's files are; the page itself is at "/".
const Prefix = "/_shoal/"

// policy is the page's Content-Security-Policy. Scripts, styles and connections
// are the node's own. hls.js plays from object URLs and transmuxes in a worker
// made of one; uPlot styles through the CSSOM, which style-src does not forbid.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self' blob:; " +
	"connect-src 'self'; worker-src blob:; img-src 'self' data:; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

//go:embed static
var static embed.FS

// types are those of the embedded files. The system's table is not asked: it
// differs between machines, and with nosniff a wrong type is a broken page.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// asset is one embedded file.
type asset struct {
	body        []byte
	etag        string
	contentType string
}

// assets returns the files by their URL path. They are hashed at the first call:
// the commands that show no page do not pay for it.
var assets = sync.OnceValue(func() map[string]asset {
	out := make(map[string]asset)
	err := fs.WalkDir(static, "static", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		body, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		a := asset{body: body, etag: `"` + hex.EncodeToString(sum[:12]) + `"`, contentType: types[path.Ext(name)]}
		if a.contentType == "" {
			a.contentType = "text/plain; charset=utf-8" // licences
		}
		url := Prefix + strings.TrimPrefix(name, "static/")
		if url == Prefix+"index.html" {
			url = "/"
		}
		out[url] = a
		return nil
	})
	if err != nil {
		panic("BUG: embedded files cannot be read: " + err.Error())
	}
	return out
})

// Serve answers a GET or HEAD of the page or one of its files. It reports false,
// with nothing written, when there is no such file.
func Serve(w http.ResponseWriter, r *http.Request) bool {
	a, ok := assets()[r.URL.Path]
	if !ok {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Etag", a.etag)
	// Kept, and asked about each time: the names carry no hash, so that a node
	// that was updated never runs half of an older page.
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", policy)
	if r.URL.Path == "/" {
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
	return true
}
