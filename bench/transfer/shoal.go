package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"time"

	"shoal/engine"
	"shoal/engine/manifest"
	"shoal/internal/wire"
)

const mediaPath = "film/media.bin"

// title is a film of random bytes and its manifest.
type title struct{ media, manifest []byte }

func makeTitle(mib int) (*title, error) {
	t := &title{media: make([]byte, mib<<20)}
	_, _ = rand.NewChaCha8([32]byte{1}).Read(t.media)
	f := manifest.File{Record: manifest.Record{Path: "media.bin", Length: int64(len(t.media)), Track: 1}}
	for p := range wire.PieceCount(f.Length) {
		from := int(p) * wire.PieceBytes
		f.Pieces = append(f.Pieces, manifest.PieceHash(t.media[from:from+wire.PieceSize(f.Length, p)], p, f.Length))
	}
	var b bytes.Buffer
	err := manifest.Write(&b, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), manifest.Content{
		Name: "transfer", Tracks: []manifest.Track{{ID: 1, Kind: manifest.KindMuxed, Name: "media"}},
		Files: []manifest.File{f},
	})
	t.manifest = b.Bytes()
	return t, err
}

// origin is the title's CDN.
func (t *title) origin() http.Handler {
	mux := http.NewServeMux()
	serve := func(path string, b []byte) {
		mux.HandleFunc("/"+path, func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(b))
		})
	}
	serve("film/"+manifest.FileName, t.manifest)
	serve(mediaPath, t.media)
	return mux
}

// measureShoal has an origin and a tracker here. The seed fills itself from the
// origin. The leech may use the origin as well, and does for its first pieces,
// before it knows the seed; what counts is the bytes that the seed sent it, over
// the time of all.
func measureShoal(t *title) (m measurement, err error) {
	state, err := os.MkdirTemp("", "transfer")
	if err != nil {
		return m, err
	}
	defer func() { _ = os.RemoveAll(state) }()
	s, err := serveSwarm(t, state, "127.0.0.1", func(f func() error) error { return f() })
	if err != nil {
		return m, err
	}
	defer s.close()
	role := func(name string) *exec.Cmd {
		return exec.Command(os.Args[0], "--role", name, "--origin", s.originURL, "--tracker", s.trackerURL)
	}
	m, err = race(role("shoal-seed"), func(string) *exec.Cmd { return role("shoal-leech") })
	if err == nil && m.bytes < int64(len(t.media))*95/100 {
		err = fmt.Errorf("only %d of %d bytes came from the seed", m.bytes, len(t.media))
	}
	return m, err
}

// peer opens the file on an engine of its own.
func peer(cfg engine.Config) (*engine.Engine, *engine.File, error) {
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	e, err := engine.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	ctx := context.Background()
	t, err := e.OpenTitle(ctx, mediaPath, nil)
	if err != nil {
		return nil, nil, err
	}
	f, err := t.File(ctx, mediaPath)
	return e, f, err
}

// shoalSeed holds the whole title, in memory unless there is a folder.
func shoalSeed(cfg engine.Config) error {
	cfg.CacheBytes = 8 << 30
	cfg.MaxPeers = homes + 1
	e, f, err := peer(cfg)
	if err != nil {
		return err
	}
	if err := drain(f, 0); err != nil {
		return err
	}
	for int64(e.Status().Cache.Pieces) < int64(wire.PieceCount(f.Length())) {
		time.Sleep(10 * time.Millisecond)
	}
	stop, err := profile("seed")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	err = serveLines(func() int64 { return e.Status().Bytes.Served })
	stop()
	return err
}

// shoalLeech takes the title once, with the cache that a peer has by default.
func shoalLeech(cfg engine.Config, offset int64) error {
	e, f, err := peer(cfg)
	if err != nil {
		return err
	}
	for len(e.Status().Seeds) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	stop, err := profile("leech")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if err := awaitLine(); err != nil {
		return err
	}
	if err := drain(f, offset); err != nil {
		return err
	}
	stop()
	fmt.Println("done", e.Status().Bytes.P2P)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func drain(f *engine.File, offset int64) error {
	r, err := f.Open(context.Background(), engine.OpenOptions{Offset: offset})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	_, err = r.WriteTo(io.Discard)
	return err
}

// profile writes a CPU profile of this role, if TRANSFER_PROFILE names a folder.
func profile(role string) (stop func(), err error) {
	dir := os.Getenv("TRANSFER_PROFILE")
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(dir, role+".pprof"))
	if err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, pprof.StartCPUProfile(f)
}
