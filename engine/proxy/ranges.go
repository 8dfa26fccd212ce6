package proxy

import (
	"net/http"
	"strconv"
	"strings"
)

// rangesMax bounds the parts of one answer. Players ask for one range, PDF
// readers and download tools for a few; a request with more is answered with
// the whole file, which RFC 9110 §14.2 allows.
const rangesMax = 16

// byteRange is a satisfiable part of a file.
type byteRange struct {
	offset, length int64
}

// parseRange interprets a Range header for a file of size bytes (RFC 9110
// §14.1.2, §14.2). No ranges and satisfiable true: the header is absent, not
// understood or abusive, and is to be ignored. Satisfiable false: answer 416.
func parseRange(header string, size int64) (ranges []byteRange, satisfiable bool) {
	unit, set, found := strings.Cut(header, "=")
	if !found || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return nil, true
	}
	var total int64
	specs := 0
	for spec := range strings.SplitSeq(set, ",") {
		spec = strings.Trim(spec, " \t")
		if spec == "" {
			continue // RFC 9110 §5.6.1.2: empty list elements are ignored
		}
		if specs++; specs > rangesMax {
			return nil, true
		}
		r, valid, fits := parseRangeSpec(spec, size)
		if !valid {
			return nil, true
		}
		if fits {
			ranges = append(ranges, r)
			total += r.length
		}
	}
	if specs == 0 {
		return nil, true
	}
	// Ranges that together exceed the file overlap: the whole file is the
	// smaller answer (RFC 9110 §14.2, last paragraph).
	if total > size {
		return nil, true
	}
	return ranges, len(ranges) > 0
}

// parseRangeSpec reads FIRST-, FIRST-LAST or -SUFFIX.
func parseRangeSpec(spec string, size int64) (r byteRange, valid, fits bool) {
	first, last, found := strings.Cut(spec, "-")
	if !found {
		return r, false, false
	}
	if first == "" {
		n, ok := parseDigits(last)
		if !ok {
			return r, false, false
		}
		n = min(n, size)
		return byteRange{size - n, n}, true, n > 0
	}
	begin, ok := parseDigits(first)
	if !ok {
		return r, false, false
	}
	end := size - 1
	if last != "" {
		e, ok := parseDigits(last)
		if !ok || e < begin {
			return r, false, false
		}
		end = min(e, end)
	}
	if begin >= size {
		return r, true, false
	}
	return byteRange{begin, end - begin + 1}, true, true
}

// parseDigits accepts 1*DIGIT. A number beyond int64 is beyond every file.
func parseDigits(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1, true
	}
	return n, true
}

// verdict is the outcome of a request's preconditions (RFC 9110 §13.2.2).
type verdict uint8

const (
	serveWhole verdict = iota
	serveRange
	notModified
	preconditionFailed
)

// evaluate applies If-Match, If-None-Match and If-Range with the file's strong
// ETag. Dates never match: a file is known by its hash, not by its age.
func evaluate(method string, h http.Header, etag string) verdict {
	if im := h.Get("If-Match"); im != "" && !etagMatches(im, etag, true) {
		return preconditionFailed
	}
	if inm := h.Get("If-None-Match"); inm != "" && etagMatches(inm, etag, false) {
		return notModified
	}
	// Range is defined for GET alone (RFC 9110 §14.2).
	if method != http.MethodGet || h.Get("Range") == "" {
		return serveWhole
	}
	if ir := h.Get("If-Range"); ir != "" && ir != etag {
		return serveWhole
	}
	return serveRange
}

// etagMatches looks for etag in a list of entity tags.
func etagMatches(list, etag string, strong bool) bool {
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			return true
		}
		if !strong {
			tag = strings.TrimPrefix(tag, "W/")
		}
		if tag == etag {
			return true
		}
	}
	return false
}
