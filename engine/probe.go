package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/origin"
)

const (
	// foldersMax bounds the folders searched for one path, from the deepest up.
	foldersMax = 12

	// titlesMax bounds open titles; a household watches a few a day.
	titlesMax = 256

	// absentMax bounds the folders known to have no title, absentTTL how long
	// they are believed: a title that was packed meanwhile is found within it.
	absentMax = 4096
	absentTTL = time.Minute

	// brokenTTL is how long a manifest that could not be read is left alone.
	brokenTTL = 5 * time.Second

	// probeTimeout bounds one search, retries of the origin client included.
	probeTimeout = 10 * time.Second
)

var errBadPath = errors.New("engine: path leaves the origin's prefix")

// folder is what is known of one folder below the prefix. Guarded by
// Engine.foldersMu until done is closed; then constant.
type folder struct {
	done  chan struct{}
	title *Title    // nil: none, or err
	err   error     // the manifest could not be read
	until time.Time // title == nil: believed until then
}

func (f *folder) finished() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// cleanPath checks a path below the prefix and drops its leading slash.
func cleanPath(p string) (string, error) {
	rel := strings.TrimPrefix(p, "/")
	if rel == "" {
		return "", nil
	}
	clean := path.Clean("/" + rel)[1:]
	if clean != strings.TrimSuffix(rel, "/") || strings.ContainsAny(rel, "\x00\\") {
		return "", fmt.Errorf("%w: %q", errBadPath, p)
	}
	return rel, nil
}

// foldersOf lists the folders of a path, deepest first: "a/b/", "a/", "".
func foldersOf(clean string) []string {
	var dirs []string
	for len(dirs) < foldersMax {
		i := strings.LastIndexByte(strings.TrimSuffix(clean, "/"), '/')
		if strings.HasSuffix(clean, "/") && len(dirs) == 0 {
			i = len(clean) - 1
		}
		clean = clean[:i+1]
		dirs = append(dirs, clean)
		if clean == "" {
			break
		}
	}
	return dirs
}

// OpenTitle finds the title that describes path: a title.shoal beside it, or in
// a folder above, up to the origin's prefix; the nearest wins. The path is below
// the prefix, with or without a leading slash, unescaped as in url.URL.Path.
// creds may be nil; the latest ones given are used for all of the title's files.
//
// ErrNoTitle means that there is none (remembered for a minute). Other errors
// are the origin's, or name what is wrong in the manifest.
func (e *Engine) OpenTitle(ctx context.Context, path string, creds *origin.Credentials) (*Title, error) {
	clean, err := cleanPath(path)
	if err != nil {
		return nil, err
	}
	dirs := foldersOf(clean)
	if t := e.knownTitle(ctx, dirs, clean); t != nil {
		if creds != nil {
			t.SetCredentials(creds)
		}
		return t, nil
	}
	var failure error
	for _, f := range e.probe(dirs, creds) {
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-e.loopDone:
			return nil, ErrClosed
		}
		if f.title != nil {
			if creds != nil {
				f.title.SetCredentials(creds)
			}
			return f.title, nil
		}
		if failure == nil {
			failure = f.err
		}
	}
	if failure != nil {
		return nil, failure
	}
	return nil, ErrNoTitle
}

// knownTitle returns the nearest open title when no search is needed: it lies
// in the deepest folder, or it describes the path. A question per folder of a
// title would cost the CDN a request each.
func (e *Engine) knownTitle(ctx context.Context, dirs []string, clean string) *Title {
	for i, dir := range dirs {
		e.foldersMu.Lock()
		f := e.folders[dir]
		e.foldersMu.Unlock()
		if f == nil || !f.finished() || f.title == nil {
			continue
		}
		if i == 0 || f.title.describes(ctx, clean[len(dir):]) {
			return f.title
		}
		return nil
	}
	return nil
}

// describes tells whether the title knows a path, which may take the read of
// one bucket of its path index.
func (t *Title) describes(ctx context.Context, rel string) bool {
	if t.file(rel) != nil {
		return true
	}
	_, ok, err := t.manifest.PageFor(ctx, rel)
	return ok && err == nil
}

// probe returns what is known of the folders, in their order, and starts
// looking into those of which nothing is known, all at once.
func (e *Engine) probe(dirs []string, creds *origin.Credentials) []*folder {
	now := time.Now()
	e.foldersMu.Lock()
	defer e.foldersMu.Unlock()
	found := make([]*folder, len(dirs))
	for i, dir := range dirs {
		f := e.folders[dir]
		if f == nil || f.finished() && f.title == nil && now.After(f.until) {
			e.forgetFolders(now)
			f = &folder{done: make(chan struct{})}
			e.folders[dir] = f
			if !e.spawn(func() { e.openFolder(dir, f, creds) }) {
				f.err = ErrClosed
				close(f.done)
			}
		}
		found[i] = f
	}
	return found
}

// forgetFolders bounds e.folders; the caller holds foldersMu.
func (e *Engine) forgetFolders(now time.Time) {
	if len(e.folders) < absentMax {
		return
	}
	for dir, f := range e.folders {
		if f.finished() && f.title == nil && (now.After(f.until) || len(e.folders) >= absentMax) {
			delete(e.folders, dir)
		}
	}
}

// openFolder looks for a title in one folder and opens it.
func (e *Engine) openFolder(dir string, f *folder, creds *origin.Credentials) {
	defer close(f.done)
	ctx, cancel := context.WithTimeout(e.ctx, probeTimeout)
	defer cancel()
	name := dir + manifest.FileName
	source := e.origin.Source(e.OriginPath(name), creds)
	m, err := manifest.Open(ctx, source)
	if err == nil && e.titleCount.Add(1) > titlesMax {
		e.titleCount.Add(-1)
		err = ErrBusy
	}
	if err != nil {
		f.until, f.err = e.refused(name, err)
		return
	}
	t := &Title{
		engine: e, id: m.ID(), dir: dir, manifest: m, source: source,
		files:   make(map[string]*File),
		pages:   make(map[int]*page),
		viewers: make(map[string]*Viewer),
	}
	t.creds.Store(creds)
	added := make(chan struct{})
	if !e.post(func(now time.Time) { e.loop.addTitle(now, t); close(added) }) {
		f.err = ErrClosed
		return
	}
	select {
	case <-added:
		f.title = t
	case <-e.loopDone:
		f.err = ErrClosed
	}
}

// refused tells what to remember of a folder whose title did not open, and
// until when.
func (e *Engine) refused(name string, err error) (time.Time, error) {
	var status *origin.StatusError
	var format *manifest.FormatError
	now := time.Now()
	switch {
	case errors.As(err, &status) && status.Code/100 == 4:
		// Absent. Stores without the right to list answer 403 for it.
		return now.Add(absentTTL), nil
	case errors.As(err, &format):
		e.log.Warn("manifest refused", slog.String("path", name), slog.Any("error", err))
		return now.Add(absentTTL), fmt.Errorf("engine: %s: %w", name, err)
	case errors.Is(err, ErrBusy):
		return now.Add(brokenTTL), err
	default:
		return now.Add(brokenTTL), originError(err)
	}
}
