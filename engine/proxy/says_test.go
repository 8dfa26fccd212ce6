package proxy

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine"
)

// scene is a node in two successive snapshots, half a second apart.
type scene struct {
	want   string
	before func(*engine.Status) // nil: playingStatus as it is
	now    func(*engine.Status)
	passed uint64 // passthrough bytes that came meanwhile
}

// playingStatus is a node with one player, 12 s ahead, and two seeds.
func playingStatus(change func(*engine.Status)) engine.Status {
	s := engine.Status{
		Tracker:    engine.TrackerStatus{URL: "quic://t", Connected: true},
		Bytes:      engine.Bytes{P2P: 1000, CDN: 500},
		CDNReasons: map[string]int64{"startup": 500},
		Seeds:      []engine.SeedStatus{{ID: "a", ReceivedBytes: 500}, {ID: "b", ReceivedBytes: 500}},
		Titles: []engine.TitleStatus{{ID: "t", N: 3, Viewers: []engine.ViewerStatus{
			{ID: "v", PositionS: 60, BufferS: 12, ReadyS: 30, Rate: 1},
		}}},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func viewer1(s *engine.Status) *engine.ViewerStatus { return &s.Titles[0].Viewers[0] }

func fromPeers(s *engine.Status) {
	s.Bytes.P2P += 200
	s.Seeds[0].ReceivedBytes += 100
	s.Seeds[1].ReceivedBytes += 100
}

func fromCDN(reason string) func(*engine.Status) {
	return func(s *engine.Status) {
		s.Bytes.CDN += 100
		s.CDNReasons[reason] += 100
	}
}

func alone(s *engine.Status) { s.Seeds = nil }

func dry(s *engine.Status) {
	viewer1(s).BufferS, viewer1(s).ReadyS, s.Readers = 0, 0, 1
}

func and(changes ...func(*engine.Status)) func(*engine.Status) {
	return func(s *engine.Status) {
		for _, change := range changes {
			change(s)
		}
	}
}

func empty(s *engine.Status) { *s = engine.Status{} }

func noCDN(s *engine.Status) { s.Bytes.CDN = 0 }

func fetching(s *engine.Status) { s.Fetches = 1 }

func unanswered(s *engine.Status) { s.Tracker.Connected = false }

func sought(s *engine.Status) { viewer1(s).PositionS = 300 }

func paused(s *engine.Status) { viewer1(s).Rate = 0 }

func scenes() []scene {
	return []scene{
		{want: "Playing; the next 30 s are here already.", now: and()},
		{want: "Playing from 2 peers.", now: fromPeers},
		{want: "Playing from 2 peers; not one byte came from the CDN.", before: noCDN, now: and(fromPeers, noCDN)},
		{want: "Playing from 1 peer.", now: func(s *engine.Status) { s.Bytes.P2P++; s.Seeds[1].ReceivedBytes++ }},
		{
			want: "Playing from 2 peers and the CDN, which lets the picture start at once.",
			now:  and(fromPeers, fromCDN("startup")),
		},
		{
			want: "Playing from 2 peers and the CDN, because peers would have been too late.",
			now:  and(fromPeers, fromCDN("rescue")),
		},
		{
			want: "Playing from 2 peers and the CDN, which brings new pieces into the swarm.",
			now:  and(fromPeers, fromCDN("first_copy")),
		},
		{
			want: "Playing from 2 peers and the CDN, because a peer's copy was broken.",
			now:  and(fromPeers, fromCDN("hash_failure")),
		},
		{
			want: "Playing from the CDN, which lets the picture start at once; 2 peers are connected.",
			now:  fromCDN("startup"),
		},
		{want: "Playing from the CDN: no peer is connected yet.", now: and(fromCDN("startup"), alone)},
		{
			want: "Playing from the CDN: nobody else watches this title now.",
			now:  and(fromCDN("startup"), alone, func(s *engine.Status) { s.Titles[0].N = 1 }),
		},
		{
			want: "Playing from the CDN: without a tracker this node finds no peers.",
			now:  and(fromCDN("startup"), alone, func(s *engine.Status) { s.Tracker = engine.TrackerStatus{} }),
		},
		{
			want: "Playing from the CDN: no peer is known yet. The tracker does not answer.",
			now:  and(fromCDN("startup"), alone, unanswered),
		},
		{
			want: "Playing from 2 peers. The tracker does not answer; the peers that are connected stay.",
			now:  and(fromPeers, unanswered),
		},
		{want: "Playing from this node's cache.", now: func(s *engine.Status) { s.Bytes.Cache++ }},
		{
			want: "The picture stopped: the peers are too slow for the next piece and the CDN answers slowly.",
			now:  and(dry, fetching),
		},
		{
			want: "The picture stopped: the peers are too slow for the next piece and nothing is on its way from the CDN.",
			now:  dry,
		},
		{
			want: "The picture stopped: no peer has the next piece and the CDN answers slowly.",
			now:  and(dry, alone, fetching),
		},
		{
			want: "The picture stopped: every peer is busy and the CDN answers slowly.",
			now:  and(dry, fetching, func(s *engine.Status) { s.Seeds[0].FrozenMillis, s.Seeds[1].FrozenMillis = 1, 1 }),
		},
		{
			want: "The picture stopped a moment ago and goes on.",
			now:  func(s *engine.Status) { viewer1(s).Stalls++ },
		},
		{want: "Starting: the first bytes come from the CDN and 2 peers.", before: dry, now: and(dry, fetching)},
		{want: "Starting: the first bytes come from the CDN.", before: dry, now: and(dry, alone, fetching)},
		{want: "Starting: asking 2 peers.", now: and(dry, sought)},
		{want: "Starting: looking for the first bytes.", now: and(dry, alone, sought)},
		{want: "Paused at 1:00; the next 30 s are here.", now: paused},
		{
			want: "Paused at 1:00:05; the next 30 s are here. This node serves 1 other viewer.",
			now: and(paused, func(s *engine.Status) {
				viewer1(s).PositionS, s.Bytes.Served, s.Leeches = 3605, 1, make([]engine.LeechStatus, 1)
			}),
		},
		{
			want: "2 players play from 2 peers.",
			now: and(fromPeers, func(s *engine.Status) {
				s.Titles = append(s.Titles, engine.TitleStatus{ID: "u", Viewers: []engine.ViewerStatus{{Rate: 1, BufferS: 5}}})
			}),
		},
		{want: "No player asks for anything.", before: empty, now: empty},
		{
			want: "No player asks for anything. This node serves other viewers.", before: empty,
			now: func(s *engine.Status) { *s = engine.Status{Bytes: engine.Bytes{Served: 1}} },
		},
		{
			want: "No player asks for anything. The tracker does not answer.", before: empty,
			now: func(s *engine.Status) { *s = engine.Status{Tracker: engine.TrackerStatus{URL: "quic://t"}} },
		},
		{
			want:   "Playing what no title.shoal describes: it comes from the CDN alone.",
			before: empty, now: empty, passed: 1 << 20,
		},
	}
}

func TestTheSentenceSaysWhatGoesOn(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, sc := range scenes() {
		t.Run(sc.want, func(t *testing.T) {
			prev := observe(snapshot{}, playingStatus(sc.before), 7, start)
			now := observe(prev, playingStatus(sc.now), 7+sc.passed, start.Add(500*time.Millisecond))
			require.Equal(t, sc.want, says(prev, now))
			require.LessOrEqual(t, strings.Count(sc.want, ". ")+1, 2, "two sentences at most")
		})
	}
}

// A story over time: what was last seen is dated, and forgotten after a gap.
func TestTheSentenceDatesTheLastCDNBytes(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	status := playingStatus(nil)
	s := observe(snapshot{}, status, 0, at)
	var said string
	step := func(change func(*engine.Status), d time.Duration) {
		at = at.Add(d)
		status = clone(status) // the snapshot before keeps its own
		change(&status)
		viewer1(&status).PositionS += d.Seconds()
		prev := s
		s = observe(prev, status, 0, at)
		said = says(prev, s)
	}
	step(fromCDN("startup"), time.Second)
	require.Equal(t, "Playing from the CDN, which lets the picture start at once; 2 peers are connected.", said)
	for range 40 {
		step(fromPeers, time.Second)
	}
	require.Equal(t, "Playing from 2 peers; the last CDN bytes were 40 s ago.", said)
	for range 160 {
		step(fromPeers, time.Second)
	}
	require.Equal(t, "Playing from 2 peers; the last CDN bytes were 3 min ago.", said)
	for range 10 {
		step(func(s *engine.Status) { s.Bytes.P2P += 10; s.Seeds[1].ReceivedBytes += 10 }, time.Second)
	}
	require.Equal(t, "Playing from 1 peer; the last CDN bytes were 3 min ago.", said, "the other one gave nothing for 10 s")

	step(fromPeers, time.Minute) // nobody looked meanwhile
	require.Equal(t, "Playing; the next 30 s are here already.", said, "what grew in the gap is not dated")
	step(fromPeers, time.Second)
	require.Equal(t, "Playing from 2 peers.", said)
	for range 10 {
		step(fromPeers, time.Second)
	}
	require.Equal(t, "Playing from 2 peers; no CDN bytes for 11 s at least.", said)
}

func TestAStallBeginsWhenThePictureHadBegun(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	status := playingStatus(func(s *engine.Status) { dry(s); viewer1(s).PositionS = 0 })
	var s snapshot
	var said []string
	step := func(played float64) {
		at = at.Add(500 * time.Millisecond)
		status = clone(status)
		viewer1(&status).PositionS += played
		viewer1(&status).BufferS -= played
		prev := s
		s = observe(prev, status, 0, at)
		if word, _, _ := strings.Cut(says(prev, s), " "); len(said) == 0 || said[len(said)-1] != word {
			said = append(said, word)
		}
	}
	step(0)
	step(0)
	viewer1(&status).BufferS = 6
	for range 12 {
		step(0.5)
	}
	step(0) // the buffer is empty, the playhead stands still
	step(0)
	require.Equal(t, []string{"Starting:", "Playing;", "The"}, said)
}

func clone(s engine.Status) engine.Status {
	s.CDNReasons = maps.Clone(s.CDNReasons)
	s.Seeds = slices.Clone(s.Seeds)
	s.Titles = slices.Clone(s.Titles)
	for i := range s.Titles {
		s.Titles[i].Viewers = slices.Clone(s.Titles[i].Viewers)
	}
	return s
}
