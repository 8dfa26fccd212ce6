package replay

import (
	"slices"
	"time"
)

const (
	// tcpInitialWindow is ten packets (RFC 6928).
	tcpInitialWindow = 10 * tcpPacket
	tcpPacket        = 1500
	// hystartWindow is from which window on Linux' Cubic looks for a delay that
	// rises (hystart_low_window): the least of a round trip, after as many packets
	// as eight ACKs tell of (HYSTART_MIN_SAMPLES). hystartMin and hystartMax bound
	// by how much it must, an eighth of the path's least.
	hystartWindow = 16 * tcpPacket
	hystartBytes  = 16 * tcpPacket
	hystartMin    = 4 * time.Millisecond
	hystartMax    = 16 * time.Millisecond
	// cubicC and cubicReno are RFC 9438's C and α.
	cubicC    = 0.4
	cubicReno = 0.53
	// tcpWindowMax is a receive window as large as no path here needs.
	tcpWindowMax = 4 << 20
)

// connection is a TCP connection to the CDN, seen from the CDN: a window that is
// sent in each round trip. The round trip has the client's uplink in it, in which
// the acknowledgements wait.
type connection struct {
	window    float64       // bytes
	threshold float64       // of slow start; 0: not known yet
	origin    float64       // window when slow start was over for the first time
	active    time.Duration // since then, without pauses
	least     time.Duration // round trip
	roundEnd  time.Duration // of the present round trip
	roundMin  time.Duration // least round trip in it
	roundSent float64       // bytes in it
	next      time.Duration // when the window takes another burst
	used      time.Duration // when it last carried something
	users     int           // requests under way
}

// connection returns the one that the next request takes, and whether it has yet
// to be opened: the client's only one with HTTP/2, else an idle one.
func (c *cdn) connection(w *world) (conn *connection, opened bool) {
	for i := len(c.conns) - 1; i >= 0; i-- { // the last used, as net/http does
		if conn := c.conns[i]; conn.users == 0 || !w.cfg.CDNHTTP1 {
			return conn, false
		}
	}
	conn = &connection{window: tcpInitialWindow}
	c.conns = append(c.conns, conn)
	return conn, w.cfg.CDNHTTP1
}

// release ends a request. With HTTP/1.1 the connection of one that was cancelled
// is of no use any more.
func (c *cdn) release(w *world, f *fetch, whole bool) {
	if f.conn == nil {
		return
	}
	conn := f.conn
	conn.users--
	f.conn = nil
	if !w.cfg.CDNHTTP1 {
		return
	}
	c.conns = slices.DeleteFunc(c.conns, func(o *connection) bool { return o == conn })
	if whole {
		c.conns = append(c.conns, conn)
	}
}

// send books a burst that leaves now.
func (n *connection) send(w *world, p *peer, bytes float64) {
	rtt := p.cdnRTT() + p.uplinkWait()
	if n.least == 0 {
		n.least = rtt
	}
	n.least = min(n.least, rtt)
	// After a pause the window starts again, from half for each time-out that
	// passed (RFC 2861, which Linux follows).
	timeout := rtt + retransmit
	for idle := w.now - max(n.used, n.next); idle > timeout && n.window > tcpInitialWindow; idle -= timeout {
		if n.threshold > 0 {
			n.threshold = max(n.threshold, 0.75*n.window)
		}
		n.window = max(n.window/2, tcpInitialWindow)
	}
	busy := min(w.now-n.used, rtt)
	n.used = w.now
	n.next = max(n.next, w.now) + time.Duration(bytes/n.window*float64(rtt))
	n.sample(w.now, rtt, bytes)
	if n.threshold == 0 && n.window >= hystartWindow && n.delayRises() {
		n.threshold, n.origin, busy = n.window, n.window, 0
	}
	growth := bytes // slow start
	if n.threshold > 0 {
		n.active += busy
		if n.window >= n.threshold {
			growth = n.avoid(bytes)
		}
	}
	n.window = min(n.window+growth, tcpWindowMax)
}

// sample takes the round trip of a burst. One that is long by chance tells nothing:
// the client's other packets come and go in the queue before its ACKs.
func (n *connection) sample(now, rtt time.Duration, bytes float64) {
	if now >= n.roundEnd {
		n.roundEnd, n.roundMin, n.roundSent = now+rtt, rtt, 0
	}
	n.roundMin = min(n.roundMin, rtt)
	n.roundSent += bytes
}

func (n *connection) delayRises() bool {
	return n.roundSent >= hystartBytes && n.roundMin > n.least+min(max(n.least/8, hystartMin), hystartMax)
}

// avoid is by how much so many acknowledged bytes let the window grow: along
// Cubic's curve without a loss (RFC 9438 §4.2: K is 0), at least as Reno.
func (n *connection) avoid(bytes float64) float64 {
	t := n.active.Seconds()
	target := n.origin + cubicC*t*t*t*tcpPacket
	return bytes * max(min((target-n.window)/n.window, 0.5), cubicReno*tcpPacket/n.window)
}
