package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// filmFile is all segments in one file: what the torrent has.
const filmFile = "film.bin"

// rivalKbps is the shoal title's rate.
const rivalKbps = 2200

// makeRivalTitle makes the title for browsers, unless it is there: a picture of
// a thumb's size, filled up to the usual rate, so that eight of them can be
// decoded on two processors.
func makeRivalTitle(ctx context.Context, dir string) (*title, error) {
	if _, err := os.Stat(dir); err == nil {
		return readTitle(dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "title-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	rate := fmt.Sprintf("%dk", rivalKbps)
	err = command(ctx, "ffmpeg", "-nostdin", "-v", "error", "-y",
		"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=160x90:rate=5:duration=%g", titleLength.Seconds()),
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-x264-params", "filler=1",
		"-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate,
		"-g", "10", "-keyint_min", "10", "-sc_threshold", "0", "-f", "hls", "-hls_time", fmt.Sprint(segmentLength.Seconds()),
		"-hls_playlist_type", "vod", "-hls_segment_type", "fmp4", "-hls_segment_filename", filepath.Join(work, "%03d.m4s"),
		filepath.Join(work, playlist))
	if err != nil {
		return nil, err
	}
	t, err := readTitle(work)
	if err != nil {
		return nil, err
	}
	if err := joinSegments(work, len(t.bytes)); err != nil {
		return nil, err
	}
	if err := os.Rename(work, dir); err != nil {
		return nil, err
	}
	return readTitle(dir)
}

func joinSegments(dir string, count int) (err error) {
	film, err := os.Create(filepath.Join(dir, filmFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, film.Close()) }()
	for i := range count {
		segment, err := os.Open(filepath.Join(dir, segmentName(i)))
		if err != nil {
			return err
		}
		_, err = io.Copy(film, segment)
		if err := errors.Join(err, segment.Close()); err != nil {
			return err
		}
	}
	return nil
}
