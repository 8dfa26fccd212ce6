package proxy

import (
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"time"

	"shoal/engine"
	"shoal/engine/manifest"
	"shoal/engine/origin"
)

// The proxy's view of the engine, small enough to be told as a story in tests.
type (
	node interface {
		openTitle(ctx context.Context, path string, creds *origin.Credentials) (title, error)
		passthrough(w http.ResponseWriter, r *http.Request, path string)
		passthroughBytes() uint64
		status() engine.Status
		lineRate() float64
		userActive(d time.Duration)
		pieces(title, viewer string) (engine.PieceMap, bool)
		events(ctx context.Context) <-chan engine.Event
	}
	title interface {
		key() string
		kind(track uint16) manifest.Kind
		tracks() []manifest.Track
		file(ctx context.Context, path string) (file, error)
		viewer(id string) viewer
	}
	file interface {
		length() int64
		etag() string
		contentType() string
		record() manifest.Record
		open(ctx context.Context, o engine.OpenOptions, v viewer) (reader, error)
	}
	reader interface {
		io.ReadCloser
		Wait() error
	}
	viewer interface {
		Report(engine.Playback)
		Close()
	}
)

// engineNode is the real engine.
type engineNode struct{ e *engine.Engine }

func (n engineNode) openTitle(ctx context.Context, path string, creds *origin.Credentials) (title, error) {
	t, err := n.e.OpenTitle(ctx, path, creds)
	if err != nil {
		return nil, err
	}
	return engineTitle{t}, nil
}

func (n engineNode) userActive(d time.Duration) { n.e.UserActive(d) }

func (n engineNode) passthrough(w http.ResponseWriter, r *http.Request, path string) {
	n.e.Origin().Passthrough(w, r, n.e.OriginPath(path))
}

func (n engineNode) passthroughBytes() uint64 { return n.e.Origin().Stats().PassthroughBytes }

func (n engineNode) status() engine.Status { return n.e.Status() }

func (n engineNode) lineRate() float64 { return n.e.LineRate() }

func (n engineNode) pieces(title, viewer string) (engine.PieceMap, bool) {
	return n.e.Pieces(title, viewer)
}

func (n engineNode) events(ctx context.Context) <-chan engine.Event { return n.e.Events(ctx) }

type engineTitle struct{ t *engine.Title }

func (t engineTitle) key() string { return t.t.ID().String() }

func (t engineTitle) tracks() []manifest.Track { return t.t.Tracks() }

func (t engineTitle) kind(track uint16) manifest.Kind {
	for _, tr := range t.t.Tracks() {
		if tr.ID == track {
			return tr.Kind
		}
	}
	return 0
}

func (t engineTitle) file(ctx context.Context, path string) (file, error) {
	f, err := t.t.File(ctx, path)
	if err != nil {
		return nil, err
	}
	return engineFile{f}, nil
}

func (t engineTitle) viewer(id string) viewer { return t.t.Viewer(id) }

type engineFile struct{ f *engine.File }

func (f engineFile) length() int64           { return f.f.Length() }
func (f engineFile) contentType() string     { return f.f.ContentType() }
func (f engineFile) record() manifest.Record { return f.f.Record() }

// etag is strong: equal roots are equal bytes. Half of the root is enough for a
// validator.
func (f engineFile) etag() string {
	root := f.f.Root()
	return `"` + hex.EncodeToString(root[:len(root)/2]) + `"`
}

func (f engineFile) open(ctx context.Context, o engine.OpenOptions, v viewer) (reader, error) {
	o.Viewer, _ = v.(*engine.Viewer)
	return f.f.Open(ctx, o)
}
