package engine

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine/manifest"
	"shoal/internal/wire"
	"shoal/tracker/server"
)

// A world is a title at an origin that counts, and optionally a tracker.
type world struct {
	t       testing.TB
	origin  *countingOrigin
	url     string
	tracker string
}

const segmentTime = 4 * time.Second

// newWorld packs a title of segments of the given size into the folder "film/".
func newWorld(t testing.TB, segments, segmentBytes int) *world {
	o := &countingOrigin{files: make(map[string][]byte), bytes: make(map[string]int64)}
	for path, data := range packTitle(t, segments, segmentBytes) {
		o.files["/cdn/film/"+path] = data
	}
	s := httptest.NewServer(o)
	t.Cleanup(func() { o.resume(); s.Close() })
	return &world{t: t, origin: o, url: s.URL + "/cdn"}
}

// packTitle makes media files and their manifest.
func packTitle(t testing.TB, segments, segmentBytes int) map[string][]byte {
	files := make(map[string][]byte)
	content := manifest.Content{
		Name:   "film",
		Tracks: []manifest.Track{{ID: 1, Kind: manifest.KindVideo, Name: "720p", BandwidthBitsPerSec: 2_500_000}},
	}
	noise := rand.NewChaCha8(sha256.Sum256([]byte("film")))
	for i := range segments {
		data := make([]byte, segmentBytes)
		_, _ = noise.Read(data)
		path := segmentPath(i)
		files[path] = data
		f := manifest.File{Record: manifest.Record{
			Path: path, Length: int64(len(data)), Track: 1,
			Start: time.Duration(i) * segmentTime, Duration: segmentTime,
		}}
		for p := range wire.PieceCount(f.Length) {
			from := int(p) * wire.PieceBytes
			piece := data[from : from+wire.PieceSize(f.Length, p)]
			f.Pieces = append(f.Pieces, manifest.PieceHash(piece, p, f.Length))
		}
		content.Files = append(content.Files, f)
	}
	seed := sha256.Sum256([]byte("publisher"))
	var b bytes.Buffer
	require.NoError(t, manifest.Write(&b, ed25519.NewKeyFromSeed(seed[:]), content))
	files[manifest.FileName] = b.Bytes()
	return files
}

func segmentPath(i int) string { return fmt.Sprintf("720p/seg-%04d.m4s", i) }

// withTracker starts a tracker for the world.
func (w *world) withTracker() *world {
	s, err := server.Start(server.Config{Listen: "127.0.0.1:0", StateDir: w.t.TempDir()})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = s.Close() })
	w.tracker = s.URL().String()
	return w
}

// peer starts an engine in this world; change may be nil.
func (w *world) peer(name string, change func(*Config)) *Engine {
	cfg := Config{
		Origin: w.url, Tracker: w.tracker, UDP: "127.0.0.1:0", Name: name,
		Logger: slog.New(slog.NewTextHandler(testWriter{w.t, name}, &slog.HandlerOptions{Level: testLevel()})),
	}
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = e.Close() })
	return e
}

func testLevel() slog.Level {
	if os.Getenv("SHOAL_TEST_LOG") != "" {
		return slog.LevelDebug
	}
	return slog.LevelError + 1
}

type testWriter struct {
	t    testing.TB
	name string
}

func (w testWriter) Write(p []byte) (int, error) {
	_, _ = fmt.Fprintf(os.Stderr, "%s %s: %s", w.t.Name(), w.name, p)
	return len(p), nil
}

// media is what segment i is at the origin.
func (w *world) media(i int) []byte { return w.origin.file("/cdn/film/" + segmentPath(i)) }

// file opens segment i on a peer.
func (w *world) file(e *Engine, i int) *File {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	path := "film/" + segmentPath(i)
	title, err := e.OpenTitle(ctx, path, nil)
	require.NoError(w.t, err)
	f, err := title.File(ctx, path)
	require.NoError(w.t, err)
	return f
}

// play reads segment i whole, through a viewer whose player has filled its
// buffer up to it.
func (w *world) play(e *Engine, i int) {
	f := w.file(e, i)
	v := f.Title().Viewer("player")
	at := time.Duration(i) * segmentTime
	position := max(0, at-3*segmentTime)
	v.Report(Playback{Position: position, Buffer: at - position, Rate: 1})
	data, err := readAll(f, OpenOptions{Viewer: v, Deadline: time.Now().Add(15 * time.Second)})
	require.NoError(w.t, err)
	require.True(w.t, bytes.Equal(w.media(i), data), "segment %d differs", i)
}

func readAll(f *File, o OpenOptions) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := f.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(r)
}

// eventually waits for a condition that real sockets and clocks bring about.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	require.Eventually(w.t, ok, time.Minute, 20*time.Millisecond, what)
}

// connected waits until a knows n peers.
func (w *world) connected(e *Engine, n int) {
	w.t.Helper()
	w.eventually("peers connect", func() bool { return len(e.Status().Seeds) >= n })
}

// holds waits until the peer has stored n pieces.
func (w *world) holds(e *Engine, n int) {
	w.t.Helper()
	w.eventually("pieces are stored", func() bool { return e.Status().Cache.Pieces >= n })
}

// countingOrigin serves files, counts the bytes of each, and can be paused,
// broken or slowed.
type countingOrigin struct {
	mu     sync.Mutex
	files  map[string][]byte
	bytes  map[string]int64
	hits   map[string]int
	status int           // answer everything with it, unless 0
	paused chan struct{} // not nil: hold every answer until it is closed
}

func (o *countingOrigin) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	data, ok := o.files[r.URL.Path]
	status, paused := o.status, o.paused
	if o.hits == nil {
		o.hits = make(map[string]int)
	}
	o.hits[r.URL.Path]++
	o.mu.Unlock()
	if paused != nil {
		select {
		case <-paused:
		case <-r.Context().Done():
			return
		}
	}
	if status != 0 {
		rw.WriteHeader(status)
		return
	}
	if !ok {
		http.NotFound(rw, r)
		return
	}
	rw.Header().Set("ETag", fmt.Sprintf(`"%d-%d"`, len(data), data[0]))
	http.ServeContent(&countingWriter{ResponseWriter: rw, o: o, path: r.URL.Path}, r, r.URL.Path, time.Time{}, bytes.NewReader(data))
}

type countingWriter struct {
	http.ResponseWriter
	o    *countingOrigin
	path string
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.o.mu.Lock()
	w.o.bytes[w.path] += int64(n)
	w.o.mu.Unlock()
	return n, err
}

func (o *countingOrigin) file(path string) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.files[path]
}

func (o *countingOrigin) set(f func(o *countingOrigin)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(o)
}

func (o *countingOrigin) pause() { o.set(func(o *countingOrigin) { o.paused = make(chan struct{}) }) }

func (o *countingOrigin) resume() {
	o.set(func(o *countingOrigin) {
		if o.paused != nil {
			close(o.paused)
			o.paused = nil
		}
	})
}

// mediaBytes is what the origin has sent of media.
func (o *countingOrigin) mediaBytes() (total int64) {
	o.set(func(o *countingOrigin) {
		for path, n := range o.bytes {
			if !strings.HasSuffix(path, manifest.FileName) {
				total += n
			}
		}
	})
	return total
}

func (o *countingOrigin) hitsOf(path string) (n int) {
	o.set(func(o *countingOrigin) { n = o.hits[path] })
	return n
}

// breakFolder makes a cache folder unusable for new files: every name that a
// shard would have is taken by a file.
func breakFolder(t testing.TB, dir string) {
	for i := range 256 {
		shard := filepath.Join(dir, fmt.Sprintf("%02x", i))
		require.NoError(t, os.RemoveAll(shard))
		require.NoError(t, os.WriteFile(shard, nil, 0o600))
	}
}
