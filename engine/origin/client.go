// Package origin fetches bytes of files from the CDN.
//
// A Client serves one origin prefix, over HTTP/1.1 or HTTP/2. Fetch streams a byte range and does what it can to get
// it in time: it queues by deadline, notices a silent connection and takes another one, retries with jittered back-off,
// and resumes at the first missing byte. Passthrough proxies whatever is not a known file. Source reads a manifest.
//
// What the player's request carried to be let in (Credentials) goes to the origin's own scheme, host and port and nowhere
// else, however the origin redirects. Nothing here verifies content: who uses the bytes checks their hashes.
//
// A Client is safe for concurrent use. Its calls block, so they belong on goroutines of their own and never on the
// engine's loop.
package origin

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

const (
	// DefaultMaxConcurrent is what browsers allow themselves per HTTP/1.1 host.
	DefaultMaxConcurrent = 6
	// maxPassthrough bounds the requests of local players that are proxied at a time: a dozen players with six
	// connections each are more than one household has.
	maxPassthrough = 72
	// maxWaiting bounds the calls that wait for a turn. The engine asks for far fewer; beyond it something spins.
	maxWaiting = 1024
)

// Config of a Client. Base is needed.
type Config struct {
	// Base is the origin's prefix, a folder, e.g. https://cdn.example/vod. Nothing outside it is ever asked for
	// unless the origin itself redirects there. Its user and query, if any, go with each request.
	Base *url.URL
	// MaxConcurrent bounds the fetches in flight. Default DefaultMaxConcurrent.
	MaxConcurrent int
	// Logger gets retries, at debug level. Default: discard.
	Logger *slog.Logger
	// Transport replaces the client's own (HTTP/1.1 and HTTP/2).
	Transport http.RoundTripper
	// TLS of the client's own transport. Default: system roots.
	TLS *tls.Config
}

// Stats counts since New, but for InFlight and Waiting, which are now.
type Stats struct {
	Requests         uint64 // attempts of Fetch and Source
	Retries          uint64
	Stalls           uint64 // attempts given up because no bytes came
	Errors           uint64 // fetches that failed
	Bytes            uint64 // body bytes of Fetch and Source
	SkippedBytes     uint64 // of those, thrown away because the origin ignored the range
	Passthroughs     uint64
	PassthroughBytes uint64
	InFlight         int
	Waiting          int
}

// Client fetches from one origin. Make one with New.
type Client struct {
	// constant after New
	base    url.URL // without user and query; Path without trailing slash
	user    *url.Userinfo
	query   string
	logger  *slog.Logger
	limiter *limiter
	passing *limiter

	transports transports
	ttfb       atomic.Int64 // smoothed time to the first byte, ns; 0: unmeasured

	requests, retries, stalls, errors, bytes, skipped, passthroughs, passthroughBytes atomic.Uint64
}

// New makes a client. Close it when done.
func New(cfg Config) *Client {
	if cfg.MaxConcurrent <= 0 {
		cfg.MaxConcurrent = DefaultMaxConcurrent
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		base:    *cfg.Base,
		user:    cfg.Base.User,
		query:   cfg.Base.RawQuery,
		logger:  cfg.Logger,
		limiter: newLimiter(cfg.MaxConcurrent),
		passing: newLimiter(maxPassthrough),
	}
	c.base.User, c.base.RawQuery, c.base.Fragment = nil, "", ""
	c.base.Path = trimSlash(c.base.Path)
	c.base.RawPath = trimSlash(c.base.RawPath)
	c.transports.init(cfg)
	return c
}

// Stats returns a snapshot.
func (c *Client) Stats() Stats {
	inFlight, waiting := c.limiter.load()
	return Stats{
		Requests: c.requests.Load(), Retries: c.retries.Load(), Stalls: c.stalls.Load(), Errors: c.errors.Load(),
		Bytes: c.bytes.Load(), SkippedBytes: c.skipped.Load(),
		Passthroughs: c.passthroughs.Load(), PassthroughBytes: c.passthroughBytes.Load(),
		InFlight: inFlight, Waiting: waiting,
	}
}

// Close closes idle connections. Calls in flight end by their contexts.
func (c *Client) Close() { c.transports.closeIdle() }

// sampleTTFB smooths the time to the first byte, with the gain that TCP uses for its RTT (RFC 6298 §2).
func (c *Client) sampleTTFB(d time.Duration) {
	old := c.ttfb.Load()
	if old == 0 {
		c.ttfb.CompareAndSwap(0, int64(d))
		return
	}
	c.ttfb.CompareAndSwap(old, old+(int64(d)-old)/8) // a sample lost to a race is no harm
}

// stalledFor says that no first byte came for d. Either the connection was dead or the origin is slow; in case of
// the latter the next attempt gets half as much time again, until one succeeds.
func (c *Client) stalledFor(d time.Duration) {
	if least, old := int64(d+d/2)/stallTTFBs, c.ttfb.Load(); old < least {
		c.ttfb.CompareAndSwap(old, least)
	}
}
