// Package proxy is the HTTP server that a video player talks to instead of the
// CDN: GET http://127.0.0.1:7070/<path below the origin's prefix>.
//
// A media file that the title's manifest describes is read through the engine
// (peers, cache, CDN) and written as soon as it is verified. Everything else
// (playlists, keys, licences, images, files without a record) passes through to
// the origin's prefix, and to nowhere else. Without a manifest, a tracker or a
// peer the package is a plain reverse proxy, and playback goes on.
//
// The package decides nothing about peers. What it contributes is time: it tells
// the engine where each player is (cmcd.go, pattern.go, session.go) and until
// when an open GET is worth answering (deadline.go).
//
// Reserved paths, never asked of the origin:
//
//	/             the viewer page with its dashboard (package page)
//	/_shoal/      the files of that page
//	/api/status   the engine's Status as JSON
//	/api/live     the same twice a second, and more, as server-sent events (live.go)
//	/api/titles   what was played or configured (titles.go)
//	/api/line     takes a report that somebody needs the uplink (line.go)
//	/api/node     tells a site's page that a node is here
//	/metrics      Prometheus
//	/healthz      "ok"
//
// A browser page can make any request to a loopback address, so the package
// answers only a Host that is loopback or configured (DNS rebinding), and only
// pages of configured origins (guard.go). Those may play and ask /api/node; the
// rest of /api/ and /metrics is for the node's own page and for programs, and
// documents of the CDN have no rights under the node's name. It does not
// authenticate: whoever reaches the port may play.
//
// A Proxy is an http.Handler and safe for concurrent use. It owns one goroutine
// (the sweep of silent sessions), one more while a dashboard is open, and
// short-lived ones that open titles ahead of the first segment; Close waits for
// them.
package proxy
