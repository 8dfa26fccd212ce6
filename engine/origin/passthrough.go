package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

const (
	// passBudget is how long a proxied request may take to its headers, retries included: players wait about as
	// long for a playlist (hls.js: 10 s).
	passBudget   = 10 * time.Second
	passAttempts = 3
	// passStall ends a proxied body that has been silent for so long.
	passStall = 30 * time.Second
	// maxUpload bounds what a player may post: licence requests have some KiB.
	maxUpload = 1 << 20
)

// Passthrough proxies a player's request for path, a full path as in Request, to the origin: what is asked is decided
// by path and the request's query, method, headers and body alone. The node is taken to serve the origin's prefix
// at its own root: redirects and cookie paths are translated so. A redirect out of the prefix is told to the player
// and not followed. Status, validators, ranges and conditional requests pass unchanged.
//
// When the origin gives no answer, the player gets 502 or 504 and one sentence. A body that breaks off panics with
// http.ErrAbortHandler, as httputil.ReverseProxy does, so that the player notices.
func (c *Client) Passthrough(w http.ResponseWriter, r *http.Request, path string) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, OPTIONS")
		refuse(w, http.StatusMethodNotAllowed, "Only GET, HEAD, POST and OPTIONS pass to the origin.")
		return
	}
	target, err := c.resolve(path)
	if err != nil || r.URL.Host != "" {
		refuse(w, http.StatusBadRequest, "A path must not lead out of the origin's prefix.")
		return
	}
	c.keepSpelling(target, r.URL)
	addQuery(target, r.URL.RawQuery)
	if err := c.passing.acquire(r.Context(), time.Now()); err != nil {
		refuse(w, http.StatusServiceUnavailable, "Too many requests are on their way to the origin.")
		return
	}
	defer c.passing.release()
	c.passthroughs.Add(1)
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxUpload)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { c.rewrite(p, target) },
		Transport:     passTripper{c},
		FlushInterval: -1, // as they come
		BufferPool:    pool{},
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode >= 500 && transient(resp.StatusCode) {
				return &StatusError{Code: resp.StatusCode, Path: target.Path}
			}
			c.localize(resp, target)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { c.explain(w, target, err) },
		ErrorLog:     slog.NewLogLogger(c.logger.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(w, r)
}

// refuse answers with one sentence.
func refuse(w http.ResponseWriter, code int, sentence string) {
	http.Error(w, sentence, code)
}

// keepSpelling sends the path as the player wrote it, if it is that path: some origins tell "%2C" from ",".
func (c *Client) keepSpelling(target, asked *url.URL) {
	if target.Path == c.base.Path+asked.Path {
		target.RawPath = c.base.EscapedPath() + asked.EscapedPath()
	}
}

// rewrite makes the request for the origin. ReverseProxy has removed hop-by-hop and forwarding headers.
func (c *Client) rewrite(p *httputil.ProxyRequest, target *url.URL) {
	h := p.Out.Header
	p.Out.URL, p.Out.Host = target, target.Host
	h.Del("Connection") // no protocol but HTTP is passed on
	h.Del("Upgrade")
	if isLocal("Origin", h.Get("Origin"), p.In.Host) {
		h.Del("Origin")
	}
	if isLocal("Referer", h.Get("Referer"), p.In.Host) {
		h.Del("Referer")
	}
	c.authorize(h, target, &Credentials{})
}

// localize translates what only the origin's own address makes sense of.
func (c *Client) localize(resp *http.Response, target *url.URL) {
	h := resp.Header
	// They would tell the player to leave the node, or never to speak plain HTTP with it again.
	h.Del("Alt-Svc")
	h.Del("Strict-Transport-Security")
	// Who may read an answer of the node is the node's decision. A browser refuses two of these headers, even equal
	// ones (Fetch standard, CORS check).
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			h.Del(name)
		}
	}
	h.Del("Timing-Allow-Origin")
	h.Del("Cross-Origin-Resource-Policy")
	if location := h.Get("Location"); location != "" {
		h.Set("Location", c.localURL(target, location))
	}
	cookies := resp.Cookies()
	if len(cookies) == 0 {
		return
	}
	h.Del("Set-Cookie")
	for _, cookie := range cookies {
		cookie.Domain, cookie.Secure = "", false // the node's address has neither
		if cookie.SameSite == http.SameSiteNoneMode {
			cookie.SameSite = 0 // it needs Secure
		}
		if below, ok := c.below(cookie.Path); ok && cookie.Path != "" {
			cookie.Path = "/" + strings.TrimLeft(below, "/")
		}
		h.Add("Set-Cookie", cookie.String())
	}
}

// localURL is where a redirect leads: to the node for what is in the prefix, else where it says.
func (c *Client) localURL(target *url.URL, location string) string {
	u, err := target.Parse(location)
	if err != nil {
		return location
	}
	below, ok := c.below(u.Path)
	if !ok || !c.isOrigin(u) {
		return u.String()
	}
	if _, err := cleanPath(u.Path); err != nil {
		return u.String()
	}
	// All leading slashes but one go: two of them would begin the name of another host.
	local := url.URL{Path: "/" + strings.TrimLeft(below, "/"), RawQuery: u.RawQuery, Fragment: u.Fragment}
	if raw, ok := strings.CutPrefix(u.EscapedPath(), c.base.EscapedPath()); ok {
		local.RawPath = "/" + strings.TrimLeft(raw, "/")
	}
	return local.String()
}

// explain tells the player why there is no answer.
func (c *Client) explain(w http.ResponseWriter, target *url.URL, err error) {
	err = withoutURL(err)
	c.logger.Debug("origin request failed", slog.String("path", target.Path), slog.String("error", err.Error()))
	var large *http.MaxBytesError
	var status *StatusError
	switch {
	case errors.As(err, &status):
		refuse(w, http.StatusGatewayTimeout, fmt.Sprintf("The origin failed: its last answer was %d %s.", status.Code, http.StatusText(status.Code)))
	case errors.As(err, &large):
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("A request to the origin may have %d bytes.", maxUpload))
	case errors.Is(err, ErrStalled), errors.Is(err, context.DeadlineExceeded):
		refuse(w, http.StatusGatewayTimeout, fmt.Sprintf("The origin did not answer within %v.", passBudget))
	default:
		refuse(w, http.StatusBadGateway, fmt.Sprintf("The origin cannot be reached: %v.", err))
	}
}

// passTripper tries a proxied request again where that is safe, and ends silent ones.
type passTripper struct{ c *Client }

// RoundTrip implements http.RoundTripper.
func (t passTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	repeatable := (req.Method == http.MethodGet || req.Method == http.MethodHead) &&
		(req.Body == nil || req.Body == http.NoBody)
	deadline := time.Now().Add(passBudget)
	for attempt := 1; ; attempt++ {
		patience := time.Until(deadline)
		again := repeatable && attempt < passAttempts
		if again {
			patience /= 2 // leave time for another connection
		}
		resp, err := t.once(req, patience)
		if !again || req.Context().Err() != nil || (err == nil && !transient(resp.StatusCode)) {
			return resp, err
		}
		pause := backoff(attempt)
		if err == nil {
			if after := parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()); after > pause {
				pause = after
			}
		}
		if pause > time.Until(deadline)/2 {
			return resp, err
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		t.c.retries.Add(1)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-req.Context().Done():
			timer.Stop()
			return nil, context.Cause(req.Context())
		}
	}
}

// once makes one request; the headers must come within patience.
func (t passTripper) once(req *http.Request, patience time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	transport := t.c.transports.get()
	dog := newWatchdog(patience, func() { cancel(ErrStalled) })
	resp, err := transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		dog.stop()
		if errors.Is(context.Cause(ctx), ErrStalled) {
			t.c.stalls.Add(1)
			t.c.transports.suspect(transport)
			err = ErrStalled
		}
		cancel(nil)
		return nil, err
	}
	dog.restart(passStall)
	resp.Body = &passBody{ReadCloser: resp.Body, c: t.c, dog: dog, cancel: cancel}
	return resp, nil
}

// passBody counts and watches a body.
type passBody struct {
	io.ReadCloser
	c      *Client
	dog    *watchdog
	cancel context.CancelCauseFunc
}

// Read counts only the time spent in it: a player that has buffered enough may stop reading for long.
func (b *passBody) Read(p []byte) (int, error) {
	b.dog.restart(passStall)
	n, err := b.ReadCloser.Read(p)
	b.dog.pause()
	b.c.passthroughBytes.Add(uint64(n))
	return n, err
}

// Close ends the request.
func (b *passBody) Close() error {
	b.dog.stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// pool lends the buffers of fetches to ReverseProxy.
type pool struct{}

// Get implements httputil.BufferPool.
func (pool) Get() []byte { return buffers.Get().(*[bufferBytes]byte)[:] }

// Put implements httputil.BufferPool.
func (pool) Put(b []byte) {
	if len(b) == bufferBytes {
		buffers.Put((*[bufferBytes]byte)(b))
	}
}
