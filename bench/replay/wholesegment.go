package replay

import (
	"slices"
	"time"

	"shoal/internal/wire"
)

// Defaults of p2p-media-loader-core 2.3.1 (Core.DEFAULT_STREAM_CONFIG), under
// the names that they have there.
const (
	highDemandTimeWindow       = 15 * time.Second
	httpDownloadTimeWindow     = 3000 * time.Second
	p2pDownloadTimeWindow      = 6000 * time.Second
	simultaneousHTTPDownloads  = 2
	simultaneousP2PDownloads   = 3
	p2pNotReceivingBytesAfter  = 2 * time.Second // p2pNotReceivingBytesTimeoutMs
	p2pErrorRetries            = 3
	randomHTTPEvery            = time.Second      // PEER_UPDATE_LATENCY
	bandwidthWindow            = 15 * time.Second // of Peer.downloadBandwidth
	storageNearlyFull, lowRoom = 0.05, 0.1        // free, below which less is loaded ahead

	// webTorrentOffers and webTorrentInterval are of its tracker client,
	// bittorrent-tracker 11: an announce reaches at most as many peers, and the
	// tracker's usual interval for browsers is as long.
	webTorrentOffers   = 5
	webTorrentInterval = 2 * time.Minute

	// farScanEvery bounds how often segments far ahead are looked at in vain.
	farScanEvery = 100 * time.Millisecond
)

// wholeSegment is the model of p2p-media-loader 2.3.1. A segment that begins
// within highDemandTimeWindow comes over HTTP, also when a peer is sending it
// already; all others come from peers that have the whole of them, one from each
// peer at a time, rather from peers that have been fast. Now and then a peer
// takes a segment that nobody has over HTTP, however far ahead.
//
// A message of WebRTC is 64 KiB, the model's piece, and arrives as a whole: a
// peer too slow to send one within p2pNotReceivingBytesAfter is given up.
//
// Unlike the program, the model keeps what an aborted HTTP download has brought.
type wholeSegment struct {
	loading  map[int]*segmentDownload
	sources  map[*neighbour]*segmentSource
	randomAt time.Duration
	farAt    time.Duration // when segments far ahead are looked at again
	room     float64       // free share of the storage
}

// segmentDownload has either a fetch or a peer.
type segmentDownload struct {
	fetch *fetch
	from  *neighbour
	begun time.Duration
	heard time.Duration
	held  int // pieces, when it was heard
}

// segmentSource is a peer's record.
type segmentSource struct {
	timeouts int // since its last whole segment
	busy     time.Duration
	arrivals []arrival
}

// arrival is counted in the time in which the peer had something to send.
type arrival struct {
	at    time.Duration
	bytes int
}

func newWholeSegment(p *peer) policy {
	r := newRival(p, &wholeSegment{
		loading: make(map[int]*segmentDownload), sources: make(map[*neighbour]*segmentSource), room: 1,
	})
	r.offers, r.announceEvery = webTorrentOffers, webTorrentInterval
	return r
}

// heldPieces counts a segment's.
func heldPieces(p *peer, seg int) int {
	perFile := p.w.media.perFile
	h := p.shelves[p.rendition.id].at(seg / perFile)
	if h == nil {
		return 0
	}
	return int(h.pieces[seg%perFile])
}

// ask is the program's processQueue.
func (s *wholeSegment) ask(r *rival) time.Duration {
	s.settle(r)
	if r.p.w.now >= s.randomAt {
		if s.randomAt > 0 {
			s.randomOverHTTP(r)
		}
		draw := time.Duration(r.p.rng.Float64() * float64(len(r.neighbours)) * float64(randomHTTPEvery))
		s.randomAt = r.p.w.now + randomHTTPEvery + draw
	}
	m, v := r.p.w.media, &r.p.viewer
	for seg := int(v.position / m.segment); seg < min(r.p.told, m.segments); seg++ {
		ahead := m.start(seg) - v.position
		if ahead > highDemandTimeWindow {
			s.far(r, seg)
			break
		}
		if !r.p.holdsSegment(seg) {
			s.highDemand(r, seg)
		}
	}
	return s.next()
}

// highDemand loads a segment that is due.
func (s *wholeSegment) highDemand(r *rival, seg int) {
	d := s.loading[seg]
	if d != nil && d.fetch != nil {
		return
	}
	if len(r.fetches) < simultaneousHTTPDownloads || s.abortHTTPAfter(r, seg) {
		s.overHTTP(r, seg)
		return
	}
	if d == nil && len(s.holders(r, seg)) > 0 && (s.p2pDownloads() < simultaneousP2PDownloads || s.abortP2PAfter(r, seg)) {
		s.fromPeer(r, seg)
	}
}

// far asks peers for what is not due yet.
func (s *wholeSegment) far(r *rival, seg int) {
	window := p2pDownloadTimeWindow
	switch {
	case s.room <= storageNearlyFull:
		return
	case s.room <= lowRoom:
		window = httpDownloadTimeWindow
	}
	if r.p.w.now < s.farAt {
		return
	}
	m, v := r.p.w.media, &r.p.viewer
	asked := false
	for ; seg < min(r.p.told, m.segments) && m.start(seg)-v.position <= window; seg++ {
		if s.p2pDownloads() >= simultaneousP2PDownloads || s.p2pDownloads() >= len(r.neighbours) {
			return
		}
		if s.loading[seg] == nil && !r.p.holdsSegment(seg) {
			asked = s.fromPeer(r, seg) || asked
		}
	}
	if !asked {
		s.farAt = r.p.w.now + farScanEvery
	}
}

// next is when something falls due without an event.
func (s *wholeSegment) next() time.Duration {
	at := s.randomAt
	for _, d := range s.loading {
		if d.from != nil {
			at = min(at, d.heard+p2pNotReceivingBytesAfter)
		}
	}
	return at
}

func (s *wholeSegment) p2pDownloads() (count int) {
	for _, d := range s.loading {
		if d.from != nil {
			count++
		}
	}
	return count
}

// segmentsLoading are in order: what depends on it must not depend on a map's.
func (s *wholeSegment) segmentsLoading() []int {
	list := make([]int, 0, len(s.loading))
	for seg := range s.loading {
		list = append(list, seg)
	}
	slices.Sort(list)
	return list
}

// settle takes note of what has come, is through, or is lost.
func (s *wholeSegment) settle(r *rival) {
	var broken []*neighbour
	for _, seg := range s.segmentsLoading() {
		d := s.loading[seg]
		if d.fetch != nil {
			if r.p.holdsSegment(seg) || !slices.Contains(r.fetches, d.fetch) {
				delete(s.loading, seg)
			}
			continue
		}
		src := s.source(d.from)
		if held := heldPieces(r.p, seg); held > d.held {
			d.heard = r.p.w.now
			src.arrived(src.busy+r.p.w.now-d.begun, (held-d.held)*wire.PieceBytes)
			d.held = held
		}
		switch {
		case r.p.holdsSegment(seg):
			src.timeouts = 0
			s.end(r, seg)
		case !slices.Contains(r.neighbours, d.from) || d.from.owed == 0: // given up by a seek
			s.end(r, seg)
		case r.p.w.now-d.heard >= p2pNotReceivingBytesAfter:
			if src.timeouts++; src.timeouts >= p2pErrorRetries {
				broken = append(broken, d.from)
			}
			s.end(r, seg)
			src.arrivals = nil
		}
	}
	for _, n := range broken {
		r.p.w.hangUp(r.p, n.c)
	}
	for n := range s.sources {
		if !slices.Contains(r.neighbours, n) {
			delete(s.sources, n)
		}
	}
}

// end ends a download from a peer.
func (s *wholeSegment) end(r *rival, seg int) {
	d := s.loading[seg]
	delete(s.loading, seg)
	s.source(d.from).busy += r.p.w.now - d.begun
	for i := r.p.rendition.firstPiece(seg); i < r.p.rendition.firstPiece(seg+1); i++ {
		if t := r.partial[i]; t != nil && t.from == d.from {
			r.takeBack(i)
		}
	}
}

func (s *wholeSegment) overHTTP(r *rival, seg int) {
	if d := s.loading[seg]; d != nil {
		s.end(r, seg)
	}
	if f := r.fromWeb(r.p.rendition.firstPiece(seg), r.p.rendition.firstPiece(seg+1)); f != nil {
		s.loading[seg] = &segmentDownload{fetch: f, begun: r.p.w.now}
	}
}

// abortHTTPAfter makes room for a segment that is due earlier.
func (s *wholeSegment) abortHTTPAfter(r *rival, seg int) bool {
	for _, later := range slices.Backward(s.segmentsLoading()) {
		if d := s.loading[later]; later > seg && d.fetch != nil {
			r.giveUp(d.fetch)
			delete(s.loading, later)
			return true
		}
	}
	return false
}

func (s *wholeSegment) abortP2PAfter(r *rival, seg int) bool {
	for _, later := range slices.Backward(s.segmentsLoading()) {
		if later > seg && s.loading[later].from != nil {
			s.end(r, later)
			return true
		}
	}
	return false
}

// holders are the neighbours that have all of a segment.
func (s *wholeSegment) holders(r *rival, seg int) []*neighbour {
	var list []*neighbour
	for _, n := range r.neighbours {
		if o := r.other(n); o.online && o.s.UpKbps > 0 && o.holdsOf(r.p.rendition, seg) {
			list = append(list, n)
		}
	}
	return list
}

// comingOverHTTP tells whether a neighbour is about to have a segment.
func (s *wholeSegment) comingOverHTTP(r *rival, seg int) bool {
	return slices.ContainsFunc(r.neighbours, func(n *neighbour) bool {
		o := r.other(n)
		other, ok := o.policy.(*rival)
		if !ok || !o.online || o.rendition != r.p.rendition {
			return false
		}
		d := other.plan.(*wholeSegment).loading[seg]
		return d != nil && d.fetch != nil
	})
}

// fromPeer asks one of the idle peers that have a segment.
func (s *wholeSegment) fromPeer(r *rival, seg int) bool {
	idle := slices.DeleteFunc(s.holders(r, seg), s.busy)
	if len(idle) == 0 {
		return false
	}
	n := s.choose(r, idle)
	// The sender's first words come at once, and begin the wait for bytes anew.
	heard := r.p.w.now + n.c.rtt
	s.loading[seg] = &segmentDownload{from: n, begun: r.p.w.now, heard: heard, held: heldPieces(r.p, seg)}
	for i := r.p.rendition.firstPiece(seg); i < r.p.rendition.firstPiece(seg+1); i++ {
		if !r.p.holds(i) {
			r.askFor(n, i)
		}
	}
	return true
}

func (s *wholeSegment) busy(n *neighbour) bool {
	for _, d := range s.loading {
		if d.from == n {
			return true
		}
	}
	return false
}

// choose draws a peer, weighted by what it has sent while it had to. Those that
// have not proved themselves have a tenth of the best one's weight, and together
// no more than the others (P2PLoader.downloadSegment).
func (s *wholeSegment) choose(r *rival, list []*neighbour) *neighbour {
	weights := make([]float64, len(list))
	best := 0.0
	for i, n := range list {
		weights[i] = s.source(n).bandwidth()
		best = max(best, weights[i])
	}
	if best == 0 {
		return list[r.p.rng.IntN(len(list))]
	}
	least, proven, unproven := best*0.1, 0.0, 0.0
	for _, w := range weights {
		if w <= least {
			unproven++
		} else {
			proven += w
		}
	}
	if unproven*least > proven {
		least = proven / unproven
	}
	sum := 0.0
	for i := range weights {
		weights[i] = max(weights[i], least)
		sum += weights[i]
	}
	draw := r.p.rng.Float64() * sum
	for i, w := range weights {
		if draw -= w; draw <= 0 {
			return list[i]
		}
	}
	return list[len(list)-1]
}

func (s *wholeSegment) source(n *neighbour) *segmentSource {
	src := s.sources[n]
	if src == nil {
		src = &segmentSource{}
		s.sources[n] = src
	}
	return src
}

func (src *segmentSource) arrived(at time.Duration, bytes int) {
	src.arrivals = append(src.arrivals, arrival{at, bytes})
	for at-src.arrivals[0].at > bandwidthWindow {
		src.arrivals = src.arrivals[1:]
	}
}

// bandwidth is in bytes per second of having something to send.
func (src *segmentSource) bandwidth() float64 {
	if len(src.arrivals) == 0 {
		return 0
	}
	sum := 0
	for _, a := range src.arrivals {
		sum += a.bytes
	}
	span := src.arrivals[len(src.arrivals)-1].at - src.arrivals[0].at
	return float64(sum) / max(span, time.Millisecond).Seconds()
}

// randomOverHTTP is the program's loadRandomThroughHttp: of what nobody has or
// fetches, each of n connected peers takes some with the probability of 1 in
// n + 1 each, so that all of them together take each once.
func (s *wholeSegment) randomOverHTTP(r *rival) {
	if len(r.neighbours) == 0 || len(r.fetches) >= simultaneousHTTPDownloads || s.room <= lowRoom {
		return
	}
	m, v := r.p.w.media, &r.p.viewer
	peers := len(r.neighbours) + 1
	var open []int
	for seg := int(v.position / m.segment); seg < min(r.p.told, m.segments); seg++ {
		if m.start(seg)-v.position > httpDownloadTimeWindow || len(open) == simultaneousHTTPDownloads*peers {
			break
		}
		if s.loading[seg] == nil && !r.p.holdsSegment(seg) && len(s.holders(r, seg)) == 0 && !s.comingOverHTTP(r, seg) {
			open = append(open, seg)
		}
	}
	probability := float64(len(open)) / float64(peers)
	r.p.rng.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
	for _, seg := range open {
		if len(r.fetches) >= simultaneousHTTPDownloads || probability <= 0 {
			return
		}
		if probability >= 1 || r.p.rng.Float64() <= probability {
			s.overHTTP(r, seg)
		}
		probability--
	}
}

// everySecond looks how much of the storage is free: what has been played does
// not count, for it may be dropped.
func (s *wholeSegment) everySecond(r *rival, watching bool) {
	if !watching {
		return
	}
	m := r.p.w.media
	used := int64(0)
	for seg := int(r.p.viewer.position / m.segment); seg < min(r.p.told, m.segments); seg++ {
		used += int64(heldPieces(r.p, seg)) * wire.PieceBytes
	}
	s.room = 1 - float64(used)/float64(r.p.cacheBytes())
}

func (s *wholeSegment) mayServe(*rival, *neighbour) bool { return true }

func (s *wholeSegment) told(*rival, *neighbour, any) {}

func (s *wholeSegment) forget() { clear(s.loading) }
