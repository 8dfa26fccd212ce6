package trace

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sort"
	"time"
)

// defaultCacheMB is what shoal peer keeps in memory without --cache: 256 MiB.
const defaultCacheMB = 268

// Quantiles are points (probability, value) of a distribution, ascending. The
// logarithm of the value is interpolated between them: rates and durations
// spread over orders of magnitude. Beyond the outermost points their values hold.
type Quantiles [][2]float64

// At returns the value below which a share u of all lies.
func (q Quantiles) At(u float64) float64 {
	i := sort.Search(len(q), func(i int) bool { return q[i][0] > u })
	switch i {
	case 0:
		return q[0][1]
	case len(q):
		return q[len(q)-1][1]
	}
	low, high := q[i-1], q[i]
	part := (u - low[0]) / (high[0] - low[0])
	return low[1] * math.Pow(high[1]/low[1], part)
}

// below is the share of values below v.
func (q Quantiles) below(v float64) float64 {
	i := sort.Search(len(q), func(i int) bool { return q[i][1] >= v })
	switch i {
	case 0:
		return 0
	case len(q):
		return 1
	}
	low, high := q[i-1], q[i]
	return low[0] + (high[0]-low[0])*math.Log(v/low[1])/math.Log(high[1]/low[1])
}

// variates are the random values of one session, one for each question, so that
// no answer depends on whether another was needed.
type variates struct {
	line, down, follow, up, rtt, place, nat, uploads, watch float64
}

func drawVariates(rng *rand.Rand) variates {
	return variates{
		line: rng.Float64(), down: rng.Float64(), follow: rng.Float64(), up: rng.Float64(), rtt: rng.Float64(),
		place: rng.Float64(), nat: rng.Float64(), uploads: rng.Float64(), watch: rng.Float64(),
	}
}

// Draw returns s with everything that is not known filled in, but Track,
// Platform and Network, and of a live title TitleLength and Position: how far
// behind the edge a viewer begins is the player's choice. It takes the same number of values from rng whatever is
// missing, so that a column that a trace has changes no other. What belongs to
// the title (kind, length, bitrate) follows from its name and is the same in
// each of its sessions. Afterwards Uploads is known, and UpKbps is 0 exactly
// when it is UploadsNo.
func (p *Profile) Draw(rng *rand.Rand, s Session) Session {
	u := drawVariates(rng)
	p.drawTitle(&s)
	p.drawLine(u, &s)
	if s.NAT == "" {
		s.NAT = p.NAT.Types[pick(u.nat, len(p.NAT.Types), func(i int) float64 { return p.NAT.Types[i].Share })].Type
	}
	if s.Uploads == UploadsUnknown && s.UpKbps != 0 && u.uploads < p.Uploads.NeverShare {
		s.Uploads = UploadsNo
	}
	if s.Uploads == UploadsNo || s.UpKbps == 0 {
		s.Uploads, s.UpKbps = UploadsNo, 0
	} else {
		s.Uploads = UploadsYes
	}
	if s.Position < 0 && s.Kind == VOD {
		s.Position = 0
	}
	if s.Watch < 0 {
		s.Watch = p.drawWatch(u.watch, s.Kind, s.TitleLength, s.Position)
	}
	if s.Linger < 0 {
		s.Linger = 0 // who closes the page is gone
	}
	if s.CacheMB < 0 {
		s.CacheMB = defaultCacheMB
	}
	return s
}

// drawTitle fills in what the title's name decides. The length of a live title
// stays Absent.
func (p *Profile) drawTitle(s *Session) {
	if s.Kind == KindUnknown {
		s.Kind = p.kind
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.Title)) // never fails
	rng := rand.New(rand.NewPCG(h.Sum64(), 0))
	length, kbps := rng.Float64(), rng.Float64()
	if s.TitleLength < 0 && s.Kind == VOD {
		s.TitleLength = seconds(p.TitleLength.Seconds.At(length))
	}
	if s.BitrateKbps < 0 {
		s.BitrateKbps = wholeKbps(p.Bitrate.Kbps.At(kbps))
	}
}

// drawLine fills in where the viewer is and what line it has.
func (p *Profile) drawLine(u variates, s *Session) {
	var line Home
	if p.Homes != nil {
		line = p.homes.draw(u.line, p.Homes.Lines, s.ISP)
	} else {
		line = p.Access.draw(u)
		if p.Places != nil {
			at := p.Places.Rows[pick(u.place, len(p.Places.Rows), func(i int) float64 { return p.Places.Rows[i].Share })]
			line.ISP, line.Region = at.ISP, at.Region
		}
	}
	if s.ISP == "" && s.Region == "" { // half a place of one and half of another is no place
		s.ISP, s.Region = line.ISP, line.Region
	}
	if s.DownKbps < 0 {
		s.DownKbps = line.DownKbps
	}
	if s.UpKbps < 0 {
		s.UpKbps = line.UpKbps
	}
	if s.RTT < 0 {
		s.RTT = time.Duration(line.RTTMs * float64(time.Millisecond)).Round(time.Microsecond)
	}
}

func (a *Access) draw(u variates) Home {
	t := a.Technologies[pick(u.line, len(a.Technologies), func(i int) float64 { return a.Technologies[i].Share })]
	up := u.up
	if u.follow < t.UpFollowsDown {
		up = u.down
	}
	return Home{
		Technology: t.Name, DownKbps: wholeKbps(t.DownKbps.At(u.down)), UpKbps: wholeKbps(t.UpKbps.At(up)), RTTMs: t.RTTMs.At(u.rtt),
	}
}

// homeIndex finds lines by weight, among all of them and among those of an ISP.
type homeIndex struct {
	all   weighted
	byISP map[string]*weighted
}

// weighted are lines with the running sum of their weights.
type weighted struct {
	lines []int32
	sums  []float64
}

func (w *weighted) add(line int, weight float64) {
	if weight <= 0 {
		return
	}
	if n := len(w.sums); n > 0 {
		weight += w.sums[n-1]
	}
	w.lines = append(w.lines, int32(line))
	w.sums = append(w.sums, weight)
}

func (w *weighted) draw(u float64) int {
	last := len(w.sums) - 1
	i := sort.SearchFloat64s(w.sums, u*w.sums[last])
	return int(w.lines[min(i, last)])
}

func newHomeIndex(lines []Home) homeIndex {
	x := homeIndex{byISP: make(map[string]*weighted)}
	for i, line := range lines {
		x.all.add(i, line.Weight)
		if line.ISP == "" {
			continue
		}
		of := x.byISP[line.ISP]
		if of == nil {
			of = &weighted{}
			x.byISP[line.ISP] = of
		}
		of.add(i, line.Weight)
	}
	return x
}

// draw takes a line of the viewer's ISP where there are some.
func (x *homeIndex) draw(u float64, lines []Home, isp string) Home {
	if of := x.byISP[isp]; of != nil && len(of.lines) > 0 {
		return lines[of.draw(u)]
	}
	return lines[x.all.draw(u)]
}

// finish makes p ready to be drawn from.
func (p *Profile) finish() error {
	if err := p.complete(); err != nil {
		return err
	}
	p.kind = VOD
	if p.Kind == Live.String() {
		p.kind = Live
	}
	if p.Homes != nil {
		p.homes = newHomeIndex(p.Homes.Lines)
	}
	return nil
}

// pick returns which of n shares u falls into.
func pick(u float64, n int, share func(int) float64) int {
	for i := range n - 1 {
		if u -= share(i); u < 0 {
			return i
		}
	}
	return n - 1
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}

func wholeKbps(kbps float64) int { return max(int(math.Round(kbps)), 1) }
