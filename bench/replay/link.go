package replay

import (
	"math"
	"time"

	"shoal/bench/replay/trace"
	"shoal/internal/wire"
)

const (
	// peerOverhead and cdnOverhead are bytes on the line per byte of payload:
	// sealing, UDP and IP (6 %, design.md §6); TLS, TCP and IP.
	peerOverhead = 1.06
	cdnOverhead  = 1.04
	// chunkOnWire is a whole chunk with its headers.
	chunkOnWire = wire.ChunkBytes * peerOverhead
	// cdnInDownlink bounds the CDN's bursts that wait in a downlink: a window of
	// 64 KiB beyond what the line carries.
	cdnInDownlink = 4
	// kbps in bytes per second.
	kbps = 125.0
)

// line is an access line's rate over time.
type line struct {
	net        *trace.Network
	down, up   float64 // constant rates, bytes per second
	begin      time.Duration
	now        trace.Link
	from, till time.Duration
}

func newLine(s *Session) line {
	return line{net: s.Net, begin: s.Start, down: float64(s.DownKbps) * kbps, up: float64(s.UpKbps) * kbps, till: -1}
}

// at returns both rates at a time, and until when they hold.
func (l *line) at(t time.Duration) (down, up float64, until time.Duration) {
	if l.net == nil {
		return l.down, l.up, trace.Forever
	}
	if since := t - l.begin; since < l.from || since >= l.till {
		l.now, l.from, l.till = l.net.At(since), since, l.net.Until(since)
	}
	down, up = l.down, l.up
	if l.now.DownKbps >= 0 {
		down = float64(l.now.DownKbps) * kbps
	}
	// A peer that never uploads has no uplink, whatever its line measures.
	if l.now.UpKbps >= 0 && l.up > 0 {
		up = float64(l.now.UpKbps) * kbps
	}
	if l.till == trace.Forever {
		return down, up, trace.Forever
	}
	return down, up, l.begin + l.till
}

// outage is the longest silence of a line that is waited for.
const outage = time.Hour

// carry returns when bytes that begin at from have passed, by the downlink or
// the uplink.
func (l *line) carry(from time.Duration, bytes float64, uplink bool) time.Duration {
	for t := from; t < from+outage; {
		down, up, until := l.at(t)
		rate := down
		if uplink {
			rate = up
		}
		if rate > 0 {
			need := time.Duration(math.Ceil(bytes / rate * float64(time.Second)))
			if until == trace.Forever || t+need <= until {
				return t + need
			}
			bytes -= rate * (until - t).Seconds()
		}
		if until == trace.Forever {
			break
		}
		t = until
	}
	return from + outage
}

// sent is what the uplink carries between two times, in bytes.
func (l *line) sent(from, to time.Duration) (bytes float64) {
	for t := from; t < to; {
		_, up, until := l.at(t)
		until = min(until, to)
		bytes += up * (until - t).Seconds()
		t = until
	}
	return bytes
}

// inbound is a burst on its way to a node, or in the queue before its line.
type inbound struct {
	at     time.Duration // when its last byte reaches the line, and then the node
	c      *conn         // nil: it is of f
	f      *fetch
	mask   uint64
	number uint64 // of the flight
	piece  uint32 // as its sender numbers it; of the CDN: of the rendition
}

// queued is a burst that waits for a downlink.
type queued struct {
	tag   float64
	bytes float64
	inbound
}

// downlink carries bursts of several flows one after the other.
type downlink struct {
	waiting []queued
	busy    bool // a burst is being carried
	ready   time.Duration
	virtual float64
	current inbound
	told    time.Duration // of the latest evDown
}

// arrive takes a burst whose last byte reaches the line. A line that is idle and
// no bottleneck passes it on at once; then it returns true.
func (p *peer) arrive(a inbound, bytes float64, flow *float64) bool {
	d := &p.down
	if !d.busy {
		// Its bytes have been coming in for a while: only what the line could
		// not carry meanwhile is left.
		rate, _, _ := p.line.at(a.at)
		if rate > 0 {
			begun := max(d.ready, a.at-time.Duration(bytes/rate*float64(time.Second)))
			if begun+time.Duration(bytes/rate*float64(time.Second)) <= a.at {
				d.ready = a.at
				return true
			}
		}
	}
	start := max(d.virtual, *flow)
	*flow = start + bytes
	d.waiting = append(d.waiting, queued{tag: start, bytes: bytes, inbound: a})
	if !d.busy {
		p.carryNext(a.at)
	}
	return false
}

// carryNext begins with the burst of the lowest tag; the first of equals.
func (p *peer) carryNext(now time.Duration) {
	d := &p.down
	if len(d.waiting) == 0 {
		d.busy = false
		return
	}
	best := 0
	for i := range d.waiting {
		if d.waiting[i].tag < d.waiting[best].tag {
			best = i
		}
	}
	q := d.waiting[best]
	d.waiting = append(d.waiting[:best], d.waiting[best+1:]...)
	d.busy, d.virtual, d.current = true, q.tag, q.inbound
	rate, _, _ := p.line.at(now)
	begin := d.ready
	if rate > 0 {
		begin = max(begin, now-time.Duration(q.bytes/rate*float64(time.Second)))
	} else {
		begin = max(begin, now)
	}
	d.ready = max(p.line.carry(begin, q.bytes, false), now)
	d.current.at = d.ready
}
