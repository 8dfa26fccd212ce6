package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// socketBufferBytes wanted each way: 3 ms of 20 Gbit/s, or 65 ms of
	// 1 Gbit/s, for which the reader may be off the CPU.
	socketBufferBytes = 8 << 20

	// coalescedBytes is what one message may bring with receive offload; less
	// than 64 KiB truncates silently.
	coalescedBytes = 64 << 10

	// datagramSlotBytes holds any single datagram that we accept: quic-go
	// reads at most 1,452 bytes, ours are shorter. What is longer is dropped.
	datagramSlotBytes = 2 << 10

	coalescedSlots = 4
	datagramSlots  = 64

	// slabBytes is one read: 4 coalesced messages or 64 single datagrams.
	slabBytes = coalescedSlots * coalescedBytes

	// maxSegments of one message with send offload, and its bytes: the kernel
	// allows 64 and 65,507 (UDP_MAX_SEGMENTS; the IPv4 payload).
	maxSegments     = 60
	maxMessageBytes = 65_507
)

// Outgoing is one or more datagrams to one address: Data is cut every
// SegmentBytes, and the last piece may be shorter. SegmentBytes 0 means that
// Data is one datagram.
type Outgoing struct {
	Addr         netip.AddrPort
	Data         []byte
	SegmentBytes int
}

func (o *Outgoing) segments() int {
	if o.SegmentBytes <= 0 || len(o.Data) <= o.SegmentBytes {
		return 1
	}
	return (len(o.Data) + o.SegmentBytes - 1) / o.SegmentBytes
}

// received is one message of a read: one datagram, or several of the same size
// from the same address, of which the last may be shorter.
type received struct {
	data    []byte
	segment int
	from    netip.AddrPort
	marked  bool // the network met congestion (ECN); always false where the system does not tell
}

// A slab is the memory of one read.
type slab struct {
	buf      []byte
	messages [datagramSlots]received
	refs     atomic.Int32 // batches that point into buf
}

// A socket reads and writes in batches. read and pause are called by one
// goroutine, the others by any.
type socket interface {
	// read blocks until something arrives, fills s and returns the number of
	// messages; full says that no more had room, so that more may be waiting.
	read(s *slab) (n int, full bool, err error)
	// pause sleeps, while what arrives gathers.
	pause(d time.Duration)
	// write sends what it can and counts the rest: loss is normal on UDP. An
	// error means that the socket is closed.
	write(out []Outgoing) error
	// writeOne sends one datagram, and tells what the system says to it.
	writeOne(b []byte, to netip.AddrPort) error
	// fill adds the socket's own counters.
	fill(s *Stats)
	close() error
}

// listenUDP opens the one socket, for both families where that is possible.
func listenUDP(listen string) (*net.UDPConn, error) {
	if listen == "" {
		listen = ":0"
	}
	addr, err := net.ResolveUDPAddr("udp", listen)
	if err != nil {
		return nil, fmt.Errorf("UDP address %q: %w; want HOST:PORT", listen, err)
	}
	conn, err := net.ListenUDP("udp", addr)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, errAddrInUse):
		return nil, fmt.Errorf("UDP address %s is in use by another program; choose another with --udp HOST:PORT (or SHOAL_UDP), port 0 for any free one: %w", addr, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("UDP address %s is not one of this machine; choose another with --udp HOST:PORT (or SHOAL_UDP): %w", addr, err)
	default:
		return nil, fmt.Errorf("open UDP socket on %s: %w", addr, err)
	}
}

// counters are shared by the reader, the senders and the channels.
type counters struct {
	packetsIn, packetsOut, bytesIn, bytesOut      atomic.Uint64
	garbage, unknown, forged, replayed, oversize  atomic.Uint64
	inboxFull, quicFull, kernel, refused, sendErr atomic.Uint64
	pathsMoved, sendCalls, receiveCalls           atomic.Uint64
	handshakes                                    atomic.Int64
}

func (c *counters) stats() Stats {
	return Stats{
		PacketsIn: c.packetsIn.Load(), PacketsOut: c.packetsOut.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		DroppedGarbage: c.garbage.Load(), DroppedUnknown: c.unknown.Load(),
		DroppedForged: c.forged.Load(), DroppedReplayed: c.replayed.Load(),
		DroppedOversize: c.oversize.Load(), DroppedInboxFull: c.inboxFull.Load(),
		DroppedQUICFull: c.quicFull.Load(), DroppedKernel: c.kernel.Load(),
		RefusedSessions: c.refused.Load(), SendErrors: c.sendErr.Load(),
		PathsMoved: c.pathsMoved.Load(), SendSystemCalls: c.sendCalls.Load(),
		ReceiveSystemCalls: c.receiveCalls.Load(), HandshakesNow: int(c.handshakes.Load()),
	}
}

// unmapped turns ::ffff:1.2.3.4 into 1.2.3.4, so that an address has one form.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
