package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxRedirects is what browsers' users never see exceeded by a working CDN: a redirect to an edge, a cookie
	// check, and some to spare.
	maxRedirects = 6
	// maxSkipBytes of an origin that ignores ranges are read and thrown away to get to an offset: 2.7 s of
	// 100 Mbit/s. Segments are smaller, so they always work.
	maxSkipBytes = 32 << 20

	bufferBytes = 64 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

// attempt makes one request and takes what it brings. Nil: the answer was complete.
func (f *fetch) attempt(ctx context.Context) *failure {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	transport := f.c.transports.get()
	patience := f.patience()
	dog := newWatchdog(patience, func() { cancel(ErrStalled) })
	defer dog.stop()

	req, err := f.request(ctx)
	if err != nil {
		return &failure{err: err, final: true}
	}
	sent := time.Now()
	resp, err := f.c.httpClient(transport, f.creds).Do(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		f.c.sampleTTFB(time.Since(sent))
		dog.restart(f.bodyPatience())
		if fail := f.take(resp, dog); fail == nil || !errors.Is(context.Cause(ctx), ErrStalled) {
			return fail
		}
	}
	if errors.Is(context.Cause(ctx), ErrStalled) {
		f.c.stalls.Add(1)
		f.c.transports.suspect(transport)
		if resp == nil {
			f.c.stalledFor(patience)
		}
		return &failure{err: fmt.Errorf("%w for %v", ErrStalled, dog.window.Round(time.Millisecond))}
	}
	err = withoutURL(err)
	return &failure{err: fmt.Errorf("origin: GET %s: %w", f.req.Path, err), final: errors.Is(err, errRedirects)}
}

// request builds the request for the missing bytes.
func (f *fetch) request(ctx context.Context) (*http.Request, error) {
	u, err := f.c.resolve(f.req.Path)
	if err != nil {
		return nil, err
	}
	addQuery(u, f.creds.Query)
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: make(http.Header), Host: u.Host}).WithContext(ctx)
	// Ranges are ranges of what was hashed. Asking for identity also keeps the transport from asking for gzip.
	req.Header.Set("Accept-Encoding", "identity")
	f.c.authorize(req.Header, u, f.creds)
	if f.next > 0 || f.end >= 0 {
		r := "bytes=" + strconv.FormatInt(f.next, 10) + "-"
		if f.end >= 0 {
			r += strconv.FormatInt(f.end-1, 10)
		}
		req.Header.Set("Range", r)
		// If-Range needs a strong validator (RFC 9110 §13.1.5).
		if f.validator != "" && !strings.HasPrefix(f.validator, "W/") {
			req.Header.Set("If-Range", f.validator)
		}
	}
	return req, nil
}

// authorize adds the credentials to a request to the origin.
func (c *Client) authorize(h http.Header, u *url.URL, creds *Credentials) {
	creds.apply(h, u)
	if c.user != nil && h.Get("Authorization") == "" {
		password, _ := c.user.Password()
		basic := http.Request{Header: h}
		basic.SetBasicAuth(c.user.Username(), password)
	}
}

// httpClient follows redirects without taking credentials along to anybody else.
func (c *Client) httpClient(transport http.RoundTripper, creds *Credentials) *http.Client {
	left := false
	return &http.Client{
		Transport: transport,
		Jar:       creds.jar(),
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errRedirects
			}
			// net/http has copied the headers, and made a Referer with the query of the last URL in it.
			creds.remove(req.Header)
			if left = left || !c.isOrigin(req.URL); !left {
				c.authorize(req.Header, req.URL, creds)
			}
			return nil
		},
	}
}

// take reads a response.
func (f *fetch) take(resp *http.Response, dog *watchdog) *failure {
	final := func(err error) *failure {
		return &failure{err: fmt.Errorf("origin: GET %s: %w", f.req.Path, err), final: true}
	}
	switch code := resp.StatusCode; code {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusRequestedRangeNotSatisfiable:
		return f.unsatisfiable(resp)
	default:
		drain(resp)
		return &failure{
			err:   &StatusError{Code: code, Path: f.req.Path},
			final: !transient(code),
			after: parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()),
		}
	}
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return final(fmt.Errorf("%w: %.40q", ErrEncoded, encoding))
	}
	if mismatches(f.validator, resp.Header) {
		return final(fmt.Errorf("%w: validator", ErrChanged))
	}
	first, last, total := int64(0), resp.ContentLength-1, resp.ContentLength // of the body; last −2: unknown
	if resp.StatusCode == http.StatusPartialContent {
		r, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err == nil && r.first != f.next {
			err = fmt.Errorf("%w: %d instead of %d", errRange, r.first, f.next)
		}
		if err != nil {
			return &failure{err: fmt.Errorf("origin: GET %s: %w", f.req.Path, err)}
		}
		first, last, total = r.first, r.last, r.total
	}
	if total >= 0 {
		if f.total >= 0 && f.total != total {
			return final(fmt.Errorf("%w: %d bytes instead of %d", ErrChanged, total, f.total))
		}
		f.total = total
		if f.end < 0 || f.end > total {
			f.end = max(total, f.req.Offset)
		}
	}
	if f.validator == "" {
		f.validator = validatorOf(resp.Header)
	}
	if skip := f.next - first; skip > maxSkipBytes {
		return final(fmt.Errorf("%w: %d bytes to skip", ErrNoRanges, skip))
	}
	return f.read(resp.Body, first, last, dog)
}

// drain reads a small error page, so that its connection can be used again.
func drain(resp *http.Response) {
	const page = 16 << 10
	if 0 < resp.ContentLength && resp.ContentLength <= page {
		_, _ = io.CopyN(io.Discard, resp.Body, page)
	}
}

// transient says which statuses are worth another try.
func transient(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	default:
		return code >= 500
	}
}

// unsatisfiable tells a file that has become shorter from a range that never was.
func (f *fetch) unsatisfiable(resp *http.Response) *failure {
	err := error(&StatusError{Code: resp.StatusCode, Path: f.req.Path})
	r, parseErr := parseContentRange(resp.Header.Get("Content-Range"))
	if parseErr == nil && r.first < 0 {
		if f.end < 0 && f.next > f.req.Offset && f.next == r.total {
			f.total, f.end = r.total, r.total // the ranges before did not tell that they were all
			return nil
		}
		if f.total >= 0 && f.total != r.total {
			err = fmt.Errorf("origin: GET %s: %w: %d bytes instead of %d", f.req.Path, ErrChanged, r.total, f.total)
		} else {
			f.total = r.total
		}
	}
	return &failure{err: err, final: true}
}

// read gives the body [first, last] to onData, without what lies before the first missing byte and after the end.
func (f *fetch) read(body io.Reader, first, last int64, dog *watchdog) *failure {
	buf := buffers.Get().(*[bufferBytes]byte)
	defer buffers.Put(buf)
	limit := f.end // where this body, or our interest in it, ends
	if last >= 0 && (limit < 0 || last+1 < limit) {
		limit = last + 1
	}
	for at := first; limit < 0 || at < limit; {
		want := len(buf)
		if limit >= 0 {
			want = int(min(int64(want), limit-at))
		}
		n, err := body.Read(buf[:want])
		if n > 0 {
			f.c.bytes.Add(uint64(n))
			dog.progress(n)
			data := buf[:n]
			if skip := min(f.next-at, int64(n)); skip > 0 {
				f.c.skipped.Add(uint64(skip))
				data = data[skip:]
			}
			at += int64(n)
			if fail := f.give(data, dog); fail != nil {
				return fail
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && last < 0 && (limit < 0 || at < limit):
			return f.ended(at)
		case limit >= 0 && at >= limit:
		default:
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return &failure{err: fmt.Errorf("origin: GET %s: body cut at %d: %w", f.req.Path, at, withoutURL(err))}
		}
	}
	return nil
}

// ended is the end of a body of unknown length.
func (f *fetch) ended(at int64) *failure {
	if f.total >= 0 && at != f.total {
		return &failure{err: fmt.Errorf("origin: GET %s: body cut at %d: %w", f.req.Path, at, io.ErrUnexpectedEOF)}
	}
	f.total = at
	f.end = max(at, f.req.Offset) // not before the beginning, although the file may
	return nil
}

// give hands bytes to the caller, whose time is not the origin's.
func (f *fetch) give(data []byte, dog *watchdog) *failure {
	if len(data) == 0 {
		return nil
	}
	if f.result.TTFB == 0 {
		f.result.TTFB = max(time.Since(f.start), 1)
	}
	left := dog.pause()
	err := f.onData(f.next, data)
	dog.resume(left)
	if err != nil {
		return &failure{err: err, final: true}
	}
	f.next += int64(len(data))
	return nil
}
