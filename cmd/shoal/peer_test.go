package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/require"
)

func TestCacheSizesAreReadAsPeopleWriteThem(t *testing.T) {
	for in, want := range map[string]int64{
		"1000": 1000, "2GiB": 2 << 30, "1.5 MiB": 3 << 19, "500MB": 500e6, "64k": 64e3, "10b": 10, "1TiB": 1 << 40,
	} {
		var v byteSize
		require.NoError(t, v.Set(in), in)
		require.EqualValues(t, want, v, in)
	}
	for _, in := range []string{"", "GiB", "-1", "0", "1XB", "nan", "inf", "9e30", "2GiB2"} {
		require.Error(t, new(byteSize).Set(in), in)
	}
}

func TestUploadIsOnOrOff(t *testing.T) {
	var v onOff
	require.NoError(t, v.Set("on"))
	require.True(t, bool(v))
	require.NoError(t, v.Set("OFF"))
	require.False(t, bool(v))
	require.ErrorContains(t, v.Set("maybe"), "neither on nor off")
	require.Equal(t, "off", v.String())
}

// startPeer runs shoal peer until the test ends, and returns its player URL.
func startPeer(t *testing.T, args ...string) (url string, stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := peerCommand()
	out, in := io.Pipe()
	cmd.SetOut(in)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(append([]string{"--listen", "127.0.0.1:0", "--udp", "127.0.0.1:0"}, args...))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	ended := make(chan error, 1)
	go func() {
		err := cmd.ExecuteContext(ctx)
		_ = in.CloseWithError(err)
		ended <- err
	}()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line), stop
}

func get(t *testing.T, url string) (int, string) {
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestPeerPrintsItsURLPlaysAndEndsWithItsContext(t *testing.T) {
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/vod/film/key.bin" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "sixteen bytes...")
	}))
	defer cdn.Close()
	url, stop := startPeer(t, "--origin", cdn.URL+"/vod", "--name", "kitchen", "--cache", t.TempDir())
	code, body := get(t, url+"film/key.bin")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "sixteen bytes...", body)
	_, body = get(t, url+"api/status")
	require.Contains(t, body, `"name": "kitchen"`)
	_, body = get(t, url+"metrics")
	require.Contains(t, body, "go_goroutines")
	require.NoError(t, stop())
	_, err := http.Get(url)
	require.Error(t, err, "the port is closed")
}

func TestTakenPortIsNamedWithTheWayOut(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	var stderr strings.Builder
	code := execute(context.Background(), rootCommand(),
		[]string{"peer", "--origin", "http://127.0.0.1:1/", "--listen", taken.Addr().String()},
		environment(nil), &stderr)
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr.String(), taken.Addr().String()+" is in use")
	require.Contains(t, stderr.String(), "--listen")
}

func TestPeerWithoutOriginSaysWhatToGive(t *testing.T) {
	var stderr strings.Builder
	require.Equal(t, exitUsage, execute(context.Background(), rootCommand(), []string{"peer"}, environment(nil), &stderr))
	require.Contains(t, stderr.String(), "--origin")
	stderr.Reset()
	args := []string{"peer", "--origin", "http://127.0.0.1:1/", "--log-level", "loud"}
	require.Equal(t, exitUsage, execute(context.Background(), rootCommand(), args, environment(nil), &stderr))
	require.Contains(t, stderr.String(), "--log-level")
}

// TestProfilesReachThePyroscopeServer decodes what the profiler sends and looks
// for a function that was busy meanwhile.
func TestProfilesReachThePyroscopeServer(t *testing.T) {
	var mu sync.Mutex
	functions := make(map[string]bool)
	names := make(map[string]bool)
	ingest := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ingest" {
			return
		}
		part, _, err := r.FormFile("profile")
		if err != nil {
			return
		}
		p, err := profile.Parse(part)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		names[r.URL.Query().Get("name")] = true
		for _, f := range p.Function {
			functions[f.Name] = true
		}
	}))
	defer ingest.Close()
	profiler, err := startProfiler(peerFlags{pyroscope: ingest.URL, name: "kitchen"}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	burn(300 * time.Millisecond)
	require.NoError(t, profiler.Stop()) // uploads what it has
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return functions["shoal/cmd/shoal.burn"] || functions["main.burn"]
	}, 10*time.Second, 10*time.Millisecond, "the profile names the busy function")
	mu.Lock()
	defer mu.Unlock()
	for name := range names {
		require.True(t, strings.HasPrefix(name, "shoal.peer"), name)
		require.Contains(t, name, "name=kitchen")
	}
}

// burn keeps a core busy; the CPU profile has 100 samples a second.
//
//go:noinline
func burn(d time.Duration) (n uint64) {
	for start := time.Now(); time.Since(start) < d; {
		for range 10_000 {
			n = n*6364136223846793005 + 1442695040888963407
		}
	}
	return n
}

func TestTitlesArePathsBelowTheOrigin(t *testing.T) {
	got, err := titlePaths([]string{"film/master.m3u8", "/tv/index.m3u8", "https://cdn.example/vod/my%20film/a.mp4"}, "https://cdn.example/vod")
	require.NoError(t, err)
	require.Equal(t, []string{"film/master.m3u8", "tv/index.m3u8", "my film/a.mp4"}, got)
	for _, bad := range []string{"", "/", "https://other.example/a.m3u8", "a/../../b.m3u8"} {
		_, err := titlePaths([]string{bad}, "https://cdn.example/vod/")
		require.ErrorContains(t, err, "--title", bad)
	}
	_, err = titlePaths(make([]string, titlesMax+1), "https://cdn.example")
	require.ErrorContains(t, err, "too many")
}

func TestThePeersPageOffersConfiguredTitles(t *testing.T) {
	base, stop := startPeer(t, "--origin", "http://127.0.0.1:9/vod", "--title", "film/master.m3u8", "--title", "tv/index.m3u8")
	code, titles := get(t, base+"api/titles")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, titles, `"path": "film/master.m3u8"`)
	require.Contains(t, titles, `"path": "tv/index.m3u8"`)
	code, page := get(t, base)
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, page, "<video")
	_, node := get(t, base+"api/node")
	require.Contains(t, node, `"origin": "http://127.0.0.1:9/vod/"`)
	require.Contains(t, node, `"version": "`+buildVersion()+`"`)

	// An open dashboard does not hold up the end.
	live, err := http.Get(base + "api/live")
	require.NoError(t, err)
	defer func() { _ = live.Body.Close() }()
	began := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(began), shutdownTimeout)
}
