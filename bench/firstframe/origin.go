package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"golang.org/x/time/rate"

	"shoal/engine/manifest"
	"shoal/engine/manifest/pack"
	"shoal/testdata"
)

// originBurst is what the origin sends at once, small against a segment.
const originBurst = 16 << 10

// startOrigin serves the sample title with its manifest, to any page, no faster
// than all connections together may.
func startOrigin(c config) (*httptest.Server, error) {
	dir, err := os.MkdirTemp("", "firstframe")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.CopyFS(dir, testdata.Media()); err != nil {
		return nil, err
	}
	packed, err := pack.Pack(context.Background(), pack.Options{Source: dir})
	if err != nil {
		return nil, err
	}
	var title bytes.Buffer
	if err := manifest.Write(&title, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), packed.Content); err != nil {
		return nil, err
	}
	files := http.FileServerFS(testdata.Media())
	limiter := rate.NewLimiter(rate.Limit(c.mbits*1e6/8), originBurst)
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(c.latency)
		w.Header().Set("Access-Control-Allow-Origin", "*")
		out := &limitedWriter{ResponseWriter: w, ctx: r.Context(), limiter: limiter}
		if r.URL.Path == "/"+manifest.FileName {
			http.ServeContent(out, r, "", time.Unix(1, 0), bytes.NewReader(title.Bytes()))
			return
		}
		files.ServeHTTP(out, r)
	})), nil
}

// limitedWriter hides the server's ReadFrom, which would send past the limiter.
type limitedWriter struct {
	http.ResponseWriter
	ctx     context.Context //nolint:containedctx // the request's, for as long as it lasts
	limiter *rate.Limiter
}

func (w *limitedWriter) Write(b []byte) (written int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), originBurst)]
		if err := w.limiter.WaitN(w.ctx, len(part)); err != nil {
			return written, err
		}
		n, err := w.ResponseWriter.Write(part)
		written += n
		if err != nil {
			return written, err
		}
		b = b[len(part):]
	}
	return written, nil
}
