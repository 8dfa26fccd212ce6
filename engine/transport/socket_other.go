//go:build !linux

package transport

import "net"

// newSocket has only the portable one here; disabling offload changes nothing.
func newSocket(conn *net.UDPConn, c *counters, _ bool) socket { return newPortableSocket(conn, c) }
