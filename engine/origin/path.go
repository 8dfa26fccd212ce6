package origin

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

func trimSlash(p string) string { return strings.TrimSuffix(p, "/") }

// cleanPath checks a decoded path and removes what is redundant in it. A path with dot-dot segments is refused, and
// so is one that would have them after being decoded again, as some servers and caches do.
func cleanPath(p string) (string, error) {
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	for i := range len(p) {
		if p[i] < 0x20 || p[i] == 0x7f {
			return "", fmt.Errorf("%w: control character", ErrPath)
		}
	}
	for decoded := p; ; {
		for segment := range strings.FieldsFuncSeq(decoded, isSeparator) {
			if segment == ".." {
				return "", fmt.Errorf("%w: dot-dot segment", ErrPath)
			}
		}
		again, err := url.PathUnescape(decoded)
		if err != nil || again == decoded {
			break // each round shortens it, so this comes
		}
		decoded = again
	}
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean, nil
}

func isSeparator(r rune) bool { return r == '/' || r == '\\' }

// below cuts the prefix off a full path: "/a" of "/vod/a" for the prefix "/vod".
func (c *Client) below(full string) (string, bool) {
	rest, ok := strings.CutPrefix(full, c.base.Path)
	if !ok || (rest != "" && rest[0] != '/') {
		return "", false
	}
	return rest, true
}

// resolve returns the URL of a full, decoded path, which must be in the prefix.
func (c *Client) resolve(full string) (*url.URL, error) {
	clean, err := cleanPath(full)
	if err != nil {
		return nil, err
	}
	if _, ok := c.below(clean); !ok {
		return nil, ErrPath
	}
	u := c.base
	u.Path, u.RawPath = clean, ""
	u.RawQuery = c.query
	return &u, nil
}

// addQuery appends a raw query as it is: signatures depend on order and spelling.
func addQuery(u *url.URL, query string) {
	if u.RawQuery != "" && query != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += query
}

// isOrigin says whether a URL has the scheme, host and port of the origin.
func (c *Client) isOrigin(u *url.URL) bool {
	return strings.EqualFold(u.Scheme, c.base.Scheme) && strings.EqualFold(u.Hostname(), c.base.Hostname()) &&
		port(u) == port(&c.base)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	default:
		return "80"
	}
}
