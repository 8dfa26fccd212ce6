package tracker

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/internal/wire"
	"shoal/tracker/store"
)

// talker is a peer that reports: its counters grow as a story wants.
type talker struct {
	*town
	peer   int
	report wire.TrackerReport
}

func (w *town) talker(i int) *talker {
	w.joinAs(i, leech(0))
	return &talker{town: w, peer: i, report: wire.TrackerReport{Title: film, FirstSession: true, Viewers: 1}}
}

// says reports five seconds after whatever came before.
func (p *talker) says(p2p, cdn uint64) error {
	p.advance(5 * time.Second)
	p.report.Request++
	p.report.Totals[wire.CounterP2P], p.report.Totals[wire.CounterCDN] = p2p, cdn
	return p.state.Report(p.now, peerID(p.peer), &p.report)
}

func (w *town) wantSums(p2p, cdn uint64) {
	w.Helper()
	got := w.state.Stats().Totals
	require.Equal(w, [2]uint64{p2p, cdn}, [2]uint64{got[wire.CounterP2P], got[wire.CounterCDN]})
}

func (w *town) swarm(title store.TitleID) SwarmView {
	w.Helper()
	v, err := w.state.Swarm(w.now, title)
	require.NoError(w, err)
	return v
}

func TestReportsOfPeersAreSummedUp(t *testing.T) {
	w := newTown(t, Config{})
	a, b := w.talker(1), w.talker(2)
	require.NoError(t, a.says(0, 1000))
	require.NoError(t, b.says(700, 50))
	require.NoError(t, a.says(0, 1500))
	require.NoError(t, b.says(1400, 50))
	w.wantSums(1400, 1550)
	v := w.swarm(film)
	require.Equal(t, uint64(1400), v.Totals[wire.CounterP2P])
	require.Equal(t, uint64(1550), v.Totals[wire.CounterCDN])
	require.Equal(t, uint64(1500), v.Members[0].Totals[wire.CounterCDN])
	require.Equal(t, 2, w.state.Stats().Watching)

	require.NoError(t, w.state.LeaveAll(peerID(1)))
	w.wantSums(1400, 1550)
	require.Equal(t, 1, w.state.Stats().Watching)
}

func TestCountersThatRunBackAreARestart(t *testing.T) {
	w := newTown(t, Config{})
	a := w.talker(1)
	require.NoError(t, a.says(100, 1000))
	require.NoError(t, a.says(40, 30))
	require.NoError(t, a.says(50, 30))
	w.wantSums(150, 1030)
}

func TestPeerThatJoinsAgainIsCountedOnce(t *testing.T) {
	w := newTown(t, Config{})
	a := w.talker(1)
	require.NoError(t, a.says(100, 1000))
	a.report.FirstSession = false

	// Its path changed; the tracker still knows it.
	w.join(1)
	require.NoError(t, a.says(110, 1000))
	w.wantSums(110, 1000)

	// It slept for so long that the tracker forgot it.
	w.advance(w.state.Expiry() + time.Second)
	require.Len(t, w.expire(), 1)
	w.joinAs(1, leech(0))
	require.NoError(t, a.says(400, 1000))
	w.wantSums(110, 1000)
	require.NoError(t, a.says(420, 1000))
	w.wantSums(130, 1000)

	// Its process began anew, under the same identity, and counts beyond the old.
	w.join(1)
	a.report.FirstSession = true
	require.NoError(t, a.says(1000, 5000))
	w.wantSums(1130, 6000)
}

func TestOvertakenReportChangesNothing(t *testing.T) {
	w := newTown(t, Config{})
	a := w.talker(1)
	require.NoError(t, a.says(100, 0))
	require.NoError(t, a.says(200, 0))
	a.report.Request -= 2
	require.ErrorIs(t, a.says(150, 0), ErrReportLate)
	w.wantSums(200, 0)

	w.join(1) // a client that counts its requests from the start again
	a.report.Request, a.report.FirstSession = 0, false
	require.NoError(t, a.says(210, 0))
	w.wantSums(210, 0)
}

func TestReportsAreLimitedPerPeer(t *testing.T) {
	w := newTown(t, Config{})
	a := w.talker(1)
	require.NoError(t, a.says(100, 0))
	taken := 0
	for range 1000 {
		w.advance(10 * time.Millisecond)
		a.report.Request++
		a.report.Totals[wire.CounterP2P]++
		if err := w.state.Report(w.now, peerID(1), &a.report); err == nil {
			taken++
		} else {
			require.ErrorIs(t, err, ErrReportTooOften)
		}
	}
	require.Equal(t, 20+reportBurst-1, taken, "two a second")
	require.Equal(t, uint64(1000-taken), w.state.Stats().ReportsRefused)
	require.InDelta(t, 1100, w.state.Stats().Totals[wire.CounterP2P], 50)
}

func TestReportOfMoreThanAMachineCanDoIsNotBelieved(t *testing.T) {
	w := newTown(t, Config{})
	a := w.talker(1)
	require.NoError(t, a.says(100, 1000))
	for _, huge := range []uint64{1<<64 - 1, counterMax + 1, counterMax, 40 * networkBytesPerSecMax} {
		require.ErrorIs(t, a.says(huge, 1000), ErrReportImplausible)
	}
	a.report.Totals[wire.CounterStalls] = 1 << 40
	require.ErrorIs(t, a.says(100, 1000), ErrReportImplausible)
	a.report.Totals[wire.CounterStalls] = 3
	w.wantSums(100, 1000)
	// 10 Gbit/s for a while can be.
	require.NoError(t, a.says(100+4*networkBytesPerSecMax, 1000))
	// So can a player that reads the cache as fast as memory is.
	a.report.Totals[wire.CounterPlayed] = 4 * localBytesPerSecMax
	require.NoError(t, a.says(a.report.Totals[wire.CounterP2P], 1000))
}

func TestReportNeedsAJoin(t *testing.T) {
	w := newTown(t, Config{})
	require.ErrorIs(t, w.state.Report(w.now, peerID(1), &wire.TrackerReport{}), ErrUnknown)
	require.Equal(t, uint64(1), w.state.Stats().ReportsRefused)
	require.Zero(t, w.state.Stats().Totals)
}

func TestBytesOfATitleThatIsNotAnnouncedAreNobodys(t *testing.T) {
	w := newTown(t, Config{})
	a := w.talker(1)
	a.report.Title = series
	require.NoError(t, a.says(100, 1000))
	w.wantSums(100, 1000)
	require.Zero(t, w.swarm(series).Totals)
	require.Zero(t, w.swarm(film).Totals)
}

func TestSourcesThatArePeopleElsewhereAreForgotten(t *testing.T) {
	w := newTown(t, Config{})
	a, b := w.talker(1), w.talker(2)
	require.NoError(t, b.says(0, 5000))
	other := leech(0)
	other.Title = series
	w.joinAs(3, other)
	a.report.FedBy = []wire.FedBy{
		{ID: peerID(2), Bytes: 900},
		{ID: peerID(1), Bytes: 800},  // itself
		{ID: peerID(3), Bytes: 700},  // watches something else
		{ID: peerID(77), Bytes: 600}, // never joined
	}
	require.NoError(t, a.says(1000, 0))
	v := w.swarm(film)
	require.Len(t, v.Members, 2)
	require.Equal(t, []Edge{{From: 1, To: 0, Bytes: 900}}, v.Edges)
	require.Equal(t, uint64(3), w.state.Stats().FeedsRefused)

	require.NoError(t, w.state.LeaveAll(peerID(2)))
	require.Empty(t, w.swarm(film).Edges, "who has left feeds nobody")
}

func TestNobodyReceivesMoreThanItSays(t *testing.T) {
	w := newTown(t, Config{})
	a, b := w.talker(1), w.talker(2)
	require.NoError(t, b.says(0, 5000))
	a.report.FedBy = []wire.FedBy{{ID: peerID(2), Bytes: 1 << 63}}
	require.NoError(t, a.says(1000, 0))
	require.Equal(t, uint64(1000+unverifiedBytesMax), w.swarm(film).Edges[0].Bytes)
}

// A million made-up sources, senseless counters and every title: what the State
// keeps of it stays bounded, and nobody else notices.
func TestHostileReporterIsBounded(t *testing.T) {
	w := newTown(t, Config{TitlesPerPeerMax: 2})
	honest := w.talker(1)
	require.NoError(t, honest.says(500, 500))
	liar := w.talker(2)
	rng := rand.New(rand.NewPCG(3, 4))
	const reports = 62_500
	for i := range reports {
		w.advance(reportGap)
		liar.report.Request++
		liar.report.Title = store.TitleID{byte(i), byte(i >> 8)}
		liar.report.Viewers = 1 << 15
		for c := range liar.report.Totals {
			liar.report.Totals[c] = rng.Uint64() >> rng.IntN(64)
		}
		liar.report.FedBy = liar.report.FedBy[:0]
		for j := range wire.ReportFedMax {
			liar.report.FedBy = append(liar.report.FedBy, wire.FedBy{ID: peerID(1000 + 16*i + j), Bytes: rng.Uint64()})
		}
		_ = w.state.Report(w.now, peerID(2), &liar.report)
	}
	st := w.state.Stats()
	require.Equal(t, uint64(reports+1), st.Reports+st.ReportsRefused)
	require.Equal(t, (st.Reports-1)*wire.ReportFedMax, st.FeedsRefused)
	require.LessOrEqual(t, st.Watching, 1+viewersPerPeerMax)
	r := w.state.peers[peerID(2)].report
	require.LessOrEqual(t, cap(r.fed), wire.ReportFedMax)
	require.Equal(t, 1, w.state.titles.latest.Len(), "only titles that are announced are counted")
	seconds := uint64(reports) / 2
	require.LessOrEqual(t, st.Totals[wire.CounterP2P], reports*uint64(lateBytesMax+networkBytesPerSecMax)+seconds)
	v := w.swarm(film)
	require.Equal(t, uint64(500), v.Members[0].Totals[wire.CounterP2P])
	require.Equal(t, uint64(500), v.Totals[wire.CounterP2P])
	require.Empty(t, v.Edges)
}

func TestSumsOfTitlesAreBounded(t *testing.T) {
	w := newTown(t, Config{})
	for i := range titleTotalsMax + 100 {
		title := store.TitleID{0: 't', 1: byte(i), 2: byte(i >> 8)}
		a := leech(0)
		a.Title = title
		w.joinAs(1000+i, a)
		w.advance(time.Second)
		require.NoError(t, w.state.Report(w.now, peerID(1000+i), &wire.TrackerReport{
			Title: title, FirstSession: true, Totals: wire.ReportTotals{uint64(i + 1)},
		}))
	}
	require.Equal(t, titleTotalsMax, w.state.titles.latest.Len())
	require.Len(t, w.state.titles.byTitle, titleTotalsMax)
	require.Zero(t, w.state.titles.of(store.TitleID{0: 't'}), "the oldest gave way")
	last := titleTotalsMax + 99
	require.Equal(t, uint64(last+1), w.state.titles.of(store.TitleID{0: 't', 1: byte(last), 2: byte(last >> 8)})[0])
}

// The answers to announces are the same, byte for byte, whatever is reported
// and looked at in between.
func TestReportsAndViewsChangeNoAnswer(t *testing.T) {
	story := func(meddle bool) uint64 {
		w, digest := newTown(t, Config{}), fnv.New64a()
		for i := range 300 {
			a := leech(time.Duration(i%50) * time.Minute)
			if i%3 == 0 {
				a = seed()
			}
			answer := w.joinAs(i, a)
			_, _ = fmt.Fprintf(digest, "%v", answer)
			if meddle {
				_ = w.state.Report(w.now, peerID(i), &wire.TrackerReport{
					Title: film, FirstSession: true, Totals: wire.ReportTotals{uint64(i) << 20, 7, 3},
					FedBy: []wire.FedBy{{ID: peerID(i / 2), Bytes: 1 << 20}},
				})
				_ = w.swarm(film)
				_, err := w.state.Overview()
				require.NoError(t, err)
			}
			w.advance(150 * time.Millisecond)
			_, _ = fmt.Fprint(digest, w.expire())
		}
		return digest.Sum64()
	}
	require.Equal(t, story(false), story(true))
}

func TestViewIsBoundedAndDoesNotFlicker(t *testing.T) {
	w := newTown(t, Config{Locate: func(ip netip.Addr) Place { return Place{ISP: ip.String(), Region: "XX"} }})
	const viewers = ViewPeersMax + 50
	for i := range viewers {
		w.joinAs(i, seed())
	}
	for i := range ViewTitlesMax + 20 {
		other := leech(0)
		other.Title = store.TitleID{1, byte(i)}
		w.joinAs(viewers+i, other)
	}
	o, err := w.state.Overview()
	require.NoError(t, err)
	require.Len(t, o.Titles, ViewTitlesMax)
	require.Equal(t, ViewTitlesMax+21, o.TitleSum)
	require.Equal(t, viewers, o.Titles[0].Peers)
	require.Equal(t, viewers+ViewTitlesMax+20, o.Presences)

	v := w.swarm(film)
	require.Equal(t, viewers, v.Peers)
	require.Len(t, v.Members, ViewPeersMax)
	require.Equal(t, v, w.swarm(film))
	graded := 0
	for _, m := range v.Members {
		require.Contains(t, m.Place.ISP, "203.0.")
		if m.Grade != 0 {
			graded++
		}
	}
	require.Greater(t, graded, ViewPeersMax/2, "most have been handed out")
	require.Zero(t, w.swarm(series).Peers)
}

func TestPlaceFollowsThePeer(t *testing.T) {
	w := newTown(t, Config{Locate: func(ip netip.Addr) Place { return Place{ISP: ip.String()} }})
	w.joinAs(1, seed())
	require.Equal(t, "203.0.0.1", w.swarm(film).Members[0].Place.ISP)
	require.True(t, w.state.Heartbeat(w.now, peerID(1), netip.MustParseAddrPort("[2001:db8::1]:9")))
	require.Equal(t, "2001:db8::1", w.swarm(film).Members[0].Place.ISP)
	require.Equal(t, UnknownPlace, New(rand.New(rand.NewPCG(1, 2)), store.NewMemory(), Config{}).cfg.Locate(netip.Addr{}))
}

func TestPeerThatDoesNotReportIsOneViewer(t *testing.T) {
	w := newTown(t, Config{})
	w.join(1)
	require.Zero(t, w.state.Stats().Watching)
	w.announce(1, leech(0))
	require.Equal(t, 1, w.state.Stats().Watching)
	require.False(t, w.swarm(film).Members[0].Reports)
	require.NoError(t, w.state.Leave(w.now, peerID(1), film))
	require.Zero(t, w.state.Stats().Watching)
	require.NoError(t, w.state.LeaveAll(peerID(1)))
	require.Zero(t, w.state.Stats().Watching)
}

// Whatever is reported in whatever order: sums never run back, the sums of all
// are at least those of the titles, and the number of viewers is that of the
// peers.
func TestReportsKeepTheBooks(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newTown(t, Config{})
		var before wire.ReportTotals
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			i := rapid.IntRange(1, 4).Draw(r, "peer")
			w.advance(time.Duration(rapid.IntRange(0, 30_000).Draw(r, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 5).Draw(r, "what") {
			case 0:
				w.join(i)
			case 1:
				require.NoError(r, w.state.LeaveAll(peerID(i)))
			case 2:
				w.expire()
			case 3:
				a := leech(0)
				if rapid.Bool().Draw(r, "series") {
					a.Title = series
				}
				_, _ = w.state.Announce(w.now, peerID(i), home(i), a)
			default:
				m := wire.TrackerReport{
					Request: rapid.Uint32().Draw(r, "request"), FirstSession: rapid.Bool().Draw(r, "first"),
					Title: film, Viewers: uint16(rapid.IntRange(0, 40).Draw(r, "viewers")),
					FedBy: []wire.FedBy{{ID: peerID(rapid.IntRange(1, 6).Draw(r, "from")), Bytes: rapid.Uint64().Draw(r, "bytes")}},
				}
				for c := range m.Totals {
					m.Totals[c] = rapid.Uint64Range(0, 1<<30).Draw(r, "total")
				}
				_ = w.state.Report(w.now, peerID(i), &m)
			}
			st, titles := w.state.Stats(), w.swarm(film).Totals
			watching := 0
			for _, p := range w.state.peers {
				watching += p.watching
			}
			require.Equal(r, watching, st.Watching)
			for c := range before {
				require.GreaterOrEqual(r, st.Totals[c], before[c])
				require.GreaterOrEqual(r, st.Totals[c], titles[c])
			}
			before = st.Totals
		}
	})
}

func BenchmarkReport(b *testing.B) {
	const peers = 10_000
	s := New(rand.New(rand.NewPCG(1, 2)), store.NewMemory(), Config{AnnouncesPerSec: 1e12})
	now := time.Date(2026, 1, 2, 20, 15, 0, 0, time.UTC)
	for i := range peers {
		require.NoError(b, s.Join(now, peerID(i), home(i)))
		_, err := s.Announce(now, peerID(i), home(i), leech(0))
		require.NoError(b, err)
	}
	m := wire.TrackerReport{Title: film, FirstSession: true}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		now = now.Add(time.Millisecond)
		i = (i + 7919) % peers
		m.Request++
		m.Totals[wire.CounterP2P]++
		m.FedBy = m.FedBy[:0]
		for j := range wire.ReportFedMax {
			m.FedBy = append(m.FedBy, wire.FedBy{ID: peerID((i + j + 1) % peers), Bytes: uint64(m.Request)})
		}
		if err := s.Report(now, peerID(i), &m); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
}

func BenchmarkSwarmView(b *testing.B) {
	const peers = 10_000
	s := New(rand.New(rand.NewPCG(1, 2)), store.NewMemory(), Config{AnnouncesPerSec: 1e12})
	now := time.Date(2026, 1, 2, 20, 15, 0, 0, time.UTC)
	for i := range peers {
		require.NoError(b, s.Join(now, peerID(i), home(i)))
		_, err := s.Announce(now, peerID(i), home(i), leech(0))
		require.NoError(b, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Overview(); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Swarm(now, film); err != nil {
			b.Fatal(err)
		}
	}
}
