package proxy

import (
	"bytes"
	"net/url"
	"path"
	"strings"
)

// playlistBytesMax bounds a playlist that is rewritten: a day of 2 s segments
// with 90 bytes per entry is 4 MB. A longer one passes through as it is.
const playlistBytesMax = 8 << 20

// rewriter turns the URLs of a playlist that lead to the origin's prefix into
// URLs of this node, so that an absolute URL does not lead the player past it.
type rewriter struct {
	base *url.URL // the origin's prefix; Path without a trailing slash
	dir  string   // folder of the playlist below the prefix, with slashes at both ends
}

// newRewriter is for the playlist at p, a path below the prefix.
func newRewriter(base *url.URL, p string) rewriter {
	return rewriter{base: base, dir: strings.TrimSuffix(path.Dir("/"+strings.TrimPrefix(p, "/")), "/") + "/"}
}

// playlist rewrites an HLS playlist (RFC 8216 §4.1): URI lines and the URI
// attributes of tags. All other bytes stay as they are, whatever tags a vendor
// has invented: that is why the lines are edited and not parsed and printed.
func (rw rewriter) playlist(in []byte) []byte {
	if !bytes.HasPrefix(bytes.TrimPrefix(in, []byte("\xef\xbb\xbf")), []byte("#EXTM3U")) {
		return in
	}
	var out bytes.Buffer
	out.Grow(len(in))
	for line := range bytes.Lines(in) {
		body := bytes.TrimRight(line, "\r\n")
		ending := line[len(body):]
		switch {
		case len(body) == 0:
		case body[0] == '#':
			body = rw.tag(body)
		default:
			if u, ok := rw.uri(string(body)); ok {
				body = []byte(u)
			}
		}
		out.Write(body)
		out.Write(ending)
	}
	return out.Bytes()
}

// tag rewrites the quoted value of each attribute whose name ends in URI: URI
// itself, and X-ASSET-URI, SERVER-URI and their like (RFC 8216 §4.2).
func (rw rewriter) tag(line []byte) []byte {
	if !bytes.HasPrefix(line, []byte("#EXT")) {
		return line
	}
	var out []byte
	name, rest := 0, line // name: where the present attribute's name begins, in rest
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case ':', ',':
			name = i + 1
		case '"':
			end := bytes.IndexByte(rest[i+1:], '"')
			if end < 0 {
				return append(out, rest...)
			}
			value := rest[i+1 : i+1+end]
			isURI := bytes.HasSuffix(rest[name:i], []byte("URI="))
			if u, ok := rw.uri(string(value)); ok && isURI {
				value = []byte(u)
			}
			out = append(append(append(out, rest[:i+1]...), value...), '"')
			rest = rest[i+end+2:]
			name, i = 0, -1
		}
	}
	return append(out, rest...)
}

// uri returns the node's form of a URL, relative to the playlist, when it leads
// to the origin's prefix by another way than a relative path. Relative paths
// need nothing: node and origin have the same tree.
func (rw rewriter) uri(s string) (string, bool) {
	if strings.Contains(s, "{$") {
		return "", false // EXT-X-DEFINE variables are the player's to resolve
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", false
	}
	switch {
	case u.Host != "":
		sameScheme := u.Scheme == "" || strings.EqualFold(u.Scheme, rw.base.Scheme)
		if !sameScheme || u.User != nil || !sameHost(rw.base, u) {
			return "", false
		}
	case u.Scheme != "" || !strings.HasPrefix(u.Path, "/"):
		return "", false
	}
	escaped := u.EscapedPath()
	prefix := strings.TrimSuffix(rw.base.EscapedPath(), "/")
	below, ok := strings.CutPrefix(escaped, prefix)
	if !ok || below != "" && below[0] != '/' {
		if u.Host == "" && prefix != "" {
			// A root-relative path outside the prefix: the node does not serve
			// it, so the player must go to the origin itself.
			abs := *rw.base
			return abs.Scheme + "://" + abs.Host + s, true
		}
		return "", false
	}
	if u.Host == "" && prefix == "" {
		return "", false // /a/b means the same on both
	}
	ref := relativeTo((&url.URL{Path: rw.dir}).EscapedPath(), "/"+strings.TrimPrefix(below, "/"))
	if u.RawQuery != "" || u.ForceQuery {
		ref += "?" + u.RawQuery
	}
	if u.Fragment != "" {
		ref += "#" + u.EscapedFragment()
	}
	return ref, true
}

// sameHost compares host and port, the port of the scheme being implied.
func sameHost(base, u *url.URL) bool {
	return strings.EqualFold(base.Hostname(), u.Hostname()) && portOf(base, base.Scheme) == portOf(u, base.Scheme)
}

func portOf(u *url.URL, scheme string) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case strings.EqualFold(scheme, "https"):
		return "443"
	default:
		return "80"
	}
}

// relativeTo returns target, an absolute path, as seen from the folder dir. A
// relative reference also works when the node is published below some path.
func relativeTo(dir, target string) string {
	common := 0
	for i := 0; i < len(dir) && i < len(target) && dir[i] == target[i]; i++ {
		if dir[i] == '/' {
			common = i + 1
		}
	}
	ref := strings.Repeat("../", strings.Count(dir[common:], "/")) + target[common:]
	first, _, _ := strings.Cut(ref, "/")
	if ref == "" || strings.Contains(first, ":") || strings.HasPrefix(ref, "/") {
		ref = "./" + ref // RFC 3986 §4.2: a colon would make a scheme of the first segment
	}
	return ref
}

// isPlaylist tells by the path. HLS says .m3u8 or .m3u (RFC 8216 §4).
func isPlaylist(p string) bool {
	switch strings.ToLower(path.Ext(p)) {
	case ".m3u8", ".m3u":
		return true
	default:
		return false
	}
}

// isPlaylistType tells by the media type, for playlists with other names.
func isPlaylistType(contentType string) bool {
	t, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	switch strings.TrimSpace(t) {
	case "application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl":
		return true
	default:
		return false
	}
}
