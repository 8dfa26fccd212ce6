package transport

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"shoal/internal/wire"
)

// readGrain: datagrams that come less than this apart, as ACKs of many leeches do,
// gather before they are read: to wake for each would cost more than to open it.
const readGrain = 250 * time.Microsecond

// readPause is for how long. A timer of Go's runtime takes a millisecond anyway,
// which is far below what an ACK waits. After a full read there is no pause.
const readPause = time.Millisecond

// readErrorPause keeps a broken socket from spinning a core.
const readErrorPause = 10 * time.Millisecond

// readLoop is the endpoint's reader goroutine. It ends when the socket is closed.
func (e *Endpoint) readLoop() {
	defer e.wg.Done()
	defer e.closeInboxes()
	s := e.pools.slab()
	warned := false
	for before := (time.Time{}); ; {
		n, full, err := e.socket.read(s)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// ICMP errors of some systems and shortages of memory: they pass.
			if !warned {
				warned = true
				e.log.Warn("reading the UDP socket failed", slog.String("error", err.Error()))
			}
			pause := time.NewTimer(readErrorPause)
			select {
			case <-pause.C:
				continue
			case <-e.closing:
				pause.Stop()
				return
			}
		}
		bytes := 0
		for i := range s.messages[:n] {
			bytes += len(s.messages[i].data)
		}
		s = e.demultiplex(s, n)
		now := time.Now()
		if !full && bytes <= smallBatchBytes && now.Sub(before) < time.Duration(n)*readGrain {
			e.socket.pause(readPause)
		}
		before = now
	}
}

// demultiplex hands on what one read brought and returns the slab for the next.
func (e *Endpoint) demultiplex(s *slab, n int) *slab {
	var last *Session // most packets of a read are of one session
	packets, bytes := 0, 0
	for i := range s.messages[:n] {
		m := &s.messages[i]
		var label *virtualAddr
		for rest := m.data; len(rest) > 0; {
			b := rest[:min(m.segment, len(rest))]
			rest = rest[len(b):]
			packets++
			bytes += len(b)
			switch {
			case wire.IsSealed(b[0]):
				last = e.sealed(b, m, last)
			case isQUIC(b[0]):
				if label == nil {
					label = e.label(m.from)
				}
				e.quic.deliver(b, label)
			default:
				e.counters.garbage.Add(1)
			}
		}
	}
	e.counters.packetsIn.Add(uint64(packets))
	e.counters.bytesIn.Add(uint64(bytes))
	s.refs.Store(1) // the reader's own, or an inbox could end the slab before the next sees it
	used := false
	for _, in := range e.touched {
		used = in.handOver(e, s, !used) || used
	}
	clear(e.touched)
	e.touched = e.touched[:0]
	if !used {
		return s
	}
	e.pools.unref(s)
	return e.pools.slab()
}

// sealed finds the session of a sealed datagram, which came in message m; last is
// that of the one before.
func (e *Endpoint) sealed(b []byte, m *received, last *Session) *Session {
	if len(b) > wire.MaxDatagramBytes {
		e.counters.oversize.Add(1)
		return last
	}
	h, ok := wire.ParseHeader(b)
	if !ok {
		e.counters.garbage.Add(1)
		return last
	}
	s := last
	if s == nil || s.ownIndex != h.Receiver {
		e.mu.RLock()
		s = e.byIndex[h.Receiver]
		e.mu.RUnlock()
	}
	if s == nil || !s.ready.Load() {
		e.counters.unknown.Add(1)
		return last
	}
	in := s.inbox
	if len(in.packets) == 0 {
		e.touched = append(e.touched, in)
	}
	in.add(Packet{Channel: s.channel, Data: b, From: m.from, marked: m.marked})
	return s
}

// isQUIC: long headers have the two highest bits set, short ones the second
// (RFC 9000 §17; RFC 9443 for the demultiplexing).
func isQUIC(b byte) bool { return b&0x40 != 0 }

// label returns the virtual address that stands for a real one.
func (e *Endpoint) label(from netip.AddrPort) *virtualAddr {
	e.mu.RLock()
	label := e.byPath[from]
	e.mu.RUnlock()
	if label == nil {
		// Nobody has proved this address. A label made for one packet needs no
		// table that strangers could fill; those of the same address are equal.
		label = newVirtualAddr(from)
	}
	return label
}
