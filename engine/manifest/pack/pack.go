package pack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"

	"shoal/engine/manifest"
)

// Options say what to pack.
type Options struct {
	Source   string       // a folder, a master playlist or MP4 in one, or the HTTP URL of a master playlist or MP4
	Name     string       // of the title; empty = the name of its top folder
	Workers  int          // that hash; 0 = one per core
	Progress *Progress    // may be nil
	Client   *http.Client // for URLs; nil = http.DefaultClient
}

// Result is a packed title.
type Result struct {
	Content manifest.Content
	Folder  string   // name of the top folder
	Parent  *url.URL // the URL above the top folder; nil when it is not known
	Bytes   int64
	Pieces  int

	playlists []*hashed
}

// IsURL tells URL sources from local ones.
func IsURL(source string) bool {
	return strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://")
}

// openSource opens either kind. The closer is never nil when err is.
func openSource(name string, client *http.Client) (source, io.Closer, error) {
	if IsURL(name) {
		u, err := url.Parse(name)
		if err != nil {
			return nil, nil, fmt.Errorf("the source is not a URL: %w", err)
		}
		w, err := openWeb(u, client)
		return w, io.NopCloser(nil), err
	}
	f, err := openFolder(name)
	if err != nil {
		return nil, nil, err
	}
	return f, f, nil
}

// Pack finds and hashes a title. Hashing takes as many cores as there are workers, and memory of 32 bytes per piece.
func Pack(ctx context.Context, o Options) (result *Result, err error) {
	src, closer, err := openSource(o.Source, o.Client)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closer.Close() }()
	p, err := makePlan(ctx, src)
	if err != nil {
		return nil, err
	}
	files := make([]*hashed, len(p.order))
	for i, f := range p.order {
		files[i] = &f.hashed
	}
	if err := src.hash(ctx, files, o.hashOptions(false)); err != nil {
		return nil, err
	}
	r := &Result{Folder: src.name(), playlists: p.playlists}
	if w, ok := src.(*web); ok {
		r.Parent = w.parent()
	}
	name := o.Name
	if name == "" {
		name = r.Folder
	}
	if r.Content, err = p.content(name); err != nil {
		return nil, err
	}
	for _, f := range r.Content.Files {
		r.Bytes += f.Length
		r.Pieces += len(f.Pieces)
	}
	return r, nil
}

func (o *Options) hashOptions(each bool) hashOptions {
	h := hashOptions{workers: o.Workers, each: each, progress: o.Progress}
	if h.workers <= 0 {
		h.workers = runtime.GOMAXPROCS(0)
	}
	if h.progress == nil {
		h.progress = new(Progress)
	}
	return h
}
