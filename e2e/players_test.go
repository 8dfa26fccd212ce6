//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRealPlayersPlayThroughAPeer has ffprobe and mpv play each kind of title
// through a peer that gets it from another one.
func TestRealPlayersPlayThroughAPeer(t *testing.T) {
	lib := titles(t)
	origin := startNginx(t, lib.www, 2)
	_, tracker := startTracker(t)
	seed := startPeer(t, "seed", origin.url(0), tracker, t.TempDir())
	viewer := startPeer(t, "viewer", origin.url(1), tracker, t.TempDir())
	watched := []*title{lib.serial, lib.broadcast, lib.premiere}
	for _, title := range watched {
		seed.watchAll(title)
	}
	urls := map[string]string{
		"HLS in fMP4 files":          viewer.url + "/serial/master.m3u8",
		"HLS in transport streams":   viewer.url + "/broadcast/master.m3u8",
		"HLS by ranges of one file":  viewer.url + "/premiere/master.m3u8",
		"MP4":                        viewer.url + "/premiere/movie.mp4",
		"a media playlist by itself": viewer.url + "/broadcast/index.m3u8",
	}
	for name, url := range urls {
		t.Run("ffprobe, "+name, func(t *testing.T) {
			status, stdout, stderr := runToEnd(t, time.Minute, "ffprobe", "-v", "warning", "-show_entries", "stream=codec_name:format=duration", "-of", "default=nw=1", url)
			require.Zero(t, status, stderr)
			require.Empty(t, complaints(stderr))
			require.Contains(t, stdout, "codec_name=h264")
			require.Contains(t, stdout, "codec_name=aac")
			require.Regexp(t, `duration=(24|72)\.`, stdout)
		})
	}
	t.Run("mpv", func(t *testing.T) {
		players, logs := map[string]*process{}, map[string]string{}
		for name, url := range urls { // at once: they play in real time
			logs[name] = filepath.Join(t.TempDir(), "mpv.log")
			players[name] = start(t, "mpv, "+name, "mpv", "--no-config", "--vo=null", "--ao=null", "--length=10", "--log-file="+logs[name], url)
		}
		for name, p := range players {
			require.Zero(t, p.wait(time.Minute), "%s\n%s", name, p.tail())
			log, err := os.ReadFile(logs[name])
			require.NoError(t, err)
			for line := range strings.Lines(string(log)) {
				require.NotRegexp(t, `^\[[ .0-9]+\]\[[ef]\]`, line, name) // an error or worse
			}
			require.Contains(t, string(log), "EOF code: 1", name) // at --length, not at the first obstacle
		}
	})
	// All three titles, of which two were opened when the peers had met already.
	s := viewer.status()
	require.Greater(t, s.Saving, 0.8, "the viewer plays from the seed: %+v", s.Bytes)
	require.Zero(t, s.Bytes.HashFailed)
}

// complaints are the lines of ffmpeg's log that tell of trouble with the bytes.
func complaints(log string) (bad []string) {
	for line := range strings.Lines(log) {
		for _, word := range []string{"rror", "orrupt", "nvalid", "ailed", "HTTP "} {
			if strings.Contains(line, word) {
				bad = append(bad, line)
				break
			}
		}
	}
	return bad
}
