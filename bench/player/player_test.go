package player

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeCDN answers in virtual time: each body arrives after latency and at a
// rate, both of which a test may change while the player plays.
type fakeCDN struct {
	t      *testing.T
	bodies map[string]string // by path

	mu          sync.Mutex
	latency     time.Duration
	bytesPerSec float64
	fail        map[string]int // path → how many answers fail
	log         []string       // path, or path#range
	cmcd        []string       // of media requests
}

func (c *fakeCDN) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	entry := r.URL.Path
	if h := r.Header.Get("Range"); h != "" {
		entry += "#" + h
	}
	c.log = append(c.log, entry)
	if v := r.URL.Query().Get("CMCD"); v != "" {
		c.cmcd = append(c.cmcd, v)
	}
	latency, rate := c.latency, c.bytesPerSec
	failing := c.fail[r.URL.Path] > 0
	if failing {
		c.fail[r.URL.Path]--
	}
	c.mu.Unlock()
	body, ok := c.bodies[r.URL.Path]
	code := http.StatusOK
	switch {
	case failing:
		code, body = http.StatusServiceUnavailable, "busy"
	case !ok:
		code, body = http.StatusNotFound, "no such file"
	case r.Header.Get("Range") != "":
		var first, last int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err != nil {
			c.t.Errorf("range %q", r.Header.Get("Range"))
		}
		code, body = http.StatusPartialContent, body[first:last+1]
	}
	if err := sleep(r.Context(), latency); err != nil {
		return nil, err
	}
	reader := &slowBody{ctx: r.Context(), rest: strings.NewReader(body), took: time.Duration(float64(len(body)) / rate * float64(time.Second))}
	return &http.Response{StatusCode: code, Status: fmt.Sprint(code), Body: reader, Request: r, Header: http.Header{}}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type slowBody struct {
	ctx  context.Context
	rest *strings.Reader
	took time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.took > 0 {
		if err := sleep(b.ctx, b.took); err != nil {
			return 0, err
		}
		b.took = 0
	}
	return b.rest.Read(p)
}

func (b *slowBody) Close() error { return nil }

func (c *fakeCDN) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

const segmentBytes = 75_000 // 6 s at 100 kbit/s

// vod is a title of n 6 s segments in two renditions of 100 and 800 kbit/s.
func vod(t *testing.T, n int) *fakeCDN {
	c := &fakeCDN{t: t, bodies: map[string]string{}, fail: map[string]int{}, latency: 20 * time.Millisecond, bytesPerSec: 1e6}
	c.bodies["/t/master.m3u8"] = `#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=800000,CODECS="avc1.4d401f,mp4a.40.2"
hi/i.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS="avc1.4d401f,mp4a.40.2"
lo/i.m3u8
`
	for name, scale := range map[string]int{"lo": 1, "hi": 8} {
		list := "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-MAP:URI=\"init.mp4\"\n"
		for i := range n {
			list += fmt.Sprintf("#EXTINF:6.0,\ns%d.m4s\n", i)
			c.bodies[fmt.Sprintf("/t/%s/s%d.m4s", name, i)] = strings.Repeat("x", segmentBytes*scale)
		}
		c.bodies["/t/"+name+"/i.m3u8"] = list + "#EXT-X-ENDLIST\n"
		c.bodies["/t/"+name+"/init.mp4"] = "init"
	}
	return c
}

func (c *fakeCDN) player(change func(*Config)) *Player {
	cfg := Config{URL: "http://cdn/t/master.m3u8", Client: &http.Client{Transport: c}, Fixed: 1, SessionID: "me"}
	if change != nil {
		change(&cfg)
	}
	return New(cfg)
}

// later lets virtual time pass.
func later(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestTitlePlaysInRealTimeToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vod(t, 10)
		p := c.player(nil)
		began := time.Now()
		r, err := p.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, Ended, r.State)
		// Master, playlist, init, segment: 4 × 20 ms and 75 kB at 1 MB/s.
		require.InDelta(t, 0.155, r.Startup.Seconds(), 0.01)
		require.InDelta(t, 60+r.Startup.Seconds(), time.Since(began).Seconds(), 0.05)
		require.Equal(t, time.Minute, r.Position)
		require.Zero(t, r.Stalls)
		require.Equal(t, 13, r.Requests)
		require.Equal(t, []string{"/t/master.m3u8", "/t/lo/i.m3u8", "/t/lo/init.mp4", "/t/lo/s0.m4s", "/t/lo/s1.m4s"}, c.log[:5])
	})
}

func TestLoadingPausesWhenTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vod(t, 100)
		p := c.player(nil)
		ctx, leave := context.WithCancel(t.Context())
		go func() { _, _ = p.Run(ctx) }()
		later(10 * time.Second)
		r := p.Report()
		require.Equal(t, Playing, r.State)
		require.InDelta(t, 10-r.Startup.Seconds(), r.Position.Seconds(), 0.02)
		require.GreaterOrEqual(t, r.Buffer, 24*time.Second)
		require.LessOrEqual(t, r.Buffer, 36*time.Second)
		later(60 * time.Second)
		require.InDelta(t, 33, p.Report().Buffer.Seconds(), 3.1)
		leave()
		synctest.Wait()
		left := p.Report()
		later(time.Hour)
		require.Equal(t, left, p.Report(), "who has left sees no stalls")
	})
}

func TestSlowOriginStallsAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vod(t, 20)
		p := c.player(nil)
		go func() { _, _ = p.Run(t.Context()) }()
		later(3 * time.Second)
		c.set(func() { c.latency = 40 * time.Second })
		// At 3 s all 36 s that the buffer holds are there; the next request, at
		// 6.1 s, has no answer within 10 s and is repeated.
		later(60 * time.Second)
		r := p.Report()
		require.Equal(t, Stalled, r.State)
		require.Equal(t, 1, r.Stalls)
		require.Greater(t, r.Errors, 2)
		require.Equal(t, 36*time.Second, r.Position)
		require.InDelta(t, 63-36-r.Startup.Seconds(), r.Stalled.Seconds(), 0.1)
		c.set(func() { c.latency = 20 * time.Millisecond })
		later(30 * time.Second)
		after := p.Report()
		require.Equal(t, Playing, after.State)
		require.Equal(t, 1, after.Stalls, "one stall, counted once")
		require.Contains(t, strings.Join(c.cmcd, "\n"), "bs,", "the next request told of it")
		_ = after
	})
}

func TestRenditionFollowsThroughput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vod(t, 60)
		p := c.player(func(cfg *Config) { cfg.Fixed = 0 })
		go func() { _, _ = p.Run(t.Context()) }()
		later(20 * time.Second)
		require.Equal(t, 800_000, p.Report().Bandwidth, "1 MB/s carries 800 kbit/s")
		require.Equal(t, "/t/lo/s0.m4s", c.log[3], "the first segment is a careful one")
		c.set(func() { c.bytesPerSec = 50_000 })
		later(60 * time.Second)
		require.Equal(t, 100_000, p.Report().Bandwidth, "50 kB/s do not")
		require.Equal(t, 2, p.Report().Switches)
		later(300 * time.Second)
	})
}

func TestFailedLoadsAreRetriedAndThenReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vod(t, 3)
		c.fail["/t/lo/s1.m4s"] = 3
		r, err := c.player(nil).Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, r.Errors)
		require.Equal(t, 1, r.Stalls, "1 + 2 + 4 s of retries outlast 6 s of buffer")
		require.InDelta(t, 1.1, r.Stalled.Seconds(), 0.2)

		c.fail["/t/lo/s1.m4s"] = 100
		_, err = c.player(nil).Run(t.Context())
		var le *LoadError
		require.ErrorAs(t, err, &le)
		require.Equal(t, "http://cdn/t/lo/s1.m4s", le.URL)
		require.ErrorIs(t, err, errStatus)
		require.ErrorContains(t, err, "busy")
	})
}

func TestSeparateAudioHoldsPlaybackTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vod(t, 5)
		c.bodies["/t/master.m3u8"] = `#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",URI="en/i.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="de",DEFAULT=YES,URI="lo/i.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=800000,AUDIO="a"
hi/i.m3u8
`
		c.bytesPerSec = 600_000 // a segment of video takes 1 s
		r, err := c.player(nil).Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, Ended, r.State)
		require.Equal(t, 30*time.Second, r.Position)
		require.InDelta(t, 1.08, r.Startup.Seconds(), 0.02, "both tracks must have begun")
		require.Contains(t, c.log, "/t/lo/s4.m4s")
		require.Contains(t, c.log, "/t/hi/s4.m4s")
		require.NotContains(t, c.log, "/t/en/i.m3u8")
	})
}

func TestByteRangesOfOneFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vod(t, 0)
		c.bodies["/t/all.mp4"] = strings.Repeat("i", 10) + strings.Repeat("a", 100) + strings.Repeat("b", 200)
		c.bodies["/t/master.m3u8"] = `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:6
#EXT-X-MAP:URI="all.mp4",BYTERANGE="10@0"
#EXTINF:6,
#EXT-X-BYTERANGE:100@10
all.mp4
#EXTINF:6,
#EXT-X-BYTERANGE:200
all.mp4
#EXT-X-ENDLIST
`
		var bodies []string
		p := c.player(func(cfg *Config) {
			cfg.OnBody = func(u, byteRange string, body []byte) {
				if byteRange != "" {
					bodies = append(bodies, fmt.Sprintf("%s %s %c%d", u, byteRange, body[0], len(body)))
				}
			}
		})
		r, err := p.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, 12*time.Second, r.Position)
		require.Equal(t, []string{
			"http://cdn/t/all.mp4 bytes=0-9 i10", "http://cdn/t/all.mp4 bytes=10-109 a100", "http://cdn/t/all.mp4 bytes=110-309 b200",
		}, bodies)
	})
}

func TestLivePlaylistIsReloadedFromNearItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vod(t, 40)
		window := func(first int, end string) {
			list := fmt.Sprintf("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:%d\n", first)
			for i := first; i < first+6; i++ {
				list += fmt.Sprintf("#EXTINF:6.0,\nlo/s%d.m4s\n", i)
			}
			c.set(func() { c.bodies["/t/live.m3u8"] = list + end })
		}
		window(0, "")
		p := c.player(func(cfg *Config) { cfg.URL = "http://cdn/t/live.m3u8" })
		ended := make(chan error, 1)
		go func() {
			_, err := p.Run(t.Context())
			ended <- err
		}()
		for first := 1; first < 10; first++ {
			later(6 * time.Second)
			window(first, "")
		}
		window(10, "#EXT-X-ENDLIST\n")
		require.NoError(t, <-ended)
		require.Contains(t, c.log, "/t/lo/s3.m4s")
		require.NotContains(t, c.log, "/t/lo/s2.m4s", "three segments before the end")
		require.Contains(t, c.log, "/t/lo/s15.m4s")
		require.Equal(t, 13*6*time.Second, p.Report().Position)
		require.Zero(t, p.Report().Stalls)
	})
}

func TestCMCDIsWhatHLSJSSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vod(t, 4)
		_, err := c.player(func(cfg *Config) { cfg.Fixed = 2 }).Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{
			`ot=m,sf=h,sid="me",su`,
			`ot=m,sf=h,sid="me",su`,
			`ot=i,sf=h,sid="me"`,
			`bl=0,br=800,d=6000,mtp=500,nor="s1.m4s",ot=av,sf=h,sid="me",su,tb=800`,
			`bl=6000,br=800,d=6000,dl=6000,mtp=8000,nor="s2.m4s",ot=av,sf=h,sid="me",tb=800`,
			`bl=11400,br=800,d=6000,dl=11400,mtp=8000,nor="s3.m4s",ot=av,sf=h,sid="me",tb=800`,
			`bl=16800,br=800,d=6000,dl=16800,mtp=8000,ot=av,sf=h,sid="me",tb=800`,
		}, c.cmcd)
		_, err = url.ParseQuery("CMCD=" + url.QueryEscape(c.cmcd[4]))
		require.NoError(t, err)

		silent := vod(t, 2)
		_, err = silent.player(func(cfg *Config) { cfg.NoCMCD = true }).Run(t.Context())
		require.NoError(t, err)
		require.Empty(t, silent.cmcd)
	})
}

func TestNotAPlaylist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vod(t, 1)
		c.bodies["/t/master.m3u8"] = "<html>"
		_, err := c.player(nil).Run(t.Context())
		require.ErrorContains(t, err, "not a playlist")
		_, err = c.player(func(cfg *Config) { cfg.URL = "http://cdn/t/none.m3u8" }).Run(t.Context())
		require.ErrorContains(t, err, "404")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.player(nil).Run(ctx)
		require.NoError(t, err, "leaving is no failure")
	})
}

var errRead = errors.New("reset")

type brokenBody struct{ io.Reader }

func (brokenBody) Close() error { return nil }

type breakOnce struct {
	*fakeCDN
	broke bool
}

func (b *breakOnce) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.fakeCDN.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "s0.m4s") && !b.broke {
		b.broke = true
		resp.Body = brokenBody{io.MultiReader(strings.NewReader("half"), errReader{})}
	}
	return resp, err
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errRead }

func TestBrokenBodyIsLoadedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &breakOnce{fakeCDN: vod(t, 2)}
		p := New(Config{URL: "http://cdn/t/master.m3u8", Client: &http.Client{Transport: c}, Fixed: 1})
		r, err := p.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, r.Errors)
		require.InDelta(t, 1.2, r.Startup.Seconds(), 0.1, "after a second")
	})
}
