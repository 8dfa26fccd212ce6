package transport

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAddressesPassThroughTheSystemsForm(t *testing.T) {
	loopback, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	for _, tt := range []struct {
		name       string
		family     uint16
		addr, want string
		scope      uint32
	}{
		{"IPv4", unix.AF_INET, "192.0.2.1:4321", "192.0.2.1:4321", 0},
		{"IPv4 in IPv6's form on an IPv4 socket", unix.AF_INET, "[::ffff:192.0.2.1]:4321", "192.0.2.1:4321", 0},
		{"IPv4 on a socket for both", unix.AF_INET6, "192.0.2.1:4321", "192.0.2.1:4321", 0},
		{"IPv6", unix.AF_INET6, "[2001:db8::7]:65535", "[2001:db8::7]:65535", 0},
		{"IPv6 on an IPv4 socket, to be refused", unix.AF_INET, "[2001:db8::7]:1", "[2001:db8::7]:1", 0},
		{"link-local", unix.AF_INET6, "[fe80::1%lo]:80", "[fe80::1%lo]:80", uint32(loopback.Index)},
		{"link-local by number", unix.AF_INET6, "[fe80::1%1234567]:80", "[fe80::1%1234567]:80", 1234567},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMessages(2, oobBytes)
			m.setName(1, tt.family, netip.MustParseAddrPort(tt.addr))
			require.Equal(t, tt.want, m.name(1).String())
			if m.names[1].Family == unix.AF_INET6 {
				require.Equal(t, tt.scope, m.names[1].Scope_id)
			}
		})
	}
}
