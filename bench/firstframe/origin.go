package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"time"

	"golang.org/x/time/rate"

	"shoal/bench/sample"
)

// originBurst is what the origin sends at once, small against a segment.
const originBurst = 16 << 10

// startOrigin serves the sample title with its manifest, to any page, no faster
// than all connections together may.
func startOrigin(c config) (*httptest.Server, error) {
	title, err := sample.Handler(context.Background())
	if err != nil {
		return nil, err
	}
	limiter := rate.NewLimiter(rate.Limit(c.mbits*1e6/8), originBurst)
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(c.latency)
		w.Header().Set("Access-Control-Allow-Origin", "*")
		title.ServeHTTP(&limitedWriter{ResponseWriter: w, ctx: r.Context(), limiter: limiter}, r)
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
