package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/engine"
	"shoal/engine/manifest"
)

func content(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func newTestProxy(t *testing.T, n *fakeNode) *Proxy {
	base, err := url.Parse("http://cdn.example/vod")
	require.NoError(t, err)
	p := newProxy(Config{Base: base, Origins: []string{"https://player.example"}}, n)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func request(t *testing.T, p *Proxy, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:7070"+target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// net/http's own file server is the judge of every range, HEAD and precondition.
func TestAnswersEqualThoseOfAFileServer(t *testing.T) {
	data := content(150_000)
	n := newFakeNode(t)
	f := n.add("film/a.m4s", data, 0, 6*time.Second)
	p := newTestProxy(t, n)
	judge := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", f.etag())
		w.Header().Set("Content-Type", f.contentType())
		http.ServeContent(w, r, "a.m4s", time.Time{}, bytes.NewReader(data))
	})
	rapid.Check(t, func(t *rapid.T) {
		bound := func(name string) int { return rapid.IntRange(0, 160_000).Draw(t, name) }
		specs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			a, b := rapid.IntRange(0, 160_000).Draw(t, "a"), rapid.IntRange(0, 20_000).Draw(t, "b")
			return rapid.SampledFrom([]string{fmt.Sprintf("%d-%d", a, a+b), fmt.Sprintf("%d-", a), fmt.Sprintf("-%d", b+1)}).Draw(t, "form")
		}), 0, 4).Draw(t, "ranges")
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/film/a.m4s", nil)
		if len(specs) > 0 {
			r.Header.Set("Range", "bytes="+strings.Join(specs, ","))
			r.Header.Set("If-Range", rapid.SampledFrom([]string{f.etag(), `"other"`}).Draw(t, "if-range"))
		} else if bound("head")%2 == 0 {
			r.Method = http.MethodHead
		}
		got, want := httptest.NewRecorder(), httptest.NewRecorder()
		p.ServeHTTP(got, r)
		judge.ServeHTTP(want, r)
		if got.Code != want.Code {
			t.Fatalf("%v: status %d, want %d", r.Header, got.Code, want.Code)
		}
		if got.Code == http.StatusRequestedRangeNotSatisfiable {
			return
		}
		for _, name := range []string{"Content-Length", "Content-Range", "Etag", "Accept-Ranges"} {
			if got.Header().Get(name) != want.Header().Get(name) && len(specs) < 2 {
				t.Fatalf("%v: %s %q, want %q", r.Header, name, got.Header().Get(name), want.Header().Get(name))
			}
		}
		if !bytes.Equal(bodyOf(t, got), bodyOf(t, want)) {
			t.Fatalf("%v: another body", r.Header)
		}
	})
}

// bodyOf flattens a multipart body, so that boundaries do not matter.
func bodyOf(t *rapid.T, w *httptest.ResponseRecorder) []byte {
	mt, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil || mt != "multipart/byteranges" {
		return w.Body.Bytes()
	}
	if said := w.Header().Get("Content-Length"); said != fmt.Sprint(w.Body.Len()) {
		t.Fatalf("Content-Length %s of %d bytes", said, w.Body.Len())
	}
	var out []byte
	mr := multipart.NewReader(w.Body, params["boundary"])
	for {
		part, err := mr.NextPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, part.Header.Get("Content-Range")+part.Header.Get("Content-Type")...)
		out = append(out, b...)
	}
}

func TestUnsatisfiableRangeTellsTheSize(t *testing.T) {
	n := newFakeNode(t)
	n.add("film/a.m4s", content(100), 0, time.Second)
	w := request(t, newTestProxy(t, n), "GET", "/film/a.m4s", "Range", "bytes=100-")
	require.Equal(t, http.StatusRequestedRangeNotSatisfiable, w.Code)
	require.Equal(t, "bytes */100", w.Header().Get("Content-Range"))
}

func TestBytesAreFlushedAsSoonAsTheyAreVerified(t *testing.T) {
	n := newFakeNode(t)
	data := content(200_000)
	f := n.add("film/a.m4s", data, 0, 6*time.Second)
	f.gate, f.gateAt = make(chan struct{}), 65536
	server := httptest.NewServer(newTestProxy(t, n))
	defer server.Close()
	resp, err := server.Client().Get(server.URL + "/film/a.m4s")
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	first := make([]byte, 65536)
	_, err = io.ReadFull(resp.Body, first)
	require.NoError(t, err, "the first piece arrives while the second is still missing")
	close(f.gate)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, data, append(first, rest...))
}

func TestAClientThatGoesAwayCancelsTheRead(t *testing.T) {
	n := newFakeNode(t)
	f := n.add("film/a.m4s", content(200_000), 0, 6*time.Second)
	f.gate, f.gateAt, f.canceled = make(chan struct{}), 65536, make(chan struct{})
	server := httptest.NewServer(newTestProxy(t, n))
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/film/a.m4s", nil)
	require.NoError(t, err)
	resp, err := server.Client().Do(r)
	require.NoError(t, err)
	leave()
	<-f.canceled
	_ = resp.Body.Close()
}

func TestFailuresBeforeTheFirstByteBecomeAStatusWithAReason(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		code int
		says string
	}{
		"origin too slow":      {&engine.OriginError{Status: 504, Err: errors.New("origin: GET /a: status 503 Service Unavailable")}, 504, "status 503"},
		"origin has none":      {&engine.OriginError{Status: 404, Err: errors.New("origin: status 404")}, 404, "404"},
		"origin forbids":       {&engine.OriginError{Status: 403, Err: errors.New("origin: status 403")}, 403, "403"},
		"too many reads":       {engine.ErrBusy, 503, "too many"},
		"shutting down":        {engine.ErrClosed, 503, "shutting down"},
		"the deadline's end":   {context.DeadlineExceeded, 504, "in time"},
		"something unforeseen": {errors.New("disk on fire"), 502, "disk on fire"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			n.add("film/a.m4s", content(1000), 0, time.Second).err = tc.err
			w := request(t, newTestProxy(t, n), "GET", "/film/a.m4s", "Range", "bytes=0-9", "Origin", "https://player.example")
			require.Equal(t, tc.code, w.Code)
			require.Contains(t, w.Body.String(), tc.says)
			require.Equal(t, 1, strings.Count(w.Body.String(), "\n"), "one sentence")
			require.Empty(t, w.Header().Get("Content-Range"))
			require.Empty(t, w.Header().Get("Etag"))
			require.Equal(t, "https://player.example", w.Header().Get("Access-Control-Allow-Origin"), "the page may read why")
		})
	}
}

func TestAFailureInTheMiddleBreaksTheConnection(t *testing.T) {
	n := newFakeNode(t)
	f := n.add("film/a.m4s", content(200_000), 0, 6*time.Second)
	f.err, f.failAt = &engine.OriginError{Status: 504, Err: errors.New("gone")}, 65536
	server := httptest.NewServer(newTestProxy(t, n))
	defer server.Close()
	resp, err := server.Client().Get(server.URL + "/film/a.m4s")
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	got, err := io.ReadAll(resp.Body)
	require.Error(t, err, "a short body must not look complete")
	require.Len(t, got, 65536)
}

// The origin's copy changed since it was packed: the player gets what the CDN
// has, as it would without a node, and later GETs do not try again.
func TestAFileThatChangedAtTheOriginPassesThrough(t *testing.T) {
	n := newFakeNode(t)
	n.add("film/a.m4s", content(1000), 0, time.Second).err = &engine.OriginError{Status: 502, Err: errors.New("hash")}
	n.origin = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"new"`)
		_, _ = w.Write([]byte("new bytes"))
	}
	p := newTestProxy(t, n)
	for range 2 {
		w := request(t, p, "GET", "/film/a.m4s")
		require.Equal(t, 200, w.Code)
		require.Equal(t, "new bytes", w.Body.String())
		require.Equal(t, []string{`"new"`}, w.Header().Values("Etag"))
	}
	require.Len(t, n.reads, 1)
}

func TestWithoutAManifestTheNodeIsAPlainProxy(t *testing.T) {
	for name, err := range map[string]error{
		"no title":         nil,
		"broken manifest":  errors.New("title.shoal: header: bad signature"),
		"origin slow":      context.DeadlineExceeded,
		"engine going off": engine.ErrClosed,
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			n.err = err
			var seen *http.Request
			n.origin = func(w http.ResponseWriter, r *http.Request) {
				seen = r
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write([]byte("part"))
			}
			w := request(t, newTestProxy(t, n), "GET", "/other/x.m4s?token=%2f1&CMCD=bl%3D1", "Range", "bytes=0-3", "CMCD-Object", "ot=v", "Accept-Encoding", "gzip")
			require.Equal(t, http.StatusPartialContent, w.Code)
			require.Equal(t, "part", w.Body.String())
			require.Equal(t, "/other/x.m4s", seen.URL.Path)
			require.Equal(t, "token=%2f1", seen.URL.RawQuery)
			require.Equal(t, "bytes=0-3", seen.Header.Get("Range"))
			require.Empty(t, seen.Header.Get("CMCD-Object"))
			require.Empty(t, seen.Header.Get("Accept-Encoding"))
		})
	}
}

func TestPathsOutOfThePrefixAreRefused(t *testing.T) {
	n := newFakeNode(t)
	n.origin = func(http.ResponseWriter, *http.Request) { t.Error("the origin was asked") }
	p := newTestProxy(t, n)
	for _, target := range []string{"/film/%2e%2e/%2e%2e/secret", "/../secret", "/a/..", "/film/a%00.m4s"} {
		require.Equal(t, http.StatusBadRequest, request(t, p, "GET", target).Code, target)
	}
	require.Empty(t, n.opened)
}

func TestPlaylistsAreRewrittenAndOpenTheTitleAhead(t *testing.T) {
	const playlist = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://cdn.example/vod/film/v/i.m3u8\n"
	const rewritten = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv/i.m3u8\n"
	n := newFakeNode(t)
	n.origin = func(w http.ResponseWriter, r *http.Request) {
		require.Empty(t, r.Header.Get("Range"))
		w.Header().Set("Content-Type", "application/vnd.apple.mpegurl")
		w.Header().Set("Content-Length", fmt.Sprint(len(playlist)))
		for part := range strings.SplitAfterSeq(playlist, "\n") { // as it trickles in
			_, _ = io.WriteString(w, part)
			_ = http.NewResponseController(w).Flush()
		}
	}
	p := newTestProxy(t, n)
	w := request(t, p, "GET", "/film/master.m3u8?t=1", "Authorization", "Bearer x")
	require.Equal(t, rewritten, w.Body.String())
	require.Equal(t, fmt.Sprint(len(rewritten)), w.Header().Get("Content-Length"))

	// A range means the rewritten playlist.
	part := request(t, p, "GET", "/film/master.m3u8?t=1", "Range", "bytes=10-40")
	require.Equal(t, 206, part.Code)
	require.Equal(t, rewritten[10:41], part.Body.String())
	require.Equal(t, fmt.Sprintf("bytes 10-40/%d", len(rewritten)), part.Header().Get("Content-Range"))

	head := request(t, p, "HEAD", "/film/master.m3u8")
	require.Equal(t, 200, head.Code)
	require.Empty(t, head.Body.String())
	require.Equal(t, fmt.Sprint(len(rewritten)), head.Header().Get("Content-Length"))

	// A playlist by its media type alone.
	require.Equal(t, rewritten, request(t, p, "GET", "/film/playlist.php").Body.String())

	require.NoError(t, p.Close())
	n.mu.Lock()
	defer n.mu.Unlock()
	require.Contains(t, n.opened, "film/master.m3u8")
	require.NotNil(t, n.creds[0])
}

func TestPlaylistErrorsAndOddAnswersPassThroughAsTheyAre(t *testing.T) {
	big := append([]byte("#EXTM3U\n"), bytes.Repeat([]byte("#"), playlistBytesMax)...)
	for name, tc := range map[string]struct {
		origin http.HandlerFunc
		code   int
		body   string
	}{
		"404":          {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 404) }, 404, "no\n"},
		"not modified": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, 304, ""},
		"compressed by the origin": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			_, _ = w.Write([]byte("\x0b\x02\x80"))
		}, 200, "\x0b\x02\x80"},
		"longer than any playlist": {func(w http.ResponseWriter, _ *http.Request) {
			for chunk := range bytes.Lines(big) {
				_, _ = w.Write(chunk)
			}
		}, 200, string(big)},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("#EXTM3U\n"))
		}, 504, "The origin broke off in the middle of the playlist.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			n.origin = tc.origin
			w := request(t, newTestProxy(t, n), "GET", "/film/i.m3u8")
			require.Equal(t, tc.code, w.Code)
			require.Equal(t, tc.body, w.Body.String())
		})
	}
}

func TestCMCDGivesPlayheadAndDeadline(t *testing.T) {
	n := newFakeNode(t)
	n.add("film/s10.m4s", content(1000), time.Minute, 6*time.Second)
	n.add("film/init.mp4", content(10), 0, 0)
	p := newTestProxy(t, n)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p.now = func() time.Time { return now }
	request(t, p, "GET", "/film/init.mp4?CMCD="+url.QueryEscape(`ot=i,sid="me"`))
	require.Equal(t, now.Add(patienceMin), n.lastRead().Deadline)
	require.Equal(t, engine.Playback{Rate: 1, At: now}, n.last("sid:me"), "the likely start")
	request(t, p, "GET", "/film/s10.m4s?CMCD="+url.QueryEscape(`bl=12000,dl=2000,d=6000,ot=av,sid="me",bs`))
	n.mu.Lock()
	reports := n.reports["sid:me"]
	n.mu.Unlock()
	require.Equal(t, engine.Playback{Position: 48 * time.Second, Buffer: 12 * time.Second, Rate: 1, Stalled: true, At: now}, reports[1])
	require.Equal(t, engine.Playback{Position: 48 * time.Second, Buffer: 18 * time.Second, Rate: 1, At: now}, reports[len(reports)-1], "when the segment is there")
	require.Equal(t, now.Add(patienceMin), n.lastRead().Deadline, "starved")
	request(t, p, "GET", "/film/s10.m4s?CMCD="+url.QueryEscape(`bl=12000,dl=2000,ot=av,sid="me"`))
	require.Equal(t, now.Add(1500*time.Millisecond), n.lastRead().Deadline)
}

func TestWithoutCMCDEachClientHasItsOwnPlayhead(t *testing.T) {
	n := newFakeNode(t)
	for i := range 10 {
		n.add(fmt.Sprintf("film/s%d.m4s", i), content(1000), time.Duration(i)*6*time.Second, 6*time.Second)
	}
	p := newTestProxy(t, n)
	request(t, p, "GET", "/film/s0.m4s", "User-Agent", "mpv")
	request(t, p, "GET", "/film/s1.m4s", "User-Agent", "mpv")
	request(t, p, "GET", "/film/s9.m4s", "User-Agent", "VLC")
	require.Len(t, n.reports, 2)
	var positions, buffers []float64
	for id := range n.reports {
		positions = append(positions, n.last(id).Position.Round(time.Second).Seconds())
		buffers = append(buffers, n.last(id).Buffer.Round(time.Second).Seconds())
	}
	require.ElementsMatch(t, []float64{0, 54}, positions)
	require.ElementsMatch(t, []float64{12, 6}, buffers)
}

// A progressive player probes the end of the file for its index and comes back.
func TestProbingAnMP4IsNoSeek(t *testing.T) {
	n := newFakeNode(t)
	f := n.add("film/film.mp4", content(3<<20), 0, 0)
	f.rec.Duration = 0
	const boxes = 1 << 10
	f.rec.Segments = []manifest.Segment{{Offset: 0, Length: boxes}}
	for i := range int64(32) {
		f.rec.Segments = append(f.rec.Segments, manifest.Segment{
			Offset: boxes + i*90_000, Length: 90_000, Start: time.Duration(i) * 5 * time.Second, Duration: 5 * time.Second,
		})
	}
	p := newTestProxy(t, n)
	f.gate, f.gateAt = make(chan struct{}), 500_000
	ctx, leave := context.WithCancel(t.Context())
	open := func(ctx context.Context, byteRange string) {
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/film/film.mp4", nil).WithContext(ctx)
		r.Header.Set("Range", byteRange)
		p.ServeHTTP(httptest.NewRecorder(), r)
	}
	leave()
	open(ctx, "bytes=0-") // reads 0.5 MB, and breaks off
	require.True(t, n.lastRead().Deadline.IsZero(), "only the playhead bounds a read that stays open")
	var id string
	for id = range n.reports {
	}
	before := n.last(id)
	require.True(t, before.Progressive)
	require.InDelta(t, 27, before.Buffer.Seconds(), 1, "0.5 MB of 90 kB per 5 s")
	close(f.gate)
	open(t.Context(), "bytes=2860000-2865000") // looks for a box
	require.Equal(t, before.Position.Round(time.Second), n.last(id).Position.Round(time.Second))
	open(t.Context(), "bytes=1800000-2400000") // and this is a seek
	require.InDelta(t, 99, n.last(id).Position.Seconds(), 1.5)
}

func TestSilentSessionsArePausedThenClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.add("film/s0.m4s", content(1000), 0, 6*time.Second)
		p := newTestProxy(t, n)
		request(t, p, "GET", "/film/s0.m4s?CMCD="+url.QueryEscape(`sid="a"`))
		require.Equal(t, 1.0, n.last("sid:a").Rate)
		wait := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		wait(15 * time.Second)
		require.Zero(t, n.last("sid:a").Rate, "a player that asks for nothing more is paused")
		require.Equal(t, 6*time.Second, n.last("sid:a").Position)
		require.Empty(t, n.closedViewers())
		wait(sessionIdle)
		require.Equal(t, []string{"sid:a"}, n.closedViewers())
		require.Zero(t, p.sessions.count())
	})
}

func TestSessionsAreBounded(t *testing.T) {
	n := newFakeNode(t)
	n.add("film/s0.m4s", content(10), 0, 6*time.Second)
	p := newTestProxy(t, n)
	for i := range sessionsMax + 10 {
		request(t, p, "GET", fmt.Sprintf("/film/s0.m4s?CMCD=sid%%3D%%22%d%%22", i))
	}
	require.Equal(t, sessionsMax, p.sessions.count())
	require.Len(t, n.closed, 10)
	require.Equal(t, "sid:0", n.closed[0], "the one that was silent longest")
}

func TestOwnPagesAreNotAskedOfTheOrigin(t *testing.T) {
	n := newFakeNode(t)
	n.origin = func(http.ResponseWriter, *http.Request) { t.Error("the origin was asked") }
	p := newTestProxy(t, n)
	var status engine.Status
	w := request(t, p, "GET", "/api/status")
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &status))
	require.Equal(t, n.status(), status)
	require.Equal(t, "ok\n", request(t, p, "GET", "/healthz").Body.String())
	require.Contains(t, request(t, p, "GET", "/").Body.String(), "api/status")
	require.Equal(t, 404, request(t, p, "GET", "/api/other").Code)

	metrics := request(t, p, "GET", "/metrics").Body.String()
	for _, want := range []string{
		`shoal_bytes_total{source="p2p"} 10`, `shoal_cdn_bytes_total{reason="startup"} 10`,
		`shoal_passthrough_bytes_total 77`, `shoal_saving_ratio 0.5`,
		`shoal_seeds{state="active"} 1`, `shoal_seeds{state="frozen"} 1`, `shoal_viewer_buffer_seconds{viewer="abcdef/sid:x"} 4`,
		`shoal_transport_total{outcome="garbage"} 2`, `shoal_dropped_total{kind="have"} 1`,
		`shoal_http_requests_total{code="200",kind="own"} 3`, `shoal_http_requests_total{code="404",kind="own"} 1`,
		`go_goroutines`,
	} {
		require.Contains(t, metrics, want)
	}
}
