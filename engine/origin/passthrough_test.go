package origin

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func get(path string) *http.Request { return httptest.NewRequest(http.MethodGet, path, nil) }

func TestPassthroughKeepsWhatTheOriginSays(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		wd := serve(t, h2, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/vod/none" {
				w.Header().Set("X-Why", "because")
				http.Error(w, "no such thing", http.StatusNotFound)
				return
			}
			w.Header().Set("Cache-Control", "max-age=5")
			w.Header().Set("Keep-Alive", "timeout=5")
			w.Header().Set("Alt-Svc", `h3=":443"`)
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Access-Control-Expose-Headers", "*")
			w.Header().Set("Timing-Allow-Origin", "*")
			w.Header().Set("Cross-Origin-Resource-Policy", "same-site")
			serveFilm(w, r)
		})
		resp, body := wd.passed(get("/film.mp4"))
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, string(film), body)
		require.Equal(t, `"v1"`, resp.Header.Get("ETag"))
		require.Equal(t, "max-age=5", resp.Header.Get("Cache-Control"))
		require.Equal(t, "video/mp4", resp.Header.Get("Content-Type"))
		require.Equal(t, int64(len(film)), resp.ContentLength)
		for _, name := range []string{
			"Keep-Alive", "Alt-Svc", "Strict-Transport-Security", "Access-Control-Allow-Origin",
			"Access-Control-Expose-Headers", "Timing-Allow-Origin", "Cross-Origin-Resource-Policy",
		} {
			require.Empty(t, resp.Header.Get(name), name)
		}
		require.Equal(t, uint64(len(film)), wd.client.Stats().PassthroughBytes)

		ranged := get("/film.mp4")
		ranged.Header.Set("Range", "bytes=10-19")
		ranged.Header.Set("If-Range", `"v1"`)
		resp, body = wd.passed(ranged)
		require.Equal(t, 206, resp.StatusCode)
		require.Equal(t, string(film[10:20]), body)
		require.Equal(t, "bytes 10-19/300000", resp.Header.Get("Content-Range"))

		conditional := get("/film.mp4")
		conditional.Header.Set("If-None-Match", `"v1"`)
		resp, _ = wd.passed(conditional)
		require.Equal(t, 304, resp.StatusCode)

		resp, body = wd.passed(httptest.NewRequest(http.MethodHead, "/film.mp4", nil))
		require.Equal(t, 200, resp.StatusCode)
		require.Empty(t, body)
		require.Equal(t, int64(len(film)), resp.ContentLength)

		resp, body = wd.passed(get("/none"))
		require.Equal(t, 404, resp.StatusCode)
		require.Equal(t, "no such thing\n", body)
		require.Equal(t, "because", resp.Header.Get("X-Why"))
	}
}

func TestPassthroughTellsTheOriginWhatThePlayerSays(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(500)
			return
		}
		_, _ = w.Write(append([]byte("licence for "), body...))
	})
	req := httptest.NewRequest(http.MethodPost, "/key%2Cone/a+b?token=x%2fy&CMCD=1", strings.NewReader("challenge"))
	req.Header.Set("Cookie", "session=1")
	req.Header.Set("Authorization", "Bearer t0ken")
	req.Header.Set("X-Custom", "kept")
	req.Header.Set("Connection", "X-Private, Upgrade")
	req.Header.Set("X-Private", "hop")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("X-Forwarded-For", "10.0.0.7")
	req.Header.Set("Te", "gzip")
	req.Header.Set("Origin", "https://site.example")
	resp, body := wd.passed(req)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "licence for challenge", body)
	r := wd.requests()[0]
	require.Equal(t, wd.base.Host, r.Host)
	require.Equal(t, "/vod/key%2Cone/a+b?token=x%2fy&CMCD=1", r.RequestURI, "as the player spelt it")
	require.Equal(t, "session=1", r.Header.Get("Cookie"))
	require.Equal(t, "Bearer t0ken", r.Header.Get("Authorization"))
	require.Equal(t, "kept", r.Header.Get("X-Custom"))
	require.Equal(t, "https://site.example", r.Header.Get("Origin"))
	for _, name := range []string{"X-Private", "Upgrade", "X-Forwarded-For", "Te", "Connection"} {
		require.Empty(t, r.Header.Get(name), name)
	}
}

func TestPassthroughLeavesOutTheNodesAddress(t *testing.T) {
	wd := serve(t, false, func(int, http.ResponseWriter, *http.Request) {})
	req := get("/a")
	req.Host = "node.local:7070"
	req.Header.Set("Origin", "http://node.local:7070")
	req.Header.Set("Referer", "http://node.local:7070/film/master.m3u8")
	wd.passed(req)
	require.Empty(t, wd.requests()[0].Header.Get("Origin"))
	require.Empty(t, wd.requests()[0].Header.Get("Referer"))
}

func TestPassthroughCompressesTowardsTheOriginOnly(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			_, _ = io.WriteString(w, "plain")
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "#EXTM3U")
		_ = z.Close()
	})
	resp, body := wd.passed(get("/a.m3u8"))
	require.Equal(t, "#EXTM3U", body)
	require.Empty(t, resp.Header.Get("Content-Encoding"))
	asksItself := get("/a.m3u8")
	asksItself.Header.Set("Accept-Encoding", "gzip")
	resp, body = wd.passed(asksItself)
	require.Equal(t, "gzip", resp.Header.Get("Content-Encoding"), "who asks for it gets it")
	require.NotEqual(t, "#EXTM3U", body)
}

func TestPassthroughStaysInThePrefix(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
	w := func(path string, r *http.Request) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		wd.client.Passthrough(rec, r, path)
		return rec
	}
	for _, path := range []string{"/other", "/vod/../other", "/vod/%2e%2e/other", `/vod/a\..\..\x`, "/vod/a\r\nHost: x", "/"} {
		rec := w(path, get("/x"))
		require.Equal(t, 400, rec.Code, path)
		require.Contains(t, rec.Body.String(), "prefix")
	}
	absolute := get("http://evil.example/vod/a")
	require.Equal(t, 400, w("/vod/a", absolute).Code)
	rec := w("/vod/a", httptest.NewRequest(http.MethodDelete, "/a", nil))
	require.Equal(t, 405, rec.Code)
	require.NotEmpty(t, rec.Header().Get("Allow"))
	require.Empty(t, wd.requests())
	require.Equal(t, 200, w("/vod/a", get("/a")).Code)
}

func TestRedirectsAndCookiesAreTranslated(t *testing.T) {
	location := ""
	wd := serve(t, false, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.Header().Add("Set-Cookie", "gate=1; Path=/vod/film; Domain=127.0.0.1; Secure; HttpOnly; SameSite=None")
		w.Header().Add("Set-Cookie", "all=2; Path=/")
		w.WriteHeader(302)
	})
	origin := strings.TrimSuffix(wd.base.String(), "/vod")
	for from, want := range map[string]string{
		origin + "/vod/b%2Cc.m3u8?t=1#x": "/b%2Cc.m3u8?t=1#x",
		"/vod/b.m3u8":                    "/b.m3u8",
		"/vod":                           "/",
		"b.m3u8?x":                       "/film/b.m3u8?x",
		"/outside":                       origin + "/outside",
		"../../outside":                  origin + "/outside",
		"https://other.example/vod/b":    "https://other.example/vod/b",
		"//other.example/vod/b":          "http://other.example/vod/b",
		origin + "/vod/%2e%2e/b":         origin + "/vod/%2e%2e/b",
		origin + "/vod/%252e%252e/b":     origin + "/vod/%252e%252e/b",
		"/vod//other.example/b":          "/other.example/b",
	} {
		location = from
		resp, _ := wd.passed(get("/film/a.m3u8"))
		require.Equal(t, 302, resp.StatusCode)
		require.Equal(t, want, resp.Header.Get("Location"), from)
		require.Equal(t, []string{"gate=1; Path=/film; HttpOnly", "all=2; Path=/"}, resp.Header["Set-Cookie"])
	}
	for _, r := range wd.requests() {
		require.Equal(t, "/vod/film/a.m3u8", r.URL.Path, "no redirect is followed")
	}
}

func TestPassthroughToNobodyIs502(t *testing.T) {
	gone := httptest.NewServer(nil)
	c := New(Config{Base: parse(t, gone.URL)})
	defer c.Close()
	gone.Close()
	rec := httptest.NewRecorder()
	start := time.Now()
	c.Passthrough(rec, get("/a.m3u8?token=t0ken"), "/a.m3u8")
	require.Equal(t, 502, rec.Code)
	require.Contains(t, rec.Body.String(), "The origin cannot be reached: ")
	require.Contains(t, rec.Body.String(), "refused.\n")
	require.NotContains(t, rec.Body.String(), "t0ken")
	require.Less(t, time.Since(start), 2*time.Second)
}

func TestUploadsAreBounded(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			w.WriteHeader(200)
		}
	})
	rec := httptest.NewRecorder()
	body := io.LimitReader(endless{}, maxUpload+1)
	wd.client.Passthrough(rec, httptest.NewRequest(http.MethodPost, "/licence", body), "/vod/licence")
	require.Equal(t, http.StatusRequestEntityTooLarge, rec.Code)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestPassthroughStreams(t *testing.T) {
	seen := make(chan struct{})
	wd := serve(t, false, func(_ int, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-seen
		_, _ = io.WriteString(w, "after")
	})
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wd.client.Passthrough(w, r, "/vod"+r.URL.Path)
	}))
	defer node.Close()
	resp, err := http.Get(node.URL + "/a")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	first := make([]byte, 5)
	_, err = io.ReadFull(resp.Body, first)
	require.NoError(t, err)
	require.Equal(t, "first", string(first))
	close(seen)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "after", string(rest))
}

func TestBodyThatBreaksOffIsNoticedByThePlayer(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wd.client.Passthrough(w, r, "/vod"+r.URL.Path)
	}))
	defer node.Close()
	resp, err := http.Get(node.URL + "/a")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	_, err = io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	running, _ := wd.client.passing.load()
	require.Eventually(t, func() bool { running, _ = wd.client.passing.load(); return running == 0 }, 20*time.Second, time.Millisecond)
}
