package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"shoal/engine/manifest"
	"shoal/testdata"
)

// demoMedia is the title to be watched.
type demoMedia struct {
	name     string
	dir      string // what the origin serves
	title    string // the manifest, which may lie outside dir
	playlist string // path below dir
}

// prepareMedia unpacks the sample, or takes the folder that was given, and
// makes a manifest when there is none.
func (d *demo) prepareMedia(ctx context.Context) (demoMedia, error) {
	m := demoMedia{name: "The sample title", dir: filepath.Join(d.dir, "media")}
	if d.flags.media == "" {
		if err := os.CopyFS(m.dir, testdata.Media()); err != nil {
			return m, fmt.Errorf("unpack the sample title: %w", err)
		}
	} else {
		m.dir = d.flags.media
		m.name = filepath.Base(m.dir)
	}
	var err error
	if m.playlist, err = findPlaylist(m.dir); err != nil {
		return m, err
	}
	m.title = filepath.Join(m.dir, manifest.FileName)
	if _, err := os.Stat(m.title); err == nil {
		return m, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	source := m.dir
	if d.flags.media != "" {
		// Pack writes beside the media, and the folder is not ours: pack a
		// folder of links to its entries.
		source = filepath.Join(d.dir, "pack")
		if err := linkFolder(m.dir, source); err != nil {
			return m, fmt.Errorf("--media %s: %w", m.dir, err)
		}
		m.title = filepath.Join(source, manifest.FileName)
	}
	d.screen.line("%s has no %s: packing it.", m.name, manifest.FileName)
	if err := d.crew.runToEnd(ctx, "pack", "pack", source); err != nil {
		return m, err
	}
	return m, nil
}

// linkFolder gives dst the tree of src with hard links, or copies where the
// file system has none; pack refuses symbolic links that lead out of a folder.
func linkFolder(src, dst string) error {
	return filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		target := filepath.Join(dst, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o755)
		case !e.Type().IsRegular():
			return nil
		}
		if os.Link(path, target) == nil {
			return nil
		}
		return copyFile(path, target)
	})
}

func copyFile(src, dst string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = out.ReadFrom(in)
	return err
}

// findPlaylist returns the master playlist at the top of a folder, or else a
// media playlist.
func findPlaylist(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("--media: %w", err)
	}
	var master, media []string
	for _, e := range entries {
		if e.IsDir() || !strings.EqualFold(filepath.Ext(e.Name()), ".m3u8") {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", fmt.Errorf("--media: %w", err)
		}
		if bytes.Contains(body, []byte("#EXT-X-STREAM-INF")) {
			master = append(master, e.Name())
		} else {
			media = append(media, e.Name())
		}
	}
	switch {
	case slices.Contains(master, "master.m3u8"):
		return "master.m3u8", nil
	case len(master) > 0:
		return master[0], nil
	case len(media) > 0:
		return media[0], nil
	default:
		return "", fmt.Errorf("--media %s: no .m3u8 playlist at the top of the folder", dir)
	}
}
