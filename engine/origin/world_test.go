package origin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// film is the content of most tests.
var film = func() []byte {
	b := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(b) // never fails
	return b
}()

// world is an origin and its client; it remembers what was asked.
type world struct {
	t      testing.TB
	client *Client
	base   *url.URL
	mu     sync.Mutex
	asked  []*http.Request
}

// handler answers the n-th request, counted from 1.
type handler func(n int, w http.ResponseWriter, r *http.Request)

func (wd *world) handler(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wd.mu.Lock()
		wd.asked = append(wd.asked, r.Clone(context.Background()))
		n := len(wd.asked)
		wd.mu.Unlock()
		h(n, w, r)
	})
}

func (wd *world) requests() []*http.Request {
	wd.mu.Lock()
	defer wd.mu.Unlock()
	return append([]*http.Request(nil), wd.asked...)
}

// serve starts an origin on a real socket, with the prefix /vod.
func serve(t testing.TB, h2 bool, h handler) *world {
	t.Helper()
	wd := &world{t: t}
	server := httptest.NewUnstartedServer(wd.handler(h))
	server.EnableHTTP2 = h2
	cfg := Config{}
	if h2 {
		server.StartTLS()
		pool := x509.NewCertPool()
		pool.AddCert(server.Certificate())
		cfg.TLS = &tls.Config{RootCAs: pool}
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	wd.base = parse(t, server.URL+"/vod")
	cfg.Base = wd.base
	wd.client = New(cfg)
	t.Cleanup(wd.client.Close)
	return wd
}

// serveInside starts an origin without sockets, for tests inside a bubble.
func serveInside(t testing.TB, h handler) *world {
	t.Helper()
	wd := &world{t: t, base: parse(t, "http://cdn.example/vod")}
	listener := &pipeListener{accept: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: wd.handler(h)}
	go func() { _ = server.Serve(listener) }() // ends by Close below
	wd.client = New(Config{Base: wd.base})
	wd.client.transports.create = func() *http.Transport { return &http.Transport{DialContext: listener.dial} }
	wd.client.transports.current = wd.client.transports.create()
	t.Cleanup(func() {
		wd.client.Close()
		_ = server.Close()
	})
	return wd
}

type pipeListener struct {
	accept chan net.Conn
	done   chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.accept <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

// get fetches and checks that bytes come in order, each once.
func (wd *world) get(req Request) ([]byte, Result, error) {
	wd.t.Helper()
	if req.Path == "" {
		req.Path = "/vod/film.mp4"
	}
	var got []byte
	result, err := wd.client.Fetch(context.Background(), req, func(off int64, p []byte) error {
		require.Equal(wd.t, req.Offset+int64(len(got)), off)
		require.NotEmpty(wd.t, p)
		got = append(got, p...)
		return nil
	})
	require.Equal(wd.t, int64(len(got)), result.Bytes)
	return got, result, err
}

func (wd *world) wantFilm(req Request) Result {
	wd.t.Helper()
	got, result, err := wd.get(req)
	require.NoError(wd.t, err)
	end := int64(len(film))
	if req.Length >= 0 {
		end = min(end, req.Offset+req.Length)
	}
	require.True(wd.t, bytes.Equal(film[req.Offset:end], got), "content")
	return result
}

// serveFilm is an origin as it should be.
func serveFilm(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"v1"`)
	http.ServeContent(w, r, "film.mp4", time.Time{}, bytes.NewReader(film))
}

// passed is the answer that a player gets through Passthrough, over a real connection.
func (wd *world) passed(req *http.Request) (*http.Response, string) {
	wd.t.Helper()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wd.client.Passthrough(w, r, wd.base.Path+r.URL.Path)
	}))
	defer node.Close()
	u := parse(wd.t, node.URL)
	req.URL.Scheme, req.URL.Host, req.RequestURI = "http", u.Host, ""
	if req.Host == "example.com" {
		req.Host = ""
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	require.NoError(wd.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(wd.t, err)
	return resp, string(body)
}
