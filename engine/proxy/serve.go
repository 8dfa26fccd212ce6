package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"shoal/engine"
	"shoal/internal/wire"
)

// copyBuffers hold one piece each: a Reader returns at most that at once.
var copyBuffers = sync.Pool{New: func() any { return new([wire.PieceBytes]byte) }}

// exchange is one GET or HEAD of a known file.
type exchange struct {
	p       *Proxy
	w       *statusWriter
	r       *http.Request
	t       title
	f       file
	c       cmcd
	session *session
	began   time.Time
	wrote   bool // the status line is out
}

// serveFile answers for a file that the manifest describes. It reports false,
// with nothing written, when the request should pass through instead.
func (p *Proxy) serveFile(w *statusWriter, r *http.Request, t title, f file, c cmcd) bool {
	x := &exchange{p: p, w: w, r: r, t: t, f: f, c: c, began: p.now()}
	h := w.Header()
	h.Set("Accept-Ranges", "bytes")
	h.Set("Etag", f.etag())
	if ct := f.contentType(); ct != "" {
		h.Set("Content-Type", ct)
	}
	size := f.length()
	whole := byteRange{0, size}
	switch evaluate(r.Method, r.Header, f.etag()) {
	case notModified:
		h.Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return true
	case preconditionFailed:
		refuse(w, http.StatusPreconditionFailed, "The file is not the one that the player means.")
		return true
	case serveRange:
		ranges, satisfiable := parseRange(r.Header.Get("Range"), size)
		switch {
		case !satisfiable:
			h.Del("Etag")
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
			refuse(w, http.StatusRequestedRangeNotSatisfiable, "The range begins beyond the end of the file.")
			return true
		case len(ranges) == 1:
			h.Set("Content-Range", contentRange(ranges[0], size))
			return x.run(func() error { return x.single(http.StatusPartialContent, ranges[0]) })
		case len(ranges) > 1:
			return x.run(func() error { return x.multipart(ranges) })
		}
	case serveWhole:
	}
	if r.Method == http.MethodHead {
		h.Set("Content-Length", strconv.FormatInt(size, 10))
		w.WriteHeader(http.StatusOK)
		return true
	}
	return x.run(func() error { return x.single(http.StatusOK, whole) })
}

// run serves inside the player's session and turns an error into an answer.
func (x *exchange) run(serve func() error) bool {
	x.session = x.p.sessions.enter(x.began, x.t, sessionKey(x.r, x.c))
	if x.session != nil {
		defer func() { x.session.leave(x.p.now()) }()
	}
	err := serve()
	if err == nil || x.r.Context().Err() != nil {
		return true // the player has what it wants, or has gone
	}
	return x.fail(err)
}

// fail answers with the reason for an error, or breaks the connection when a
// part of the body is out: the player must see that it is not complete.
func (x *exchange) fail(err error) bool {
	var oe *engine.OriginError
	isOrigin := errors.As(err, &oe)
	if isOrigin && oe.Status == http.StatusBadGateway {
		x.p.markStale(x.f)
		if !x.wrote {
			x.w.Header().Del("Etag")
			x.w.Header().Del("Content-Range")
			return false // the player gets what the CDN has, as without us
		}
	}
	var we *writeError
	if x.wrote {
		if !errors.As(err, &we) {
			x.p.log.Warn("answer broken off", slog.String("path", x.f.record().Path), slog.Any("error", err))
		}
		panic(http.ErrAbortHandler)
	}
	code, sentence := http.StatusServiceUnavailable, "The node is shutting down."
	switch {
	case isOrigin:
		code = oe.Status
		sentence = fmt.Sprintf("No peer had the bytes in time, and the origin failed: %v.", oe.Err)
	case errors.Is(err, engine.ErrBusy):
		x.w.Header().Set("Retry-After", "1")
		sentence = "The node has too many open reads; close a player."
	case errors.Is(err, context.DeadlineExceeded):
		code, sentence = http.StatusGatewayTimeout, "Neither a peer nor the origin gave the bytes in time."
	case !errors.Is(err, engine.ErrClosed):
		code, sentence = http.StatusBadGateway, fmt.Sprintf("The file cannot be read: %v.", err)
	}
	x.w.Header().Del("Content-Range")
	x.w.Header().Del("Etag")
	refuse(x.w, code, sentence)
	return true
}

// writeError marks a failure to write to the player.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write to the player: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// single answers with one range of the file.
func (x *exchange) single(code int, br byteRange) error {
	h := x.w.Header()
	h.Set("Content-Length", strconv.FormatInt(br.length, 10))
	return x.part(br, func() error {
		x.w.WriteHeader(code)
		x.wrote = true
		return nil
	})
}

// multipart answers with several ranges (RFC 9110 §14.6).
func (x *exchange) multipart(ranges []byteRange) error {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	boundary := fmt.Sprintf("%x", random)
	size := x.f.length()
	head := func(br byteRange) string {
		return fmt.Sprintf("--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n",
			boundary, x.f.contentType(), contentRange(br, size))
	}
	tail := "--" + boundary + "--\r\n"
	total := int64(len(tail))
	for _, br := range ranges {
		total += int64(len(head(br))) + br.length + int64(len("\r\n"))
	}
	for _, br := range ranges {
		err := x.part(br, func() error {
			if !x.wrote {
				x.w.Header().Set("Content-Type", "multipart/byteranges; boundary="+boundary)
				x.w.Header().Set("Content-Length", strconv.FormatInt(total, 10))
				x.w.WriteHeader(http.StatusPartialContent)
				x.wrote = true
			}
			return x.write([]byte(head(br)))
		})
		if err != nil {
			return err
		}
		if err := x.write([]byte("\r\n")); err != nil {
			return err
		}
	}
	return x.write([]byte(tail))
}

// part copies one range; start is called when its first bytes are there.
func (x *exchange) part(br byteRange, start func() error) (err error) {
	if br.length == 0 {
		return start()
	}
	now := x.p.now()
	rd, options, buffer := x.plan(now, br)
	flow := x.pace(now, rd, br, buffer)
	defer flow.end()
	options.Deadline = flow.deadline(options.Deadline)
	var view viewer
	if x.session != nil {
		view = x.session.view
	}
	sent := int64(0)
	if rd != nil {
		defer func() { rd.end(x.p.now(), err == nil && sent == br.length) }()
	}
	body, err := x.f.open(x.r.Context(), options, view)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if err := body.Wait(); err != nil {
		return err
	}
	x.p.metrics.firstByte.Observe(x.p.now().Sub(x.began).Seconds())
	if err := start(); err != nil {
		return err
	}
	buf := copyBuffers.Get().(*[wire.PieceBytes]byte)
	defer copyBuffers.Put(buf)
	rec := x.f.record()
	for sent < br.length {
		flow.enter()
		n, err := body.Read(buf[:min(br.length-sent, flow.grain())])
		if gone := flow.leave(x.r.Context(), n); gone != nil {
			return gone
		}
		if n > 0 {
			if err := x.write(buf[:n]); err != nil {
				return err
			}
			sent += int64(n)
			if upTo, ok := mediaTime(rec, br.offset+sent); rd != nil && ok {
				rd.delivered(x.p.now(), n, upTo)
			}
		}
		if errors.Is(err, io.EOF) && sent < br.length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// plan tells the session of the range, sets the read's deadline, and returns
// what the player holds.
func (x *exchange) plan(now time.Time, br byteRange) (*reading, engine.OpenOptions, time.Duration) {
	options := engine.OpenOptions{Offset: br.offset, Length: br.length}
	from, to, progressive, timed := mediaSpan(x.f.record(), br)
	if !timed || x.session == nil || x.c.object == objectInit || x.c.object == objectOther {
		// An initialization segment holds up the first picture: it is small,
		// and no buffer is played while it is missing.
		if !progressive {
			options.Deadline = now.Add(patienceMin)
		}
		if x.session != nil {
			x.session.prepare(now, x.f.record().Start)
		}
		return nil, options, 0
	}
	duration := to - from
	if x.c.duration > 0 {
		duration = x.c.duration
	}
	rd, play := x.session.begin(now, span{kind: x.t.kind(x.f.record().Track), start: from, end: to}, progressive, x.c)
	l, choice := ladderOf(x.t.tracks(), x.f.record(), br, duration)
	wait := patience(x.c, play.Buffer, duration, br.length, progressive, !choice || l.This >= l.Top)
	if wait > 0 {
		options.Deadline = now.Add(wait)
	}
	x.p.log.Debug("media request", slog.String("path", x.f.record().Path), slog.Duration("from", from),
		slog.Duration("position", play.Position), slog.Duration("buffer", play.Buffer),
		slog.Bool("cmcd", x.c.present), slog.Duration("patience", wait))
	return rd, options, play.Buffer
}

// write hands bytes to the player at once: they may be all that it waits for.
func (x *exchange) write(b []byte) error {
	if _, err := x.w.Write(b); err != nil {
		return &writeError{err}
	}
	if err := http.NewResponseController(x.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return &writeError{err}
	}
	return nil
}

func contentRange(br byteRange, size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", br.offset, br.offset+br.length-1, size)
}
