package tracker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
	"unique"

	"shoal/internal/wire"
	"shoal/tracker/store"
)

const (
	// ViewTitlesMax swarms are listed in an Overview, the largest.
	ViewTitlesMax = 100

	// ViewPeersMax peers of one swarm are shown. A picture of more says nothing,
	// and with 16 sources each they make 200 KiB of JSON.
	ViewPeersMax = 200
)

// Place is where a peer is, in words for people.
type Place struct {
	ISP    string
	Region string // ISO 3166: "DE" or "DE-BY"
}

// UnknownPlace is the place of an address that no database knows.
var UnknownPlace = Place{ISP: "unknown", Region: "unknown"}

// Overview is what there is to see of all swarms.
type Overview struct {
	Stats     Stats
	Titles    []TitleView // the largest first, at most ViewTitlesMax
	TitleSum  int         // titles with a swarm
	Presences int         // peers in all swarms; a peer counts once per title
}

// TitleView is one swarm in an Overview. Totals are increments that were
// reported while this title was being watched; a peer that plays two titles at
// once is counted under one of them.
type TitleView struct {
	Title  store.TitleID
	Peers  int
	Totals wire.ReportTotals
}

// SwarmView is one swarm with its peers.
type SwarmView struct {
	TitleView
	Members []MemberView // at most ViewPeersMax, by ID
	Edges   []Edge       // among Members, the heaviest first
}

// MemberView is one peer of a swarm.
type MemberView struct {
	Peer     wire.PeerID
	Place    Place
	Grade    Grade         // when last handed out as a candidate; 0: never
	Online   time.Duration // since it joined
	Held     int           // permille of the title
	Uploads  bool
	Reports  bool // the fields below are known
	Watching int
	Totals   wire.ReportTotals // counted since it joined, of all its titles
}

// Edge says that a member fed another. From and To are indices of Members.
type Edge struct {
	From, To int
	Bytes    uint64 // as the receiver says, at most what it received from anybody
}

// Overview returns the numbers of all swarms. Its error is the store's.
func (s *State) Overview() (Overview, error) {
	largest, titles, presences, err := s.store.Titles(ViewTitlesMax)
	if err != nil {
		return Overview{}, fmt.Errorf("overview: %w", err)
	}
	o := Overview{
		Stats: s.Stats(), TitleSum: titles, Presences: presences,
		Titles: make([]TitleView, 0, len(largest)),
	}
	for _, t := range largest {
		o.Titles = append(o.Titles, TitleView{Title: t.Title, Peers: t.Peers, Totals: s.titles.of(t.Title)})
	}
	return o, nil
}

// Swarm returns one swarm with at most ViewPeersMax of its peers. Looking
// changes nothing: a sample of a larger swarm is drawn with a generator of its
// own, the same one each time, so that the picture does not flicker.
func (s *State) Swarm(now time.Time, title store.TitleID) (SwarmView, error) {
	size, err := s.store.Size(title)
	if err != nil {
		return SwarmView{}, fmt.Errorf("swarm: %w", err)
	}
	v := SwarmView{TitleView: TitleView{Title: title, Peers: size, Totals: s.titles.of(title)}}
	rng := rand.New(rand.NewPCG(binary.BigEndian.Uint64(title[:]), 0))
	sample, err := s.store.Sample(nil, rng, title, 0, ViewPeersMax)
	if err != nil {
		return SwarmView{}, fmt.Errorf("swarm: %w", err)
	}
	slices.SortFunc(sample, func(a, b *store.Presence) int { return bytes.Compare(a.Peer[:], b.Peer[:]) })
	index := make(map[uint64]int, len(sample))
	for i, p := range sample {
		index[feedKey(p.Peer)] = i
		v.Members = append(v.Members, s.member(now, p))
	}
	for to, p := range sample {
		v.Edges = s.appendEdges(v.Edges, to, p.Peer, index)
	}
	slices.SortFunc(v.Edges, func(a, b Edge) int {
		switch {
		case a.Bytes != b.Bytes && a.Bytes > b.Bytes:
			return -1
		case a.Bytes != b.Bytes:
			return 1
		case a.From != b.From:
			return a.From - b.From
		default:
			return a.To - b.To
		}
	})
	return v, nil
}

func (s *State) member(now time.Time, p *store.Presence) MemberView {
	m := MemberView{
		Peer: p.Peer, Place: UnknownPlace, Online: max(now.Sub(p.Joined), 0), Held: p.HeldPermille, Uploads: p.Uploads,
	}
	// Another tracker of the same store may know more.
	if known := s.peers[p.Peer]; known != nil {
		m.Place, m.Grade, m.Watching = known.place.Value(), known.grade, known.watching
		if known.report != nil {
			m.Reports, m.Totals = true, known.report.counted
		}
	}
	return m
}

func (s *State) appendEdges(edges []Edge, to int, id wire.PeerID, index map[uint64]int) []Edge {
	p := s.peers[id]
	if p == nil || p.report == nil {
		return edges
	}
	c := &p.report.counted
	most := c[wire.CounterP2P] + c[wire.CounterDuplicate] + c[wire.CounterHashFailed] + unverifiedBytesMax
	for _, f := range p.report.fed {
		if from, here := index[f.key]; here && from != to && f.bytes > 0 {
			edges = append(edges, Edge{From: from, To: to, Bytes: min(f.bytes, most)})
		}
	}
	return edges
}

// unverifiedBytesMax is what a peer may have received of pieces that are not
// whole yet, and so not counted: 32 active pieces of 64 KiB.
const unverifiedBytesMax = 32 * wire.PieceBytes

func (s *State) locate(observed netip.AddrPort) unique.Handle[Place] {
	return unique.Make(s.cfg.Locate(observed.Addr().Unmap()))
}
