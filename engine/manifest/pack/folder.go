package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// folder is a local source. It is used by one goroutine, but for hash.
type folder struct {
	root  *os.Root
	base  string
	only  string            // pack this one file (and what it names); empty = everything
	heads map[string]string // of absolute URLs: host → the part of the path above the top folder
}

// openFolder opens a folder, or the folder of a file.
func openFolder(src string) (*folder, error) {
	info, err := os.Stat(src)
	if err != nil {
		return nil, err
	}
	dir, only := src, ""
	if !info.IsDir() {
		dir, only = filepath.Dir(src), filepath.Base(src)
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &folder{root: root, base: filepath.Base(absolute), only: only, heads: make(map[string]string)}, nil
}

func (f *folder) Close() error { return f.root.Close() }

func (f *folder) name() string { return f.base }

func (f *folder) find(ctx context.Context) (playlists, movies []resource, err error) {
	if f.only != "" {
		if isPlaylistName(f.only) {
			return []resource{{path: f.only}}, nil, nil
		}
		return nil, []resource{{path: f.only}}, nil
	}
	scanned := 0
	err = fs.WalkDir(f.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if scanned++; scanned > maxScanned {
			return fmt.Errorf("more than %d files", maxScanned)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if name != "." && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		switch {
		case isPlaylistName(name):
			playlists = append(playlists, resource{path: name})
		case isMovieName(name):
			movies = append(movies, resource{path: name})
		}
		return nil
	})
	return playlists, movies, err
}

func isPlaylistName(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".m3u8", ".m3u":
		return true
	}
	return false
}

func isMovieName(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".mp4", ".m4v", ".m4a", ".mov":
		return true
	}
	return false
}

func (f *folder) resolve(base resource, uri string) (resource, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return resource{}, fmt.Errorf("%q is not a URL: %w", uri, err)
	}
	if u.Opaque != "" || (u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https") {
		return resource{}, fmt.Errorf("%q: only files and http URLs can be packed", uri)
	}
	if u.Host == "" && !strings.HasPrefix(u.Path, "/") {
		name := path.Join(path.Dir(base.path), u.Path)
		return resource{path: name}, checkRelative(name, uri)
	}
	return f.resolveAbsolute(u, uri)
}

// resolveAbsolute finds the file of an absolute URL. The folder's own place on the CDN is not known: it is what has to be cut
// off so that the first such URL names a file, and all others must agree.
func (f *folder) resolveAbsolute(u *url.URL, uri string) (resource, error) {
	full := path.Clean("/" + u.Path)[1:]
	if head, ok := f.heads[u.Host]; ok {
		name, below := strings.CutPrefix(full, head)
		if !below {
			return resource{}, fmt.Errorf("%q lies outside of the title's folder (%s%s/%s)", uri, u.Scheme, u.Host, head)
		}
		return resource{path: name}, checkRelative(name, uri)
	}
	for name := full; ; {
		if checkRelative(name, uri) == nil {
			if info, err := f.root.Stat(name); err == nil && info.Mode().IsRegular() {
				f.heads[u.Host] = strings.TrimSuffix(full, name)
				return resource{path: name}, nil
			}
		}
		_, rest, ok := strings.Cut(name, "/")
		if !ok {
			return resource{}, fmt.Errorf("%q: no such file in or below the title's folder", uri)
		}
		name = rest
	}
}

// open opens a regular file. os.Root refuses symlinks and paths that lead out.
func (f *folder) open(r resource) (*os.File, int64, error) {
	file, err := f.root.Open(filepath.FromSlash(r.path))
	if err != nil {
		return nil, 0, fileError(r.path, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		_ = file.Close()
		return nil, 0, fileError(r.path, err)
	}
	return file, info.Size(), nil
}

// fileError names the file once.
func fileError(name string, err error) error {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		err = pathError.Err
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (f *folder) playlist(_ context.Context, r resource) ([]byte, error) {
	file, size, err := f.open(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if size > maxPlaylistBytes {
		return nil, fmt.Errorf("%s: a playlist of %d bytes: more than %d", r.path, size, maxPlaylistBytes)
	}
	b, err := io.ReadAll(io.LimitReader(file, maxPlaylistBytes+1))
	if err != nil {
		return nil, fileError(r.path, err)
	}
	return b, nil
}

func (f *folder) random(_ context.Context, r resource) (randomReader, int64, error) {
	file, size, err := f.open(r)
	if err != nil {
		return nil, 0, err
	}
	return file, size, nil
}
