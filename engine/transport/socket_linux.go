package transport

import (
	"cmp"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

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

	// roomPatience is how long a write waits while the socket's buffer is full. The
	// system says that there is room when half of it has left.
	roomPatience = 100 * time.Millisecond
)

var errAddrInUse error = unix.EADDRINUSE

// isTruncated: Linux cuts silently; a full slot tells.
func isTruncated(error) bool { return false }

// linuxSocket reads with recvmmsg and writes with sendmmsg, with segmentation
// offload both ways where the system has it.
type linuxSocket struct {
	// constant after newSocket
	fd       int
	family   uint16 // AF_INET or AF_INET6
	bell     *doorbell
	counters *counters
	log      *slog.Logger

	offloadReceive bool

	// owned by the reader
	in          *messages
	kernelDrops uint32

	mu     sync.RWMutex // guards closed; whoever uses fd holds it, or is within bell.await
	closed bool

	offloadSend atomic.Bool
	refusals    atomic.Int32
	writers     sync.Pool // of *messages

	// sendBatch is sendmmsg; tests let it fail.
	sendBatch func(headers []unix.Mmsghdr) (int, error)
}

// newSocket takes conn over.
func newSocket(conn *net.UDPConn, c *counters, log *slog.Logger, disableOffload bool) socket {
	s := &linuxSocket{counters: c, log: log}
	if err := s.takeOver(conn, disableOffload); err != nil {
		log.Warn("the portable socket is used: no offload, no ECN, no don't-fragment bit", slog.Any("error", err))
		return newPortableSocket(conn, c)
	}
	s.sendBatch = s.sendmmsg
	s.writers.New = func() any { return newMessages(writeMessages, segmentOOBBytes) }
	slots := datagramSlots
	if s.offloadReceive {
		slots = coalescedSlots
	}
	s.in = newMessages(slots, oobBytes)
	return s
}

// takeOver makes the socket one that the runtime's poller does not know.
func (s *linuxSocket) takeOver(conn *net.UDPConn, disableOffload bool) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	family := 0
	controlErr := raw.Control(func(old uintptr) {
		if family, err = unix.GetsockoptInt(int(old), unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil {
			s.fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
		}
	})
	if err = errors.Join(err, controlErr); err != nil {
		return err
	}
	if s.bell, err = newDoorbell(s.fd); err != nil {
		return errors.Join(err, unix.Close(s.fd))
	}
	s.family = uint16(family)
	s.configure(s.fd, disableOffload)
	_ = conn.Close() // the socket lives on under the other descriptor
	return nil
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
	for i := range s.in.headers {
		s.in.setBuffer(i, sl.buf[i*slot:(i+1)*slot])
	}
	n := 0
	closed := s.bell.await(func() bool {
		n, err = s.in.receive(s.fd)
		s.counters.receiveCalls.Add(1)
		return !errors.Is(err, unix.EAGAIN)
	})
	if err = cmp.Or(closed, err); err != nil {
		return 0, false, err
	}
	for i := range n {
		h := &s.in.headers[i]
		size := int(h.Len)
		if h.Hdr.Flags&unix.MSG_TRUNC != 0 {
			s.counters.oversize.Add(1)
			continue
		}
		if size == 0 {
			s.counters.garbage.Add(1)
			continue
		}
		segment, class := s.ancillary(s.in.oobOf(i)[:h.Hdr.Controllen])
		if segment <= 0 || segment > size {
			segment = size
		}
		sl.messages[kept] = received{
			data: sl.buf[i*slot : i*slot+size], segment: segment, from: s.in.name(i),
			marked: class&ecnCongestion == ecnCongestion,
		}
		kept++
	}
	return kept, n == len(s.in.headers), nil
}

// pause lets what comes gather, without a wake-up for each.
func (s *linuxSocket) pause(d time.Duration) {
	s.bell.disarm()
	time.Sleep(d)
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

// setSegment has message i cut into datagrams; 0: it is one.
func (m *messages) setSegment(i, segment int) {
	if segment == 0 {
		m.headers[i].Hdr.SetControllen(0)
		return
	}
	oob := m.oobOf(i)[:segmentOOBSpace]
	header := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	header.Level = unix.IPPROTO_UDP
	header.Type = unix.UDP_SEGMENT
	header.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], uint16(segment))
	m.headers[i].Hdr.SetControllen(segmentOOBSpace)
}

func (s *linuxSocket) write(out []Outgoing) error {
	w := s.writers.Get().(*messages)
	defer s.writers.Put(w)
	for len(out) > 0 {
		if !s.offloadSend.Load() {
			return s.writeSingly(w, out)
		}
		n := min(len(out), writeMessages)
		for i := range out[:n] {
			w.setName(i, s.family, out[i].Addr)
			w.setBuffer(i, out[i].Data)
			segment := 0
			if out[i].segments() > 1 {
				segment = out[i].SegmentBytes
			}
			w.setSegment(i, segment)
		}
		sent, err := s.sendBatch(w.headers[:n])
		s.counters.sendCalls.Add(1)
		s.count(out[:sent])
		out = out[sent:]
		if err == nil {
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if errors.Is(err, unix.EAGAIN) { // no room after all: the next would wait as long
			for i := range out {
				s.counters.sendErr.Add(uint64(out[i].segments()))
			}
			return nil
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
func (s *linuxSocket) writeSingly(w *messages, out []Outgoing) error {
	n := 0
	for i := range out {
		rest, segment := out[i].Data, out[i].SegmentBytes
		if segment <= 0 {
			segment = len(rest)
		}
		for len(rest) > 0 {
			b := rest[:min(segment, len(rest))]
			rest = rest[len(b):]
			w.setName(n, s.family, out[i].Addr)
			w.setBuffer(n, b)
			w.setSegment(n, 0)
			if n++; n < writeMessages {
				continue
			}
			if err := s.sendAll(w.headers[:n]); err != nil {
				return err
			}
			n = 0
		}
	}
	return s.sendAll(w.headers[:n])
}

func (s *linuxSocket) sendAll(headers []unix.Mmsghdr) error {
	for len(headers) > 0 {
		sent, err := s.sendBatch(headers)
		s.counters.sendCalls.Add(1)
		for i := range headers[:sent] {
			s.counters.packetsOut.Add(1)
			s.counters.bytesOut.Add(uint64(headers[i].Len))
		}
		headers = headers[sent:]
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			refused := 1
			if errors.Is(err, unix.EAGAIN) {
				refused = len(headers)
			}
			s.counters.sendErr.Add(uint64(refused))
			headers = headers[refused:]
		}
	}
	return nil
}

// writeOne sends one datagram, and tells what the system says to it.
func (s *linuxSocket) writeOne(b []byte, to netip.AddrPort) error {
	w := s.writers.Get().(*messages)
	defer s.writers.Put(w)
	w.setName(0, s.family, to)
	w.setBuffer(0, b)
	w.setSegment(0, 0)
	_, err := s.sendmmsg(w.headers[:1])
	return err
}

// sendmmsg waits for room in the socket's buffer, for a while.
func (s *linuxSocket) sendmmsg(headers []unix.Mmsghdr) (sent int, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	sent, err = mmsg(unix.SYS_SENDMMSG, s.fd, headers)
	if errors.Is(err, unix.EAGAIN) {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, int(roomPatience.Milliseconds()))
		sent, err = mmsg(unix.SYS_SENDMMSG, s.fd, headers)
	}
	return sent, err
}

func (s *linuxSocket) fill(st *Stats) {
	st.OffloadReceive = s.offloadReceive
	st.OffloadSend = s.offloadSend.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.closed {
		st.ReceiveBufferBytes, _ = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	}
}

func (s *linuxSocket) close() error {
	err := s.bell.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.closed = true
	return errors.Join(err, unix.Close(s.fd))
}
