package tracker

import (
	"container/list"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"shoal/internal/wire"
	"shoal/tracker/store"
)

// Reports
//
// Peers say every few seconds where their bytes came from. What they say is
// for people: it is summed up and shown, and no candidate is ever chosen by it.
// A liar can spoil the figures of its own title, by no more than a machine could
// move in that time, and nothing else.
//
// Counters are totals of a peer's process. The State adds up their increments:
// so figures outlive the peers that made them, a peer that starts anew (its
// counters run back) or joins again is counted once, and what peers did while
// the tracker was away is not counted.

const (
	// reportGap is the time between reports of a peer that count; reportBurst of
	// them may come at once. A client sends one every 5 s, and one with its
	// goodbye.
	reportGap   = 500 * time.Millisecond
	reportBurst = 4

	// counterMax bounds every counter: 1 PiB, ten days of a line of 10 Gbit/s.
	counterMax = 1 << 50

	// Increments beyond what a machine can do are not believed: 10 Gbit/s to and
	// from the network, ten times that from its own memory to its players.
	networkBytesPerSecMax = 1_250_000_000
	localBytesPerSecMax   = 10 * networkBytesPerSecMax

	// A peer that meets its tracker late has played by itself meanwhile: a
	// quarter of an hour of 2.4 Mbit/s.
	lateBytesMax = 256 << 20

	// A player that runs dry ten times a second shows nothing; 1,000 stalls may
	// have come before the tracker was met.
	stallsPerSecMax, lateStallsMax = 10, 1000

	// titleTotalsMax bounds the titles whose sums are kept, those reported
	// latest: 200 KiB. The sums outlive the swarm, so that the figures of a
	// title do not begin anew when its only viewer reloads the page.
	titleTotalsMax = 1024

	// viewersPerPeerMax bounds the viewers that a peer says to have.
	viewersPerPeerMax = 32
)

// Why a State does not take a report.
var (
	ErrReportLate        = errors.New("a later report has overtaken this one")
	ErrReportTooOften    = errors.New("reported too often")
	ErrReportImplausible = errors.New("a report of more than a machine can do")
)

// report is what the State keeps of a peer's reports: 256 bytes, and 16 for each
// of at most 16 sources.
type report struct {
	at         time.Time     // when the latest was taken
	due        time.Duration // since the peer joined: when the next was due, at one every reportGap
	request    uint32        // number of the latest
	newSession bool          // the next report is the first of its session
	viewers    uint16
	latest     wire.ReportTotals // as said
	counted    wire.ReportTotals // what of it was counted since the peer joined
	fed        []feed
}

// feed is a source of a peer, known by the first 8 bytes of its ID: enough to
// find it among the few hundred peers of a view.
type feed struct {
	key   uint64
	bytes uint64
}

func feedKey(id wire.PeerID) uint64 { return binary.BigEndian.Uint64(id[:]) }

// titleTotals are the sums of one title.
type titleTotals struct {
	title  store.TitleID
	totals wire.ReportTotals
}

// titleBook keeps the sums of the titles that were reported latest.
type titleBook struct {
	byTitle map[store.TitleID]*list.Element // of *titleTotals
	latest  *list.List                      // latest first
}

func newTitleBook() titleBook {
	return titleBook{byTitle: map[store.TitleID]*list.Element{}, latest: list.New()}
}

// add counts an increment of one title.
func (b *titleBook) add(title store.TitleID, increment *wire.ReportTotals) {
	e := b.byTitle[title]
	if e == nil {
		if b.latest.Len() >= titleTotalsMax {
			oldest := b.latest.Back()
			delete(b.byTitle, b.latest.Remove(oldest).(*titleTotals).title)
		}
		e = b.latest.PushFront(&titleTotals{title: title})
		b.byTitle[title] = e
	}
	b.latest.MoveToFront(e)
	addTotals(&e.Value.(*titleTotals).totals, increment)
}

func (b *titleBook) of(title store.TitleID) wire.ReportTotals {
	if e := b.byTitle[title]; e != nil {
		return e.Value.(*titleTotals).totals
	}
	return wire.ReportTotals{}
}

// addTotals stops at the largest number rather than begin anew.
func addTotals(sum, increment *wire.ReportTotals) {
	for i, n := range increment {
		if sum[i] += n; sum[i] < n {
			sum[i] = 1<<64 - 1
		}
	}
}

// Report takes what a peer says about its bytes. It is no heartbeat and changes
// no answer to anybody. The error is ErrUnknown or one of ErrReportLate,
// ErrReportTooOften and ErrReportImplausible; then nothing has changed.
func (s *State) Report(now time.Time, id wire.PeerID, m *wire.TrackerReport) error {
	p := s.peers[id]
	if p == nil {
		return s.refuseReport(ErrUnknown)
	}
	r := p.report
	if r == nil {
		r = &report{newSession: true}
	}
	since := p.joined
	if !r.at.IsZero() {
		since = r.at
		switch {
		case r.due-now.Sub(p.joined) > (reportBurst-1)*reportGap:
			return s.refuseReport(ErrReportTooOften)
		case !r.newSession && int32(m.Request-r.request) <= 0: // RFC 1982
			return s.refuseReport(ErrReportLate)
		}
	}
	increment, ok := r.increment(m, now.Sub(since))
	if !ok {
		return s.refuseReport(ErrReportImplausible)
	}
	p.report = r
	r.at, r.request, r.newSession, r.latest = now, m.Request, false, m.Totals
	r.due = max(r.due, now.Sub(p.joined)) + reportGap
	r.viewers = min(m.Viewers, viewersPerPeerMax)
	s.feed(p, r, m.FedBy)
	s.recount(p)
	s.stats.Reports++
	addTotals(&r.counted, &increment)
	addTotals(&s.stats.Totals, &increment)
	if slices.Contains(p.titles, m.Title) && increment != (wire.ReportTotals{}) {
		s.titles.add(m.Title, &increment)
	}
	return nil
}

func (s *State) refuseReport(err error) error {
	s.stats.ReportsRefused++
	return err
}

// increment is what a report adds to what the peer has reported before. It
// reports false for what cannot be.
func (r *report) increment(m *wire.TrackerReport, passed time.Duration) (increment wire.ReportTotals, ok bool) {
	for _, n := range m.Totals {
		if n > counterMax {
			return increment, false
		}
	}
	before := r.latest
	switch {
	case r.newSession && m.FirstSession:
		before = wire.ReportTotals{} // a new process, or the first report ever
	case r.newSession && r.at.IsZero():
		before = m.Totals // counted by a tracker before us, or lost
	}
	for i, n := range m.Totals {
		if n < before[i] {
			before = wire.ReportTotals{} // the process began anew
			break
		}
	}
	seconds := uint64(max(passed, 0)/time.Second) + 1
	for i, n := range m.Totals {
		increment[i] = n - before[i]
		most := lateBytesMax + seconds*networkBytesPerSecMax
		switch wire.Counter(i) {
		case wire.CounterCache, wire.CounterPlayed:
			most = lateBytesMax + seconds*localBytesPerSecMax
		case wire.CounterStalls:
			most = lateStallsMax + seconds*stallsPerSecMax
		default:
		}
		if increment[i] > most {
			return increment, false
		}
	}
	return increment, true
}

// feed keeps the sources that are here and share a title with p; names that a
// peer made up are counted and forgotten. Most sources were named in the report
// before: those are not looked up again, and a view shows only who is in it.
func (s *State) feed(p *peer, r *report, from []wire.FedBy) {
	var before [wire.ReportFedMax]feed
	known := before[:copy(before[:], r.fed)]
	r.fed = r.fed[:0]
	for i := range from[:min(len(from), wire.ReportFedMax)] {
		f := feed{key: feedKey(from[i].ID), bytes: from[i].Bytes}
		if !slices.ContainsFunc(known, func(k feed) bool { return k.key == f.key }) {
			source := s.peers[from[i].ID]
			if source == nil || source == p || !shareTitle(source, p) {
				s.stats.FeedsRefused++
				continue
			}
		}
		r.fed = append(r.fed, f)
	}
}

func shareTitle(a, b *peer) bool {
	return slices.ContainsFunc(a.titles, func(t store.TitleID) bool { return slices.Contains(b.titles, t) })
}

// recount keeps the number of viewers: those that a peer reports, and one for a
// peer of an older version that takes part in a title.
func (s *State) recount(p *peer) {
	watching := min(len(p.titles), 1)
	if p.report != nil {
		watching = int(p.report.viewers)
	}
	s.stats.Watching += watching - p.watching
	p.watching = watching
}
