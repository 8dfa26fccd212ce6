package origin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// StatusError is an HTTP status that ended a fetch.
type StatusError struct {
	Code int
	Path string
}

// Error returns path and status.
func (e *StatusError) Error() string {
	return fmt.Sprintf("origin: GET %s: status %d %s", e.Path, e.Code, http.StatusText(e.Code))
}

// Errors of the package. Those of a fetch wrap the last failure, too.
var (
	// ErrChanged: the file is not the one that the validator or the length belongs to.
	ErrChanged = errors.New("origin: file changed")
	// ErrDeadline: retries did not help before the deadline.
	ErrDeadline = errors.New("origin: deadline passed")
	// ErrStalled: the connection was silent for too long.
	ErrStalled = errors.New("origin: no bytes")
	// ErrEncoded: the origin compresses what was asked for as it is.
	ErrEncoded = errors.New("origin: unwanted content encoding")
	// ErrNoRanges: the origin ignores ranges, and the one asked for is too far into the file to skip there.
	ErrNoRanges = errors.New("origin: ranges not supported")
	// ErrBusy: too many calls wait already.
	ErrBusy = errors.New("origin: too many requests waiting")
	// ErrPath: the path is not below the prefix.
	ErrPath = errors.New("origin: path leads out of the origin's prefix")
)

var (
	errRange     = errors.New("wrong content range")
	errRedirects = errors.New("too many redirects")
)

// withoutURL takes the URL out of a client's error: its query may hold a token, and errors are logged.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
