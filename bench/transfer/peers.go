package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"time"

	"shoal/engine"
	"shoal/engine/manifest"
	"shoal/internal/wire"
	"shoal/tracker/server"
)

const mediaPath = "film/media.bin"

// measureShoal starts an origin and a tracker here, and a seed and a leech as
// processes of their own. The seed fills itself from the origin; the leech's
// media requests are held, so that every byte it gets comes from the seed.
func measureShoal(mib int) (float64, error) {
	media, title, err := makeTitle(mib)
	if err != nil {
		return 0, err
	}
	mux := http.NewServeMux()
	serve := func(pattern string, b []byte) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(b))
		})
	}
	serve("/seed/film/"+manifest.FileName, title)
	serve("/leech/film/"+manifest.FileName, title)
	serve("/seed/"+mediaPath, media)
	mux.HandleFunc("/leech/"+mediaPath, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	origin := httptest.NewServer(mux)
	defer origin.Close()
	defer origin.CloseClientConnections()

	state, err := os.MkdirTemp("", "transfer")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(state) }()
	tr, err := server.Start(server.Config{Listen: "127.0.0.1:0", StateDir: state})
	if err != nil {
		return 0, err
	}
	defer func() { _ = tr.Close() }()

	seed, ready, err := start("seed", origin.URL+"/seed", tr.URL().String())
	if err != nil {
		return 0, err
	}
	defer stop(seed)
	if _, err := ready.ReadString('\n'); err != nil {
		return 0, fmt.Errorf("seed: %w", err)
	}
	leech, result, err := start("leech", origin.URL+"/leech", tr.URL().String())
	if err != nil {
		return 0, err
	}
	defer stop(leech)
	var seconds float64
	var fromPeers int64
	if _, err := fmt.Fscan(result, &seconds, &fromPeers); err != nil {
		return 0, fmt.Errorf("leech: %w", err)
	}
	if fromPeers < int64(len(media))*99/100 {
		return 0, fmt.Errorf("only %d of %d bytes came from the seed", fromPeers, len(media))
	}
	return float64(len(media)) * 8 / seconds / 1e9, nil
}

func start(role, origin, tracker string) (*exec.Cmd, *bufio.Reader, error) {
	c := exec.Command(os.Args[0], "--role", role, "--origin", origin, "--tracker", tracker)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return c, bufio.NewReader(out), c.Start()
}

func stop(c *exec.Cmd) {
	_ = c.Process.Kill()
	_ = c.Wait()
}

func makeTitle(mib int) (media, title []byte, err error) {
	media = make([]byte, mib<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(media)
	f := manifest.File{Record: manifest.Record{Path: "media.bin", Length: int64(len(media)), Track: 1}}
	for p := range wire.PieceCount(f.Length) {
		from := int(p) * wire.PieceBytes
		f.Pieces = append(f.Pieces, manifest.PieceHash(media[from:from+wire.PieceSize(f.Length, p)], p, f.Length))
	}
	var b bytes.Buffer
	err = manifest.Write(&b, ed25519.NewKeyFromSeed(make([]byte, 32)), manifest.Content{
		Name: "transfer", Tracks: []manifest.Track{{ID: 1, Kind: manifest.KindMuxed, Name: "media"}},
		Files: []manifest.File{f},
	})
	return media, b.Bytes(), err
}

// peer opens the file on an engine of its own, in memory.
func peer(origin, tracker string) (*engine.Engine, *engine.File, error) {
	e, err := engine.New(engine.Config{
		Origin: origin, Tracker: tracker, UDP: "127.0.0.1:0", CacheBytes: 8 << 30,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
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

func seed(origin, tracker string) error {
	e, f, err := peer(origin, tracker)
	if err != nil {
		return err
	}
	if err := drain(f); err != nil {
		return err
	}
	for int64(e.Status().Cache.Pieces) < int64(wire.PieceCount(f.Length())) {
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	select {
	case <-time.After(10 * time.Minute):
	}
	return err
}

func leech(origin, tracker string) error {
	e, f, err := peer(origin, tracker)
	if err != nil {
		return err
	}
	for len(e.Status().Seeds) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	began := time.Now()
	if err := drain(f); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	fmt.Println(took, e.Status().Bytes.P2P)
	if os.Getenv("TRANSFER_STATUS") != "" {
		fmt.Fprintln(os.Stderr, strings.ReplaceAll(fmt.Sprintf("%+v", e.Status()), " ", "\n"))
	}
	return nil
}

func drain(f *engine.File) error {
	r, err := f.Open(context.Background(), engine.OpenOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	_, err = io.Copy(io.Discard, r)
	return err
}
