package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"shoal/bench/player"
	"shoal/engine"
	"shoal/testdata"
)

// beShoal makes the test binary behave as the command, so that the demo's
// children can be real processes.
const beShoal = "TEST_BINARY_IS_SHOAL"

func TestMain(m *testing.M) {
	switch os.Getenv(beShoal) {
	case "":
		os.Exit(m.Run())
	case "deaf": // a child that does not listen to reason
		signal.Ignore(syscall.SIGTERM)
		_, _ = os.Stdout.WriteString("deaf\n")
		select {}
	default:
		main()
	}
}

func TestViewersJoinInTheFirstHalf(t *testing.T) {
	s := func(seconds ...float64) (out []time.Duration) {
		for _, v := range seconds {
			out = append(out, time.Duration(v*float64(time.Second)))
		}
		return out
	}
	for _, tc := range []struct {
		viewers  int
		duration time.Duration
		want     []time.Duration
	}{
		{1, time.Minute, s(0)},
		{2, time.Minute, s(0, 1)},
		{4, time.Minute, s(0, 1, 8, 12)},
		{4, 12 * time.Second, s(0, 0.5, 4, 6)},
		{2, time.Second, s(0, 0.5)},
	} {
		require.Equal(t, tc.want, joinTimes(tc.viewers, tc.duration))
	}
	times := joinTimes(demoViewersMax, time.Minute)
	require.IsNonDecreasing(t, times)
	require.Equal(t, 30*time.Second, times[len(times)-1])
}

func TestDemoFlagsAreChecked(t *testing.T) {
	good := demoFlags{viewers: 4, duration: time.Minute, rate: 20}
	require.NoError(t, good.check())
	for flag, bad := range map[string]func(*demoFlags){
		"--viewers":     func(f *demoFlags) { f.viewers = 0 },
		"--viewers 65":  func(f *demoFlags) { f.viewers = 65 },
		"--duration":    func(f *demoFlags) { f.duration = 0 },
		"--fixed":       func(f *demoFlags) { f.fixed = -1 },
		"--origin-rate": func(f *demoFlags) { f.rate = 0 },
	} {
		f := good
		bad(&f)
		require.ErrorContains(t, f.check(), flag)
	}
}

func TestMasterPlaylistIsFoundAtTheTop(t *testing.T) {
	write := func(files map[string]string) string {
		dir := t.TempDir()
		for name, body := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600))
		}
		return dir
	}
	const master, media = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", "#EXTM3U\n#EXTINF:1,\na.ts\n"
	for want, files := range map[string]map[string]string{
		"master.m3u8": {"a.m3u8": master, "master.m3u8": master, "z.m3u8": media},
		"film.m3u8":   {"a.m3u8": media, "film.m3u8": master},
		"only.M3U8":   {"only.M3U8": media, "x.txt": master},
	} {
		got, err := findPlaylist(write(files))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := findPlaylist(write(map[string]string{"a.mp4": ""}))
	require.ErrorContains(t, err, "no .m3u8")
	_, err = findPlaylist(filepath.Join(t.TempDir(), "none"))
	require.ErrorContains(t, err, "--media")
}

func TestPackingLeavesTheGivenFolderAlone(t *testing.T) {
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "pack")
	require.NoError(t, os.MkdirAll(filepath.Join(src, "a", "b"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(src, "a", "b", "s.ts"), []byte("media"), 0o600))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(src, "link")))
	require.NoError(t, linkFolder(src, dst))
	body, err := os.ReadFile(filepath.Join(dst, "a", "b", "s.ts"))
	require.NoError(t, err)
	require.Equal(t, "media", string(body))
	require.NoFileExists(t, filepath.Join(dst, "link"))
	require.NoError(t, os.WriteFile(filepath.Join(dst, "title.shoal"), nil, 0o600))
	require.NoFileExists(t, filepath.Join(src, "title.shoal"))
}

func newTestOrigin(t *testing.T, bytesPerSecond float64) (*demoOrigin, *httptest.Server) {
	manifest := filepath.Join(t.TempDir(), "m")
	require.NoError(t, os.WriteFile(manifest, []byte("manifest"), 0o600))
	o := &demoOrigin{
		files: testdata.Media(), title: manifest,
		limiter: rate.NewLimiter(rate.Limit(bytesPerSecond), originBurst), latency: time.Millisecond,
	}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	return o, server
}

func TestOriginServesRangesAndCountsBytes(t *testing.T) {
	o, server := newTestOrigin(t, 100e6)
	get := func(path string, header ...string) (*http.Response, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		require.NoError(t, err)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := server.Client().Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp, string(body)
	}
	resp, whole := get("/master.m3u8")
	require.Equal(t, "application/vnd.apple.mpegurl", resp.Header.Get("Content-Type"))
	etag := resp.Header.Get("Etag")
	require.NotEmpty(t, etag)
	resp, part := get("/master.m3u8", "Range", "bytes=1-6", "If-Range", etag)
	require.Equal(t, http.StatusPartialContent, resp.StatusCode)
	require.Equal(t, whole[1:7], part)
	resp, _ = get("/master.m3u8", "Range", "bytes=1-6", "If-Range", `"old"`)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	_, manifest := get("/title.shoal")
	require.Equal(t, "manifest", manifest)
	for _, path := range []string{"/none", "/", "/180p", "/../main.go", "/%2e%2e/main.go"} {
		resp, _ := get(path)
		require.Equal(t, http.StatusNotFound, resp.StatusCode, path)
	}
	var stats originStats
	d := &demo{origin: server.URL}
	stats, err := d.originStats(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(9), stats.Requests)
	require.Equal(t, int64(2*len(whole)+6+len("manifest")), stats.Bytes, "errors are not counted")
	require.Equal(t, stats.Bytes, o.bytes.Load())
}

func TestOriginHoldsItsRate(t *testing.T) {
	const bytesPerSecond = 400_000
	_, server := newTestOrigin(t, bytesPerSecond)
	began := time.Now()
	resp, err := server.Client().Get(server.URL + "/180p/segment_000.m4s")
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	atLeast := time.Duration(float64(n-originBurst) / bytesPerSecond * float64(time.Second))
	require.GreaterOrEqual(t, time.Since(began), atLeast)
}

func TestChildrenAreToldToEndAndThenMade(t *testing.T) {
	c, err := newCrew()
	require.NoError(t, err)
	t.Setenv(beShoal, "1")
	polite, err := c.start("origin", "demo", "origin", "--dir", t.TempDir())
	require.NoError(t, err)
	line, err := polite.firstLine(t.Context())
	require.NoError(t, err)
	require.Regexp(t, `^http://127\.0\.0\.1:\d+$`, line)

	broken, err := c.start("broken", "demo", "origin", "--dir", filepath.Join(t.TempDir(), "none"))
	require.NoError(t, err)
	_, err = broken.firstLine(t.Context())
	require.ErrorContains(t, err, "broken ended with status 1")
	require.ErrorContains(t, err, "no such file", "its last words are shown")
	require.Same(t, broken, <-c.died)

	require.ErrorContains(t, c.runToEnd(t.Context(), "pack", "pack", "--no-such-flag"), "no-such-flag")
	require.NoError(t, c.runToEnd(t.Context(), "version", "version"))

	c.close()
	require.NoError(t, polite.err)
	require.False(t, alive(polite.cmd.Process))
	select {
	case ch := <-c.died:
		t.Fatalf("%s was told to end, and counted as dead", ch.name)
	default:
	}
}

func TestADeafChildIsKilled(t *testing.T) {
	c, err := newCrew()
	require.NoError(t, err)
	c.grace = 50 * time.Millisecond
	t.Setenv(beShoal, "deaf")
	deaf, err := c.start("deaf")
	require.NoError(t, err)
	_, err = deaf.firstLine(t.Context())
	require.NoError(t, err)
	c.close()
	require.False(t, alive(deaf.cmd.Process))
	require.Error(t, deaf.err)
}

func alive(p *os.Process) bool { return p.Signal(syscall.Signal(0)) == nil }

func screenRows() []row {
	return []row{
		{
			name: "peer-1", state: player.Playing, seeds: 2,
			report: player.Report{Position: 83 * time.Second, Buffer: 28400 * time.Millisecond},
			bytes:  engine.Bytes{P2P: 3_000_000, CDN: 1_000_000, Cache: 5000}, saving: 0.75,
		},
		{name: "peer-2", state: player.Playing, report: player.Report{Stalls: 1}},
		{name: "peer-3", joins: 12 * time.Second},
	}
}

func TestScreenInAPipePrintsABlockEveryFewSeconds(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, false)
	for i := range 40 { // ten seconds
		s.draw(time.Duration(i)*250*time.Millisecond, screenRows())
	}
	s.done()
	require.Equal(t, 3, strings.Count(out.String(), "playhead"), "at 0 s, at 5 s and the last")
	require.NotContains(t, out.String(), "\x1b")
	lines := strings.Split(out.String(), "\n")
	require.Equal(t, "peer-1   playing      1:23  28.4 s      2     3.00 MB   1.00 MB    5.0 kB    75 %", lines[1])
	require.Contains(t, lines[2], "1 stall(s)")
	require.Equal(t, "peer-3   joins at 0:12", lines[3])
}

func TestScreenOnATerminalRedrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, false)
	s.live = true
	s.draw(0, screenRows())
	require.NotContains(t, out.String(), "\x1b[4A")
	out.Reset()
	s.draw(time.Second, screenRows())
	require.True(t, strings.HasPrefix(out.String(), "\x1b[4A"), "four lines up")
	require.Equal(t, 4, strings.Count(out.String(), "\x1b[K\n"))
}

func TestVerdict(t *testing.T) {
	ok := peerReport{Name: "peer-1", StartupMillis: 100}
	require.NoError(t, demoReport{Peers: []peerReport{ok}}.verdict())
	err := demoReport{Peers: []peerReport{ok, {Name: "peer-2", Stalls: 2, StalledS: 1.5}, {Name: "peer-3", StartupMillis: -1}}}.verdict()
	require.EqualError(t, err, "peer-2 stalled 2× for 1.5 s, peer-3 saw no picture")
}

// The demo itself, with real processes; short, so that it says only that all
// parts find each other and that nothing is left behind.
func TestDemoPlaysThroughRealProcesses(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv(beShoal, "1")
	var stdout, stderr bytes.Buffer
	root := rootCommand()
	root.SetOut(&stdout)
	code := execute(t.Context(), root, []string{"demo", "--json", "--viewers", "3", "--duration", "6s"}, environment(nil), &stderr)
	require.Equal(t, exitOK, code, stderr.String())
	var report map[string]any
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &report))
	require.Zero(t, report["stalls"])
	require.Regexp(t, `^http://127\.0\.0\.1:\d+/#master\.m3u8$`, report["viewer_url"])
	require.Regexp(t, `^http://127\.0\.0\.1:\d+/$`, report["swarm_url"])
	require.NotContains(t, report, "you", "nobody watched with them")
	require.Greater(t, report["cdn_startup_ms"], 0.0)
	peers := report["peers"].([]any)
	require.Len(t, peers, 3)
	for _, p := range peers {
		peer := p.(map[string]any)
		for _, key := range []string{
			"name", "joined_s", "p2p_bytes", "cdn_bytes", "cdn_reasons", "cache_bytes", "duplicate_bytes", "saving", "stalls", "startup_ms",
		} {
			require.Contains(t, peer, key)
		}
		require.Greater(t, peer["startup_ms"], 0.0)
		require.Greater(t, peer["p2p_bytes"].(float64)+peer["cdn_bytes"].(float64), 100_000.0)
	}
	require.Greater(t, report["saving"], 0.0, "somebody got something from somebody")
	entries, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, entries, "temporary files are left behind")
}

func TestInterruptedDemoLeavesNothingBehind(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv(beShoal, "1")
	ctx, interrupt := context.WithCancel(t.Context())
	out := &trigger{after: "joins at", do: interrupt}
	root := rootCommand()
	root.SetOut(out)
	var stderr bytes.Buffer
	require.Equal(t, exitFailure, execute(ctx, root, []string{"demo", "--viewers", "3"}, environment(nil), &stderr))
	require.Equal(t, "shoal demo: interrupted\n", stderr.String())
	entries, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, entries)
	if runtime.GOOS == "linux" {
		require.Empty(t, childrenOf(t, os.Getpid()))
	}
}

// trigger does something once a text was written.
type trigger struct {
	after string
	do    func()
}

func (w *trigger) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.after) {
		w.do()
	}
	return len(p), nil
}

// childrenOf lists the processes that pid has started and that still run.
func childrenOf(t *testing.T, pid int) []string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	var out []string
	for _, file := range tasks {
		body, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		out = append(out, strings.Fields(string(body))...)
	}
	return out
}
