package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"time"

	"shoal/engine"
	"shoal/engine/manifest"
	"shoal/internal/wire"
	"shoal/tracker/server"
)

const mediaPath = "film/media.bin"

// measureShoal starts an origin and a tracker here, and a seed and a leech as
// processes of their own. The seed fills itself from the origin. The leech may use
// the origin as well, and does for its first pieces, before it knows the seed;
// what counts is the bytes that the seed sent it, over the time of all.
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
	serve("/film/"+manifest.FileName, title)
	serve("/"+mediaPath, media)
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

	seedProcess, ready, err := start("seed", origin.URL, tr.URL().String())
	if err != nil {
		return 0, err
	}
	defer seedProcess.stop()
	if _, err := ready.ReadString('\n'); err != nil {
		return 0, fmt.Errorf("seed: %w", err)
	}
	leechProcess, result, err := start("leech", origin.URL, tr.URL().String())
	if err != nil {
		return 0, err
	}
	defer leechProcess.stop()
	var seconds float64
	var fromPeers int64
	if _, err := fmt.Fscan(result, &seconds, &fromPeers); err != nil {
		return 0, fmt.Errorf("leech: %w", err)
	}
	if fromPeers < int64(len(media))*95/100 {
		return 0, fmt.Errorf("only %d of %d bytes came from the seed", fromPeers, len(media))
	}
	return float64(fromPeers) * 8 / seconds / 1e9, nil
}

// process is a role in a process of its own; it ends when its input does.
type process struct {
	*exec.Cmd
	stdin io.Closer
}

func start(role, origin, tracker string) (*process, *bufio.Reader, error) {
	c := exec.Command(os.Args[0], "--role", role, "--origin", origin, "--tracker", tracker)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return &process{c, in}, bufio.NewReader(out), c.Start()
}

func (p *process) stop() {
	_ = p.stdin.Close()
	_ = p.Wait()
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
	stop, err := profile("seed")
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until the parent is done
	stop()
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

func leech(origin, tracker string) error {
	e, f, err := peer(origin, tracker)
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
	began := time.Now()
	if err := drain(f); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	stop()
	if os.Getenv("TRANSFER_PROFILE") != "" {
		b, _ := json.MarshalIndent(e.Status(), "", " ")
		fmt.Fprintln(os.Stderr, string(b))
	}
	fmt.Println(took, e.Status().Bytes.P2P)
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
