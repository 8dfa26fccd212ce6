package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"shoal/engine/manifest"
	"shoal/engine/origin"
	"shoal/engine/swarm"
)

// Errors that callers tell apart.
var (
	// ErrNoTitle: no title.shoal lies beside the path or in a folder above.
	ErrNoTitle = errors.New("engine: no title describes this path")
	// ErrNotFound: the title does not know the file.
	ErrNotFound = errors.New("engine: the title has no such file")
	// ErrClosed: the Engine, Viewer or Reader was closed.
	ErrClosed = errors.New("engine: closed")
	// ErrRange: the range begins beyond the end of the file.
	ErrRange = errors.New("engine: range beyond the end of the file")
	// ErrBusy: a bound on open titles or readers is reached.
	ErrBusy = errors.New("engine: too many open titles or readers")
)

// OriginError says that neither a peer nor the CDN gave the bytes in time.
type OriginError struct {
	// Status is what a player should be told: the origin's 404, 403 or 410,
	// 504 when it was too slow, unreachable or answered 5xx, 502 when what it
	// sent is not what the manifest describes.
	Status int
	// Err is the last error of the origin.
	Err error
}

// Error returns the status and the cause.
func (e *OriginError) Error() string {
	return fmt.Sprintf("engine: origin failed (%d): %v", e.Status, e.Err)
}

// Unwrap returns the cause.
func (e *OriginError) Unwrap() error { return e.Err }

// originError maps the origin client's error to the status for the player.
func originError(err error) error {
	if err == nil {
		err = errors.New("no source for the bytes")
	}
	var status *origin.StatusError
	switch {
	case errors.As(err, &status) && status.Code >= 400 && status.Code < 500 && status.Code != http.StatusTooManyRequests:
		return &OriginError{Status: status.Code, Err: err}
	case errors.Is(err, origin.ErrChanged), errors.Is(err, swarm.ErrOriginMismatch), damaged(err):
		return &OriginError{Status: http.StatusBadGateway, Err: err}
	default:
		return &OriginError{Status: http.StatusGatewayTimeout, Err: err}
	}
}

// gone tells whether no retry can help.
func gone(err error) bool {
	var status *origin.StatusError
	if errors.As(err, &status) {
		switch status.Code {
		case http.StatusNotFound, http.StatusForbidden, http.StatusGone, http.StatusUnauthorized:
			return true
		}
	}
	return errors.Is(err, origin.ErrChanged)
}

// damaged tells whether err is that a part of the manifest is not as its
// publisher has made it.
func damaged(err error) bool {
	var format *manifest.FormatError
	return errors.As(err, &format)
}

// canceled tells whether err is only our own cancellation.
func canceled(err error) bool {
	return errors.Is(err, context.Canceled)
}
