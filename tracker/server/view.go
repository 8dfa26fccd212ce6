package server

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"shoal/internal/wire"
	"shoal/tracker"
	"shoal/tracker/store"
)

const (
	// viewFor is how long an answer of /api/swarms is given again: however many
	// look at the page, the goroutine that owns the state counts once a second.
	viewFor = time.Second

	// viewsMax bounds the answers kept, one for each swarm that is looked at:
	// 16 of at most 250 KiB.
	viewsMax = 16

	// shortIDBytes of a peer's ID are shown: enough to tell 200 peers apart and
	// to find one's own, no use for anything else.
	shortIDBytes = 4

	// groupsMax bounds a breakdown; the smaller groups become one.
	groupsMax = 12
)

// Live is the answer of /api/swarms: all swarms in numbers, and one with its
// peers. It has no address of anybody.
type Live struct {
	AtMillis int64    `json:"at_ms"`
	Says     string   `json:"says"`
	Saving   *float64 `json:"saving"` // null: no bytes yet

	// Figures sums up what all peers have reported since the tracker began.
	Figures    Figures     `json:"figures"`
	Peers      int         `json:"peers"`   // online
	Viewers    int         `json:"viewers"` // watching
	Titles     []LiveTitle `json:"titles"`  // the largest swarms first
	TitlesMore int         `json:"titles_more"`
	Swarm      *LiveSwarm  `json:"swarm"` // the one asked for, or else the largest
	Tracker    LiveHealth  `json:"tracker"`
}

// Figures are counters of one peer, one title or all.
type Figures struct {
	P2P        uint64            `json:"p2p"`
	CDN        uint64            `json:"cdn"`
	CDNReasons map[string]uint64 `json:"cdn_reasons"`
	Cache      uint64            `json:"cache"`
	Served     uint64            `json:"served"`
	Played     uint64            `json:"played"`
	Duplicate  uint64            `json:"duplicate"`
	HashFailed uint64            `json:"hash_failed"`
	Stalls     uint64            `json:"stalls"`
}

// LiveTitle is one swarm in numbers.
type LiveTitle struct {
	ID      string   `json:"id"`   // hexadecimal
	Name    string   `json:"name"` // empty: not known here
	Peers   int      `json:"peers"`
	Saving  *float64 `json:"saving"`
	Figures Figures  `json:"figures"`
}

// LiveSwarm is one swarm with its peers.
type LiveSwarm struct {
	LiveTitle
	Members     []LiveMember `json:"members"`
	MembersMore int          `json:"members_more"`
	// Feeds are [from, to, bytes]: indices of Members, the heaviest first.
	Feeds   [][3]uint64 `json:"feeds"`
	ISPs    []Group     `json:"isps"` // of Members, the largest first
	Regions []Group     `json:"regions"`
	Grades  []Group     `json:"grades"`
}

// LiveMember is one peer of a swarm. Its figures are of all its titles.
type LiveMember struct {
	ID      string   `json:"id"` // the beginning of it
	ISP     string   `json:"isp"`
	Region  string   `json:"region"`
	Grade   string   `json:"grade"` // empty: not handed out yet
	OnlineS float64  `json:"online_s"`
	Held    float64  `json:"held"` // share of the title
	Uploads bool     `json:"uploads"`
	Reports bool     `json:"reports"` // false: an older version, without figures
	Viewers int      `json:"viewers"`
	Saving  *float64 `json:"saving"`
	Figures Figures  `json:"figures"`
}

// Group is a line of a breakdown.
type Group struct {
	Name  string `json:"name"`
	Peers int    `json:"peers"`
}

// LiveHealth is how the tracker itself fares.
type LiveHealth struct {
	UptimeS        float64 `json:"uptime_s"`
	Joins          uint64  `json:"joins"`
	Announces      uint64  `json:"announces"`
	Candidates     uint64  `json:"candidates"`
	Expired        uint64  `json:"expired"`
	Refused        uint64  `json:"refused"`
	Reports        uint64  `json:"reports"`
	ReportsRefused uint64  `json:"reports_refused"`
	FeedsRefused   uint64  `json:"feeds_refused"`
	DatagramsIn    uint64  `json:"datagrams_in"`
	DatagramsOut   uint64  `json:"datagrams_out"`
	DatagramsBad   uint64  `json:"datagrams_dropped"`
}

// views keeps answers for viewFor.
type views struct {
	mu   sync.Mutex
	kept map[store.TitleID]keptView
}

type keptView struct {
	at   time.Time
	body []byte
}

// serveSwarms answers GET /api/swarms[?title=HEX].
func (s *Server) serveSwarms(w http.ResponseWriter, r *http.Request) {
	var title store.TitleID
	if asked := r.URL.Query().Get("title"); asked != "" {
		if n, err := hex.Decode(title[:], []byte(asked[:min(len(asked), 2*len(title))])); err != nil || n != len(title) || len(asked) != 2*n {
			refuse(w, http.StatusBadRequest, "title must be the 64 hexadecimal digits of a title's ID.")
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	body, ok := s.live(ctx, title)
	if !ok {
		refuse(w, http.StatusServiceUnavailable, "The tracker does not answer; try again in a moment.")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, _ = w.Write(body) // the client may be gone
}

// live returns the answer for one title, at most viewFor old.
func (s *Server) live(ctx context.Context, title store.TitleID) (body []byte, ok bool) {
	s.views.mu.Lock()
	defer s.views.mu.Unlock()
	now := time.Now()
	if v, ok := s.views.kept[title]; ok && now.Sub(v.at) < viewFor {
		return v.body, true
	}
	l, ok := s.look(ctx, title)
	if !ok {
		return nil, false
	}
	body, err := json.Marshal(l)
	if err != nil {
		panic("BUG: the swarm view is no JSON: " + err.Error())
	}
	if len(s.views.kept) >= viewsMax {
		clear(s.views.kept)
	}
	s.views.kept[title] = keptView{at: now, body: body}
	return body, true
}

// look asks the state, on the owner's goroutine, and words the answer here.
func (s *Server) look(ctx context.Context, title store.TitleID) (Live, bool) {
	var overview tracker.Overview
	var swarm tracker.SwarmView
	var err error
	answered := s.do(ctx, func(now time.Time) {
		if overview, err = s.state.Overview(); err != nil {
			return
		}
		if title == (store.TitleID{}) && len(overview.Titles) > 0 {
			title = overview.Titles[0].Title
		}
		swarm, err = s.state.Swarm(now, title)
	})
	if !answered || err != nil {
		return Live{}, false
	}
	st := overview.Stats
	l := Live{
		AtMillis: time.Now().UnixMilli(), Says: sentence(overview),
		Saving: saving(&st.Totals), Figures: figures(&st.Totals),
		Peers: st.Peers, Viewers: st.Watching,
		Titles: make([]LiveTitle, 0, len(overview.Titles)), TitlesMore: overview.TitleSum - len(overview.Titles),
		Tracker: s.health(st),
	}
	for _, t := range overview.Titles {
		l.Titles = append(l.Titles, s.liveTitle(t))
	}
	if swarm.Peers > 0 {
		l.Swarm = s.liveSwarm(swarm)
	}
	return l, true
}

func (s *Server) health(st tracker.Stats) LiveHealth {
	t := s.endpoint.Stats()
	return LiveHealth{
		UptimeS: time.Since(s.started).Seconds(),
		Joins:   st.Joined, Announces: st.Announces, Candidates: st.Handed, Expired: st.Expired, Refused: st.Refused,
		Reports: st.Reports, ReportsRefused: st.ReportsRefused, FeedsRefused: st.FeedsRefused,
		DatagramsIn: t.PacketsIn, DatagramsOut: t.PacketsOut,
		DatagramsBad: t.DroppedGarbage + t.DroppedUnknown + t.DroppedForged + t.DroppedReplayed + t.DroppedOversize +
			t.DroppedInboxFull + t.DroppedQUICFull + t.DroppedKernel,
	}
}

func (s *Server) liveTitle(t tracker.TitleView) LiveTitle {
	return LiveTitle{
		ID: hex.EncodeToString(t.Title[:]), Name: s.cfg.Titles[t.Title], Peers: t.Peers,
		Saving: saving(&t.Totals), Figures: figures(&t.Totals),
	}
}

func (s *Server) liveSwarm(v tracker.SwarmView) *LiveSwarm {
	l := &LiveSwarm{
		LiveTitle: s.liveTitle(v.TitleView), Members: make([]LiveMember, 0, len(v.Members)),
		MembersMore: v.Peers - len(v.Members), Feeds: make([][3]uint64, 0, len(v.Edges)),
	}
	isps, regions, grades := map[string]int{}, map[string]int{}, map[string]int{}
	for i := range v.Members {
		m := &v.Members[i]
		grade := ""
		if m.Grade != 0 {
			grade = string(rune(m.Grade))
		}
		isps[m.Place.ISP]++
		regions[m.Place.Region]++
		grades[cmp.Or(grade, "none yet")]++
		l.Members = append(l.Members, LiveMember{
			ID: hex.EncodeToString(m.Peer[:shortIDBytes]), ISP: m.Place.ISP, Region: m.Place.Region, Grade: grade,
			OnlineS: m.Online.Seconds(), Held: float64(m.Held) / 1000, Uploads: m.Uploads, Reports: m.Reports,
			Viewers: m.Watching, Saving: saving(&m.Totals), Figures: figures(&m.Totals),
		})
	}
	for _, e := range v.Edges {
		l.Feeds = append(l.Feeds, [3]uint64{uint64(e.From), uint64(e.To), e.Bytes})
	}
	l.ISPs, l.Regions = groups(isps), groups(regions)
	l.Grades = groups(grades)
	slices.SortFunc(l.Grades, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	return l
}

// groups returns a breakdown, the largest group first.
func groups(counts map[string]int) []Group {
	all := make([]Group, 0, len(counts))
	for name, n := range counts {
		all = append(all, Group{Name: name, Peers: n})
	}
	slices.SortFunc(all, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Peers, a.Peers), cmp.Compare(a.Name, b.Name))
	})
	if len(all) > groupsMax {
		rest := Group{Name: fmt.Sprintf("%d others", len(all)-groupsMax+1)}
		for _, g := range all[groupsMax-1:] {
			rest.Peers += g.Peers
		}
		all = append(all[:groupsMax-1], rest)
	}
	return all
}

// cdnReasons are the labels of the parts of CounterCDN.
var cdnReasons = map[wire.Counter]string{
	wire.CounterCDNStartup: "startup", wire.CounterCDNFirstCopy: "first_copy",
	wire.CounterCDNRescue: "rescue", wire.CounterCDNHashFailure: "hash_failure",
}

func figures(t *wire.ReportTotals) Figures {
	f := Figures{
		P2P: t[wire.CounterP2P], CDN: t[wire.CounterCDN], CDNReasons: make(map[string]uint64, len(cdnReasons)+1),
		Cache: t[wire.CounterCache], Served: t[wire.CounterServed], Played: t[wire.CounterPlayed],
		Duplicate: t[wire.CounterDuplicate], HashFailed: t[wire.CounterHashFailed], Stalls: t[wire.CounterStalls],
	}
	rest := f.CDN
	for counter, name := range cdnReasons {
		f.CDNReasons[name] = t[counter]
		rest -= min(t[counter], rest)
	}
	if rest > 0 {
		f.CDNReasons["other"] = rest // of a version that knows more reasons
	}
	return f
}

// saving is P2P / (P2P + CDN); nil without bytes.
func saving(t *wire.ReportTotals) *float64 {
	p2p, cdn := float64(t[wire.CounterP2P]), float64(t[wire.CounterCDN])
	if p2p+cdn == 0 {
		return nil
	}
	ratio := p2p / (p2p + cdn)
	return &ratio
}

// sentence says in words what goes on.
func sentence(o tracker.Overview) string {
	st := o.Stats
	switch {
	case st.Peers == 0 && st.Joined == 0:
		return "Nobody is here yet. Give peers this tracker's URL: shoal peer --tracker URL."
	case st.Peers == 0:
		return "Nobody is here just now. " + soFar(st, "So far, ")
	}
	if o.TitleSum == 0 {
		return fmt.Sprintf("%s here and %s nothing yet. ", count(st.Peers, "peer is", "peers are"), verb(st.Peers, "watches", "watch")) +
			soFar(st, "So far, ")
	}
	if st.Watching == 0 {
		return fmt.Sprintf("Nobody watches just now; %s %s ready. ",
			count(st.Peers, "peer keeps", "peers keep"), count(o.TitleSum, "title", "titles")) + soFar(st, "So far, ")
	}
	head := fmt.Sprintf("%s %s; ", count(st.Watching, "viewer watches", "viewers watch"), count(o.TitleSum, "title", "titles"))
	return head + soFar(st, "")
}

// soFar words the saving of all since the tracker began.
func soFar(st tracker.Stats, begin string) string {
	ratio := saving(&st.Totals)
	switch {
	case ratio == nil && begin != "":
		return "No bytes have been reported."
	case ratio == nil:
		return "no bytes have been reported yet."
	case *ratio == 0:
		return begin + "all bytes came from the CDN."
	default:
		return begin + percent(*ratio) + " of all bytes came from each other."
	}
}

// percent never rounds something to nothing, nor almost all to all.
func percent(ratio float64) string {
	switch p := math.Round(ratio * 100); {
	case p < 1 && ratio > 0:
		return "less than 1 %"
	case p > 99 && ratio < 1:
		return "more than 99 %"
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}

func count(n int, one, many string) string { return fmt.Sprintf("%d %s", n, verb(n, one, many)) }

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
