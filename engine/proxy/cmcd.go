package proxy

import (
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// cmcdBytesMax bounds what is parsed of one request's CMCD. All keys of
	// CTA-5004 with strings of the longest allowed size take less than 2 KiB.
	cmcdBytesMax = 4 << 10

	// cmcdPairsMax bounds the keys of one request: versions 1 and 2 define 60
	// between them.
	cmcdPairsMax = 96

	// cmcdIDBytesMax is the longest sid or cid (CTA-5004 §3.2).
	cmcdIDBytesMax = 64

	// cmcdTimeMax is the longest buffer, deadline or duration believed; no
	// player buffers a day.
	cmcdTimeMax = 24 * time.Hour

	// cmcdRateMax is the fastest playback believed.
	cmcdRateMax = 16
)

// cmcdHeaders are the four headers of CTA-5004 §2.1. Their keys are disjoint, so
// it does not matter which header brings a key.
var cmcdHeaders = [...]string{"Cmcd-Request", "Cmcd-Object", "Cmcd-Session", "Cmcd-Status"}

// objectType is CMCD's "ot".
type objectType uint8

const (
	objectUnknown objectType = iota
	objectMedia              // v, a, av: has a place in media time
	objectInit               // i
	objectOther              // m, k, c, tt, o: does not move the playhead
)

// cmcd is what a player says about itself with a request (CTA-5004, versions 1
// and 2). Absent times and rates are negative.
type cmcd struct {
	present bool

	bufferLength time.Duration // bl: media held, at the moment of the request
	deadline     time.Duration // dl: until the buffer runs dry
	duration     time.Duration // d: of the object
	playbackRate float64       // pr

	bitrateKbps      float64 // br: of the object
	throughputKbps   float64 // mtp: as the player measured it
	sufficientKbps   float64 // rtp: all that the player asks for
	startup, starved bool    // su, bs

	object       objectType // ot
	live         bool       // st=l
	streamFormat string     // sf
	sessionID    string     // sid
	contentID    string     // cid
	next         string     // nor, relative to the request
}

func newCMCD() cmcd {
	return cmcd{
		bufferLength: -1, deadline: -1, duration: -1, playbackRate: -1,
		bitrateKbps: -1, throughputKbps: -1, sufficientKbps: -1,
	}
}

// takeCMCD parses the CMCD of a request, from its query or its headers, and
// returns the raw query without it: the parameter differs with each request, so
// it must not become part of a path, of credentials or of a cache key.
func takeCMCD(r *http.Request) (c cmcd, query string) {
	c = newCMCD()
	value, query := cutCMCD(r.URL.RawQuery)
	budget := cmcdBytesMax
	if value != "" && len(value) <= 3*budget { // at most three bytes of escape each
		if s, err := url.QueryUnescape(value); err == nil {
			c.parse(s, &budget)
		}
	}
	for _, name := range cmcdHeaders {
		for _, s := range r.Header[name] {
			c.parse(s, &budget)
		}
	}
	return c, query
}

// cutCMCD removes the CMCD parameter from a raw query. The other parameters keep
// their bytes and their order: they may be signed.
func cutCMCD(query string) (value, rest string) {
	if !strings.Contains(query, "CMCD") {
		return "", query
	}
	kept := make([]string, 0, 4)
	for part := range strings.SplitSeq(query, "&") {
		if v, ok := strings.CutPrefix(part, "CMCD="); ok {
			value = v
		} else if part != "CMCD" {
			kept = append(kept, part)
		}
	}
	return value, strings.Join(kept, "&")
}

// parse takes one comma-separated list of key, key=value pairs. What cannot be
// parsed ends the list: the pairs before it count.
func (c *cmcd) parse(s string, budget *int) {
	if len(s) > *budget {
		return
	}
	*budget -= len(s)
	for range cmcdPairsMax {
		s = strings.TrimLeft(s, " \t,")
		if s == "" {
			return
		}
		end := strings.IndexFunc(s, func(r rune) bool { return !isKeyRune(r) })
		if end < 0 {
			end = len(s)
		}
		key := s[:end]
		s = s[end:]
		value, ok := "", true
		if strings.HasPrefix(s, "=") {
			value, s, ok = cmcdValue(s[1:])
		} else {
			value = "?1" // a key alone is true (RFC 8941 §3.2)
		}
		if key == "" || !ok {
			return
		}
		c.set(key, value)
		// Parameters of an item (";v", version 2) are of no use here.
		if i := strings.IndexByte(s, ','); i >= 0 {
			s = s[i:]
		} else {
			s = ""
		}
	}
}

func isKeyRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		r == '-' || r == '_' || r == '.' || r == '*'
}

// cmcdValue takes a value off the front of s: a quoted string, a token or
// number, or the first item of an inner list (version 2: bl=(6000 5900)).
func cmcdValue(s string) (value, rest string, ok bool) {
	if inner, isList := strings.CutPrefix(s, "("); isList {
		first, rest, ok := cmcdItem(strings.TrimLeft(inner, " "))
		for ok && !strings.HasPrefix(rest, ")") {
			if rest == "" {
				return first, "", true // unterminated: the first item is still good
			}
			if rest[0] == '"' {
				_, rest, ok = cmcdItem(rest)
			} else {
				rest = rest[1:]
			}
		}
		return first, strings.TrimPrefix(rest, ")"), ok
	}
	return cmcdItem(s)
}

func cmcdItem(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ",; )")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

func (c *cmcd) set(key, value string) {
	known := true
	switch key {
	case "bl":
		c.bufferLength = cmcdMillis(value, c.bufferLength)
	case "dl":
		c.deadline = cmcdMillis(value, c.deadline)
	case "d":
		c.duration = cmcdMillis(value, c.duration)
	case "pr":
		c.playbackRate = cmcdNumber(value, cmcdRateMax, c.playbackRate)
	case "br":
		c.bitrateKbps = cmcdNumber(value, math.MaxInt32, c.bitrateKbps)
	case "mtp":
		c.throughputKbps = cmcdNumber(value, math.MaxInt32, c.throughputKbps)
	case "rtp":
		c.sufficientKbps = cmcdNumber(value, math.MaxInt32, c.sufficientKbps)
	case "su":
		c.startup = value == "?1" || value == "true"
	case "bs":
		c.starved = value == "?1" || value == "true"
	case "ot":
		c.object = parseObjectType(value)
	case "st":
		c.live = value == "l" || value == "ll"
	case "sf":
		c.streamFormat = cmcdID(value)
	case "sid":
		c.sessionID = cmcdID(value)
	case "cid":
		c.contentID = cmcdID(value)
	case "nor":
		if u, err := url.PathUnescape(value); err == nil {
			c.next = u
		}
	default:
		// tb, v, custom keys: valid, but nothing to learn from.
		known = key == "v" || key == "tb"
	}
	c.present = c.present || known
}

func parseObjectType(s string) objectType {
	switch s {
	case "v", "a", "av":
		return objectMedia
	case "i":
		return objectInit
	case "":
		return objectUnknown
	default:
		return objectOther
	}
}

// cmcdMillis returns old when s is not a time that a player can mean.
func cmcdMillis(s string, old time.Duration) time.Duration {
	ms := cmcdNumber(s, float64(cmcdTimeMax/time.Millisecond), -1)
	if ms < 0 {
		return old
	}
	return time.Duration(ms * float64(time.Millisecond))
}

func cmcdNumber(s string, limit, old float64) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > limit {
		return old
	}
	return f
}

// cmcdID returns an identifier that is safe in logs and as a map key.
func cmcdID(s string) string {
	if len(s) > cmcdIDBytesMax {
		return ""
	}
	for _, r := range s {
		if r < 0x20 || r > 0x7e {
			return ""
		}
	}
	return s
}
