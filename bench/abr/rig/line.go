package rig

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lineLatency is the time until the origin begins to answer.
	lineLatency = 20 * time.Millisecond

	// lineGrain is what the line carries at once. 4 KiB are 11 ms of 3 Mbit/s:
	// players see an even flow, and connections share it fairly.
	lineGrain = 4 << 10

	// lineGrace is how much of its time a busy line may catch up: a machine that
	// was busy with something else shall not make the line slower.
	lineGrace = 200 * time.Millisecond
)

// line is a rate that all connections of an origin share, first come, first served.
type line struct {
	bytesPerSec atomic.Int64 // 0: no limit

	mu      sync.Mutex
	free    time.Time // guarded by mu: when the next bytes may be sent
	answers int       // guarded by mu: under way
}

// begin counts an answer in. A line that was idle has nothing to catch up.
func (l *line) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.answers == 0 && l.free.Before(now) {
		l.free = now
	}
	l.answers++
}

func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers--
}

// carry waits until n more bytes are through.
func (l *line) carry(ctx context.Context, n int) error {
	rate := l.bytesPerSec.Load()
	if rate <= 0 {
		return ctx.Err()
	}
	l.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-lineGrace); l.free.Before(earliest) {
		l.free = earliest
	}
	l.free = l.free.Add(time.Duration(n) * time.Second / time.Duration(rate))
	wait := l.free.Sub(now)
	l.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// origin is a CDN behind one line.
type origin struct {
	line
	root *os.Root
	sent atomic.Int64
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Timing-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "*")
	timer := time.NewTimer(lineLatency)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		return
	}
	f, err := o.root.Open(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		http.NotFound(w, r)
		return
	}
	switch {
	case strings.HasSuffix(r.URL.Path, ".m3u8"):
		h.Set("Content-Type", "application/vnd.apple.mpegurl")
	case strings.HasSuffix(r.URL.Path, ".mpd"):
		h.Set("Content-Type", "application/dash+xml")
	default:
		h.Set("Content-Type", "application/octet-stream")
	}
	h.Set("Cache-Control", "no-store") // every run plays from the line
	o.begin()
	defer o.end()
	http.ServeContent(&lineWriter{ResponseWriter: w, ctx: r.Context(), origin: o}, r, "", info.ModTime(), f)
}

// lineWriter sends a body over the line. It hides the server's ReadFrom, which
// would send a file past it.
type lineWriter struct {
	http.ResponseWriter
	ctx    context.Context //nolint:containedctx // the request's, for as long as it lasts
	origin *origin
}

func (w *lineWriter) Write(b []byte) (written int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), lineGrain)]
		if err := w.origin.carry(w.ctx, len(part)); err != nil {
			return written, err
		}
		n, err := w.ResponseWriter.Write(part)
		written += n
		w.origin.sent.Add(int64(n))
		if err != nil {
			return written, err
		}
		if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
			return written, err
		}
		b = b[len(part):]
	}
	return written, nil
}
