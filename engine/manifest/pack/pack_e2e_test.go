//go:build e2e

package pack

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine/manifest"
)

// need fails with a sentence that says what to install.
func need(t *testing.T, program, debianPackage string) string {
	t.Helper()
	file, err := exec.LookPath(program)
	if err != nil && program == "nginx" {
		file, err = exec.LookPath("/usr/sbin/nginx")
	}
	require.NoError(t, err, "this test needs %s: make deps installs it (apt install %s)", program, debianPackage)
	return file
}

func run(t *testing.T, dir, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", program, stderr.String())
	return out
}

// encodeSource encodes 21 s of picture and sound, once, with a key frame every 3 s.
func encodeSource(t *testing.T, dir string) {
	t.Helper()
	run(t, dir, need(t, "ffmpeg", "ffmpeg"), "-hide_banner", "-loglevel", "error", "-y",
		"-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-t", "21", "-c:v", "libx264", "-preset", "ultrafast", "-g", "75", "-keyint_min", "75", "-sc_threshold", "0",
		"-pix_fmt", "yuv420p", "-b:v", "600k", "-c:a", "aac", "-b:a", "96k", "source.mp4")
}

func remux(t *testing.T, dir string, args ...string) {
	t.Helper()
	run(t, dir, "ffmpeg", append([]string{"-hide_banner", "-loglevel", "error", "-y", "-i", "source.mp4", "-c", "copy"}, args...)...)
}

// packet is what ffprobe says of one.
type packet struct {
	Stream int    `json:"stream_index"`
	DTS    string `json:"dts_time"`
	Pos    string `json:"pos"`
	Size   string `json:"size"`
	Flags  string `json:"flags"`
}

func packets(t *testing.T, dir, file string) []packet {
	t.Helper()
	var out struct{ Packets []packet }
	require.NoError(t, json.Unmarshal(run(t, dir, need(t, "ffprobe", "ffmpeg"), "-v", "error", "-show_packets", "-of", "json", file), &out))
	require.NotEmpty(t, out.Packets)
	return out.Packets
}

// The judge is ffprobe: where each packet lies and when it is decoded.
func TestTimeMapsOfRealMP4sAgreeWithFFprobe(t *testing.T) {
	dir := t.TempDir()
	encodeSource(t, dir)
	for name, flags := range map[string]string{
		"faststart.mp4":  "+faststart",
		"moov-last.mp4":  "-faststart",
		"fragmented.mp4": "+frag_keyframe+empty_moov+default_base_moof",
		"indexed.mp4":    "+frag_keyframe+empty_moov+default_base_moof+global_sidx",
		"dash.mp4":       "+frag_keyframe+empty_moov+dash",
	} {
		remux(t, dir, "-movflags", flags, name)
		r := doPack(t, filepath.Join(dir, name))
		segments := record(t, r, name).Segments
		timed := 0
		for _, s := range segments {
			if s.Duration > 0 {
				timed++
				require.InDelta(t, 3, s.Duration.Seconds(), 0.2, name)
			}
		}
		require.Equal(t, 7, timed, "%s: a key frame every 3 s in 21 s", name)
		require.Equal(t, manifest.KindMuxed, r.Content.Tracks[0].Kind)
		require.Contains(t, r.Content.Tracks[0].Codecs, "avc1.")
		keys := 0
		for _, p := range packets(t, dir, name) {
			pos, err := strconv.ParseInt(p.Pos, 10, 64)
			require.NoError(t, err)
			dts, err := strconv.ParseFloat(p.DTS, 64)
			require.NoError(t, err)
			for _, s := range segments {
				if pos >= s.Offset && pos < s.Offset+s.Length {
					require.LessOrEqual(t, s.Start.Seconds(), dts+0.5, "%s: packet at %d", name, pos)
					require.GreaterOrEqual(t, (s.Start + s.Duration).Seconds(), dts-0.5, "%s: packet at %d", name, pos)
					if plain := name == "faststart.mp4" || name == "moov-last.mp4"; plain && p.Stream == 0 && strings.HasPrefix(p.Flags, "K") && dts > 1 {
						require.Equal(t, pos, s.Offset, "%s: a key frame begins a segment", name)
						keys++
					}
				}
			}
		}
		if strings.Contains(flags, "faststart") {
			require.Equal(t, 6, keys, name)
		}
	}
}

func makeHLS(t *testing.T, dir, sub string, args ...string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	remux(t, dir, append(append([]string{"-f", "hls", "-hls_time", "3", "-hls_playlist_type", "vod"}, args...), sub+"/v.m3u8")...)
}

func TestRealHLSIsPackedAndVerified(t *testing.T) {
	dir := t.TempDir()
	encodeSource(t, dir)
	makeHLS(t, dir, "ts", "-master_pl_name", "master.m3u8")
	makeHLS(t, dir, "fmp4", "-master_pl_name", "master.m3u8", "-hls_segment_type", "fmp4")
	makeHLS(t, dir, "single", "-master_pl_name", "master.m3u8", "-hls_segment_type", "fmp4", "-hls_flags", "single_file")
	for sub, wantFiles := range map[string]int{"ts": 7, "fmp4": 8, "single": 1} {
		r := doPack(t, filepath.Join(dir, sub))
		require.Len(t, r.Content.Files, wantFiles, sub)
		var end time.Duration
		timed := 0
		for _, f := range r.Content.Files {
			for _, s := range f.Segments {
				end = max(end, s.Start+s.Duration)
				timed++
			}
			if len(f.Segments) == 0 {
				end = max(end, f.Start+f.Duration)
			}
		}
		require.InDelta(t, 21, end.Seconds(), 0.1, sub)
		if sub == "single" {
			require.Equal(t, 8, timed, "EXT-X-MAP and seven segments")
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, sub, manifest.FileName), encode(t, r), 0o644))
		_, problems, err := Verify(t.Context(), Options{Source: filepath.Join(dir, sub)})
		require.NoError(t, err)
		require.Empty(t, problems)
	}
}

// freeAddress has a port on which nobody listens, below those that systems give
// to whoever names none: it is still free when nginx comes to listen.
func freeAddress(t *testing.T) string {
	t.Helper()
	const firstPort, lastPort = 20000, 32767
	for {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort+1))
		if listener, err := net.Listen("tcp", address); err == nil {
			require.NoError(t, listener.Close())
			return address
		}
	}
}

// serveNginx serves dir without privileges until the test ends, and returns its URL.
func serveNginx(t *testing.T, dir string) string {
	t.Helper()
	nginx := need(t, "nginx", "nginx")
	address := freeAddress(t)
	own := t.TempDir()
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		_, _ = fmt.Fprintf(&temp, "  %s_temp_path %s/%s;\n", kind, own, kind)
	}
	config := fmt.Sprintf(`daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr warn;
events {}
http {
  access_log off;
%[2]s  server { listen %[3]s; root %[4]s; }
}
`, own, temp.String(), address, dir)
	file := filepath.Join(own, "nginx.conf")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o644))
	cmd := exec.Command(nginx, "-e", "stderr", "-p", own, "-c", file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	url := "http://" + address + "/"
	require.Eventually(t, func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	}, time.Minute, 20*time.Millisecond, "nginx does not answer: %s", stderr.String())
	return url
}

func TestLibtorrentDownloadsTheExportFromAWebSeed(t *testing.T) {
	const python = "/usr/bin/python3" // the system's own: no other sees Debian's module
	check := exec.Command(python, "-c", "import libtorrent")
	require.NoError(t, check.Run(), "this test needs python3-libtorrent: make deps installs it (apt install python3-libtorrent)")

	site := t.TempDir()
	film := filepath.Join(site, "a film")
	require.NoError(t, os.Mkdir(film, 0o755))
	encodeSource(t, film)
	makeHLS(t, film, "hls", "-master_pl_name", "master.m3u8", "-hls_segment_type", "fmp4")
	remux(t, film, "-movflags", "+faststart", "film.mp4")
	require.NoError(t, os.Remove(filepath.Join(film, "source.mp4")))
	files{}.add("extras/large.ts", 70<<20).add("extras/exact.ts", 65536).add("extras/two.ts", 65537).write(t, film)
	files{"extras/list.m3u8": playlistOf("large.ts", "exact.ts", "two.ts")}.write(t, film)

	url := serveNginx(t, site)
	for _, source := range []string{film, url + "a%20film/hls/master.m3u8"} {
		r := doPack(t, source)
		torrent := filepath.Join(t.TempDir(), "film.torrent")
		w, err := os.Create(torrent)
		require.NoError(t, err)
		o := TorrentOptions{WebSeeds: []string{url}}
		if IsURL(source) {
			o = TorrentOptions{} // the web seed is where the title was packed from
		}
		infohash, err := r.WriteTorrent(w, o)
		require.NoError(t, err)
		require.NoError(t, w.Close())

		save := t.TempDir()
		out := string(run(t, save, python, mustAbs(t, "testdata/libtorrent_download.py"), torrent, save, "120"))
		lines := strings.Fields(out)
		require.Equal(t, []string{hex.EncodeToString(infohash[:]), "complete"}, lines)

		top := filepath.Join(site, strings.TrimPrefix(r.Folder, "/"))
		if IsURL(source) {
			top = filepath.Join(film, "hls")
		}
		same := 0
		for _, f := range r.Content.Files {
			want, err := os.ReadFile(filepath.Join(top, f.Path))
			require.NoError(t, err)
			got, err := os.ReadFile(filepath.Join(save, r.Folder, f.Path))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), "%s is not byte-identical", f.Path)
			same++
		}
		for _, p := range r.playlists {
			want, err := os.ReadFile(filepath.Join(top, p.path))
			require.NoError(t, err)
			got, err := os.ReadFile(filepath.Join(save, r.Folder, p.path))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), "%s is not byte-identical", p.path)
		}
		require.GreaterOrEqual(t, same, 8)
	}
}

func mustAbs(t *testing.T, name string) string {
	t.Helper()
	file, err := filepath.Abs(name)
	require.NoError(t, err)
	return file
}
