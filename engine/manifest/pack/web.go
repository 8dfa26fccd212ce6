package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	webAttempts   = 4                // of one file, each going on where the last one broke off
	webRetryDelay = time.Second      // then 2 s, then 4 s
	webStall      = 60 * time.Second // without a byte, a response is given up
	webWindow     = 64 << 10         // read-ahead for MP4 boxes
	// webConnections is what a browser opens to one host: small segments are bound by round trips, not by cores.
	webConnections = 6
)

// web is an HTTP source. Redirects are followed, but paths are those of the URLs as the playlists state them: these are what a
// player asks its node for.
type web struct {
	client *http.Client
	start  *url.URL // the playlist or MP4 that was named
	top    string   // its folder, decoded, ending in a slash
}

func openWeb(start *url.URL, client *http.Client) (*web, error) {
	if start.Host == "" {
		return nil, fmt.Errorf("%s: there is no host in it", start.Redacted())
	}
	if client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.ResponseHeaderTimeout = webStall
		transport.MaxIdleConnsPerHost = webConnections
		client = &http.Client{Transport: transport}
	}
	return &web{client: client, start: start, top: start.Path[:strings.LastIndex(start.Path, "/")+1]}, nil
}

func (w *web) name() string {
	if name := path.Base(path.Clean("/" + w.top)); name != "/" {
		return name
	}
	return w.start.Hostname()
}

// below is the URL of a file of the title, with the query (a token) of the one that was named.
func (w *web) below(name string) *url.URL {
	return &url.URL{Scheme: w.start.Scheme, User: w.start.User, Host: w.start.Host, Path: w.top + name, RawQuery: w.start.RawQuery}
}

// parent is the URL above the top folder, where a BEP 19 web seed begins; nil when the title lies at the host's root.
func (w *web) parent() *url.URL {
	dir := strings.TrimSuffix(w.top, "/")
	i := strings.LastIndex(dir, "/")
	if i < 0 || dir == "" {
		return nil
	}
	return &url.URL{Scheme: w.start.Scheme, Host: w.start.Host, Path: dir[:i+1]}
}

func (w *web) find(context.Context) (playlists, movies []resource, err error) {
	r := resource{path: w.start.Path[len(w.top):], url: w.start}
	switch {
	case r.path == "":
		return nil, nil, fmt.Errorf("%s: name the master playlist or the MP4, a server's folder cannot be listed", w.start.Redacted())
	case isMovieName(r.path):
		return nil, []resource{r}, nil
	default:
		return []resource{r}, nil, nil
	}
}

func (w *web) resolve(base resource, uri string) (resource, error) {
	u, err := base.url.Parse(uri)
	if err != nil {
		return resource{}, fmt.Errorf("%q is not a URL: %w", uri, err)
	}
	u.Fragment = ""
	if u.Scheme != "http" && u.Scheme != "https" {
		return resource{}, fmt.Errorf("%q: only http URLs can be packed", uri)
	}
	name, below := strings.CutPrefix(u.Path, w.top)
	if !below || !strings.EqualFold(u.Host, w.start.Host) {
		return resource{}, fmt.Errorf("%q lies outside of the title's folder %s://%s%s", uri, w.start.Scheme, w.start.Host, w.top)
	}
	return resource{path: name, url: u}, checkRelative(name, uri)
}

// get asks for the bytes from offset on, n of them or all (-1).
func (w *web) get(ctx context.Context, r resource, offset, n int64, validator string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url.String(), nil)
	if err != nil {
		return nil, err
	}
	// Bytes are hashed as a player gets them, so nothing may be compressed on the way.
	req.Header.Set("Accept-Encoding", "identity")
	switch {
	case n >= 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+n-1))
	case offset > 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		if validator != "" {
			req.Header.Set("If-Range", validator)
		}
	}
	resp, err := w.client.Do(req)
	if err != nil {
		if urlError := (*url.Error)(nil); errors.As(err, &urlError) {
			err = urlError.Err // without the URL and its tokens
		}
		return nil, fmt.Errorf("%s: %w", r.path, err)
	}
	return resp, nil
}

// statusError is an answer that is not the file.
type statusError struct {
	path   string
	status string
	code   int
}

func (e *statusError) Error() string { return e.path + ": the server answers " + e.status }

// Is lets a missing resource be told as fs.ErrNotExist, like a missing file.
func (e *statusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.code == http.StatusNotFound || e.code == http.StatusGone)
}

func (w *web) playlist(ctx context.Context, r resource) ([]byte, error) {
	var b []byte
	err := w.stream(ctx, r, func(part []byte) error {
		if len(b)+len(part) > maxPlaylistBytes {
			return &permanentError{fmt.Errorf("%s: more than %d bytes: not a playlist", r.path, maxPlaylistBytes)}
		}
		b = append(b, part...)
		return nil
	})
	return b, err
}

// permanentError ends the attempts.
type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// stream passes a whole file to sink, in order and once, over as many requests as it takes.
func (w *web) stream(ctx context.Context, r resource, sink func([]byte) error) error {
	var offset int64
	var validator string
	for attempt := 1; ; attempt++ {
		err := w.attempt(ctx, r, &offset, &validator, sink)
		if err == nil || ctx.Err() != nil || attempt == webAttempts {
			return err
		}
		if permanent := (*permanentError)(nil); errors.As(err, &permanent) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(webRetryDelay << (attempt - 1)):
		}
	}
}

func (w *web) attempt(ctx context.Context, r resource, offset *int64, validator *string, sink func([]byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(webStall, func() {
		cancel(fmt.Errorf("%s: no byte within %v", r.path, webStall))
	})
	defer stall.Stop()
	resp, err := w.get(ctx, r, *offset, -1, *validator)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case *offset > 0 && resp.StatusCode == http.StatusOK:
		return &permanentError{fmt.Errorf("%s: the download broke off and cannot be resumed, or the file has changed", r.path)}
	case *offset > 0 && resp.StatusCode == http.StatusPartialContent:
	case resp.StatusCode == http.StatusOK:
		*validator = validatorOf(resp)
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return &statusError{r.path, resp.Status, resp.StatusCode}
	default:
		return &permanentError{&statusError{r.path, resp.Status, resp.StatusCode}}
	}
	buf := make([]byte, 128<<10)
	for {
		n, err := resp.Body.Read(buf)
		stall.Reset(webStall)
		*offset += int64(n)
		if sinkErr := sink(buf[:n]); sinkErr != nil {
			return &permanentError{sinkErr}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("%s: after %d bytes: %w", r.path, *offset, err)
		}
	}
}

// validatorOf is what If-Range takes: a strong ETag or a date (RFC 9110 §13.1.5).
func validatorOf(resp *http.Response) string {
	if tag := resp.Header.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return resp.Header.Get("Last-Modified")
}

func (w *web) hash(ctx context.Context, files []*hashed, o hashOptions) error {
	o.progress.TotalFiles.Store(int64(len(files)))
	return parallel(ctx, max(o.workers, webConnections), files, func() func(context.Context, *hashed) error {
		return func(ctx context.Context, h *hashed) error {
			p := new(pieceHasher)
			err := w.stream(ctx, h.resource, func(b []byte) error {
				o.progress.DoneBytes.Add(int64(len(b)))
				_, err := p.Write(b)
				return err
			})
			p.finish()
			h.size, h.pieces = p.size, p.pieces
			o.progress.DoneFiles.Add(1)
			if err != nil && o.each && ctx.Err() == nil {
				h.err = err
				return nil
			}
			return err
		}
	})
}

// random reads ranges of a file. Its first request tells the size, and whether the server knows ranges at all. The reader is
// for one goroutine and for as long as ctx lives.
func (w *web) random(ctx context.Context, r resource) (randomReader, int64, error) {
	f := &webFile{load: func(offset, n int64) ([]byte, int64, error) { return w.window(ctx, r, offset, n) }}
	var err error
	if f.window, f.size, err = f.load(0, webWindow); err != nil {
		return nil, 0, err
	}
	return f, f.size, nil
}

// window reads n bytes, or fewer at the end, and tells the file's size.
func (w *web) window(ctx context.Context, r resource, offset, n int64) (b []byte, size int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, webStall, fmt.Errorf("no answer within %v", webStall))
	defer cancel()
	resp, err := w.get(ctx, r, offset, n, "")
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		return nil, 0, fmt.Errorf("%s: the server does not answer byte ranges, which an MP4 needs", r.path)
	}
	if resp.StatusCode != http.StatusPartialContent {
		return nil, 0, &statusError{r.path, resp.Status, resp.StatusCode}
	}
	_, total, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
	if size, err = strconv.ParseInt(total, 10, 64); err != nil || size < 0 {
		return nil, 0, fmt.Errorf("%s: the server does not tell its size", r.path)
	}
	b, err = io.ReadAll(io.LimitReader(resp.Body, n))
	if err == nil && int64(len(b)) != min(n, size-offset) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", r.path, err)
	}
	return b, size, nil
}

// webFile is a window into a remote file.
type webFile struct {
	load   func(offset, n int64) ([]byte, int64, error)
	size   int64
	offset int64
	window []byte
}

func (f *webFile) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		if at >= f.size {
			return n, io.EOF
		}
		if at < f.offset || at >= f.offset+int64(len(f.window)) {
			window, _, err := f.load(at, max(webWindow, int64(len(p)-n)))
			if err != nil {
				return n, err
			}
			f.offset, f.window = at, window
		}
		n += copy(p[n:], f.window[at-f.offset:])
	}
	return n, nil
}

func (f *webFile) Close() error { return nil }
