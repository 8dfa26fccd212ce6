package engine

import (
	"context"
	"mime"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/origin"
)

// Title is an open title. It stays open until the Engine closes.
type Title struct {
	// constant after OpenTitle
	engine   *Engine
	id       manifest.TitleID
	dir      string // "" or "a/b/"
	manifest *manifest.Title
	source   *origin.Source // title.shoal, read with the latest credentials

	creds atomic.Pointer[origin.Credentials]

	// guarded by mu, which is never held while waiting for the loop, the
	// network or the disk
	mu      sync.Mutex
	files   map[string]*File // by path relative to dir
	pages   map[int]*page
	viewers map[string]*Viewer
}

// page is one page of the manifest on its way, or there.
type page struct {
	done chan struct{}
	err  error     // set before done is closed
	at   time.Time // when it failed
}

const (
	// pageTimeout bounds one read of a page, retries included.
	pageTimeout = 15 * time.Second

	// pageRetry is the pause after a failed read of a page.
	pageRetry = time.Second
)

// File is one media resource.
type File struct {
	title   *Title
	record  manifest.Record
	path    string
	content *content // set by the loop before File hands it out
}

// Path is the file's path below the origin's prefix, without a leading slash.
func (f *File) Path() string { return f.path }

// Length is the file's size in bytes.
func (f *File) Length() int64 { return f.record.Length }

// Root is the file's Merkle root; it makes a good strong ETag.
func (f *File) Root() manifest.Root { return f.record.Root }

// Record is what the manifest says about the file. Do not modify its slices.
func (f *File) Record() manifest.Record { return f.record }

// Title returns the title the file was asked of.
func (f *File) Title() *Title { return f.title }

// contentTypes are those that matter to players and that the system's table of
// types often lacks or has wrong (.ts is a translation source to many).
var contentTypes = map[string]string{
	".ts": "video/mp2t", ".m4s": "video/iso.segment", ".mp4": "video/mp4", ".m4v": "video/mp4",
	".m4a": "audio/mp4", ".cmfv": "video/mp4", ".cmfa": "audio/mp4", ".aac": "audio/aac",
	".vtt": "text/vtt", ".webm": "video/webm", ".jpg": "image/jpeg",
}

// ContentType is the media type by the file's extension.
func (f *File) ContentType() string {
	ext := strings.ToLower(path.Ext(f.path))
	if t := contentTypes[ext]; t != "" {
		return t
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "application/octet-stream"
}

// ID returns the title's identity.
func (t *Title) ID() manifest.TitleID { return t.id }

// Path returns the title's top folder below the origin's prefix: no leading
// slash, and a trailing one unless it is the prefix itself.
func (t *Title) Path() string { return t.dir }

// Tracks returns the renditions.
func (t *Title) Tracks() []manifest.Track { return t.manifest.Tracks() }

// SetCredentials replaces what is sent to the origin for this title; nil sends nothing.
func (t *Title) SetCredentials(creds *origin.Credentials) {
	t.creds.Store(creds)
	t.source.SetCredentials(creds)
}

// File returns the file at path (as given to OpenTitle), or ErrNotFound when
// the title does not describe it. It waits for the page of the manifest that
// describes the file.
func (t *Title) File(ctx context.Context, path string) (*File, error) {
	clean, err := cleanPath(path)
	if err != nil {
		return nil, err
	}
	rel, below := strings.CutPrefix(clean, t.dir)
	if !below {
		return nil, ErrNotFound
	}
	if f := t.file(rel); f != nil {
		return f, nil
	}
	i, ok, err := t.manifest.PageFor(ctx, rel)
	if err != nil {
		return nil, originError(err)
	}
	if !ok {
		return nil, ErrNotFound
	}
	if err := t.loadPage(ctx, i); err != nil {
		return nil, err
	}
	if f := t.file(rel); f != nil {
		return f, nil
	}
	return nil, ErrNotFound // the path's hash led to a page that has another path
}

func (t *Title) file(rel string) *File {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.files[rel]
}

// loadPage waits until the page is known to the core. Callers share one read.
func (t *Title) loadPage(ctx context.Context, i int) error {
	p := t.startPage(i)
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	case <-t.engine.loopDone:
		return ErrClosed
	}
}

// startPage begins to read a page that is neither there nor on its way.
func (t *Title) startPage(i int) *page {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pages[i]
	if p != nil {
		select {
		case <-p.done:
			if p.err == nil || time.Since(p.at) < pageRetry {
				return p
			}
		default:
			return p
		}
	}
	p = &page{done: make(chan struct{})}
	t.pages[i] = p
	if !t.engine.spawn(func() { t.readPage(i, p) }) {
		p.err = ErrClosed
		close(p.done)
	}
	return p
}

// readPage reads one page, tells the loop its records, and then makes its files known.
func (t *Title) readPage(i int, p *page) {
	e := t.engine
	ctx, cancel := context.WithTimeout(e.ctx, pageTimeout)
	defer cancel()
	defer close(p.done)
	records, err := t.manifest.Page(ctx, i)
	if err != nil {
		p.err, p.at = originError(err), time.Now()
		return
	}
	files := make([]*File, len(records))
	for j, r := range records {
		files[j] = &File{title: t, record: r, path: t.dir + r.Path}
	}
	grown := make(chan struct{})
	if !e.post(func(now time.Time) { e.loop.grown(now, t, files); close(grown) }) {
		p.err = ErrClosed
		return
	}
	select {
	case <-grown:
	case <-e.loopDone:
		p.err = ErrClosed
		return
	}
	t.mu.Lock()
	for _, f := range files {
		t.files[f.record.Path] = f
	}
	t.mu.Unlock()
	t.recoverPage(files)
}
