//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fails runs shoal, which has to end with a status and one line on stderr.
func fails(t *testing.T, status int, args ...string) (line string) {
	t.Helper()
	got, _, stderr := runToEnd(t, patience, shoal, args...)
	require.Equal(t, status, got, "%v: %s", args, stderr)
	require.Equal(t, 1, strings.Count(stderr, "\n"), "one line: %s", stderr)
	require.NotContains(t, stderr, "panic")
	return stderr
}

func TestCommandLineThatCannotWorkSaysWhatToDo(t *testing.T) {
	const (
		failure = 1
		usage   = 2
	)
	_ = titles(t) // makes the publisher's key, of which pack would tell otherwise
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = tcp.Close() })
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = udp.Close() })
	taken, takenUDP := tcp.Addr().String(), udp.LocalAddr().String()
	fingerprint := strings.Repeat("ab", 32)
	peer := func(args ...string) []string {
		return append([]string{"peer", "--listen", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--origin", "http://127.0.0.1:1"}, args...)
	}
	for name, c := range map[string]struct {
		status int
		args   []string
		want   []string
	}{
		"port taken":                   {failure, peer("--listen", taken), []string{taken, "--listen"}},
		"UDP port taken":               {failure, peer("--tracker", "quic://127.0.0.1:1#"+fingerprint, "--udp", takenUDP), []string{takenUDP, "another"}},
		"tracker's port taken":         {failure, []string{"tracker", "--listen", takenUDP, "--http", ""}, []string{takenUDP, "another"}},
		"tracker's HTTP port taken":    {failure, []string{"tracker", "--listen", "127.0.0.1:0", "--http", taken}, []string{taken}},
		"no origin":                    {usage, []string{"peer"}, []string{"--origin"}},
		"origin without a host":        {usage, peer("--origin", "/vod"), []string{"--origin", "/vod"}},
		"origin of another kind":       {usage, peer("--origin", "ftp://cdn.example/"), []string{"--origin", "ftp:"}},
		"tracker without a port":       {failure, peer("--tracker", "quic://127.0.0.1"), []string{"tracker", "port"}},
		"tracker without a host":       {failure, peer("--tracker", "quic://:7000"), []string{"tracker", "host"}},
		"tracker by HTTP":              {failure, peer("--tracker", "http://127.0.0.1:7000"), []string{"tracker", "quic://"}},
		"tracker's fingerprint broken": {failure, peer("--tracker", "quic://127.0.0.1:7000#abc"), []string{"tracker", "fingerprint"}},
		"tracker is no URL":            {failure, peer("--tracker", "quic://%zz"), []string{"tracker"}},
		"cache smaller than a piece":   {failure, peer("--cache-bytes", "1000"), []string{"cache", "1000"}},
		"cache size is no size":        {usage, peer("--cache-bytes", "plenty"), []string{"plenty", "2GiB"}},
		"unknown flag":                 {usage, peer("--colour"), []string{"--colour", "--help"}},
		"folder to pack is missing":    {failure, []string{"pack", "/nonexistent/film", "--key", filepath.Join(sharedDir, "publisher.key")}, []string{"/nonexistent/film"}},
	} {
		t.Run(name, func(t *testing.T) {
			line := fails(t, c.status, c.args...)
			for _, want := range c.want {
				require.Contains(t, line, want)
			}
		})
	}
	t.Run("cache folder in use", func(t *testing.T) {
		cache := t.TempDir()
		startPeer(t, "owner", "http://127.0.0.1:1", "", cache)
		require.Contains(t, fails(t, failure, peer("--cache", cache)...), cache)
	})
}

// TestHostileManifestLeavesAPlainProxy damages title.shoal in many ways: pack
// --verify names what is wrong, and a peer gives its player the origin's bytes.
func TestHostileManifestLeavesAPlainProxy(t *testing.T) {
	lib := titles(t)
	manifest, err := os.ReadFile(filepath.Join(lib.premiere.dir, "title.shoal"))
	require.NoError(t, err)
	flipped := func(at int) []byte {
		b := bytes.Clone(manifest)
		b[at] ^= 0x40
		return b
	}
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	hostile := map[string][]byte{
		"empty":         {},
		"one-byte":      manifest[:1],
		"cut-in-header": manifest[:20],
		"cut-in-half":   manifest[:len(manifest)/2],
		"cut-at-end":    manifest[:len(manifest)-1],
		"noise":         noise,
		"magic+noise":   append(bytes.Clone(manifest[:8]), noise...),
		"zeros":         make([]byte, len(manifest)),
		"ones":          bytes.Repeat([]byte{0xff}, len(manifest)),
		"html":          []byte("<!doctype html><title>Not found</title>"),
	}
	for i := range 12 {
		at := i * (len(manifest) - 1) / 11
		hostile[fmt.Sprintf("flipped-at-%d", at)] = flipped(at)
	}
	www := t.TempDir()
	for name, content := range hostile {
		dir := filepath.Join(www, name)
		require.NoError(t, os.Mkdir(dir, 0o755))
		for _, file := range lib.premiere.files {
			require.NoError(t, os.Link(filepath.Join(lib.premiere.dir, file), filepath.Join(dir, file)))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "title.shoal"), content, 0o644))
	}
	origin := startNginx(t, www, 1)
	_, tracker := startTracker(t)
	viewer := startPeer(t, "viewer", origin.url(0), tracker, "")
	for name := range hostile {
		t.Run("verify "+name, func(t *testing.T) {
			line := fails(t, 1, "pack", filepath.Join(www, name), "--verify")
			require.Contains(t, line, "title.shoal")
		})
		t.Run("play "+name, func(t *testing.T) {
			for _, file := range []string{"movie.mp4", "index.m4s", "master.m3u8"} {
				began := time.Now()
				got := curl(t, viewer.url+"/"+name+"/"+file)
				require.Equal(t, http.StatusOK, got.status)
				requireSame(t, lib.premiere.read(t, file), got.body, "%s beside a manifest that is %s", file, name)
				require.Less(t, time.Since(began), 8*time.Second, "a bad manifest must not hold up the picture")
			}
		})
	}
	require.Less(t, viewer.metric("process_resident_memory_bytes"), 200e6, "memory stays bounded")
}

func TestPackVerifyNamesFilesAndPieces(t *testing.T) {
	lib := titles(t)
	www := t.TempDir()
	film := lib.serial.copyTo(t, www, "film")
	out := must(t, patience, shoal, "pack", film.dir, "--verify")
	require.Contains(t, out, "every file is as recorded")

	damaged := film.read(t, "001.m4s")
	damaged[3*pieceBytes+5] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(film.dir, "001.m4s"), damaged, 0o644))
	longer := append(film.read(t, "007.m4s"), 1, 2, 3)
	require.NoError(t, os.WriteFile(filepath.Join(film.dir, "007.m4s"), longer, 0o644))
	require.NoError(t, os.Remove(filepath.Join(film.dir, "011.m4s")))
	status, out, stderr := runToEnd(t, patience, shoal, "pack", film.dir, "--verify")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "3 files do not match")
	require.Regexp(t, `(?m)^001\.m4s: piece 3 `, out)
	require.Regexp(t, `(?m)^007\.m4s: it has \d+ bytes, recorded are \d+`, out)
	require.Regexp(t, `(?m)^011\.m4s: .*missing`, out)
	require.NotContains(t, out, "000.m4s")
}

func TestPackRefusesToLeaveTheFolder(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret.ts")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o644))
	playlist := func(uri string) string {
		return "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n" + uri + "\n#EXT-X-ENDLIST\n"
	}
	for name, uri := range map[string]string{
		"upwards":         "../secret.ts",
		"hidden upwards":  "%2e%2e/secret.ts",
		"absolute path":   secret,
		"file URL":        "file://" + secret,
		"symbolic link":   "link.ts",
		"via a directory": "folder/secret.ts",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "film")
			require.NoError(t, os.Mkdir(dir, 0o755))
			require.NoError(t, os.Symlink(secret, filepath.Join(dir, "link.ts")))
			require.NoError(t, os.Symlink(filepath.Dir(secret), filepath.Join(dir, "folder")))
			require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "secret.ts"), []byte("secret"), 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "index.m3u8"), []byte(playlist(uri)), 0o644))
			fails(t, 1, "pack", filepath.Join(dir, "index.m3u8"), "--key", filepath.Join(sharedDir, "publisher.key"))
			require.NoFileExists(t, filepath.Join(dir, "title.shoal"))
		})
	}
}

func TestOriginsErrorsReachThePlayer(t *testing.T) {
	lib := titles(t)
	www := t.TempDir()
	film := lib.serial.copyTo(t, www, "film")
	require.NoError(t, os.Remove(filepath.Join(film.dir, "007.m4s"))) // recorded, and gone
	origin := startNginx(t, www, 1,
		"location = /film/009.m4s { return 503; }",
		"location = /film/sick.m3u8 { return 500; }")
	viewer := startPeer(t, "viewer", origin.url(0), "", "")

	t.Run("404 of a recorded file", func(t *testing.T) {
		require.Equal(t, http.StatusNotFound, curl(t, viewer.url+"/film/007.m4s").status)
	})
	t.Run("404 of another file", func(t *testing.T) {
		require.Equal(t, http.StatusNotFound, curl(t, viewer.url+"/film/none.m4s").status)
		require.Equal(t, http.StatusNotFound, curl(t, viewer.url+"/none.m3u8").status)
	})
	t.Run("5xx of a recorded file", func(t *testing.T) {
		got := curl(t, viewer.url+"/film/009.m4s")
		require.Equal(t, http.StatusGatewayTimeout, got.status)
		require.Contains(t, string(got.body), "origin failed", "the reason")
		tries := 0
		origin.eventually(func() bool {
			tries = origin.tries(0, "/film/009.m4s")
			return tries > 1
		}, "it was tried again")
		require.LessOrEqual(t, tries, 40, "but not hammered")
	})
	t.Run("5xx of another file", func(t *testing.T) {
		got := curl(t, viewer.url+"/film/sick.m3u8")
		require.Equal(t, http.StatusGatewayTimeout, got.status)
		require.Contains(t, string(got.body), "500", "the reason")
		origin.eventually(func() bool { return origin.tries(0, "/film/sick.m3u8") > 1 }, "it was tried again")
	})
	t.Run("origin gone", func(t *testing.T) {
		origin.kill()
		for _, name := range []string{"011.m4s", "index.m3u8"} {
			got := curl(t, viewer.url+"/film/"+name)
			require.Contains(t, []int{http.StatusBadGateway, http.StatusGatewayTimeout}, got.status, name)
			require.NotEmpty(t, got.body, "the reason")
		}
	})
}

func TestStrangeRequestsAreRefused(t *testing.T) {
	lib := titles(t)
	www := filepath.Join(t.TempDir(), "www")
	lib.premiere.copyTo(t, filepath.Join(www, "vod"), "film")
	require.NoError(t, os.WriteFile(filepath.Join(www, "secret.txt"), []byte("secret"), 0o644))
	origin := startNginx(t, www, 1)
	viewer := startPeer(t, "viewer", origin.url(0)+"/vod", "", "", "--allow-host", "tv.example")

	for name, path := range map[string]string{
		"upwards":                "/../secret.txt",
		"upwards from below":     "/film/../../secret.txt",
		"upwards in percent":     "/%2e%2e/secret.txt",
		"upwards with a percent": "/film/..%2f..%2fsecret.txt",
		"upwards in backslashes": `/film/..\..\secret.txt`,
	} {
		t.Run(name, func(t *testing.T) {
			got := curl(t, viewer.url+path)
			require.GreaterOrEqual(t, got.status, 400)
			require.Less(t, got.status, 500)
			require.NotContains(t, string(got.body), "secret\n")
		})
	}
	for _, h := range origin.hits(0) {
		require.NotContains(t, h.uri, "secret", "nobody asked the origin")
	}
	for host, status := range map[string]int{
		"evil.example":      http.StatusMisdirectedRequest,
		"evil.example:7070": http.StatusMisdirectedRequest,
		"192.0.2.7":         http.StatusMisdirectedRequest,
		"localhost":         http.StatusOK,
		"tv.example":        http.StatusOK,
		"[::1]:7070":        http.StatusOK,
	} {
		t.Run("host "+host, func(t *testing.T) {
			for _, path := range []string{"/film/master.m3u8", "/api/status"} {
				got := curl(t, viewer.url+path, "--header", "Host: "+host)
				require.Equal(t, status, got.status, path)
			}
		})
	}
	t.Run("another site's page", func(t *testing.T) {
		require.Equal(t, http.StatusForbidden, curl(t, viewer.url+"/api/status", "--header", "Origin: https://evil.example").status)
	})
}

func TestGarbageOnTheSocketsIsCountedAndDropped(t *testing.T) {
	w := startSwarm(t, 1)
	seed := w.seeds[0]
	var listens struct{ UDP string }
	getJSON(t, seed.url+"/api/status", &listens)
	for _, target := range []string{listens.UDP, address(w.trackerURL)} {
		conn, err := net.Dial("udp", target)
		require.NoError(t, err)
		for first := range 256 {
			for _, size := range []int{1, 13, 64, 1200, 1500, 9000} {
				packet := make([]byte, size)
				for i := range packet {
					packet[i] = byte(rand.Uint32())
				}
				packet[0] = byte(first)
				_, _ = conn.Write(packet) // a full queue is as good
			}
		}
		require.NoError(t, conn.Close())
	}
	for _, outcome := range []string{"dropped_garbage", "dropped_unknown"} {
		seed.eventually(func() bool {
			dropped, _ := seed.find(fmt.Sprintf("shoal_transport_total{outcome=%q}", outcome))
			return dropped > 0
		}, "%s is counted", outcome)
	}
	viewer := w.viewer(t, 0)
	viewer.opens(w.title)
	viewer.seeds(1)
	viewer.watchAll(w.title)
	require.Greater(t, viewer.status().Saving, 0.5, "tracker and seed work on")
	require.NotContains(t, w.tracker.log.String(), "panic")
}

func TestTrackerDownAtStart(t *testing.T) {
	lib := titles(t)
	origin := startNginx(t, lib.www, 1)
	state := t.TempDir()
	// On a port that nobody else is given while the tracker is away.
	tracker, url := startTrackerAt(t, fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1)[0]), state)
	tracker.kill()
	viewer := startPeer(t, "viewer", origin.url(0), url, "")
	v := watch(t, viewer, lib.serial)
	v.until(5 * time.Second)
	v.undisturbed()
	viewer.eventually(func() bool { return strings.Contains(viewer.log.String(), "level=WARN") }, "it says so")
	s := viewer.status()
	require.False(t, s.Tracker.Connected)
	require.Zero(t, s.Bytes.P2P)
	require.Positive(t, s.Bytes.CDN)
	require.Equal(t, 1, strings.Count(viewer.log.String(), "level=WARN"), "once:\n%s", viewer.log.String())

	_, again := startTrackerAt(t, address(url), state)
	require.Equal(t, url, again, "the tracker is back where it was")
	viewer.eventually(func() bool { return viewer.status().Tracker.Connected }, "the peer has kept trying")
	v.undisturbed()
}

// address is the HOST:PORT of a tracker's URL.
func address(url string) string {
	return strings.TrimPrefix(strings.SplitN(url, "#", 2)[0], "quic://")
}

// TestFullDiskMovesTheCacheToMemory gives a peer a cache folder that is full
// after 2 MiB.
func TestFullDiskMovesTheCacheToMemory(t *testing.T) {
	lib := titles(t)
	origin := startNginx(t, lib.www, 1)
	cache := t.TempDir()
	args := []string{"peer", "--listen", "127.0.0.1:0", "--origin", origin.url(0), "--cache", cache, "--name", "viewer"}
	var viewer *peer
	if mount := tinyDisk(t); mount != nil {
		viewer = readyPeer(start(t, "viewer", mount[0], append(mount[1:], append([]string{cache, shoal}, args...)...)...))
	} else {
		t.Log("mounting is not permitted here: the folder refuses to be written to instead")
		for i := range 256 { // a file where each folder of pieces should be
			require.NoError(t, os.WriteFile(filepath.Join(cache, fmt.Sprintf("%02x", i)), nil, 0o644))
		}
		viewer = readyPeer(start(t, "viewer", shoal, args...))
	}
	require.Equal(t, "disk", viewer.status().Cache.Mode)
	v := watch(t, viewer, lib.serial)
	viewer.eventually(func() bool { return strings.HasPrefix(viewer.status().Cache.Mode, "memory") }, "memory mode")
	v.until(8 * time.Second)
	v.undisturbed()
	require.Equal(t, 1, strings.Count(viewer.log.String(), "level=WARN"), "one warning:\n%s", viewer.log.String())
	require.Contains(t, viewer.log.String(), "memory")
	viewer.watchAll(lib.premiere)
	require.Positive(t, viewer.status().Cache.Bytes)
}

// tinyDisk returns the beginning of a command line that mounts 2 MiB over the
// folder that follows, seen by nobody else and gone with the process, and runs
// the rest. Nil: that is not permitted.
func tinyDisk(t *testing.T) []string {
	t.Helper()
	const script = `mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"`
	for _, flags := range []string{"-m", "-rm"} {
		command := []string{"unshare", flags, "sh", "-c", script}
		if exec.Command(command[0], append(command[1:], t.TempDir(), "true")...).Run() == nil {
			return command
		}
	}
	return nil
}

// TestPausedOriginEndsInAnAnswer asks for what nobody holds while the origin
// is silent.
func TestPausedOriginEndsInAnAnswer(t *testing.T) {
	lib := titles(t)
	origin := startNginx(t, lib.www, 1)
	viewer := startPeer(t, "viewer", origin.url(0), "", "")
	require.Equal(t, http.StatusPartialContent, curl(t, viewer.url+"/serial/000.m4s", "--range", "0-0").status)
	origin.signal(syscall.SIGSTOP)
	got := curl(t, viewer.url+"/serial/035.m4s")
	require.Equal(t, http.StatusGatewayTimeout, got.status)
	require.NotEmpty(t, got.body, "the reason")
	origin.signal(syscall.SIGCONT)
	requireSame(t, lib.serial.read(t, "035.m4s"), curl(t, viewer.url+"/serial/035.m4s").body, "after the pause")
}
