package rig

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"shoal/engine/proxy/page"
	"shoal/internal/chrome"
	"shoal/internal/wire"
)

// Lab holds what all scenarios share: media, players, a browser, a full cache.
type Lab struct {
	dir     string   // temporary
	root    string   // what origins serve
	full    string   // a cache folder with all of the title but probeFile
	paths   []string // of the files in it
	pieces  int      // in it
	dash    []byte
	fast    *web // an origin without a limit
	pages   *web
	browser *chrome.Browser

	mu  sync.Mutex
	tab *chrome.Tab // guarded by mu once the Lab is open
}

// Open prepares a Lab. Build keeps the encoded ladder and dash.js between runs.
func Open(ctx context.Context, build string) (l *Lab, err error) {
	build, err = filepath.Abs(build)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(build, 0o755); err != nil {
		return nil, err
	}
	l = &Lab{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.root, err = makeTitle(ctx, build); err != nil {
		return l, err
	}
	if l.dash, err = fetchDash(ctx, build); err != nil {
		return l, err
	}
	if l.dir, err = os.MkdirTemp("", "shoal-abr-"); err != nil {
		return l, err
	}
	o, err := l.newOrigin(0)
	if err != nil {
		return l, err
	}
	if l.fast, err = serve(o); err != nil {
		return l, err
	}
	if l.pages, err = serve(http.HandlerFunc(l.servePage)); err != nil {
		return l, err
	}
	if err := l.list(); err != nil {
		return l, err
	}
	if err := l.fill(ctx); err != nil {
		return l, err
	}
	if l.browser, err = chrome.Start(ctx); err != nil {
		return l, err
	}
	if l.tab, err = l.browser.Tab(); err != nil {
		return l, err
	}
	return l, l.tab.Open(l.pages.url)
}

// Close ends the browser and removes what is temporary.
func (l *Lab) Close() error {
	if l.browser != nil {
		l.browser.Close()
	}
	for _, w := range []*web{l.fast, l.pages} {
		if w != nil {
			w.close()
		}
	}
	if l.dir == "" {
		return nil
	}
	return os.RemoveAll(l.dir)
}

func (l *Lab) newOrigin(kbps int) (*origin, error) {
	root, err := os.OpenRoot(l.root)
	if err != nil {
		return nil, err
	}
	o := &origin{root: root}
	o.bytesPerSec.Store(int64(kbps) * 1000 / 8)
	return o, nil
}

// probeFile is what a node with a warm cache reads to learn its line: the
// second rendition's last segment, 600 kB. The full cache lacks it.
func probeFile() string {
	return fmt.Sprintf("%s/chunk-stream1-%05d.m4s", titleName, segments)
}

// list finds the files of the full cache.
func (l *Lab) list() error {
	paths, err := mediaPaths(l.root)
	if err != nil {
		return err
	}
	l.paths = slices.DeleteFunc(paths, func(p string) bool { return p == probeFile() })
	for _, path := range l.paths {
		info, err := os.Stat(filepath.Join(l.root, filepath.FromSlash(path)))
		if err != nil {
			return err
		}
		l.pieces += int(wire.PieceCount(info.Size()))
	}
	l.full = filepath.Join(l.dir, "full")
	return nil
}

// framesPage holds a frame for each player that plays now; playerPage is what is
// in it. One page for all costs a fraction of a tab for each.
var (
	//go:embed frames.html
	framesPage []byte
	//go:embed player.html
	playerPage []byte
)

// servePage serves the page and the players, from an origin of its own: media
// are asked for across origins, as on a site.
func (l *Lab) servePage(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(framesPage) // the browser may be gone
	case "/player":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(playerPage) // the browser may be gone
	case "/" + Hls:
		asset := r.Clone(r.Context())
		asset.URL.Path = page.Prefix + "vendor/hls.min.js" // what the viewer page plays with
		if !page.Serve(w, asset) {
			http.NotFound(w, r)
		}
	case "/" + Dash:
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(l.dash) // the browser may be gone
	default:
		http.NotFound(w, r)
	}
}
