package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readThroughBytes are fetched at least: neighbouring reads of a manifest then cost one request.
	readThroughBytes = 16 << 10
	// keptReads of at most keptReadBytes each are remembered.
	keptReads     = 4
	keptReadBytes = 64 << 10
	// sourceBudget is for reads whose context has no deadline.
	sourceBudget = 10 * time.Second
)

// Source reads ranges of one file of the origin, a manifest. It is a manifest.Source and safe for concurrent use.
type Source struct {
	c     *Client
	path  string
	creds atomic.Pointer[Credentials]

	mu sync.Mutex
	// guarded by mu
	kept      []stretch // oldest first
	total     int64     // −1: unknown
	validator string
}

// stretch is what one read brought.
type stretch struct {
	off  int64
	data []byte
}

// Source returns a reader of the file at path, a full path as in Request. creds may be nil.
func (c *Client) Source(path string, creds *Credentials) *Source {
	s := &Source{c: c, path: path, total: -1}
	s.creds.Store(creds)
	return s
}

// SetCredentials replaces the credentials: the first ones may have run out by the time of a later read.
func (s *Source) SetCredentials(creds *Credentials) { s.creds.Store(creds) }

// ReadAt reads as io.ReaderAt does: less than len(p) only with an error, io.EOF at the end of the file. ErrChanged
// means that the file is no longer the one of earlier reads; open a new Source then.
func (s *Source) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("origin: read %s at %d", s.path, off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, total, validator := s.cached(p, off)
	if n == len(p) {
		return n, nil
	}
	if total >= 0 && off+int64(n) >= total {
		return n, io.EOF
	}
	return s.fetch(ctx, p, off, total, validator)
}

// cached copies what one earlier read has of the range.
func (s *Source) cached(p []byte, off int64) (n int, total int64, validator string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept {
		if at := off - k.off; at >= 0 && at < int64(len(k.data)) {
			n = max(n, copy(p, k.data[at:]))
		}
	}
	return n, s.total, s.validator
}

func (s *Source) fetch(ctx context.Context, p []byte, off, total int64, validator string) (int, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(sourceBudget)
	}
	extra := make([]byte, max(0, readThroughBytes-len(p)))
	result, err := s.c.Fetch(ctx, Request{
		Path: s.path, Credentials: s.creds.Load(), Offset: off, Length: int64(len(p) + len(extra)),
		Validator: validator, TotalBytes: max(total, 0), Deadline: deadline,
	}, func(at int64, b []byte) error {
		i := int(at - off)
		if i < len(p) {
			n := copy(p[i:], b)
			i, b = i+n, b[n:]
		}
		copy(extra[max(0, i-len(p)):], b)
		return nil
	})
	n := int(min(result.Bytes, int64(len(p))))
	var status *StatusError
	if errors.As(err, &status) && status.Code == http.StatusRequestedRangeNotSatisfiable &&
		result.TotalBytes >= 0 && off >= result.TotalBytes {
		err = nil // beyond the end
	}
	if err != nil && n < len(p) {
		return n, err
	}
	s.keep(off, p[:n], extra[:max(0, int(result.Bytes)-n)], result)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// keep remembers a read.
func (s *Source) keep(off int64, data, extra []byte, result Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total, s.validator = result.TotalBytes, result.Validator
	if bytes := len(data) + len(extra); bytes == 0 || bytes > keptReadBytes {
		return
	}
	if len(s.kept) == keptReads {
		s.kept = append(s.kept[:0], s.kept[1:]...)
	}
	s.kept = append(s.kept, stretch{off: off, data: append(append([]byte(nil), data...), extra...)})
}
