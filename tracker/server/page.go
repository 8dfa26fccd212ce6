package server

import (
	"embed"
	"net/http"
	"path"
	"strings"
)

// assetsPath is where the page's own files are.
const assetsPath = "/_shoal/"

// pagePolicy lets the page load its own files, ask its own tracker, and nothing
// else: no script or style in the page, no other host, no frame around it.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

//go:embed page
var page embed.FS

func servePage(w http.ResponseWriter, _ *http.Request) { writeAsset(w, "index.html") }

func serveAsset(w http.ResponseWriter, r *http.Request) {
	writeAsset(w, strings.TrimPrefix(r.URL.Path, assetsPath))
}

func writeAsset(w http.ResponseWriter, name string) {
	body, err := page.ReadFile("page/" + name)
	if err != nil {
		refuse(w, http.StatusNotFound, "There is no such file; the swarm view is at /.")
		return
	}
	h := w.Header()
	// The files are small and change with the program: always the present ones.
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Content-Type", contentType(name))
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body) // the client may be gone
}

func contentType(name string) string {
	// Whatever the system's table of types says.
	switch path.Ext(name) {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return "text/html; charset=utf-8"
	}
}
