package replay

import (
	"time"

	"shoal/internal/wire"
	"shoal/tracker"
)

// cdnOnly is a player without a node: every segment comes from the CDN. It is
// the twin that net_saving compares with.
type cdnOnly struct {
	p    *peer
	now  *fetch
	left map[uint32]uint64 // chunks that are missing of a piece
}

func newCDNOnly(p *peer) policy {
	p.alone = true
	return &cdnOnly{p: p, left: make(map[uint32]uint64)}
}

func (b *cdnOnly) want(int) {
	v := &b.p.viewer
	for i := v.first; i < v.end; i++ {
		if !b.p.holds(i) {
			b.left[i] = ^uint64(0)
		}
	}
	from := v.first
	for from < v.end && b.p.holds(from) {
		from++
	}
	if from < v.end {
		b.now = b.p.fetch(int64(from)*wire.ChunksPerPiece, int64(v.end)*wire.ChunksPerPiece, nil)
	}
}

func (b *cdnOnly) fetched(_ *fetch, piece uint32, mask uint64) {
	b.p.viewer.firstByte(b.p.w.now)
	left, ok := b.left[piece]
	if !ok {
		return // it was here
	}
	if left &^= mask; left != 0 {
		b.left[piece] = left
		return
	}
	delete(b.left, piece)
	why := reasonRescue
	if !b.p.acct.started {
		why = reasonStartup
	}
	var cdn [reasonCount]int64
	cdn[why] = wire.PieceBytes
	b.p.got(piece, 0, cdn)
	b.p.hold(piece)
}

func (b *cdnOnly) stop() {
	if b.now != nil {
		b.p.cancelFetch(b.now)
		b.now = nil
	}
	clear(b.left)
}

func (b *cdnOnly) fetchDone(*fetch)          { b.now = nil }
func (b *cdnOnly) jumped()                   { b.stop() }
func (b *cdnOnly) viewerGone()               { b.stop() }
func (b *cdnOnly) done(int)                  {}
func (b *cdnOnly) second(bool)               {}
func (b *cdnOnly) grown(int)                 {}
func (b *cdnOnly) candidates(tracker.Answer) {}
func (b *cdnOnly) connected(*conn) bool      { return false }
func (b *cdnOnly) refused(*conn)             {}
func (b *cdnOnly) lost(*conn)                {}
func (b *cdnOnly) message(*end, *conn, any)  {}
func (b *cdnOnly) burst(*inbound)            {}
func (b *cdnOnly) stored(uint32)             {}
func (b *cdnOnly) evicted(uint32)            {}
func (b *cdnOnly) end()                      {}
func (b *cdnOnly) serve() (burst, bool)      { return burst{}, false }
func (b *cdnOnly) advance() time.Duration    { return never }
