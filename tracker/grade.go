package tracker

import (
	"math"
	"time"

	"shoal/internal/wire"
	"shoal/tracker/store"
)

const (
	// sampleMax bounds the work of one announce: so many presences are filtered
	// and scored. Three times the answer, so that there is a choice.
	sampleMax = 128

	// CandidatesMax bounds an answer. A swarm of so many viewers or fewer is
	// handed out whole.
	CandidatesMax = wire.CandidatesMax

	// companionsMax places are kept for peers near the viewer's playhead,
	// whatever their grade: a quarter of the answer.
	companionsMax = CandidatesMax / 4

	// companionSpan is how far from the viewer's playhead a companion may be:
	// about a player's buffer, so that both want the same pieces.
	companionSpan = 30 * time.Second

	// neededAhead is what a viewer needs next: the medium tier's horizon, a
	// minute ahead of its playhead.
	neededAhead = time.Minute
)

// Weights of the score; their sum is 1. A seed without what we need is of no
// use now, so the weights add up to C at most without need (0.45), and to B at
// least with all of it (0.55).
const (
	weightNeed   = 0.55
	weightUplink = 0.27
	weightOnline = 0.18

	// uplinkGood (20 Mbit/s) serves eight viewers of a 2.5 Mbit/s title; more
	// does not make a better seed for one of them.
	uplinkGood = 2_500_000.0

	// uplinkUnknown is the score of a peer that has not measured its uplink yet:
	// that of a DSL line (1 Mbit/s of 20: the square root of 0.05).
	uplinkUnknown = 0.22

	// onlineGood is the age from which a peer counts as steady. Half of the
	// viewers who leave do so in the first minutes.
	onlineGood = 30 * time.Minute
)

// Grade is the class of a candidate, 'A' (best) to 'D'.
type Grade byte

// The grades by score: A from 0.75, B from 0.5, C from 0.25.
const (
	GradeA Grade = 'A'
	GradeB Grade = 'B'
	GradeC Grade = 'C'
	GradeD Grade = 'D'
)

type graded struct {
	presence *store.Presence
	grade    Grade
	taken    bool
}

// choose filters, scores and grades s.sample for the viewer me and returns the
// answer, best grade first.
func (s *State) choose(now time.Time, me *store.Presence) []Candidate {
	s.graded = s.graded[:0]
	for _, p := range s.sample {
		if now.Sub(p.Seen) <= s.Expiry() && admissible(me, p) {
			s.graded = append(s.graded, graded{presence: p, grade: gradeOf(score(now, me, p))})
		}
	}
	all := s.graded
	// Shuffled once, then taken grade by grade: random inside a grade.
	s.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })

	room := min(len(all), CandidatesMax)
	if len(all) > CandidatesMax {
		companions := 0
		for i := range all {
			if companions < companionsMax && distance(me, all[i].presence) <= companionSpan {
				all[i].taken = true
				companions++
			}
		}
		room -= companions
	}
	for grade := GradeA; grade <= GradeD; grade++ {
		for i := range all {
			if room > 0 && !all[i].taken && all[i].grade == grade {
				all[i].taken = true
				room--
			}
		}
	}
	answer := make([]Candidate, 0, min(len(all), CandidatesMax))
	for grade := GradeA; grade <= GradeD; grade++ {
		for i := range all {
			if p := all[i].presence; all[i].taken && all[i].grade == grade {
				answer = append(answer, Candidate{
					Peer: p.Peer, Grade: grade, HoldFrom: p.HoldFrom, HoldTo: p.HoldTo,
					Addrs: addrsFor(me, p),
				})
			}
		}
	}
	return answer
}

// admissible is layer 1: may p serve the viewer me at all?
func admissible(me, p *store.Presence) bool {
	switch {
	case p.Peer == me.Peer, !p.Uploads:
		return false
	case p.ConnectionsMax > 0 && p.Connections >= p.ConnectionsMax:
		return false
	}
	return true
}

// score is layer 2, in [0,1]: how good a seed p is for the viewer me.
func score(now time.Time, me, p *store.Presence) float64 {
	online := min(max(now.Sub(p.Joined).Seconds()/onlineGood.Seconds(), 0), 1)
	return weightNeed*need(me, p) + weightUplink*uplink(p) + weightOnline*online
}

// need is the share of what me needs next that p holds: of the minute ahead of
// the playhead by the range that p announced, or of the title as a whole.
func need(me, p *store.Presence) float64 {
	from, to := max(me.Position, p.HoldFrom), min(me.Position+neededAhead, p.HoldTo)
	ahead := max((to-from).Seconds()/neededAhead.Seconds(), 0)
	return max(ahead, float64(p.HeldPermille)/1000)
}

// uplink grows with the square root, as the difference between 1 and 4 Mbit/s
// matters more than that between 17 and 20. math.Sqrt is exact on every
// machine, which logarithms are not.
func uplink(p *store.Presence) float64 {
	if p.UpBytesPerSec == 0 {
		return uplinkUnknown
	}
	return min(math.Sqrt(float64(p.UpBytesPerSec)/uplinkGood), 1)
}

func gradeOf(score float64) Grade {
	switch {
	case score >= 0.75:
		return GradeA
	case score >= 0.5:
		return GradeB
	case score >= 0.25:
		return GradeC
	default:
		return GradeD
	}
}

func distance(a, b *store.Presence) time.Duration { return (a.Position - b.Position).Abs() }
