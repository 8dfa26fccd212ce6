package replay

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"shoal/internal/wire"
)

// thinkTime is the CDN's own share of a first byte.
const thinkTime = 5 * time.Millisecond

// fetch is a range request to the CDN, in chunks of the rendition.
type fetch struct {
	p        *peer
	next, to int64
	ready    time.Duration // when the CDN's next burst of it may reach the line
	begun    time.Duration
	first    time.Duration // when its first byte reached the line
	conn     *connection
	left     int64 // chunks that p has not got
	dead     bool
	user     any // the policy's
}

// cdn is a client's way to the CDN.
type cdn struct {
	active []*fetch // in the order of their turns
	conns  []*connection
	busy   bool          // an evCDN is on its way
	next   time.Duration // when the CDN's rate allows another burst
	inLine int           // bursts that wait in the downlink
	flow   float64
}

func (p *peer) cdnRTT() time.Duration { return p.w.cfg.CDNRTT + p.s.RTT }

// fetch asks the CDN for the chunks [from, to) of the rendition. The request
// waits in the uplink's queue like everything else.
func (p *peer) fetch(from, to int64, user any) *fetch {
	w := p.w
	f := &fetch{p: p, next: from, to: to, left: to - from, begun: w.now, user: user}
	conn, opened := p.cdn.connection(w)
	f.conn = conn
	conn.users++
	at := p.sendSurely(getBytes, p.cdnRTT())
	if opened {
		// A SYN's way there and back, through the same queue.
		at += p.cdnRTT() + p.uplinkWait()
	}
	f.ready = at + p.cdnRTT() + thinkTime
	p.cdn.active = append(p.cdn.active, f)
	w.wakeCDN(p)
	return f
}

func (p *peer) cancelFetch(f *fetch) {
	f.dead = true
	if i := slices.Index(p.cdn.active, f); i >= 0 {
		p.cdn.active = slices.Delete(p.cdn.active, i, i+1)
	}
	p.cdn.release(p.w, f, false)
}

// wakeCDN plans the next burst.
func (w *world) wakeCDN(p *peer) {
	c := &p.cdn
	if c.busy || c.inLine >= cdnInDownlink || len(c.active) == 0 {
		return
	}
	at := time.Duration(math.MaxInt64)
	for _, f := range c.active {
		at = min(at, max(f.ready, f.conn.next))
	}
	c.busy = true
	w.events.push(max(at, c.next, w.now), evCDN, p)
}

// cdnSends lets the next request in turn have a burst.
func (w *world) cdnSends(p *peer) {
	c := &p.cdn
	c.busy = false
	i := slices.IndexFunc(c.active, func(f *fetch) bool { return f.ready <= w.now && f.conn.next <= w.now })
	if i < 0 {
		w.wakeCDN(p)
		return
	}
	f := c.active[i]
	c.active = slices.Delete(c.active, i, i+1)
	end := min(f.next-f.next%chunksPerBurst+chunksPerBurst, f.to)
	from := f.next
	f.next = end
	if end < f.to {
		c.active = append(c.active, f)
	}
	n := end - from
	bytes := float64(n*wire.ChunkBytes) * cdnOverhead
	if f.first == 0 {
		f.first = w.now
	}
	f.conn.send(w, p, bytes)
	c.next = max(c.next, w.now) + time.Duration(bytes/w.cfg.CDNBytesPerSec*float64(time.Second))
	add(&w.total.cdn, w.now, n*wire.ChunkBytes)
	p.acct.rawCDN += n * wire.ChunkBytes
	a := inbound{
		at: w.now, f: f, mask: chunkRange(from%wire.ChunksPerPiece, n), piece: uint32(from / wire.ChunksPerPiece),
	}
	if p.arrive(a, bytes, &c.flow) {
		w.cdnArrived(p, a)
		p.soon()
	} else {
		c.inLine++
		p.awaitLine()
	}
	w.wakeCDN(p)
}

// cdnArrived is a burst of the CDN behind p's line.
func (w *world) cdnArrived(p *peer, a inbound) {
	f, n := a.f, int64(chunkBytes(a.mask))
	f.left -= n / wire.ChunkBytes
	_, _ = p.sendUpAt(a.at, float64(n)*tcpAckRatio) // later ones say the same
	if f.dead || !p.online {
		return
	}
	p.cameOverLine(a.at, n, true)
	p.policy.fetched(f, a.piece, a.mask)
	if f.left == 0 {
		f.dead = true
		p.cdn.release(w, f, true)
		p.policy.fetchDone(f)
	}
}

func chunkRange(from, n int64) uint64 {
	if n >= wire.ChunksPerPiece {
		return ^uint64(0)
	}
	return (1<<n - 1) << from
}

func chunkBytes(mask uint64) int { return bits.OnesCount64(mask) * wire.ChunkBytes }
