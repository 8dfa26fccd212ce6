package rig

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/manifest/pack"
)

// Ladder are the renditions' bitrates in kbit/s, lowest first. Steps are a factor
// of two, as in Apple's and most operators' ladders: a step is what a player
// gains or loses by one wrong estimate.
var Ladder = []int{600, 1200, 2400, 4800, 9000}

const (
	// segmentLength is the length of a segment, and of a group of pictures.
	segmentLength = 4 * time.Second

	// titleLength is the length of the title: long enough that each player fills
	// its buffer (hls.js 30 s, dash.js 18 s) and then lives on what the line gives.
	titleLength = 64 * time.Second

	// framesPerSec keeps decoding cheap; the bitrate is filler.
	framesPerSec = 12

	// titleName is the folder of the title at the origin.
	titleName = "ladder"

	masterPlaylist = "master.m3u8"
	mpd            = "manifest.mpd"
)

// segments is how many the title has.
const segments = int(titleLength / segmentLength)

// makeTitle encodes the ladder once, below dir, and returns the folder that an
// origin serves. HLS and DASH describe the same segment files.
func makeTitle(ctx context.Context, dir string) (root string, err error) {
	root = filepath.Join(dir, "media")
	title := filepath.Join(root, titleName)
	if _, err := os.Stat(filepath.Join(title, manifest.FileName)); err == nil {
		return root, nil
	}
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		return "", errors.New("the ladder is made with ffmpeg, which is not on the PATH: run make deps")
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	// Made beside and renamed: what is there is complete.
	work, err := os.MkdirTemp(root, ".making-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := encode(ctx, work); err != nil {
		return "", err
	}
	if err := packTitle(ctx, work); err != nil {
		return "", err
	}
	if err := os.RemoveAll(title); err != nil {
		return "", err
	}
	return root, os.Rename(work, title)
}

func encode(ctx context.Context, dir string) error {
	seconds := fmt.Sprint(titleLength.Seconds())
	args := []string{
		"-hide_banner", "-loglevel", "error", "-nostdin", "-y",
		"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=320x180:rate=%d:duration=%s", framesPerSec, seconds),
		"-f", "lavfi", "-i", "sine=frequency=330:sample_rate=44100:duration=" + seconds,
	}
	for range Ladder {
		args = append(args, "-map", "0:v")
	}
	args = append(args, "-map", "1:a", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-sc_threshold", "0",
		"-g", fmt.Sprint(int(segmentLength.Seconds())*framesPerSec), "-keyint_min", fmt.Sprint(int(segmentLength.Seconds())*framesPerSec),
		"-x264-params", "nal-hrd=cbr:force-cfr=1") // filler up to the bitrate
	for i, kbps := range Ladder {
		for _, name := range []string{"b", "minrate", "maxrate", "bufsize"} {
			args = append(args, fmt.Sprintf("-%s:v:%d", name, i), fmt.Sprintf("%dk", kbps))
		}
	}
	args = append(args, "-c:a", "aac", "-b:a", "64k",
		"-f", "dash", "-seg_duration", fmt.Sprint(segmentLength.Seconds()), "-use_template", "1", "-use_timeline", "1",
		"-hls_playlist", "1", "-adaptation_sets", "id=0,streams=v id=1,streams=a", filepath.Join(dir, mpd))
	out, err := exec.CommandContext(ctx, "ffmpeg", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ffmpeg: %w\n%s", err, out)
	}
	return nil
}

func packTitle(ctx context.Context, dir string) error {
	packed, err := pack.Pack(ctx, pack.Options{Source: filepath.Join(dir, masterPlaylist), Name: titleName})
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	out, err := os.Create(filepath.Join(dir, manifest.FileName))
	if err != nil {
		return err
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // nobody else plays this title
	return errors.Join(manifest.Write(out, key, packed.Content), out.Close())
}

// dashVersion is the release of dash.js that is played. It is not part of the
// project: npm brings it into the build folder.
const dashVersion = "5.2.1"

// fetchDash returns dash.js, taken from the package registry at the first call.
func fetchDash(ctx context.Context, dir string) ([]byte, error) {
	file := filepath.Join(dir, "dash-"+dashVersion+".js")
	if b, err := os.ReadFile(file); err == nil {
		return b, nil
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return nil, fmt.Errorf("dash.js %s comes from npm, which is not on the PATH: run make deps", dashVersion)
	}
	work, err := os.MkdirTemp(dir, ".npm-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	get := exec.CommandContext(ctx, "npm", "pack", "--silent", "dashjs@"+dashVersion)
	get.Dir = work
	if out, err := get.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("npm pack dashjs@%s: %w\n%s", dashVersion, err, out)
	}
	const member = "package/dist/modern/umd/dash.all.min.js"
	js, err := exec.CommandContext(ctx, "tar", "-xzOf", filepath.Join(work, "dashjs-"+dashVersion+".tgz"), member).Output()
	if err != nil {
		return nil, fmt.Errorf("unpack dash.js: %w", err)
	}
	return js, os.WriteFile(file, js, 0o644)
}

// mediaPaths are the paths of all media files of the title below the origin.
func mediaPaths(root string) (paths []string, err error) {
	entries, err := os.ReadDir(filepath.Join(root, titleName))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".m4s") {
			paths = append(paths, titleName+"/"+e.Name())
		}
	}
	return paths, nil
}

// copyTree copies a folder of plain files.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(name string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return copyFile(filepath.Join(to, rel), name)
	})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
