package server

import (
	"fmt"
	"net/http"
	"net/netip"

	"shoal/internal/hostname"
)

// guard decides by which names the tracker's pages are answered. A page that
// makes its own name resolve to this machine (DNS rebinding) sends that name as
// Host, and is to a browser the same site as what it then reads: it must not
// read who watches what. It cannot use an address for a name, so addresses are
// answered, and nothing here lets a page of another site read (no CORS).
//
// /metrics and /healthz are answered by any name: Prometheus and load balancers
// ask by the names of services, which nobody configures twice, and what they
// get names no title and no peer.
type guard struct {
	hosts hostname.Set
}

func newGuard(hosts []string) guard {
	return guard{hosts: hostname.NewSet(hosts)}
}

// protect answers requests by other names with a sentence.
func (g guard) protect(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if g.allows(r.Host) {
			next(w, r)
			return
		}
		// 421: the connection is not meant for this authority (RFC 9110 §15.5.20).
		refuse(w, http.StatusMisdirectedRequest, fmt.Sprintf(
			"The tracker does not answer for host %.80q: use its address or localhost, or add the name with --allow-host.", r.Host))
	}
}

func (g guard) allows(host string) bool {
	name := hostname.Of(host)
	if g.hosts.Has(name) {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// refuse answers with one sentence for the person who reads it.
func refuse(w http.ResponseWriter, code int, sentence string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, sentence) // the client may be gone
}
