package trace

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"time"
)

// Synthetic says which sessions Generate makes.
type Synthetic struct {
	Profile  *Profile
	Seed     uint64
	Sessions int
	// Titles is how many titles there are to choose from: the most popular ones
	// of the profile. 0: as many as the profile's popularity reaches.
	Titles int
	// From and To are the part of the day in which viewers come. To 0: midnight.
	From, To time.Duration
	// End cuts sessions short that would still go on then: a recording ends. 0: none is cut.
	End time.Duration
}

// sessionsMax bounds what one call makes: a file of a gigabyte.
const sessionsMax = 10_000_000

// GeneratedColumns are the optional columns of the sessions that Generate makes.
var GeneratedColumns = []int{
	ColKind, ColBitrate, ColTitleLength, ColPosition, ColISP, ColRegion, ColNAT, ColDown, ColUp, ColRTT, ColLinger, ColCache,
	ColUploads, // who reads them would else draw it again, of those whose lines carry something
}

// Validate says what is wrong with g.
func (g Synthetic) Validate() error {
	_, _, err := g.plan()
	return err
}

func (g *Synthetic) plan() (titles *weighted, day *arrivalDay, err error) {
	if g.To == 0 {
		g.To = 24 * time.Hour
	}
	switch {
	case g.Sessions < 1 || g.Sessions > sessionsMax:
		return nil, nil, fmt.Errorf("%d sessions: choose 1 to %d", g.Sessions, sessionsMax)
	case g.From < 0 || g.To > 24*time.Hour || g.From >= g.To:
		return nil, nil, fmt.Errorf("from %v to %v is not a part of a day", g.From, g.To)
	case g.End != 0 && g.End < g.To:
		return nil, nil, fmt.Errorf("an end at %v is before the last viewers come at %v", g.End, g.To)
	}
	if titles, err = g.Profile.Popularity.titles(g.Titles); err != nil {
		return nil, nil, err
	}
	day, err = g.Profile.Arrivals.between(g.From, g.To)
	return titles, day, err
}

// Generate makes sessions in the order of their starts. The same Synthetic makes
// the same sessions. It holds one session at a time.
func (g Synthetic) Generate(emit func(Session) error) error {
	titles, day, err := g.plan()
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(g.Seed, 0))
	name := "title"
	if g.Profile.kind == Live {
		name = "channel"
	}
	// Uniform order statistics one after the other: of n that are left in
	// (passed, 1), the least is past passed by 1 − V^(1/n) of what remains.
	passed := 0.0
	for i := range g.Sessions {
		left := float64(g.Sessions - i)
		passed += (1 - passed) * (1 - math.Pow(rng.Float64(), 1/left))
		title := fmt.Sprintf("%s-%d", name, 1+titles.draw(rng.Float64()))
		s := NewSession(fmt.Sprintf("s%d", i+1), day.at(passed), title, Absent)
		s = g.Profile.Draw(rng, s)
		if g.End > 0 {
			s.Watch = min(s.Watch, g.End-s.Start)
		}
		if err := emit(s); err != nil {
			return err
		}
	}
	return nil
}

// titles returns the titles of a catalogue of n by rank − 1.
func (p *Popularity) titles(n int) (*weighted, error) {
	last := p.Points[len(p.Points)-1].Rank
	if n == 0 {
		n = last
	}
	if n < 1 || n > last {
		return nil, fmt.Errorf("%d titles: the profile's popularity reaches from 1 to %d", n, last)
	}
	w := &weighted{lines: make([]int32, 0, n), sums: make([]float64, 0, n)}
	for i := range n {
		w.add(i, p.weight(i+1))
	}
	return w, nil
}

// weight of a rank: between the points, log weight is linear in log rank.
func (p *Popularity) weight(rank int) float64 {
	i := sort.Search(len(p.Points), func(i int) bool { return p.Points[i].Rank >= rank })
	if p.Points[i].Rank == rank {
		return p.Points[i].Weight
	}
	low, high := p.Points[i-1], p.Points[i]
	part := between(float64(low.Rank), float64(high.Rank), float64(rank))
	return low.Weight * math.Pow(high.Weight/low.Weight, part)
}

// arrivalDay are arrivals in a part of a day, as a running sum.
type arrivalDay struct {
	ends []time.Duration // of each interval
	sums []float64
	from time.Duration
}

func (a *Arrivals) between(from, to time.Duration) (*arrivalDay, error) {
	d := &arrivalDay{from: from}
	sum := 0.0
	for hour, weight := range a.Hourly {
		begin := max(time.Duration(hour)*time.Hour, from)
		end := min(time.Duration(hour+1)*time.Hour, to)
		if begin >= end {
			continue
		}
		sum += weight * (end - begin).Hours()
		d.ends, d.sums = append(d.ends, end), append(d.sums, sum)
	}
	if sum <= 0 {
		return nil, fmt.Errorf("nobody comes from %v to %v in this profile", from, to)
	}
	return d, nil
}

// at is when a share of all has come.
func (d *arrivalDay) at(share float64) time.Duration {
	target := share * d.sums[len(d.sums)-1]
	i := min(sort.SearchFloat64s(d.sums, target), len(d.sums)-1)
	begin, before := d.from, 0.0
	if i > 0 {
		begin, before = d.ends[i-1], d.sums[i-1]
	}
	part := 1.0
	if d.sums[i] > before {
		part = (target - before) / (d.sums[i] - before)
	}
	return (begin + time.Duration(part*float64(d.ends[i]-begin))).Round(time.Millisecond)
}
