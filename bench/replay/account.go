package replay

import (
	"math"
	"time"
)

// reason says why the CDN was asked.
type reason uint8

const (
	reasonStartup reason = iota
	reasonFirstCopy
	reasonRescue
	reasonHash
	reasonCount
)

// account is what one session did.
type account struct {
	// played, by source
	p2p   int64
	cdn   [reasonCount]int64
	cache int64

	rawP2P, rawCDN int64 // all payload that came, of use or not
	dup            int64
	sent           int64
	near           nearBytes // of p2p

	segments []segmentBytes // that came and were not shown yet
	runs     []run          // what was shown, and when

	started bool
	startup time.Duration
	stalls  int
	stalled time.Duration
	played  time.Duration // media time

	segmentsShown int
	switches      int // of the rendition
}

// segmentBytes are the sources of a segment's bytes.
type segmentBytes struct {
	segment played
	p2p     int64
	cdn     [reasonCount]int64
	from    nearBytes // of what peers sent before its pieces were complete
}

// run is a stretch of segments that were shown one after the other from the
// network, without an interruption.
type run struct {
	at    time.Duration // when the first one's first picture was shown
	first played
	count int
	came  bool // over the network; else from the cache
}

// got books a piece with verified bytes.
func (p *peer) got(piece uint32, p2p int64, cdn [reasonCount]int64) {
	r := p.w.media.of(piece)
	p.acct.got(played{r.id, r.segmentOf(piece)}, p2p, cdn)
}

func (a *account) got(seg played, p2p int64, cdn [reasonCount]int64) {
	s := a.open(seg)
	s.p2p += p2p
	for i, n := range cdn {
		s.cdn[i] += n
	}
}

// gotBurst books a burst of a seed.
func (p *peer) gotBurst(piece uint32, near nearness, n int64) {
	p.acct.rawP2P += n
	r := p.w.media.of(piece)
	seg := played{r.id, r.segmentOf(piece)}
	if p.acct.segment(seg) == nil && p.holds(piece) {
		return // it was shown already
	}
	p.acct.open(seg).from.add(near.bytes(n))
}

// open returns the entry of a segment that was not shown yet.
func (a *account) open(seg played) *segmentBytes {
	if s := a.segment(seg); s != nil {
		return s
	}
	a.segments = append(a.segments, segmentBytes{segment: seg})
	return &a.segments[len(a.segments)-1]
}

func (a *account) segment(seg played) *segmentBytes {
	for i := len(a.segments) - 1; i >= 0; i-- {
		if a.segments[i].segment == seg {
			return &a.segments[i]
		}
	}
	return nil
}

// shown books a segment whose first picture was shown at at. What did not come
// since it was last shown comes from the cache. What came twice, because a small
// cache lost it before its time, was shown once: what peers sent counts less then.
func (a *account) shown(at time.Duration, seg played, bytes int64, length time.Duration) {
	a.segmentsShown++
	left := bytes
	if s := a.segment(seg); s != nil {
		for i, n := range s.cdn {
			n = min(n, left)
			a.cdn[i] += n
			left -= n
		}
		p2p := min(s.p2p, left)
		a.p2p += p2p
		a.near.add(s.from.part(p2p))
		left -= p2p
		*s = a.segments[len(a.segments)-1]
		a.segments = a.segments[:len(a.segments)-1]
	}
	a.cache += left
	came := left < bytes
	if n := len(a.runs); n > 0 {
		last := &a.runs[n-1]
		next := last.at + time.Duration(last.count)*length
		if last.came == came && last.first.after(last.count) == seg && next == at {
			last.count++
			return
		}
	}
	a.runs = append(a.runs, run{at: at, first: seg, count: 1, came: came})
}

// nearness says what two viewers have in common.
type nearness struct{ isp, region, country bool }

func nearnessOf(a, b *Session) nearness {
	return nearness{
		isp:     a.ISP != "" && a.ISP == b.ISP,
		region:  a.Region != "" && a.Region == b.Region,
		country: a.Country() != "" && a.Country() == b.Country(),
	}
}

// nearBytes are bytes from peers, and those of them whose sender is near.
type nearBytes struct{ all, isp, region, country int64 }

// bytes of a sender.
func (near nearness) bytes(n int64) nearBytes {
	b := nearBytes{all: n}
	if near.isp {
		b.isp = n
	}
	if near.region {
		b.region = n
	}
	if near.country {
		b.country = n
	}
	return b
}

func (b *nearBytes) add(o nearBytes) {
	b.all, b.isp, b.region, b.country = b.all+o.all, b.isp+o.isp, b.region+o.region, b.country+o.country
}

// part is so many of the bytes, from near and far as all are: which of them were
// played, and which came twice, is not known.
func (b nearBytes) part(n int64) nearBytes {
	if b.all == 0 {
		return nearBytes{all: n}
	}
	share := float64(n) / float64(b.all)
	of := func(bytes int64) int64 { return int64(math.Round(share * float64(bytes))) }
	return nearBytes{all: n, isp: of(b.isp), region: of(b.region), country: of(b.country)}
}

func (a *account) cdnPlayed() (sum int64) {
	for _, n := range a.cdn {
		sum += n
	}
	return sum
}

// binLength is the grain of the series over time.
const binLength = 10 * time.Second

// binsMax bounds a series: twelve weeks.
const binsMax = 1 << 20

// series are sums over time, in bins since the trace's beginning.
type series struct {
	p2p, cdn, online []int64 // bytes, bytes, viewer-milliseconds
}

func add(bins *[]int64, at time.Duration, n int64) {
	i := min(max(int(at/binLength), 0), binsMax-1)
	if i >= len(*bins) {
		*bins = append(*bins, make([]int64, i+1-len(*bins))...)
	}
	(*bins)[i] += n
}

// watched adds the time [from, to) of a viewer.
func (s *series) watched(from, to time.Duration) {
	for from < to {
		end := min(from-from%binLength+binLength, to)
		add(&s.online, from, (end - from).Milliseconds())
		from = end
	}
}

func (s *series) merge(o *series) {
	sum := func(dst *[]int64, src []int64) {
		if len(src) > len(*dst) {
			*dst = append(*dst, make([]int64, len(src)-len(*dst))...)
		}
		for i, n := range src {
			(*dst)[i] += n
		}
	}
	sum(&s.p2p, o.p2p)
	sum(&s.cdn, o.cdn)
	sum(&s.online, o.online)
}
