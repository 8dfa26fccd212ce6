//go:build !linux

package transport

import (
	"log/slog"
	"net"
)

// newSocket has only the portable one here; disabling offload changes nothing.
func newSocket(conn *net.UDPConn, c *counters, _ *slog.Logger, _ bool) socket {
	return newPortableSocket(conn, c)
}
