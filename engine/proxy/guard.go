package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"shoal/internal/hostname"
)

// preflightMaxAge is how long a browser may remember a preflight: Chromium's
// own upper bound is two hours; ten minutes let a changed configuration be felt.
const preflightMaxAge = "600"

// corsHeadersBytesMax bounds the list of headers that a preflight asks for; the
// four CMCD headers, Range and Authorization take 80 bytes.
const corsHeadersBytesMax = 1 << 10

// refusalHeader marks the node's own sentences: what the origin answers with the
// same status is made for nobody to read.
const refusalHeader = "Shoal-Refusal"

// guard decides which requests the node answers at all.
type guard struct {
	hosts     hostname.Set
	origins   map[string]bool // scheme://host[:port], lower case
	anyOrigin bool
}

func newGuard(hosts, origins []string) guard {
	g := guard{hosts: hostname.NewSet(hosts), origins: make(map[string]bool)}
	for _, o := range origins {
		if o == "*" {
			g.anyOrigin = true
		}
		g.origins[strings.ToLower(strings.TrimSuffix(o, "/"))] = true
	}
	return g
}

// private tells which paths are for the node's own pages and for programs, and
// for no other site, configured or not: they show what is watched here and the
// addresses of peers.
func private(path string) bool {
	return path == "/metrics" || path != nodePath && (path == "/api" || strings.HasPrefix(path, "/api/"))
}

// admit sets the CORS headers and reports whether the request goes on. When it
// does not, the answer is written.
func (g guard) admit(w http.ResponseWriter, r *http.Request) bool {
	if !g.hostAllowed(r.Host) {
		// 421: the connection is not meant for this authority (RFC 9110
		// §15.5.20). A page that made its own name resolve to 127.0.0.1 sends
		// that name as Host, and must not read what other sites' viewers watch.
		refuse(w, http.StatusMisdirectedRequest, fmt.Sprintf(
			"shoal does not answer for host %.80q: use 127.0.0.1 or localhost, or add the name with --allow-host.", r.Host))
		return false
	}
	origin := r.Header.Get("Origin")
	if origin != "" {
		w.Header().Add("Vary", "Origin")
	}
	if private(r.URL.Path) {
		if !ownPage(origin, r) {
			refuse(w, http.StatusForbidden,
				"This part of shoal is for the node's own pages and for programs; other sites may ask "+nodePath+" whether a node is here.")
			return false
		}
		return g.method(w, r)
	}
	switch {
	case origin != "" && !g.originAllowed(origin, r.Host):
		refuse(w, http.StatusForbidden, fmt.Sprintf(
			"shoal does not answer pages of %.80q: add the page's origin with --cors.", origin))
		return false
	case origin == "" && g.foreignEmbed(r):
		refuse(w, http.StatusForbidden,
			"shoal does not answer media elements of pages that are not configured: add the page's origin with --cors.")
		return false
	}
	if origin != "" {
		g.cors(w.Header(), origin)
	}
	return g.method(w, r)
}

// ownPage tells whether a request comes from the node's own pages, from the
// address bar or from a program. A page elsewhere is known by its Origin, or,
// where it embeds without CORS, by Fetch Metadata; another port of the same
// machine is "same-site", and another page. Following a link is no reading.
func ownPage(origin string, r *http.Request) bool {
	if origin != "" && !sameOrigin(origin, r.Host) {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		dest := r.Header.Get("Sec-Fetch-Dest")
		return r.Header.Get("Sec-Fetch-Mode") == "navigate" && (dest == "document" || dest == "")
	default:
		return true
	}
}

// method answers what is neither GET nor HEAD.
func (g guard) method(w http.ResponseWriter, r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodOptions:
		g.preflight(w, r)
		return false
	case http.MethodPost:
		if r.URL.Path == linePath {
			return true
		}
	}
	w.Header().Set("Allow", "GET, HEAD, OPTIONS")
	refuse(w, http.StatusMethodNotAllowed, "shoal answers GET, HEAD and OPTIONS, and POST on "+linePath+".")
	return false
}

func (g guard) hostAllowed(host string) bool {
	name := hostname.Of(host)
	if g.hosts.Has(name) {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}

func (g guard) originAllowed(origin, host string) bool {
	origin = strings.ToLower(origin)
	return g.anyOrigin || g.origins[origin] || sameOrigin(origin, host)
}

// sameOrigin tells whether a web origin is the node's own, under the name by
// which it was asked. The scheme is not compared: in front of the node may be a
// server that adds TLS.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(strings.ToLower(origin))
	return err == nil && u.Host != "" && u.Host == strings.ToLower(host)
}

// foreignEmbed tells whether a page that is not the node's own embeds its bytes
// without CORS, e.g. <video src>. Browsers mark such requests (Fetch Metadata;
// another port of this machine is "same-site"); the page is then known by its
// Referer. Players outside a browser send neither.
func (g guard) foreignEmbed(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "cross-site" && site != "same-site" || r.Header.Get("Sec-Fetch-Mode") == "navigate" || g.anyOrigin {
		return false
	}
	u, err := url.Parse(r.Header.Get("Referer"))
	return err != nil || !g.origins[strings.ToLower(u.Scheme+"://"+u.Host)]
}

func (g guard) cors(h http.Header, origin string) {
	h.Set("Access-Control-Allow-Origin", origin)
	if g.origins[strings.ToLower(origin)] {
		h.Set("Access-Control-Allow-Credentials", "true") // players with withCredentials
	}
	h.Set("Access-Control-Expose-Headers", "Accept-Ranges, Content-Length, Content-Range, Date, ETag, "+refusalHeader)
	h.Set("Timing-Allow-Origin", origin)
	// A page under COEP may load from us: whoever got here is configured.
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
}

// preflight answers OPTIONS, also outside CORS (RFC 9110 §9.3.7). CMCD in
// headers makes every request of a web player a preflighted one.
func (g guard) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Allow", "GET, HEAD, OPTIONS")
	if r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Add("Vary", "Access-Control-Request-Headers")
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" && len(asked) <= corsHeadersBytesMax {
			h.Set("Access-Control-Allow-Headers", asked)
		}
		h.Set("Access-Control-Max-Age", preflightMaxAge)
		// Private Network Access and its successor ask before a public page may
		// reach a loopback address.
		if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
			h.Set("Access-Control-Allow-Private-Network", "true")
		}
		if r.Header.Get("Access-Control-Request-Local-Network") == "true" {
			h.Set("Access-Control-Allow-Local-Network", "true")
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// refuse answers with one sentence for the person who reads it.
func refuse(w http.ResponseWriter, code int, sentence string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set(refusalHeader, "1")
	h.Del("Content-Length")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(sentence + "\n")) // the client may be gone
}
