package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/engine"
	"shoal/engine/manifest"
	"shoal/engine/origin"
)

// fakeNode is an engine with one title: film/, whose files are in memory, and an
// origin that answers by a handler.
type fakeNode struct {
	t      *testing.T
	files  map[string]*fakeFile // by path below the prefix
	origin http.HandlerFunc
	err    error // of openTitle

	maps    map[string]engine.PieceMap // by viewer
	happens chan engine.Event          // closed: the engine is
	present func() engine.Status       // default: the same at all times
	line    float64                    // bytes per second
	active  time.Duration              // last userActive
	tracks  []manifest.Track           // default: the one of add

	mu      sync.Mutex
	opened  []string // paths given to openTitle
	creds   []*origin.Credentials
	reports map[string][]engine.Playback // by viewer
	closed  []string
	reads   []engine.OpenOptions
}

func newFakeNode(t *testing.T) *fakeNode {
	return &fakeNode{t: t, files: map[string]*fakeFile{}, reports: map[string][]engine.Playback{}}
}

// add describes a whole-file segment of track 1.
func (n *fakeNode) add(name string, data []byte, start, duration time.Duration) *fakeFile {
	f := &fakeFile{node: n, data: data, rec: manifest.Record{
		Path: strings.TrimPrefix(name, "film/"), Length: int64(len(data)), Track: 1, Start: start, Duration: duration,
	}}
	n.files[name] = f
	return f
}

func (n *fakeNode) openTitle(_ context.Context, p string, creds *origin.Credentials) (title, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.opened = append(n.opened, p)
	n.creds = append(n.creds, creds)
	if n.err != nil {
		return nil, n.err
	}
	if !strings.HasPrefix(p, "film/") {
		return nil, engine.ErrNoTitle
	}
	return fakeTitle{n}, nil
}

func (n *fakeNode) passthrough(w http.ResponseWriter, r *http.Request, p string) {
	if n.origin == nil {
		http.Error(w, "origin: no such file", http.StatusNotFound)
		return
	}
	r.URL.Path = "/" + p
	n.origin(w, r)
}

func (n *fakeNode) passthroughBytes() uint64 { return 77 }

func (n *fakeNode) status() engine.Status {
	if n.present != nil {
		return n.present()
	}
	return engine.Status{
		Name: "fake", Saving: 0.5, Bytes: engine.Bytes{P2P: 10, CDN: 10}, CDNReasons: map[string]int64{"startup": 10},
		Titles: []engine.TitleStatus{{ID: "abcdef", N: 3, Viewers: []engine.ViewerStatus{{ID: "sid:x", BufferS: 4}}}},
		Seeds:  []engine.SeedStatus{{}, {FrozenMillis: 5}}, Transport: map[string]int64{"garbage": 2}, Dropped: map[string]int64{"have": 1},
	}
}

func (n *fakeNode) lineRate() float64 { return n.line }

func (n *fakeNode) userActive(d time.Duration) { n.active = d }

func (n *fakeNode) pieces(_, viewer string) (engine.PieceMap, bool) {
	if n.maps == nil {
		return engine.PieceMap{}, false
	}
	m, ok := n.maps[viewer]
	return m, ok
}

func (n *fakeNode) events(ctx context.Context) <-chan engine.Event {
	out := make(chan engine.Event)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case e, more := <-n.happens:
				if !more {
					return
				}
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

func (n *fakeNode) last(view string) engine.Playback {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.reports[view]
	if len(all) == 0 {
		n.t.Errorf("no report of %q, but of %d viewers", view, len(n.reports))
		return engine.Playback{}
	}
	return all[len(all)-1]
}

func (n *fakeNode) lastRead() engine.OpenOptions {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reads[len(n.reads)-1]
}

func (n *fakeNode) closedViewers() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.closed...)
}

type fakeTitle struct{ n *fakeNode }

func (t fakeTitle) key() string               { return "film" }
func (t fakeTitle) kind(uint16) manifest.Kind { return manifest.KindMuxed }
func (t fakeTitle) tracks() []manifest.Track  { return t.n.tracks }
func (t fakeTitle) viewer(id string) viewer   { return fakeViewer{t.n, id} }
func (t fakeTitle) file(_ context.Context, p string) (file, error) {
	if f := t.n.files[p]; f != nil {
		return f, nil
	}
	return nil, engine.ErrNotFound
}

type fakeViewer struct {
	n  *fakeNode
	id string
}

func (v fakeViewer) Report(p engine.Playback) {
	v.n.mu.Lock()
	defer v.n.mu.Unlock()
	v.n.reports[v.id] = append(v.n.reports[v.id], p)
}

func (v fakeViewer) Close() {
	v.n.mu.Lock()
	defer v.n.mu.Unlock()
	v.n.closed = append(v.n.closed, v.id)
}

type fakeFile struct {
	node *fakeNode
	data []byte
	rec  manifest.Record
	// failAt: Read fails with err once the read has come to this offset.
	err    error
	failAt int64
	// gate: bytes from here on wait until it is closed, or the read is canceled.
	gate     chan struct{}
	gateAt   int64
	canceled chan struct{} // told when a read ended by cancellation
}

func (f *fakeFile) length() int64           { return int64(len(f.data)) }
func (f *fakeFile) etag() string            { return `"` + f.rec.Path + `"` }
func (f *fakeFile) record() manifest.Record { return f.rec }
func (f *fakeFile) contentType() string {
	if path.Ext(f.rec.Path) == ".mp4" {
		return "video/mp4"
	}
	return "video/iso.segment"
}

func (f *fakeFile) open(ctx context.Context, o engine.OpenOptions, v viewer) (reader, error) {
	if v == nil {
		f.node.t.Error("a read without a viewer")
	}
	if o.Offset < 0 || o.Length <= 0 || o.Offset+o.Length > int64(len(f.data)) {
		f.node.t.Errorf("read of [%d, +%d) of %d bytes", o.Offset, o.Length, len(f.data))
		return nil, engine.ErrRange
	}
	f.node.mu.Lock()
	f.node.reads = append(f.node.reads, o)
	f.node.mu.Unlock()
	return &fakeReader{f: f, ctx: ctx, pos: o.Offset, end: o.Offset + o.Length}, nil
}

type fakeReader struct {
	f        *fakeFile
	ctx      context.Context
	pos, end int64
}

var errClosedTwice = errors.New("closed twice")

func (r *fakeReader) Wait() error {
	f := r.f
	if f.err != nil && r.pos >= f.failAt {
		return f.err
	}
	if f.gate != nil && r.pos >= f.gateAt {
		select {
		case <-f.gate:
		case <-r.ctx.Done():
			if f.canceled != nil {
				close(f.canceled)
			}
			return r.ctx.Err()
		}
	}
	return nil
}

func (r *fakeReader) Read(p []byte) (int, error) {
	if r.pos >= r.end {
		return 0, io.EOF
	}
	if err := r.Wait(); err != nil {
		return 0, err
	}
	limit := r.end
	if r.f.err != nil && r.pos < r.f.failAt {
		limit = min(limit, r.f.failAt)
	}
	if r.f.gate != nil && r.pos < r.f.gateAt {
		limit = min(limit, r.f.gateAt)
	}
	n := copy(p, r.f.data[r.pos:limit])
	r.pos += int64(n)
	return n, nil
}

func (r *fakeReader) Close() error {
	if r.f == nil {
		return errClosedTwice
	}
	return nil
}
