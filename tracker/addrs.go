package tracker

import (
	"net/netip"
	"slices"

	"shoal/internal/wire"
	"shoal/tracker/store"
)

// announcedAddrsMax leaves room for the observed address in an answer.
const announcedAddrsMax = wire.AddrsMax - 1

// usableAddrs returns the announced addresses that can be a peer's at all,
// without duplicates. What a peer announces is dialled by strangers: addresses
// that no unicast socket can have are never passed on, and the number is
// bounded, so that a liar directs at most a few handshakes per viewer anywhere.
func usableAddrs(announced []netip.AddrPort) []netip.AddrPort {
	usable := make([]netip.AddrPort, 0, min(len(announced), announcedAddrsMax))
	for _, a := range announced {
		a = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
		ip := a.Addr()
		// Link-local addresses need a zone, which only their own host knows.
		if !ip.IsValid() || a.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() ||
			ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || slices.Contains(usable, a) {
			continue
		}
		if usable = append(usable, a); len(usable) == announcedAddrsMax {
			break
		}
	}
	return usable
}

// addrsFor returns the addresses of p that the viewer me may be able to reach,
// the observed one first: it is proven.
func addrsFor(me, p *store.Presence) []netip.AddrPort {
	addrs := make([]netip.AddrPort, 0, len(p.Addrs)+1)
	if reachable(me, p, p.Observed.Addr()) {
		addrs = append(addrs, p.Observed)
	}
	for _, a := range p.Addrs {
		if reachable(me, p, a.Addr()) && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// reachable keeps addresses of inner networks inside them: a private address is
// told only to viewers that are seen at the same public address or at a private
// one themselves, and loopback only to viewers on the same machine as the peer.
func reachable(me, p *store.Presence, ip netip.Addr) bool {
	viewer, peer := me.Observed.Addr(), p.Observed.Addr()
	inside := viewer.IsPrivate() || viewer.IsLoopback()
	switch {
	case !ip.IsValid():
		return false
	case ip.IsLoopback():
		return viewer.IsLoopback() && peer.IsLoopback() || viewer == peer && inside
	case ip.IsPrivate():
		return viewer == peer || inside
	default:
		return true
	}
}

// homeOf is the unit that shares a bound: an IPv4 address, or an IPv6 /64, which
// one household gets as a whole.
func homeOf(observed netip.AddrPort) netip.Prefix {
	ip := observed.Addr().Unmap()
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	home, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return home
}
