package origin

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// contentRange is a Content-Range header (RFC 9110 §14.4).
type contentRange struct {
	first, last int64 // −1, −1: unsatisfied
	total       int64 // −1: unknown
}

func parseContentRange(s string) (contentRange, error) {
	fail := func() (contentRange, error) { return contentRange{}, fmt.Errorf("%w: %.80q", errRange, s) }
	unit, rest, ok := strings.Cut(s, " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return fail()
	}
	span, total, ok := strings.Cut(strings.TrimSpace(rest), "/")
	if !ok {
		return fail()
	}
	r := contentRange{first: -1, last: -1, total: -1}
	var err error
	if total != "*" {
		if r.total, err = parseDigits(total); err != nil {
			return fail()
		}
	}
	if span == "*" {
		if r.total < 0 {
			return fail()
		}
		return r, nil
	}
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		return fail()
	}
	if r.first, err = parseDigits(first); err != nil {
		return fail()
	}
	if r.last, err = parseDigits(last); err != nil {
		return fail()
	}
	if r.last < r.first || (r.total >= 0 && r.last >= r.total) {
		return fail()
	}
	return r, nil
}

// maxDigits keeps sums of two numbers inside an int64.
const maxDigits = 18

func parseDigits(s string) (int64, error) {
	if len(s) == 0 || len(s) > maxDigits || strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, errors.New("not a number")
	}
	return strconv.ParseInt(s, 10, 64)
}

// maxRetryAfter bounds what an origin can ask for; every deadline of ours is nearer.
const maxRetryAfter = time.Hour

// parseRetryAfter reads seconds or a date (RFC 9110 §10.2.3); 0: nothing useful there.
func parseRetryAfter(s string, now time.Time) time.Duration {
	s = strings.TrimSpace(s)
	if seconds, err := parseDigits(s); err == nil {
		return time.Duration(min(seconds, int64(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, min(at.Sub(now), maxRetryAfter))
	}
	return 0
}

// validatorOf returns the ETag, or else the Last-Modified date.
func validatorOf(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" {
		return tag
	}
	return h.Get("Last-Modified")
}

func isTag(validator string) bool {
	return strings.HasPrefix(validator, `"`) || strings.HasPrefix(validator, `W/"`)
}

// mismatches says whether a response is certainly not of the version that the validator belongs to. Tags are
// compared weakly: caches weaken them, and the pieces are verified anyway.
func mismatches(validator string, h http.Header) bool {
	if validator == "" {
		return false
	}
	if !isTag(validator) {
		date := h.Get("Last-Modified")
		return date != "" && date != validator
	}
	tag := h.Get("ETag")
	return tag != "" && strings.TrimPrefix(tag, "W/") != strings.TrimPrefix(validator, "W/")
}
