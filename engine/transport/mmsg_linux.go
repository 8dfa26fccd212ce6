package transport

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// messages is the memory of a system call for many datagrams. The calls are raw:
// as they never wait, the runtime need not be told, which would wake its monitor.
type messages struct {
	headers []unix.Mmsghdr
	vectors []unix.Iovec
	names   []unix.RawSockaddrInet6 // has room for IPv4's
	oob     []byte
	oobEach int
}

func newMessages(n, oobEach int) *messages {
	m := &messages{
		headers: make([]unix.Mmsghdr, n), vectors: make([]unix.Iovec, n), names: make([]unix.RawSockaddrInet6, n),
		oob: make([]byte, n*oobEach), oobEach: oobEach,
	}
	for i := range m.headers {
		h := &m.headers[i].Hdr
		h.Iov = &m.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&m.names[i]))
		h.Control = &m.oob[i*oobEach]
	}
	return m
}

// setBuffer gives message i the memory to send from or to receive into.
func (m *messages) setBuffer(i int, b []byte) {
	m.vectors[i].Base = unsafe.SliceData(b)
	m.vectors[i].SetLen(len(b))
}

// oobOf is the room for ancillary data of message i.
func (m *messages) oobOf(i int) []byte { return m.oob[i*m.oobEach:][:m.oobEach] }

// receive fills messages until there are no more; EAGAIN: there were none.
func (m *messages) receive(fd int) (int, error) {
	for i := range m.headers {
		h := &m.headers[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(m.oobEach)
	}
	return mmsg(unix.SYS_RECVMMSG, fd, m.headers)
}

// mmsg is recvmmsg(2) or sendmmsg(2).
func mmsg(call uintptr, fd int, headers []unix.Mmsghdr) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// setName addresses message i, for a socket of that family. The system refuses
// an address of another.
func (m *messages) setName(i int, family uint16, to netip.AddrPort) {
	h, name := &m.headers[i].Hdr, &m.names[i]
	addr := to.Addr().Unmap()
	if family == unix.AF_INET && addr.Is4() {
		name4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		*name4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(to.Port()), Addr: addr.As4()}
		h.Namelen = unix.SizeofSockaddrInet4
		return
	}
	*name = unix.RawSockaddrInet6{
		Family: unix.AF_INET6, Port: networkOrder(to.Port()), Addr: addr.As16(), Scope_id: scopeOf(addr.Zone()),
	}
	h.Namelen = unix.SizeofSockaddrInet6
}

// name is where message i came from.
func (m *messages) name(i int) netip.AddrPort {
	name := &m.names[i]
	if name.Family == unix.AF_INET {
		name4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(name4.Addr), networkOrder(name4.Port))
	}
	addr := netip.AddrFrom16(name.Addr).Unmap()
	if name.Scope_id != 0 {
		addr = addr.WithZone(zoneOf(name.Scope_id))
	}
	return netip.AddrPortFrom(addr, networkOrder(name.Port))
}

// networkOrder turns a port to the order of bytes of the network, and back.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// zoneOf and scopeOf convert the zone of a link-local address, by the names that
// package net uses. They ask the system each time: such peers are rare.
func zoneOf(scope uint32) string {
	if i, err := net.InterfaceByIndex(int(scope)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(scope), 10)
}

func scopeOf(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	scope, _ := strconv.ParseUint(zone, 10, 32) // 0: the system refuses it
	return uint32(scope)
}
