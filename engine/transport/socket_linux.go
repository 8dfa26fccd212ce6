package transport

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// oobBytes holds the three ancillary items that we ask for: the segment size
	// of coalesced datagrams, the count of drops and the traffic class.
	oobBytes = 96

	// The last two bits of the traffic class (RFC 3168 §5): what we send can tell
	// of congestion, and what came has met it.
	ecnCapable    = 0x02
	ecnCongestion = 0x03

	// writeMessages per system call without send offload.
	writeMessages = 64

	// maxSegmentRefusals in a row turn send offload off. One path with a small
	// MTU refuses segments (EINVAL) while all others take them.
	maxSegmentRefusals = 8
)

var errAddrInUse error = unix.EADDRINUSE

// isTruncated: Linux cuts silently; a full slot tells.
func isTruncated(error) bool { return false }

// linuxSocket reads with recvmmsg and writes with sendmmsg, with segmentation
// offload both ways where the system has it.
type linuxSocket struct {
	conn     *net.UDPConn
	batch    *ipv4.PacketConn // its batch calls serve both families
	counters *counters
	log      *slog.Logger

	// owned by the reader
	in          []ipv4.Message
	oob         [datagramSlots * oobBytes]byte
	kernelDrops uint32

	offloadReceive bool // constant after newSocket
	offloadSend    atomic.Bool
	refusals       atomic.Int32
	writers        sync.Pool // of *writer

	// sendBatch is batch.WriteBatch; tests let it fail.
	sendBatch func(ms []ipv4.Message, flags int) (int, error)
}

// A writer is the memory of one write.
type writer struct {
	out     [writeMessages]ipv4.Message
	buffers [writeMessages][1][]byte
	oob     [writeMessages * segmentOOBBytes]byte
}

func newSocket(conn *net.UDPConn, c *counters, log *slog.Logger, disableOffload bool) socket {
	s := &linuxSocket{conn: conn, batch: ipv4.NewPacketConn(conn), counters: c, log: log}
	s.sendBatch = s.batch.WriteBatch
	s.writers.New = func() any { return newWriter() }
	raw, err := conn.SyscallConn()
	if err != nil {
		return newPortableSocket(conn, c)
	}
	err = raw.Control(func(fd uintptr) { s.configure(int(fd), disableOffload) })
	if err != nil {
		return newPortableSocket(conn, c)
	}
	slots := datagramSlots
	if s.offloadReceive {
		slots = coalescedSlots
	}
	s.in = make([]ipv4.Message, slots)
	for i := range s.in {
		s.in[i].Buffers = make([][]byte, 1)
	}
	return s
}

func (s *linuxSocket) configure(fd int, disableOffload bool) {
	// Beyond net.core.*mem_max only with privilege; refused, the limit applies.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBufferBytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBufferBytes)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBufferBytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBufferBytes)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	// Don't fragment: a lost fragment would cost a datagram, and ours fit the
	// smallest MTU. The kernel's own idea of the path's is not asked (PROBE), for
	// anybody can forge the ICMP messages that it comes from. One of the two is
	// refused on a socket of one family.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	s.useECN(fd)
	if disableOffload {
		return
	}
	s.offloadReceive = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	// Asking for the option tells whether the kernel knows it; the size is
	// given with each message.
	_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	s.offloadSend.Store(err == nil)
}

// useECN lets routers mark what we send instead of dropping it, and tell us what
// they have marked. It is for all datagrams, those of QUIC too: control is a
// few packets a second, which no router's queue notices. As above, one family may
// be refused.
func (s *linuxSocket) useECN(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, ecnCapable)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, ecnCapable)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
}

func (s *linuxSocket) read(sl *slab) (kept int, full bool, err error) {
	slot := datagramSlotBytes
	if s.offloadReceive {
		slot = coalescedBytes
	}
	for i := range s.in {
		s.in[i].Buffers[0] = sl.buf[i*slot : (i+1)*slot]
		s.in[i].OOB = s.oob[i*oobBytes : (i+1)*oobBytes]
	}
	n, err := s.batch.ReadBatch(s.in, 0)
	s.counters.receiveCalls.Add(1)
	if err != nil {
		return 0, false, err
	}
	for i := range s.in[:n] {
		m := &s.in[i]
		if m.Flags&unix.MSG_TRUNC != 0 {
			s.counters.oversize.Add(1)
			continue
		}
		addr, ok := m.Addr.(*net.UDPAddr)
		if !ok || m.N == 0 {
			s.counters.garbage.Add(1)
			continue
		}
		segment, class := s.ancillary(m.OOB[:m.NN])
		if segment <= 0 || segment > m.N {
			segment = m.N
		}
		sl.messages[kept] = received{
			data: m.Buffers[0][:m.N], segment: segment, from: unmapped(addr.AddrPort()),
			marked: class&ecnCongestion == ecnCongestion,
		}
		kept++
	}
	return kept, n == len(s.in), nil
}

// ancillary returns the size of coalesced datagrams, 0 if there is one only, and
// their traffic class, which they have in common; and it counts what the kernel
// says it dropped.
func (s *linuxSocket) ancillary(oob []byte) (segment int, class uint8) {
	for len(oob) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return segment, class
		}
		oob = rest
		switch {
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_TOS && len(data) == 1:
			class = data[0]
		case len(data) < 4:
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_TCLASS:
			class = uint8(binary.NativeEndian.Uint32(data))
		case header.Level == unix.IPPROTO_UDP && header.Type == unix.UDP_GRO:
			segment = int(int32(binary.NativeEndian.Uint32(data)))
		case header.Level == unix.SOL_SOCKET && header.Type == unix.SO_RXQ_OVFL:
			// The kernel's counter wraps at 2³².
			total := binary.NativeEndian.Uint32(data)
			s.counters.kernel.Add(uint64(total - s.kernelDrops))
			s.kernelDrops = total
		}
	}
	return segment, class
}

var segmentOOBSpace = unix.CmsgSpace(2)

// segmentOOBBytes is what CmsgSpace(2) is on 64-bit systems, the larger.
const segmentOOBBytes = 24

func newWriter() *writer {
	w := new(writer)
	for i := range w.out {
		w.out[i].Buffers = w.buffers[i][:]
	}
	return w
}

func (w *writer) segmentOOB(i, segment int) []byte {
	oob := w.oob[i*segmentOOBBytes:][:segmentOOBSpace]
	header := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	header.Level = unix.IPPROTO_UDP
	header.Type = unix.UDP_SEGMENT
	header.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], uint16(segment))
	return oob
}

func (s *linuxSocket) write(out []Outgoing) error {
	w := s.writers.Get().(*writer)
	defer s.writers.Put(w)
	for len(out) > 0 {
		if !s.offloadSend.Load() {
			return s.writeSingly(w, out)
		}
		n := min(len(out), writeMessages)
		for i := range out[:n] {
			m := &w.out[i]
			m.Buffers[0], m.OOB, m.Addr = out[i].Data, nil, udpAddrOf(&out[i])
			if out[i].segments() > 1 {
				m.OOB = w.segmentOOB(i, out[i].SegmentBytes)
			}
		}
		sent, err := s.sendBatch(w.out[:n], 0)
		s.counters.sendCalls.Add(1)
		s.count(out[:max(sent, 0)])
		out = out[max(sent, 0):]
		if err == nil {
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// The error is that of the first message that was not sent.
		first := out[:1]
		out = out[1:]
		if first[0].segments() == 1 || !s.withoutOffload(err) {
			s.counters.sendErr.Add(uint64(first[0].segments()))
			continue
		}
		if err := s.writeSingly(w, first); err != nil {
			return err
		}
	}
	return nil
}

// withoutOffload tells whether a message that the system refused should be
// sent again as single datagrams. EIO is a device without checksum offload:
// none will pass (quic-go and wireguard-go met the same). EINVAL or EMSGSIZE
// may be this path's MTU alone.
func (s *linuxSocket) withoutOffload(err error) bool {
	switch {
	case errors.Is(err, syscall.EIO):
		s.giveUpOffload(err)
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EMSGSIZE):
		if s.refusals.Add(1) >= maxSegmentRefusals {
			s.giveUpOffload(err)
		}
	default:
		return false
	}
	return true
}

func (s *linuxSocket) giveUpOffload(err error) {
	if s.offloadSend.CompareAndSwap(true, false) {
		s.log.Warn("the system refuses UDP segmentation offload; datagrams are sent one by one from now on, "+
			"which takes more processor time", slog.Any("error", err))
	}
}

func (s *linuxSocket) count(sent []Outgoing) {
	for i := range sent {
		segments := sent[i].segments()
		if segments > 1 && s.refusals.Load() != 0 {
			s.refusals.Store(0)
		}
		s.counters.packetsOut.Add(uint64(segments))
		s.counters.bytesOut.Add(uint64(len(sent[i].Data)))
	}
}

// writeSingly sends every datagram as a message of its own, many per call.
func (s *linuxSocket) writeSingly(w *writer, out []Outgoing) error {
	n := 0
	for i := range out {
		rest, segment := out[i].Data, out[i].SegmentBytes
		if segment <= 0 {
			segment = len(rest)
		}
		addr := udpAddrOf(&out[i])
		for len(rest) > 0 {
			m := &w.out[n]
			m.Buffers[0], m.OOB, m.Addr = rest[:min(segment, len(rest))], nil, addr
			rest = rest[len(m.Buffers[0]):]
			if n++; n < writeMessages {
				continue
			}
			if err := s.sendAll(w.out[:n]); err != nil {
				return err
			}
			n = 0
		}
	}
	return s.sendAll(w.out[:n])
}

func (s *linuxSocket) sendAll(ms []ipv4.Message) error {
	for len(ms) > 0 {
		sent, err := s.sendBatch(ms, 0)
		s.counters.sendCalls.Add(1)
		for i := range ms[:max(sent, 0)] {
			s.counters.packetsOut.Add(1)
			s.counters.bytesOut.Add(uint64(len(ms[i].Buffers[0])))
		}
		ms = ms[max(sent, 0):]
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			s.counters.sendErr.Add(1)
			ms = ms[1:]
		}
	}
	return nil
}

func (s *linuxSocket) fill(st *Stats) {
	st.OffloadReceive = s.offloadReceive
	st.OffloadSend = s.offloadSend.Load()
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		st.ReceiveBufferBytes, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	})
}

func (s *linuxSocket) close() error { return s.conn.Close() }

func udpAddrOf(o *Outgoing) *net.UDPAddr {
	if o.to != nil {
		return o.to
	}
	return net.UDPAddrFromAddrPort(o.Addr)
}
