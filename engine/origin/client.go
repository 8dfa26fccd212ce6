// Package origin fetches bytes of files from the CDN.
package origin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// Config of a Client.
type Config struct {
	// Base is the origin's prefix, e.g. https://cdn.example/vod/. Nothing outside it is ever asked for.
	Base *url.URL
	// MaxConcurrent bounds the fetches in flight. Default 6.
	MaxConcurrent int
	// Logger; default: discard.
	Logger *slog.Logger
	// Transport replaces the client's own (HTTP/1.1 and HTTP/2).
	Transport http.RoundTripper
	// TLS of the client's own transport; default: system roots.
	TLS *tls.Config
}

// Request names the bytes of one fetch.
type Request struct {
	// Path is the full path on the origin, decoded, in or below Base ("/vod/a/seg1.m4s" for Base https://cdn.example/vod/).
	Path        string
	Credentials *Credentials
	Offset      int64
	Length      int64  // −1: to the end
	Validator   string // ETag or Last-Modified of an earlier Result; empty: unknown
	TotalBytes  int64  // expected length of the file; 0: unknown
	Deadline    time.Time
}

// Result tells how a fetch went; it is filled as far as known when there is an error, too.
type Result struct {
	Bytes      int64
	TTFB       time.Duration
	Duration   time.Duration
	Validator  string
	TotalBytes int64 // −1: unknown
	Attempts   int
}

// StatusError is an HTTP status that ends a fetch.
type StatusError struct {
	Code int
	Path string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("origin: GET %s: status %d %s", e.Path, e.Code, http.StatusText(e.Code))
}

// Errors of the package.
var (
	ErrChanged  = errors.New("origin: file changed")
	ErrDeadline = errors.New("origin: deadline passed")
)

// Credentials are what the player's request carried to be let in.
type Credentials struct{}

// CredentialsFrom keeps what the player's request carries.
func CredentialsFrom(r *http.Request) *Credentials { return &Credentials{} }

// Stats counts.
type Stats struct {
	Requests, Retries, Stalls, Errors uint64
	Bytes                             uint64 // body bytes of Fetch and Source
	PassthroughBytes                  uint64
	InFlight, Waiting                 int
}

// Client is safe for concurrent use.
type Client struct{}

// New makes a client.
func New(cfg Config) *Client { return &Client{} }

// Fetch streams the bytes as they arrive.
func (c *Client) Fetch(ctx context.Context, req Request, onData func(off int64, p []byte) error) (Result, error) {
	return Result{}, nil
}

// Passthrough proxies the player's request for path (as in Request.Path) to the origin.
func (c *Client) Passthrough(w http.ResponseWriter, r *http.Request, path string) {}

// Source reads ranges of one file.
type Source struct{}

// Source returns a reader of ranges of the file at path.
func (c *Client) Source(path string, creds *Credentials) *Source { return &Source{} }

// ReadAt is io.ReaderAt with a context.
func (s *Source) ReadAt(ctx context.Context, p []byte, off int64) (int, error) { return 0, nil }

// Stats returns a snapshot.
func (c *Client) Stats() Stats { return Stats{} }

// Close closes idle connections.
func (c *Client) Close() {}
