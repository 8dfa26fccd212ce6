package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	titleLength = 132 * time.Second
	// partLength is encoded once and then repeated: the encoder is the slow part.
	partLength = 33 * time.Second
	// segmentLength is hls.js's and Apple's usual one, and the replay's default.
	segmentLength = 6 * time.Second
	playlist      = "index.m3u8"
)

// title is what is watched.
type title struct {
	dir   string
	kbps  int              // media bytes over media time
	bytes map[string]int64 // of the media files, by name
}

// makeTitle makes the title in a folder, unless it is there.
func makeTitle(ctx context.Context, shoal, dir string) (*title, error) {
	if _, err := os.Stat(filepath.Join(dir, "title.shoal")); err == nil {
		return readTitle(dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "title-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	part, film := filepath.Join(work, "part.mp4"), filepath.Join(work, "film")
	if err := os.Mkdir(film, 0o755); err != nil {
		return nil, err
	}
	// Noise over a test picture, so that the encoder reaches its rate; a key frame
	// every 2 s.
	seconds := partLength.Seconds()
	encode := []string{
		"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=640x360:rate=24:duration=%g,noise=alls=15:allf=t:all_seed=1", seconds),
		"-f", "lavfi", "-i", fmt.Sprintf("anoisesrc=duration=%g:color=pink:seed=1:amplitude=0.05", seconds),
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", "2150k", "-maxrate", "2150k", "-bufsize", "2150k",
		"-g", "48", "-keyint_min", "48", "-sc_threshold", "0", "-c:a", "aac", "-b:a", "96k", part,
	}
	repeats := fmt.Sprint(int(titleLength/partLength) - 1)
	mux := []string{
		"-stream_loop", repeats, "-i", part, "-c", "copy", "-f", "hls", "-hls_time", fmt.Sprint(segmentLength.Seconds()),
		"-hls_playlist_type", "vod", "-hls_segment_type", "fmp4", "-hls_segment_filename", filepath.Join(film, "%03d.m4s"),
		filepath.Join(film, playlist),
	}
	for _, args := range [][]string{encode, mux} {
		if err := command(ctx, "ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"}, args...)...); err != nil {
			return nil, err
		}
	}
	if err := command(ctx, shoal, "pack", film, "--key", filepath.Join(work, "publisher.key")); err != nil {
		return nil, err
	}
	if err := os.Rename(film, dir); err != nil {
		return nil, err
	}
	return readTitle(dir)
}

func readTitle(dir string) (*title, error) {
	t := &title{dir: dir, bytes: make(map[string]int64)}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var sum int64
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".m4s") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		t.bytes[e.Name()] = info.Size()
		sum += info.Size()
	}
	if sum == 0 {
		return nil, fmt.Errorf("%s has no segments: remove it", dir)
	}
	t.kbps = int(math.Round(float64(sum) * 8 / 1000 / titleLength.Seconds()))
	return t, nil
}

// segmentName is the file of segment i.
func segmentName(i int) string { return fmt.Sprintf("%03d.m4s", i) }

func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return nil
}
