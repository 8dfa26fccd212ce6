package transport

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// portableSocket reads and writes one datagram per system call, on any system.
type portableSocket struct {
	conn     *net.UDPConn
	counters *counters
}

func newPortableSocket(conn *net.UDPConn, c *counters) *portableSocket {
	// A refusal leaves the system's default, which works, only not as fast.
	_ = conn.SetReadBuffer(socketBufferBytes)
	_ = conn.SetWriteBuffer(socketBufferBytes)
	return &portableSocket{conn: conn, counters: c}
}

func (s *portableSocket) read(sl *slab) (count int, full bool, err error) {
	buf := sl.buf[:datagramSlotBytes]
	n, from, err := s.conn.ReadFromUDPAddrPort(buf)
	s.counters.receiveCalls.Add(1)
	if err != nil {
		if isTruncated(err) {
			s.counters.oversize.Add(1)
			return 0, true, nil
		}
		return 0, false, err
	}
	if n == len(buf) {
		s.counters.oversize.Add(1)
		return 0, true, nil
	}
	sl.messages[0] = received{data: buf[:n], segment: n, from: unmapped(from)}
	return 1, true, nil
}

func (s *portableSocket) pause(d time.Duration) { time.Sleep(d) }

func (s *portableSocket) write(out []Outgoing) error {
	for i := range out {
		o := &out[i]
		rest, segment := o.Data, o.SegmentBytes
		if segment <= 0 {
			segment = len(rest)
		}
		for len(rest) > 0 {
			b := rest[:min(segment, len(rest))]
			rest = rest[len(b):]
			s.counters.sendCalls.Add(1)
			if err := s.writeOne(b, o.Addr); err != nil {
				if errors.Is(err, net.ErrClosed) {
					return err
				}
				s.counters.sendErr.Add(1)
				continue
			}
			s.counters.packetsOut.Add(1)
			s.counters.bytesOut.Add(uint64(len(b)))
		}
	}
	return nil
}

func (s *portableSocket) writeOne(b []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	return err
}

func (s *portableSocket) fill(*Stats) {}

func (s *portableSocket) close() error { return s.conn.Close() }
