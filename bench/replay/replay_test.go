package replay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/bench/replay/trace"
	"shoal/internal/wire"
)

// audience makes sessions of films in swarms of viewers who come within a while
// and watch for some minutes.
func audience(seed uint64, sessions, perSwarm int, watch time.Duration) []Session {
	rng := rand.New(rand.NewPCG(seed, 7))
	ups := []int{0, 0, 800, 2000, 5000, 5000, 10_000, 20_000, 20_000, 50_000}
	var list []Session
	for i := range sessions {
		start := time.Duration(rng.Int64N(int64(watch / 2)))
		t := trace.NewSession(fmt.Sprint("s", i), start, fmt.Sprint("film", i/perSwarm), watch/2+time.Duration(rng.Int64N(int64(watch))))
		t.Kind, t.BitrateKbps, t.TitleLength, t.Position = trace.VOD, 2500, time.Hour, 0
		t.DownKbps, t.UpKbps = 20_000+rng.IntN(80_000), ups[rng.IntN(len(ups))]
		t.RTT, t.Linger, t.NAT = 10*time.Millisecond, 0, trace.NATFullCone
		t.ISP, t.Region = fmt.Sprint("isp", rng.IntN(3)), "X"
		list = append(list, Session{Session: t, Crash: rng.IntN(10) == 0})
	}
	return list
}

func replay(t testing.TB, cfg Config, sessions []Session) []Result {
	results, err := Run(context.Background(), cfg, sessions, nil)
	require.NoError(t, err)
	return results
}

func TestDigestIsTheSameOnAnyNumberOfCores(t *testing.T) {
	sessions := audience(1, 40, 8, 40*time.Second)
	one := replay(t, Config{Seed: 3, Policies: Policies(), Workers: 1}, sessions)
	four := replay(t, Config{Seed: 3, Policies: Policies(), Workers: 4}, sessions)
	other := replay(t, Config{Seed: 4, Policies: Policies(), Workers: 4}, sessions)
	for i := range one {
		require.Equal(t, one[i].Digest, four[i].Digest, one[i].Policy)
		require.Equal(t, one[i].Series, four[i].Series, one[i].Policy)
		if one[i].Policy == "shoal" {
			require.NotEqual(t, one[i].Digest, other[i].Digest)
			require.Greater(t, one[i].Saving, 0.3)
		}
	}
}

// Whoever begins a segment before all of it has come has nothing from a cache for that.
func TestWhatIsStillComingIsNoCache(t *testing.T) {
	sessions := audience(1, 3, 3, 40*time.Second)
	for i := range sessions {
		sessions[i].DownKbps = 3000
	}
	for _, r := range replay(t, Config{Seed: 1, Policies: Policies(), Progressive: true}, sessions) {
		require.Zero(t, r.CacheBytes, r.Policy)
		require.Positive(t, r.P2PBytes+r.CDNBytes, r.Policy)
	}
}

// Whoever stalls is shown less in the time that was watched, and saves nothing by it.
func TestStallsSaveNothing(t *testing.T) {
	sessions := audience(1, 4, 4, 90*time.Second)
	for i := range sessions {
		sessions[i].DownKbps, sessions[i].UpKbps, sessions[i].Crash = 2700, 400, false
	}
	results := replay(t, Config{Seed: 1, Policies: []string{"cdn-only", "rarest-first"}}, sessions)
	whole, r := results[0], results[1]
	require.Less(t, float64(r.P2PBytes+r.CDNBytes), 0.97*float64(whole.CDNBytes), "they stalled")
	require.InDelta(t, r.Saving, r.NetSaving, 0.02)
}

// drawSessions makes a small world of everything that a world can have.
func drawSessions(t *rapid.T) []Session {
	var list []Session
	kind := rapid.SampledFrom([]trace.Kind{trace.VOD, trace.Live}).Draw(t, "kind")
	natTypes := []string{trace.NATOpen, trace.NATFullCone, trace.NATAddressRestricted, trace.NATPortRestricted, trace.NATSymmetric, trace.NATBlocked}
	for i := range rapid.IntRange(1, 6).Draw(t, "viewers") {
		seconds := func(name string, least, most int) time.Duration {
			return time.Duration(rapid.IntRange(least, most).Draw(t, name)) * time.Second
		}
		s := trace.NewSession(fmt.Sprint(i), seconds("start", 0, 40), "title", seconds("watch", 0, 90))
		s.Kind, s.TitleLength = kind, 80*time.Second
		s.BitrateKbps = rapid.SampledFrom([]int{100, 700, 2500}).Draw(t, "kbps")
		s.Position = seconds("position", 0, 70)
		s.DownKbps = rapid.SampledFrom([]int{1000, 8000, 100_000}).Draw(t, "down")
		s.UpKbps = rapid.SampledFrom([]int{0, 300, 3000, 50_000}).Draw(t, "up")
		s.RTT = time.Duration(rapid.IntRange(0, 200).Draw(t, "rtt")) * time.Millisecond
		s.Linger = seconds("linger", 0, 60)
		s.NAT = rapid.SampledFrom(natTypes).Draw(t, "nat")
		s.CacheMB = rapid.SampledFrom([]int{trace.Absent, 4}).Draw(t, "cache")
		x := Session{Session: s, Crash: rapid.Bool().Draw(t, "crash"), Adapts: rapid.Bool().Draw(t, "adapts")}
		if rapid.Bool().Draw(t, "seeks") {
			x.Seeks = []trace.Seek{{At: seconds("seek_at", 1, 60), To: seconds("seek_to", 0, 79)}}
		}
		list = append(list, x)
	}
	return list
}

func drawConfig(t *rapid.T) Config {
	return Config{
		Seed:        rapid.Uint64Range(0, 1000).Draw(t, "seed"),
		Progressive: rapid.Bool().Draw(t, "progressive"),
		Ladder:      rapid.SampledFrom([][]int{{400}, {100, 700, 2500}, {300, 400, 500, 600}}).Draw(t, "ladder"),
		LossRatio:   rapid.SampledFrom([]float64{0, 0.01}).Draw(t, "loss"),
	}.withDefaults()
}

// greedy is a rival that takes whatever any neighbour has, however far ahead,
// and asks the web server only for the segment that its player waits for.
type greedy struct{}

func newGreedy(p *peer) policy { return newRival(p, greedy{}) }

func (greedy) ask(r *rival) time.Duration {
	v := &r.p.viewer
	end := r.p.rendition.firstPiece(min(r.p.told, r.p.w.media.segments))
	for _, n := range r.neighbours {
		for i := r.p.rendition.firstPiece(v.seg); i < end && n.owed < 16; i++ {
			if x := r.partial[i]; !r.p.holds(i) && r.has(n, i) && (x == nil || x.from == nil && !x.web) {
				r.askFor(n, i)
			}
		}
	}
	if v.getting && v.state != statePlaying && len(r.fetches) == 0 {
		r.fromWeb(v.first, v.end)
	}
	return never
}
func (greedy) everySecond(*rival, bool)         {}
func (greedy) mayServe(*rival, *neighbour) bool { return true }
func (greedy) told(*rival, *neighbour, any)     {}
func (greedy) forget()                          {}

func TestNoPolicyExceedsTheBound(t *testing.T) {
	builders := []func(*peer) policy{newGreedy}
	for _, p := range policies {
		builders = append(builders, p.make)
	}
	rapid.Check(t, func(t *rapid.T) {
		cfg, sessions := drawConfig(t), drawSessions(t)
		build := rapid.SampledFrom(builders).Draw(t, "policy")
		for _, sw := range cut(sessions) {
			out := newWorld(cfg, build, sw, new(Meter)).run(context.Background(), sw)
			p2p := int64(0)
			for _, s := range out.results {
				p2p += s.P2P
			}
			if limit := out.jobs.limit(); p2p > limit {
				t.Fatalf("%d bytes came from peers; the bound is %d", p2p, limit)
			}
		}
	})
}

func TestEveryByteIsAccountedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, sessions := drawConfig(t), drawSessions(t)
		build := rapid.SampledFrom(policies).Draw(t, "policy").make
		for _, sw := range cut(sessions) {
			w := newWorld(cfg, build, sw, new(Meter))
			var shown int64
			out := w.run(context.Background(), sw)
			received, sent := int64(0), int64(0)
			for i, s := range out.results {
				require.LessOrEqual(t, s.Played, s.Watched, "watches no faster than time passes")
				require.LessOrEqual(t, s.Stalled+s.Startup+s.Played, s.Watched+time.Microsecond)
				require.Zero(t, (s.P2P+s.CDNSum()+s.Cache)%wire.PieceBytes)
				require.GreaterOrEqual(t, s.P2P, int64(0))
				require.GreaterOrEqual(t, s.Cache, int64(0))
				shown += s.P2P + s.CDNSum() + s.Cache
				received, sent = received+s.Received, sent+s.Sent
				line := float64(sw.sessions[i].UpKbps) * kbps * sw.sessions[i].online().Seconds()
				line += float64(cfg.withDefaults().UplinkQueue)
				require.LessOrEqual(t, float64(s.Sent)*peerOverhead, line+float64(wire.PieceBytes), "an uplink carries no more than it can")
			}
			require.LessOrEqual(t, received, sent)
			require.LessOrEqual(t, shown, int64(1)<<40)
		}
	})
}

func TestSymmetricNATsDoNotMeet(t *testing.T) {
	require.True(t, canConnect(trace.NATSymmetric, trace.NATAddressRestricted))
	require.True(t, canConnect(trace.NATPortRestricted, trace.NATPortRestricted))
	require.False(t, canConnect(trace.NATPortRestricted, trace.NATSymmetric))
	require.False(t, canConnect(trace.NATSymmetric, trace.NATSymmetric))
	require.False(t, canConnect(trace.NATOpen, trace.NATBlocked))

	a, b := homely("a", 0, 5*time.Minute), homely("b", 2*time.Minute, 0)
	a.NAT, b.NAT = trace.NATSymmetric, trace.NATSymmetric
	require.Zero(t, replay(t, Config{}, []Session{a, b})[0].P2PBytes)
	b.NAT = trace.NATOpen
	require.NotZero(t, replay(t, Config{}, []Session{a, b})[0].P2PBytes)
}

func TestLiveViewersShareWhatIsPublished(t *testing.T) {
	var list []Session
	for i := range 6 {
		s := homely(fmt.Sprint(i), time.Duration(i)*3*time.Second, 0)
		s.Kind, s.Watch, s.TitleLength = trace.Live, 2*time.Minute, trace.Absent
		s.Position = trace.Absent
		list = append(list, s)
	}
	r := replay(t, Config{}, list)[0]
	require.Zero(t, r.Stalls)
	require.Greater(t, r.Saving, 0.6)
	for _, s := range r.PerSession {
		require.Less(t, s.Played, 2*time.Minute, "nobody plays the future")
		require.Greater(t, s.Played, 110*time.Second)
	}
}

func TestCrashedSeedIsSurvived(t *testing.T) {
	a, b := homely("a", 0, 0), homely("b", 20*time.Second, 0)
	a.Watch, a.Crash = 45*time.Second, true
	r := replay(t, Config{Policies: Policies()}, []Session{a, b})
	for _, x := range r {
		require.Zero(t, x.Stalls, x.Policy)
		require.Equal(t, time.Minute, x.PerSession[1].Played, x.Policy)
	}
	require.NotZero(t, r[0].P2PBytes)
}

func TestSlowLineStalls(t *testing.T) {
	a := homely("a", 0, 0)
	a.DownKbps = 600 // less than the bitrate
	r := replay(t, Config{Policies: []string{"shoal", "cdn-only"}}, []Session{a})
	for _, x := range r {
		require.NotZero(t, x.Stalls, x.Policy)
		require.InDelta(t, 0.15, x.StallRatio, 0.1, x.Policy)
	}
}

func TestSeekBackPlaysFromTheCache(t *testing.T) {
	a := homely("a", 0, 0)
	a.Seeks = []trace.Seek{{At: 40 * time.Second, To: 6 * time.Second}}
	r := replay(t, Config{}, []Session{a})[0]
	require.Greater(t, r.CacheBytes, int64(3*8*wire.PieceBytes))
	require.Zero(t, r.DuplicateBytes)
}

func TestInterruptedRunIsPartial(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	results, err := Run(ctx, Config{Workers: 2}, audience(1, 20, 10, time.Minute), nil)
	require.NoError(t, err)
	require.True(t, results[0].Partial)
}

func TestBadInputIsRefused(t *testing.T) {
	_, err := Run(context.Background(), Config{}, nil, nil)
	require.ErrorIs(t, err, ErrNoSessions)
	_, err = Run(context.Background(), Config{Policies: []string{"magic"}}, audience(1, 1, 1, time.Minute), nil)
	require.ErrorContains(t, err, `unknown policy "magic": choose from shoal, cdn-only`)
}
