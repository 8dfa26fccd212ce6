package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"shoal/cc"
)

// Config says whom a peer talks to and what it may use. Only Origin is needed.
type Config struct {
	// Origin is the URL prefix of the CDN, e.g. https://cdn.example/vod.
	Origin string
	// Tracker is quic://HOST:PORT or quic://HOST:PORT#FINGERPRINT. Empty: no
	// peers, everything comes from the CDN.
	Tracker string
	// UDP is the address of the peer's socket. Default ":0": all interfaces, any port.
	UDP string
	// CacheDir keeps pieces on disk across restarts. Empty: in memory.
	CacheDir string
	// CacheBytes bounds the cache. Default 2 GiB on disk, 256 MiB in memory.
	CacheBytes int64
	// IdentityFile holds the peer's private key and is made when missing.
	// Default: identity.key in CacheDir; without CacheDir a key for this run.
	IdentityFile string
	// NoOffload sends and receives UDP datagrams one by one instead of in batches
	// that the kernel or the network card splits (GSO, GRO). Linux 7.0 to 7.1.4
	// corrupt such batches: loss that vanishes with this.
	NoOffload bool
	// Name is shown in Status. Default: the first digits of the peer's ID.
	Name string
	// NoUpload refuses every request of others.
	NoUpload bool
	// Uploads bounds what others are sent. Default: no bound.
	Uploads cc.Uploads
	// Ahead is how far beyond the playhead the peer downloads. Default 60 s; a
	// cache below 180 MB lowers it in proportion.
	Ahead time.Duration
	// MaxPeers bounds sessions with others. Default 32, at most 128.
	MaxPeers int
	// MaxFetches bounds concurrent CDN downloads. Default 4.
	MaxFetches int
	// Logger receives what an operator should know. Default slog.Default().
	Logger *slog.Logger
	// Transport carries HTTP requests to the origin. Default: one of its own.
	Transport http.RoundTripper
	// NewController makes the congestion controller of each data channel.
	// Default: one whose aggressiveness follows the urgency of the requests
	// (cc.Tiered); those of all channels share the uplink as one.
	NewController func(now time.Time) cc.Controller
	// Seed makes the core's tie-breaking reproducible. Default: from the peer's ID.
	Seed uint64
}

const (
	defaultDiskBytes   = 2 << 30
	defaultMemoryBytes = 256 << 20

	// aheadBytesPerSec is the rate at which half of the cache must hold what is
	// downloaded ahead: 12 Mbit/s, a good 1080p with its audio.
	aheadBytesPerSec = 1.5e6
)

// withDefaults returns the completed Config and the parsed origin.
func (c Config) withDefaults() (Config, *url.URL, error) {
	if c.Origin == "" {
		return c, nil, errors.New("engine: Config.Origin is empty: give the URL prefix of the CDN, e.g. https://cdn.example/vod")
	}
	base, err := url.Parse(c.Origin)
	if err != nil {
		return c, nil, fmt.Errorf("engine: parse origin: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return c, nil, fmt.Errorf("engine: origin %q is not an http or https URL with a host", c.Origin)
	}
	base.RawQuery, base.Fragment = "", ""
	base.Path = strings.TrimSuffix(base.Path, "/")
	base.RawPath = ""
	if c.UDP == "" {
		c.UDP = ":0"
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = defaultDiskBytes
		if c.CacheDir == "" {
			c.CacheBytes = defaultMemoryBytes
		}
	}
	if c.Ahead <= 0 {
		c.Ahead = time.Minute
	}
	// What is downloaded ahead must fit, or it would be dropped before it is
	// played and downloaded again.
	c.Ahead = min(c.Ahead, time.Duration(float64(c.CacheBytes/2)/aheadBytesPerSec*float64(time.Second)))
	if c.MaxPeers <= 0 {
		c.MaxPeers = 32
	}
	c.MaxPeers = min(c.MaxPeers, 128)
	if c.MaxFetches <= 0 {
		c.MaxFetches = 4
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, base, nil
}
