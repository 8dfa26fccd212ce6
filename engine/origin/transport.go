package origin

import (
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	connectTimeout      = 5 * time.Second
	idleTimeout         = 90 * time.Second
	maxResponseHeader   = 64 << 10
	maxIdleConnections  = 64
	http2PingAfter      = 10 * time.Second
	http2PingTimeout    = 5 * time.Second
	transportBufferSize = 32 << 10
)

// transports is the client's transport, replaced when its connections are suspected dead. Canceling a request of
// HTTP/1.1 closes its connection; one of HTTP/2 leaves the connection to the next request, so a retry must get
// another transport to get another connection.
type transports struct {
	fixed  http.RoundTripper // the caller's own; constant after init
	create func() *http.Transport

	mu sync.Mutex
	// guarded by mu
	current *http.Transport
}

func (t *transports) init(cfg Config) {
	if cfg.Transport != nil {
		t.fixed = cfg.Transport
		return
	}
	dialer := &net.Dialer{Timeout: connectTimeout}
	t.create = func() *http.Transport {
		return &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        cfg.TLS.Clone(),
			TLSHandshakeTimeout:    connectTimeout,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           maxIdleConnections,
			MaxIdleConnsPerHost:    maxIdleConnections,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxResponseHeader,
			ReadBufferSize:         transportBufferSize,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: http2PingAfter, PingTimeout: http2PingTimeout},
		}
	}
	t.current = t.create()
}

// get returns the transport to use now.
func (t *transports) get() http.RoundTripper {
	if t.fixed != nil {
		return t.fixed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current
}

// suspect says that a request on the transport stalled. Requests running on it go on.
func (t *transports) suspect(used http.RoundTripper) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fixed != nil || used != http.RoundTripper(t.current) {
		return // replaced already
	}
	old := t.current
	t.current = t.create()
	old.CloseIdleConnections()
}

func (t *transports) closeIdle() {
	if t.fixed != nil {
		return // the caller's
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current.CloseIdleConnections()
}
