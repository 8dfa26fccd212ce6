package replay

import (
	"slices"
	"time"
)

// The time windows and parallel downloads of p2p-media-loader 2's defaults.
const (
	highDemandWindow = 15 * time.Second
	p2pWindow        = 60 * time.Second
	httpDownloads    = 2
	p2pDownloads     = 3
	// noBytesTimeout ends a download from a peer that sends nothing.
	noBytesTimeout = 2 * time.Second
)

// wholeSegment is the model of p2p-media-loader: a segment that is due within 15
// seconds comes over HTTP, one due within 60 from one random peer that has the
// whole of it. Now and then a peer takes a random one of the latter over HTTP if
// no neighbour has it, less often the more neighbours there are.
type wholeSegment struct {
	from map[int]*neighbour // segments that come from peers
	http map[int]bool       // segments that come over HTTP
}

func newWholeSegment(p *peer) policy {
	return newRival(p, &wholeSegment{from: make(map[int]*neighbour), http: make(map[int]bool)})
}

// window calls do for the segments that are missing and due within ahead.
func (s *wholeSegment) window(r *rival, ahead time.Duration, do func(seg int, due time.Duration)) {
	m, v := r.p.w.media, &r.p.viewer
	for seg := int(v.position / m.segment); seg < min(r.p.told, m.segments); seg++ {
		due := max(m.start(seg)-v.position, 0)
		if due >= ahead {
			return
		}
		if r.p.holdsSegment(seg) {
			delete(s.from, seg)
			delete(s.http, seg)
			continue
		}
		do(seg, due)
	}
}

func (s *wholeSegment) ask(r *rival) {
	s.settle(r)
	s.window(r, p2pWindow, func(seg int, due time.Duration) {
		switch {
		case s.http[seg]:
		case due < highDemandWindow:
			if len(r.fetches) < httpDownloads {
				delete(s.from, seg)
				s.overHTTP(r, seg)
			}
		case s.from[seg] == nil && len(s.from) < p2pDownloads:
			s.fromPeer(r, seg)
		}
	})
}

// settle forgets what is through or lost.
func (s *wholeSegment) settle(r *rival) {
	for seg, n := range s.from {
		if r.p.holdsSegment(seg) || !slices.Contains(r.neighbours, n) {
			delete(s.from, seg)
		}
	}
	for seg := range s.http {
		if r.p.holdsSegment(seg) || len(r.fetches) == 0 {
			delete(s.http, seg)
		}
	}
}

func (s *wholeSegment) overHTTP(r *rival, seg int) {
	s.http[seg] = true
	r.fromWeb(r.p.rendition.firstPiece(seg), r.p.rendition.firstPiece(seg+1))
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

func (s *wholeSegment) fromPeer(r *rival, seg int) {
	list := s.holders(r, seg)
	if len(list) == 0 {
		return
	}
	n := list[r.p.rng.IntN(len(list))]
	s.from[seg] = n
	for i := r.p.rendition.firstPiece(seg); i < r.p.rendition.firstPiece(seg+1); i++ {
		if !r.p.holds(i) {
			r.askFor(n, i)
		}
	}
}

func (s *wholeSegment) everySecond(r *rival, watching bool) {
	if !watching {
		return
	}
	for _, seg := range s.sorted() {
		if n := s.from[seg]; r.p.w.now-n.heard >= noBytesTimeout {
			for i := r.p.rendition.firstPiece(seg); i < r.p.rendition.firstPiece(seg+1); i++ {
				r.takeBack(i)
			}
			delete(s.from, seg)
		}
	}
	var missing []int
	s.window(r, p2pWindow, func(seg int, due time.Duration) {
		if due >= highDemandWindow && s.from[seg] == nil && !s.http[seg] && len(s.holders(r, seg)) == 0 {
			missing = append(missing, seg)
		}
	})
	draw, pick := r.p.rng.Float64(), r.p.rng.Float64()
	if len(r.neighbours) == 0 || len(r.fetches) >= httpDownloads || len(missing) == 0 ||
		draw >= float64(len(missing))/float64(len(r.neighbours)+1) {
		return
	}
	s.overHTTP(r, missing[int(pick*float64(len(missing)))])
}

func (s *wholeSegment) sorted() []int {
	list := make([]int, 0, len(s.from))
	for seg := range s.from {
		list = append(list, seg)
	}
	slices.Sort(list)
	return list
}

func (s *wholeSegment) mayServe(*rival, *neighbour) bool { return true }

func (s *wholeSegment) told(*rival, *neighbour, any) {}

func (s *wholeSegment) forget() { clear(s.from); clear(s.http) }
