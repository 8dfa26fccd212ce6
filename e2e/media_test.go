//go:build e2e

package e2e

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pieceBytes is the unit of verification, as documented.
const pieceBytes = 64 << 10

// title is a packed title on disk.
type title struct {
	name   string   // of its folder below www
	dir    string   // that folder
	files  []string // slash paths of all files but the manifest, ascending
	bytes  int64    // of all these files
	pieces int      // of the media among them
}

// library is what the origin serves in most tests.
type library struct {
	www string
	// premiere is byte-range HLS in one file, and an MP4: 24 s each.
	premiere *title
	// serial is fMP4 HLS in files of 2 s each, 72 s in all.
	serial *title
	// broadcast is HLS with MPEG transport streams, 24 s.
	broadcast *title
}

var (
	buildLibrary sync.Once
	builtLibrary *library // nil: making it failed
)

// titles makes the titles once per run. They are never changed.
func titles(t *testing.T) *library {
	t.Helper()
	buildLibrary.Do(func() {
		l := &library{www: filepath.Join(sharedDir, "www")}
		master := record(t, sharedDir, 24*time.Second)
		for _, name := range []string{"premiere", "serial", "broadcast"} {
			require.NoError(t, os.MkdirAll(filepath.Join(l.www, name), 0o755))
		}
		hls := []string{"-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-master_pl_name", "master.m3u8"}
		fmp4 := append(hls, "-hls_segment_type", "fmp4")
		out := func(title, name string) string { return filepath.Join(l.www, title, name) }
		repackage(t, master, 1, append(fmp4, "-hls_flags", "single_file", out("premiere", "index.m3u8"))...)
		repackage(t, master, 1, "-movflags", "+faststart", out("premiere", "movie.mp4"))
		repackage(t, master, 3, append(fmp4, "-hls_segment_filename", out("serial", "%03d.m4s"), out("serial", "index.m3u8"))...)
		repackage(t, master, 1, append(hls, out("broadcast", "index.m3u8"))...)
		l.premiere = pack(t, l.www, "premiere")
		l.serial = pack(t, l.www, "serial")
		l.broadcast = pack(t, l.www, "broadcast")
		builtLibrary = l
	})
	require.NotNil(t, builtLibrary, "the titles could not be made: see the first test that failed")
	return builtLibrary
}

// record encodes a film that nobody has seen before: noise over a test picture,
// at 2.5 Mbit/s, with a key frame every 2 s.
func record(t *testing.T, dir string, duration time.Duration) string {
	t.Helper()
	out, seed := filepath.Join(dir, "master.mp4"), rand.IntN(1<<30)
	t.Logf("noise of seed %d", seed)
	must(t, 2*time.Minute, "ffmpeg", "-nostdin", "-v", "error", "-y",
		"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=640x360:rate=24:duration=%g,noise=alls=15:allf=t:all_seed=%d", duration.Seconds(), seed),
		"-f", "lavfi", "-i", fmt.Sprintf("anoisesrc=duration=%g:color=pink:seed=%d:amplitude=0.05", duration.Seconds(), seed),
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", "2500k", "-maxrate", "2500k", "-bufsize", "2500k",
		"-g", "48", "-keyint_min", "48", "-sc_threshold", "0", "-c:a", "aac", "-b:a", "96k", out)
	return out
}

// repackage muxes a film anew, played so many times in a row.
func repackage(t *testing.T, film string, times int, args ...string) {
	t.Helper()
	in := []string{"-nostdin", "-v", "error", "-y", "-stream_loop", fmt.Sprint(times - 1), "-i", film, "-c", "copy"}
	must(t, time.Minute, "ffmpeg", append(in, args...)...)
}

// pack makes the manifest of the title in folder www/name.
func pack(t *testing.T, www, name string) *title {
	t.Helper()
	out := must(t, time.Minute, shoal, "pack", filepath.Join(www, name), "--key", filepath.Join(sharedDir, "publisher.key"))
	require.Contains(t, out, "wrote ")
	return openTitle(t, www, name)
}

// openTitle lists the title in folder www/name.
func openTitle(t *testing.T, www, name string) *title {
	t.Helper()
	title := &title{name: name, dir: filepath.Join(www, name)}
	require.NoError(t, filepath.WalkDir(title.dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "title.shoal" {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(title.dir, file)
		if err != nil {
			return err
		}
		title.files = append(title.files, filepath.ToSlash(rel))
		title.bytes += info.Size()
		if !strings.HasSuffix(rel, ".m3u8") {
			title.pieces += int((info.Size() + pieceBytes - 1) / pieceBytes)
		}
		return nil
	}))
	return title
}

// read returns what the origin has.
func (title *title) read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(title.dir, filepath.FromSlash(name)))
	require.NoError(t, err)
	return b
}

// copyTo puts a copy of the title, to be damaged, into folder www under another name.
func (title *title) copyTo(t *testing.T, www, name string) *title {
	t.Helper()
	require.NoError(t, os.CopyFS(filepath.Join(www, name), os.DirFS(title.dir)))
	return openTitle(t, www, name)
}
