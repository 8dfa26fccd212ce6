package tracker

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"shoal/internal/wire"
)

// URL names a tracker: quic://HOST:PORT, whose certificate the system roots
// confirm, or quic://HOST:PORT#FINGERPRINT, whose key is pinned.
type URL struct {
	Host        string // name or IP address, without brackets
	Port        uint16
	Fingerprint wire.PeerID // SHA-256 of the Ed25519 public key; zero: not pinned
}

// ParseURL reads a tracker's URL. The fingerprint may be in hexadecimal or
// base64url.
func ParseURL(s string) (URL, error) {
	fail := func(format string, args ...any) (URL, error) {
		return URL{}, fmt.Errorf("tracker URL %.200q: %s; want quic://HOST:PORT or quic://HOST:PORT#FINGERPRINT", s, fmt.Sprintf(format, args...))
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fail("not a URL")
	case u.Scheme != "quic":
		return fail("the scheme is %q", u.Scheme)
	case u.User != nil || u.RawQuery != "" || u.Opaque != "" || strings.Trim(u.Path, "/") != "":
		return fail("only host, port and fingerprint belong in it")
	case u.Hostname() == "":
		return fail("the host is missing")
	case u.Port() == "":
		return fail("the port is missing")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 {
		return fail("port %s is not between 1 and 65535", u.Port())
	}
	out := URL{Host: u.Hostname(), Port: uint16(port)}
	if u.Fragment == "" {
		if strings.HasSuffix(s, "#") {
			return fail("the fingerprint after # is missing")
		}
		return out, nil
	}
	fingerprint, err := parseFingerprint(u.Fragment)
	if err != nil {
		return fail("%v", err)
	}
	out.Fingerprint = fingerprint
	return out, nil
}

// Pinned reports whether the URL names the tracker's key.
func (u URL) Pinned() bool { return !u.Fingerprint.IsZero() }

// HostPort returns "host:port", with brackets around an IPv6 address.
func (u URL) HostPort() string {
	host := u.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(u.Port))
}

// String returns the URL in the form that ParseURL reads.
func (u URL) String() string {
	s := "quic://" + u.HostPort()
	if u.Pinned() {
		s += "#" + u.Fingerprint.Hex()
	}
	return s
}

func parseFingerprint(s string) (id wire.PeerID, err error) {
	var raw []byte
	switch len(s) {
	case hex.EncodedLen(len(id)):
		raw, err = hex.DecodeString(s)
	case base64.RawURLEncoding.EncodedLen(len(id)):
		raw, err = base64.RawURLEncoding.Strict().DecodeString(s)
	default:
		return id, fmt.Errorf("the fingerprint has %d characters, not 64 (hexadecimal) or 43 (base64url)", len(s))
	}
	if err != nil {
		return id, fmt.Errorf("the fingerprint is neither hexadecimal nor base64url")
	}
	if id = wire.PeerID(raw); id.IsZero() {
		return id, fmt.Errorf("the fingerprint is all zero")
	}
	return id, nil
}
