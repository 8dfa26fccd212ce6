package trace

import (
	"fmt"
	"slices"
	"strings"
)

// Profile is what missing columns are drawn from. In a file it is JSON with the
// names below; docs/replay.md describes it. Every section names where its
// numbers were published. A section that a file leaves out is borrowed from the
// profile "default".
type Profile struct {
	Name    string            `json:"name"`
	About   string            `json:"about"`
	Kind    string            `json:"kind,omitempty"` // of titles whose kind is not known: "vod" or "live"
	Sources map[string]Source `json:"sources"`

	Access      *Access      `json:"access,omitempty"`
	Homes       *Homes       `json:"homes,omitempty"` // measured lines; stands in for Access and Places
	Places      *Places      `json:"places,omitempty"`
	NAT         *NATs        `json:"nat,omitempty"`
	Uploads     *NoUploads   `json:"uploads,omitempty"`
	Arrivals    *Arrivals    `json:"arrivals,omitempty"`
	Watch       *Departures  `json:"watch,omitempty"`
	TitleLength *TitleLength `json:"title_length,omitempty"`
	Bitrate     *Bitrate     `json:"bitrate,omitempty"`
	Popularity  *Popularity  `json:"popularity,omitempty"`

	// set by finish
	kind     Kind
	homes    homeIndex
	borrowed []string
}

// Source is where numbers were published.
type Source struct {
	Title   string `json:"title"`
	Where   string `json:"where"`             // URL, DOI, or repository and commit
	Licence string `json:"licence,omitempty"` // with the credit that it asks for
	Note    string `json:"note,omitempty"`    // how the numbers were made from it
}

// Sourced is the part of a section that names its sources.
type Sourced struct {
	Source []string `json:"source"` // keys of Profile.Sources
}

// Access is the capacity of home lines by technology.
type Access struct {
	Sourced
	Technologies []Technology `json:"technologies"`
}

// Technology is one kind of access line. Rates and round trips are quantiles.
type Technology struct {
	Name     string    `json:"name"`
	Share    float64   `json:"share"`
	DownKbps Quantiles `json:"down_kbps"`
	UpKbps   Quantiles `json:"up_kbps"`
	RTTMs    Quantiles `json:"rtt_ms"`
	// UpFollowsDown is the share of lines whose uplink has the same rank among
	// its like as their downlink; the others' is independent. It is the rank
	// correlation of the two.
	UpFollowsDown float64 `json:"up_follows_down"`
}

// Homes are measured lines, drawn as they are: what belongs together stays together.
type Homes struct {
	Sourced
	Lines []Home `json:"lines"`
}

// Home is one measured line.
type Home struct {
	ISP        string  `json:"isp,omitempty"`
	Region     string  `json:"region,omitempty"`
	Technology string  `json:"technology,omitempty"`
	DownKbps   int     `json:"down_kbps"`
	UpKbps     int     `json:"up_kbps"`
	RTTMs      float64 `json:"rtt_ms"`
	Weight     float64 `json:"weight"`
}

// Places are where viewers are.
type Places struct {
	Sourced
	Rows []Place `json:"rows"`
}

// Place is an ISP in a region.
type Place struct {
	ISP    string  `json:"isp"`
	Region string  `json:"region"`
	Share  float64 `json:"share"`
}

// NATs are the NATs in front of viewers.
type NATs struct {
	Sourced
	Types []NATShare `json:"types"`
}

// NATShare is how many viewers are behind one type of NAT.
type NATShare struct {
	Type  string  `json:"type"`
	Share float64 `json:"share"`
}

// NoUploads says how many viewers never upload.
type NoUploads struct {
	Sourced
	NeverShare float64 `json:"never_share"`
}

// Arrivals are how many viewers come in each hour of a day, in any unit.
type Arrivals struct {
	Sourced
	Hourly []float64 `json:"hourly"` // 24
}

// Departures say when viewers leave.
type Departures struct {
	Sourced
	// LiveSeconds are quantiles of how long a live channel is watched.
	LiveSeconds Quantiles `json:"live_seconds"`
	// VOD is the share of viewers that have left by a position, in ascending
	// order; those who are there at the end leave then.
	VOD []LeftBy `json:"vod"`
}

// LeftBy is a point of a departure curve. Exactly one of Seconds and Fraction is set.
type LeftBy struct {
	Seconds  float64  `json:"seconds,omitempty"`  // media time
	Fraction float64  `json:"fraction,omitempty"` // of the title
	Left     float64  `json:"left"`
	Source   []string `json:"source"`
}

// TitleLength is how long VOD titles are.
type TitleLength struct {
	Sourced
	Seconds Quantiles `json:"seconds"`
}

// Bitrate is the mean rate of titles whose bitrate is not known.
type Bitrate struct {
	Sourced
	Kbps Quantiles `json:"kbps"`
}

// Popularity is how often titles are chosen.
type Popularity struct {
	Sourced
	Points []RankWeight `json:"points"` // between them log weight is linear in log rank
}

// RankWeight is how often the title of a rank is chosen, in any unit.
type RankWeight struct {
	Rank   int     `json:"rank"`
	Weight float64 `json:"weight"`
}

// Limits of a profile.
const (
	profileBytesMax  = 32 << 20 // homesMax lines of 200 bytes are 20 MB
	homesMax         = 100_000
	rowsMax          = 4096 // of any other list
	sourceBytesMax   = 4096
	popularTitlesMax = 1_000_000
	sharesSlack      = 0.01 // published shares are rounded
	leastValue       = 1e-3 // of what is interpolated: ratios of values stay finite
)

// Borrowed names the sections that came from the profile "default".
func (p *Profile) Borrowed() []string { return p.borrowed }

// borrow fills the sections that p lacks.
func (p *Profile) borrow(from *Profile) {
	lend := func(name string, missing bool, set func()) {
		if missing {
			p.borrowed = append(p.borrowed, name)
			set()
		}
	}
	lend("kind", p.Kind == "", func() { p.Kind = from.Kind })
	lend("access", p.Access == nil && p.Homes == nil, func() { p.Access = from.Access })
	lend("places", p.Places == nil && p.Homes == nil, func() { p.Places = from.Places })
	lend("nat", p.NAT == nil, func() { p.NAT = from.NAT })
	lend("uploads", p.Uploads == nil, func() { p.Uploads = from.Uploads })
	lend("arrivals", p.Arrivals == nil, func() { p.Arrivals = from.Arrivals })
	lend("watch", p.Watch == nil, func() { p.Watch = from.Watch })
	lend("title_length", p.TitleLength == nil, func() { p.TitleLength = from.TitleLength })
	lend("bitrate", p.Bitrate == nil, func() { p.Bitrate = from.Bitrate })
	lend("popularity", p.Popularity == nil, func() { p.Popularity = from.Popularity })
	if len(p.borrowed) == 0 {
		return
	}
	own := p.Sources
	p.Sources = make(map[string]Source, len(own)+len(from.Sources))
	for id, s := range from.Sources {
		p.Sources[id] = s
	}
	for id, s := range own {
		p.Sources[id] = s
	}
}

// complete says what is still missing after borrowing; only "default" can lack
// something then.
func (p *Profile) complete() error {
	if p.Kind == "" || p.Access == nil && p.Homes == nil || p.NAT == nil || p.Uploads == nil || p.Arrivals == nil || p.Watch == nil ||
		p.TitleLength == nil || p.Bitrate == nil || p.Popularity == nil {
		return fmt.Errorf("profile %q lacks a section", p.Name)
	}
	return nil
}

// Validate checks what a file can get wrong.
func (p *Profile) Validate() error {
	v := validation{sources: p.Sources}
	v.check(p.Name != "" && textProblem(p.Name) == "", "name", "is missing or not printable")
	v.check(len(p.About) <= sourceBytesMax, "about", "is longer than %d bytes", sourceBytesMax)
	v.check(slices.Contains([]string{"", "vod", "live"}, p.Kind), "kind", "%q is neither vod nor live", p.Kind)
	v.check(len(p.Sources) <= rowsMax, "sources", "has more than %d entries", rowsMax)
	for id, s := range p.Sources {
		v.check(s.Title != "" && s.Where != "", "sources", "%s needs a title and a where", shown([]byte(id)))
		v.check(len(id)+len(s.Title)+len(s.Where)+len(s.Licence)+len(s.Note) <= sourceBytesMax, "sources", "%s is longer than %d bytes", shown([]byte(id)), sourceBytesMax)
	}
	v.access(p.Access)
	v.homes(p.Homes)
	v.places(p.Places)
	v.people(p)
	v.titles(p)
	return v.first
}

// validation collects the first thing that is wrong.
type validation struct {
	sources map[string]Source
	first   error
}

func (v *validation) check(ok bool, where, why string, args ...any) {
	if !ok && v.first == nil {
		v.first = fmt.Errorf("%s %s", where, fmt.Sprintf(why, args...))
	}
}

func (v *validation) sourced(where string, ids []string) {
	v.check(len(ids) > 0, where, "names no source for its numbers")
	v.check(len(ids) <= rowsMax, where, "names too many sources")
	for _, id := range ids[:min(len(ids), rowsMax)] {
		_, ok := v.sources[id]
		v.check(ok, where, "names source %s, which is not among the sources", shown([]byte(id)))
	}
}

// shares checks that the parts of a whole are one.
func (v *validation) shares(where string, n int, share func(int) float64) {
	v.check(n > 0 && n <= rowsMax, where, "has %d entries, not 1 to %d", n, rowsMax)
	if n > rowsMax {
		return
	}
	sum := 0.0
	for i := range n {
		s := share(i)
		v.check(s >= 0 && s <= 1, where, "has a share of %v, not 0 to 1", s)
		sum += s
	}
	v.check(sum > 1-sharesSlack && sum < 1+sharesSlack, where, "has shares that sum up to %.3f, not 1", sum)
}

func (v *validation) quantiles(where string, q Quantiles, most float64) {
	v.check(len(q) > 0 && len(q) <= rowsMax, where, "has %d quantiles, not 1 to %d", len(q), rowsMax)
	for i, point := range q[:min(len(q), rowsMax)] {
		v.check(point[0] >= 0 && point[0] <= 1, where, "has a quantile %v, not 0 to 1", point[0])
		v.check(point[1] >= leastValue && point[1] <= most, where, "has a value %v, not %v to %v", point[1], leastValue, most)
		v.check(i == 0 || point[0] > q[i-1][0] && point[1] >= q[i-1][1], where, "has quantiles that do not ascend at %v", point[0])
	}
}

func (v *validation) access(a *Access) {
	if a == nil {
		return
	}
	v.sourced("access", a.Source)
	v.shares("access", len(a.Technologies), func(i int) float64 { return a.Technologies[i].Share })
	for _, t := range a.Technologies[:min(len(a.Technologies), rowsMax)] {
		where := "access: " + shown([]byte(t.Name))
		v.check(t.Name != "" && textProblem(t.Name) == "", where, "has no printable name")
		v.check(t.UpFollowsDown >= 0 && t.UpFollowsDown <= 1, where, "has up_follows_down %v, not 0 to 1", t.UpFollowsDown)
		v.quantiles(where+": down_kbps", t.DownKbps, kbpsMax)
		v.quantiles(where+": up_kbps", t.UpKbps, kbpsMax)
		v.quantiles(where+": rtt_ms", t.RTTMs, rttMillisMax)
	}
}

func (v *validation) homes(h *Homes) {
	if h == nil {
		return
	}
	v.sourced("homes", h.Source)
	v.check(len(h.Lines) > 0 && len(h.Lines) <= homesMax, "homes", "has %d lines, not 1 to %d", len(h.Lines), homesMax)
	total := 0.0
	for i, line := range h.Lines[:min(len(h.Lines), homesMax)] {
		where := fmt.Sprintf("homes: line %d", i+1)
		v.check(line.DownKbps > 0 && line.DownKbps <= kbpsMax && line.UpKbps > 0 && line.UpKbps <= kbpsMax, where, "has a rate that is not 1 to %d kbit/s", kbpsMax)
		v.check(line.RTTMs >= 0 && line.RTTMs <= rttMillisMax, where, "has an rtt_ms of %v", line.RTTMs)
		v.check(line.Weight >= 0 && line.Weight <= 1e9, where, "has a weight of %v", line.Weight)
		v.check(textProblem(line.ISP)+textProblem(line.Region)+textProblem(line.Technology) == "", where, "has a name that is not printable or too long")
		total += line.Weight
	}
	v.check(total > 0, "homes", "has no line with a weight above 0")
}

func (v *validation) places(p *Places) {
	if p == nil {
		return
	}
	v.sourced("places", p.Source)
	v.shares("places", len(p.Rows), func(i int) float64 { return p.Rows[i].Share })
	for _, row := range p.Rows[:min(len(p.Rows), rowsMax)] {
		v.check(textProblem(row.ISP)+textProblem(row.Region) == "", "places", "has a name that is not printable or too long")
	}
}

// people checks what is drawn for a viewer.
func (v *validation) people(p *Profile) {
	if n := p.NAT; n != nil {
		v.sourced("nat", n.Source)
		v.shares("nat", len(n.Types), func(i int) float64 { return n.Types[i].Share })
		for _, t := range n.Types[:min(len(n.Types), rowsMax)] {
			v.check(slices.Contains(natTypes, t.Type), "nat", "type %s is none of %s", shown([]byte(t.Type)), strings.Join(natTypes, ", "))
		}
	}
	if u := p.Uploads; u != nil {
		v.sourced("uploads", u.Source)
		v.check(u.NeverShare >= 0 && u.NeverShare <= 1, "uploads", "has never_share %v, not 0 to 1", u.NeverShare)
	}
	if a := p.Arrivals; a != nil {
		v.sourced("arrivals", a.Source)
		v.check(len(a.Hourly) == 24, "arrivals", "has %d hours, not 24", len(a.Hourly))
		sum := 0.0
		for _, n := range a.Hourly[:min(len(a.Hourly), 24)] {
			v.check(n >= 0 && n <= 1e12, "arrivals", "has %v in an hour", n)
			sum += n
		}
		v.check(sum > 0, "arrivals", "has no hour in which somebody comes")
	}
	if w := p.Watch; w != nil {
		v.sourced("watch", w.Source)
		v.quantiles("watch: live_seconds", w.LiveSeconds, watchSecondsMax)
		v.departures(w.VOD)
	}
}

func (v *validation) departures(points []LeftBy) {
	v.check(len(points) <= rowsMax, "watch: vod", "has more than %d points", rowsMax)
	for i, at := range points[:min(len(points), rowsMax)] {
		v.sourced("watch: vod", at.Source)
		v.check((at.Seconds >= leastValue) != (at.Fraction >= leastValue), "watch: vod", "point %d has not exactly one of seconds and fraction", i+1)
		v.check(at.Seconds >= 0 && at.Seconds <= watchSecondsMax && at.Fraction >= 0 && at.Fraction <= 1, "watch: vod", "point %d is out of range", i+1)
		v.check(at.Left >= 0 && at.Left <= 1, "watch: vod", "point %d has left %v, not 0 to 1", i+1, at.Left)
		if i > 0 {
			before := points[i-1]
			v.check(at.Left >= before.Left, "watch: vod", "point %d: fewer have left than before", i+1)
			v.check(before.Fraction == 0 || at.Fraction > before.Fraction, "watch: vod", "point %d: fractions come after seconds and ascend", i+1)
			v.check(at.Fraction > 0 || at.Seconds > before.Seconds, "watch: vod", "point %d: seconds do not ascend", i+1)
		}
	}
}

// titles checks what is drawn for a title.
func (v *validation) titles(p *Profile) {
	if t := p.TitleLength; t != nil {
		v.sourced("title_length", t.Source)
		v.quantiles("title_length: seconds", t.Seconds, watchSecondsMax)
	}
	if b := p.Bitrate; b != nil {
		v.sourced("bitrate", b.Source)
		v.quantiles("bitrate: kbps", b.Kbps, kbpsMax)
	}
	if pop := p.Popularity; pop != nil {
		v.sourced("popularity", pop.Source)
		v.check(len(pop.Points) > 0 && len(pop.Points) <= rowsMax, "popularity", "has %d points, not 1 to %d", len(pop.Points), rowsMax)
		for i, at := range pop.Points[:min(len(pop.Points), rowsMax)] {
			v.check(at.Weight >= leastValue && at.Weight <= 1e15, "popularity", "has a weight of %v", at.Weight)
			v.check(at.Rank <= popularTitlesMax, "popularity", "has a rank above %d", popularTitlesMax)
			v.check(i == 0 && at.Rank == 1 || i > 0 && at.Rank > pop.Points[i-1].Rank, "popularity", "has ranks that do not ascend from 1")
		}
	}
}
