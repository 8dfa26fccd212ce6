package proxy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/engine/manifest"
	"shoal/internal/pace"
)

// mbits is a rate in bytes per second.
func mbits(n float64) float64 { return n * 1e6 / 8 }

func TestPaceIsTheLine(t *testing.T) {
	full := time.Minute
	l := pace.Ladder{Lowest: mbits(0.6), This: mbits(1.2), Top: mbits(9)}
	high := l
	high.This = mbits(4.8)
	for _, c := range []struct {
		name    string
		line    float64
		ladder  pace.Ladder
		buffer  time.Duration
		sharers int
		want    float64
	}{
		{"line", mbits(3), l, full, 1, mbits(3)},
		{"two answers share it", mbits(3), l, full, 2, mbits(1.5)},
		{"not below what the lowest rendition needs", mbits(0.3), l, full, 1, mbits(0.9)},
		{"that holds for each of many", mbits(3), l, full, 10, mbits(0.9)},
		{"far above the ladder there is no limit", mbits(36), l, full, 1, 0},
		{"just below that there is", mbits(35), l, full, 1, mbits(35)},
		{"an unknown line is a modest one", 0, l, full, 1, mbits(2)},
		{"too high a rendition shall look so", mbits(3), high, full, 1, mbits(3)},
		{"but not run dry", mbits(3), high, 5 * time.Second, 1, mbits(4.8 * 1.15)},
		{"nor stall", mbits(3), high, 0, 1, mbits(4.8 * 1.3)},
		{"a buffer that was drained since is empty", mbits(3), high, -time.Second, 1, mbits(4.8 * 1.3)},
		{"the line is more than that", mbits(20), high, 0, 1, mbits(20)},
	} {
		require.InDelta(t, c.want, pace.Rate(c.line, c.ladder, c.buffer, c.sharers), 1, c.name)
	}
}

func TestPaceKeepsEveryBufferAlive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rates := rapid.SliceOfN(rapid.Float64Range(1e3, 1e8), 3, 3).Draw(t, "rates")
		l := pace.Ladder{Lowest: min(rates[0], rates[1]), This: max(rates[0], rates[1])}
		l.Top = max(l.This, rates[2])
		line := rapid.Float64Range(0, 1e9).Draw(t, "line")
		sharers := rapid.IntRange(0, 100).Draw(t, "sharers")
		r := pace.Rate(line, l, 0, sharers)
		require.True(t, r == 0 || r >= l.This, "an empty buffer grows")
		r = pace.Rate(line, pace.Ladder{Lowest: l.This, This: l.This, Top: l.Top}, time.Hour, sharers)
		require.True(t, r == 0 || r >= l.This, "and so does any on the lowest rendition")
	})
}

func TestALateFirstByteIsMadeUpForWhereThePictureWouldStop(t *testing.T) {
	const bytes, rate = 600_000, 300_000 // a body of two seconds
	s := func(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }
	for _, c := range []struct {
		name             string
		wait, held, want float64
	}{
		{"in time", 0.3, 2, 0},
		{"late, and the buffer lasts", 2.5, 5, 0},
		{"late: the last byte comes half a second before the buffer ends", 2.5, 4, 1},
		{"never more than was waited in excess", 2.5, 1, 2},
		{"cached: what is too high a rendition shall look so", 0, 1, 0},
		{"a start measures the line", 2.5, 0, 0},
	} {
		require.Equal(t, s(c.want), pace.HeadStart(s(c.wait), s(c.held), bytes, rate), c.name)
	}
	require.Zero(t, pace.HeadStart(s(2.5), s(1), bytes, 0), "not paced")
}

func TestScheduleLetsALateAnswerCatchUp(t *testing.T) {
	now := time.Unix(100, 0)
	var s schedule
	require.Zero(t, s.wait(now), "the first bytes leave at once")
	s.sent(now, 50_000, 100_000)
	require.Equal(t, 500*time.Millisecond, s.wait(now))
	require.Equal(t, 200*time.Millisecond, s.wait(now.Add(300*time.Millisecond)))
	now = now.Add(2 * time.Second) // the source was late
	s.sent(now, 50_000, 100_000)
	require.Zero(t, s.wait(now))
	s.sent(now, 200_000, 100_000)
	require.Equal(t, time.Second, s.wait(now), "three seconds of bytes, two of which are over")
	s.sent(now, 1<<30, 0)
	require.Equal(t, time.Second, s.wait(now), "no limit costs no time")
}

func TestGrainIsSmoothAndBounded(t *testing.T) {
	require.EqualValues(t, 4096, grain(1000))
	require.EqualValues(t, 7500, grain(mbits(3)))
	require.EqualValues(t, 64<<10, grain(mbits(1000)))
	require.EqualValues(t, 64<<10, grain(0))
}

func TestLadderIsWhatThePlayerChoosesFrom(t *testing.T) {
	tracks := []manifest.Track{
		{ID: 1, Kind: manifest.KindVideo, BandwidthBitsPerSec: 800_000},
		{ID: 2, Kind: manifest.KindVideo, BandwidthBitsPerSec: 4_000_000},
		{ID: 3, Kind: manifest.KindVideo},
		{ID: 4, Kind: manifest.KindAudio, BandwidthBitsPerSec: 128_000},
	}
	whole := byteRange{0, 250_000}
	of := func(track uint16) (pace.Ladder, bool) {
		return ladderOf(tracks, manifest.Record{Track: track, Length: whole.length}, whole, 4*time.Second)
	}
	l, ok := of(1)
	require.True(t, ok)
	require.Equal(t, pace.Ladder{Lowest: 100_000, This: 100_000, Top: 500_000}, l)
	l, ok = of(3) // the playlist does not tell: the segment does
	require.True(t, ok)
	require.Equal(t, pace.Ladder{Lowest: 62_500, This: 62_500, Top: 500_000}, l)
	_, ok = of(4)
	require.False(t, ok, "one rendition is no choice")
	_, ok = of(9)
	require.False(t, ok)
}

// paceWorld is a proxy with a title of two renditions, 0.5 and 4 Mbit/s, behind
// a line of 2 Mbit/s. Its segments are of 4 s.
func paceWorld(t *testing.T) (*fakeNode, *Proxy) {
	n := newFakeNode(t)
	n.line = mbits(2)
	n.tracks = []manifest.Track{
		{ID: 1, Kind: manifest.KindVideo, BandwidthBitsPerSec: 500_000},
		{ID: 2, Kind: manifest.KindVideo, BandwidthBitsPerSec: 4_000_000},
	}
	n.add("film/low.m4s", content(250_000), 0, 4*time.Second)
	n.add("film/low2.m4s", content(250_000), 4*time.Second, 4*time.Second)
	n.add("film/high.m4s", content(2_000_000), 0, 4*time.Second).rec.Track = 2
	n.add("film/init.mp4", content(1_000_000), 0, 0)
	movie := n.add("film/movie.mp4", content(2_000_000), 0, 0)
	for i := range 4 {
		movie.rec.Segments = append(movie.rec.Segments, manifest.Segment{
			Offset: int64(i) * 500_000, Length: 500_000, Start: time.Duration(i) * 4 * time.Second, Duration: 4 * time.Second,
		})
	}
	return n, newTestProxy(t, n)
}

// took is how long a request takes on the bubble's clock.
func took(t *testing.T, p *Proxy, method, target string, header ...string) time.Duration {
	began := time.Now()
	w := request(t, p, method, target, header...)
	require.Less(t, w.Code, 400, target)
	return time.Since(began)
}

func TestAnswersFlowAtTheLinesRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, p := paceWorld(t)
		const sid = `?CMCD=sid%3D%22a%22`
		require.InDelta(t, 1, took(t, p, "GET", "/film/low.m4s"+sid).Seconds(), 0.05, "250 kB at 2 Mbit/s")
		full := "?CMCD=" + url.QueryEscape(`bl=30000,dl=30000,sid="b"`)
		require.InDelta(t, 8, took(t, p, "GET", "/film/high.m4s"+full).Seconds(), 0.05, "more than the line sustains")
		empty := "?CMCD=" + url.QueryEscape(`bl=0,dl=0,sid="c"`)
		require.InDelta(t, 3.2, took(t, p, "GET", "/film/high.m4s"+empty).Seconds(), 0.2, "from the cache it need not stall")
		n.line = mbits(16)
		require.Zero(t, took(t, p, "GET", "/film/high.m4s"+full), "four times what the top rendition needs")
	})
}

func TestNoAnswerIsPacedThatTeachesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, p := paceWorld(t)
		for name, spent := range map[string]time.Duration{
			"HEAD":                       took(t, p, "HEAD", "/film/low.m4s"),
			"an initialization segment":  took(t, p, "GET", "/film/init.mp4"),
			"a progressive read":         took(t, p, "GET", "/film/movie.mp4", "Range", "bytes=0-"),
			"a seek in it":               took(t, p, "GET", "/film/movie.mp4", "Range", "bytes=600000-1999999"),
			"a player that never adapts": took(t, p, "GET", "/film/low.m4s", "User-Agent", "Lavf/60.3.100"),
		} {
			require.Zero(t, spent, name)
		}
		n.tracks = n.tracks[:1]
		require.Zero(t, took(t, p, "GET", "/film/low.m4s"), "a title of one rendition")
		n.tracks = append(n.tracks, manifest.Track{ID: 2, Kind: manifest.KindVideo, BandwidthBitsPerSec: 4_000_000})
		p.Unpaced()
		require.Zero(t, took(t, p, "GET", "/film/low.m4s"))
	})
}

func TestAnswersShareTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := paceWorld(t)
		began := time.Now()
		done := make(chan struct{})
		for _, path := range []string{"/film/low.m4s", "/film/low2.m4s"} {
			go func() {
				request(t, p, "GET", path)
				done <- struct{}{}
			}()
		}
		<-done
		<-done
		require.InDelta(t, 2, time.Since(began).Seconds(), 0.1, "500 kB at 2 Mbit/s")
		require.Zero(t, p.pacing.flowing.Load())
	})
}

func TestALateSourceIsCaughtUpWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, p := paceWorld(t)
		f := n.files["film/low.m4s"]
		f.gate, f.gateAt = make(chan struct{}), 65_536
		time.AfterFunc(800*time.Millisecond, func() { close(f.gate) })
		require.InDelta(t, 1, took(t, p, "GET", "/film/low.m4s").Seconds(), 0.05, "the mean is the line's all the same")
	})
}

func TestALateFirstByteDoesNotStopThePicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, p := paceWorld(t)
		late := func(cmcd string) float64 {
			f := n.files["film/low.m4s"] // one second at the line's rate
			f.gate, f.gateAt = make(chan struct{}), 0
			time.AfterFunc(2500*time.Millisecond, func() { close(f.gate) })
			return took(t, p, "GET", "/film/low.m4s?CMCD="+url.QueryEscape(cmcd)).Seconds()
		}
		require.InDelta(t, 3, late(`bl=3500,dl=3500,sid="a"`), 0.05, "half a second before the buffer ends")
		require.InDelta(t, 3.5, late(`bl=9000,dl=9000,sid="b"`), 0.05, "there is time")
	})
}

func TestPacingEndsWhenThePlayerGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := paceWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:7070/film/low.m4s", nil).WithContext(ctx)
		w := httptest.NewRecorder()
		began := time.Now()
		time.AfterFunc(300*time.Millisecond, cancel)
		p.ServeHTTP(w, r)
		require.Equal(t, 300*time.Millisecond, time.Since(began))
		require.Less(t, w.Body.Len(), 100_000)
		require.Zero(t, p.pacing.flowing.Load())
	})
}

func TestAnOpenGetIsDueWhenTheLineCouldBringIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, p := paceWorld(t)
		began := time.Now()
		patient := "?CMCD=" + url.QueryEscape(`bl=30000,d=10000,dl=30000,sid="b"`)
		took(t, p, "GET", "/film/low.m4s"+patient)
		require.Equal(t, patienceMin+time.Second, n.lastRead().Deadline.Sub(began))
		n.line = mbits(100)
		began = time.Now()
		took(t, p, "GET", "/film/low.m4s"+patient)
		require.Equal(t, 5*time.Second, n.lastRead().Deadline.Sub(began), "seeds have the player's patience where speed changes nothing")
	})
}

func TestTheLineIsToldToPlayersThatAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, p := paceWorld(t)
		w := request(t, p, "GET", "/film/low.m4s", "Origin", "https://player.example")
		require.Equal(t, `"shoal";etp=2000`, w.Header().Get("CMSD-Dynamic"))
		require.Contains(t, w.Header().Values("Access-Control-Expose-Headers"), "CMSD-Dynamic")
		n.line = 0
		require.Empty(t, request(t, p, "GET", "/film/low.m4s").Header().Get("CMSD-Dynamic"), "nothing is known")
	})
}

func BenchmarkPaced(b *testing.B) {
	n := newFakeNode(nil)
	n.line = mbits(1e6)
	p := newProxy(Config{}, n)
	defer func() { _ = p.Close() }()
	a := &paced{p: p, ladder: pace.Ladder{Lowest: 1, This: 1, Top: mbits(1e6)}, buffer: time.Hour, began: time.Now()}
	buf := make([]byte, grainMax)
	b.ReportAllocs()
	for b.Loop() {
		a.enter()
		_, _ = io.Discard.Write(buf[:a.grain()])
		if err := a.leave(b.Context(), len(buf)); err != nil {
			b.Fatal(err)
		}
	}
	a.end()
}
