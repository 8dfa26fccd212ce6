// Package hostname says by which names a server on somebody's own machine is
// meant. A page that makes its own name resolve to such a machine (DNS
// rebinding) sends that name as Host, and is to a browser the same site as what
// it then reads: only names that nobody else can claim are to be answered.
//
// It reads no clock and no network. Everything is safe for concurrent use.
package hostname

import (
	"net"
	"strings"
)

// Set is the names, beside localhost, under which a server answers: lower case,
// without ports.
type Set map[string]bool

// NewSet returns the set of the given hosts, with or without ports.
func NewSet(hosts []string) Set {
	s := make(Set, len(hosts))
	for _, h := range hosts {
		s[Of(h)] = true
	}
	return s
}

// Has reports whether a name, as Of returns it, is in the set or is loopback by
// definition (RFC 6761 §6.3).
func (s Set) Has(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || s[name]
}

// Of returns the lower-case name of HOST, HOST:PORT, [V6] or [V6]:PORT.
func Of(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
