// Command memory measures the resident memory of peers that have played an hour
// of a 2.5 Mbit/s title.
//
//	go run ./bench/memory [--hours 1]
//
// A tracker and an origin run here, two peers as processes of their own with their
// cache on disk. The first peer takes the hour from the origin, the second one
// from the first; both as fast as they can. What is printed is the resident set
// beside the cache, after the hour and at its highest. The target is 80 MiB.
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"shoal/engine"
	"shoal/engine/manifest"
	"shoal/engine/proxy"
	"shoal/internal/wire"
	"shoal/tracker/server"
)

const (
	segmentTime  = 6 * time.Second
	segmentBytes = 2_500_000 / 8 * 6
)

func main() {
	log.SetFlags(0)
	role := flag.String("role", "", "for the processes that this command starts")
	origin := flag.String("origin", "", "of this role")
	tracker := flag.String("tracker", "", "of this role")
	cache := flag.String("cache", "", "of this role")
	hours := flag.Float64("hours", 1, "length of the title")
	flag.Parse()
	var err error
	if *role == "peer" {
		err = peer(*origin, *tracker, *cache)
	} else {
		err = measure(int(*hours * float64(time.Hour/segmentTime)))
	}
	if err != nil {
		log.Fatal("memory: ", err)
	}
}

// segment makes the bytes of a segment: they differ, and need no memory here.
func segment(i int) []byte {
	b := make([]byte, segmentBytes)
	_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(b)
	return b
}

func path(i int) string { return fmt.Sprintf("720p/seg-%04d.m4s", i) }

func makeTitle(segments int) ([]byte, error) {
	c := manifest.Content{Name: "hour", Tracks: []manifest.Track{{ID: 1, Kind: manifest.KindMuxed, BandwidthBitsPerSec: 2_500_000}}}
	for i := range segments {
		f := manifest.File{Record: manifest.Record{
			Path: path(i), Length: segmentBytes, Track: 1, Start: time.Duration(i) * segmentTime, Duration: segmentTime,
		}}
		data := segment(i)
		for p := range wire.PieceCount(segmentBytes) {
			from := int(p) * wire.PieceBytes
			f.Pieces = append(f.Pieces, manifest.PieceHash(data[from:from+wire.PieceSize(segmentBytes, p)], p, segmentBytes))
		}
		c.Files = append(c.Files, f)
	}
	var b bytes.Buffer
	err := manifest.Write(&b, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), c)
	return b.Bytes(), err
}

func measure(segments int) error {
	title, err := makeTitle(segments)
	if err != nil {
		return err
	}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := title
		if r.URL.Path != "/film/"+manifest.FileName {
			var i int
			if _, err := fmt.Sscanf(r.URL.Path, "/film/720p/seg-%d.m4s", &i); err != nil {
				http.NotFound(w, r)
				return
			}
			b = segment(i)
		}
		http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(b))
	}))
	defer origin.Close()
	tmp, err := os.MkdirTemp("", "memory")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	tr, err := server.Start(server.Config{Listen: "127.0.0.1:0", StateDir: filepath.Join(tmp, "tracker")})
	if err != nil {
		return err
	}
	defer func() { _ = tr.Close() }()
	for i, what := range []string{"from the origin", "from a peer"} {
		c := exec.Command(os.Args[0], "--role", "peer", "--origin", origin.URL, "--tracker", tr.URL().String(), "--cache", filepath.Join(tmp, fmt.Sprint(i)))
		c.Stderr = os.Stderr
		in, err := c.StdinPipe()
		if err != nil {
			return err
		}
		out, err := c.StdoutPipe()
		if err != nil {
			return err
		}
		if err := c.Start(); err != nil {
			return err
		}
		defer func() { _ = in.Close(); _ = c.Wait() }()
		node, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			return fmt.Errorf("peer: %w", err)
		}
		if err := play(strings.TrimSpace(node), segments, what, c.Process.Pid); err != nil {
			return err
		}
	}
	return nil
}

// play reads the title through a node and prints what the node takes.
func play(node string, segments int, what string, pid int) error {
	start := time.Now()
	for i := range segments {
		resp, err := http.Get(node + "/film/" + path(i))
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil || n != segmentBytes {
			return fmt.Errorf("segment %d: %s, %d bytes, %w", i, resp.Status, n, err)
		}
	}
	took := time.Since(start)
	var st engine.Status
	resp, err := http.Get(node + "/api/status")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&st); err != nil {
		return err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	fmt.Printf("%-16s %d x 6 s of 2.5 Mbit/s in %v: resident %s, at most %s (from peers %d MB, CDN %d MB)\n", what, segments,
		took.Round(time.Second), field(status, "VmRSS:"), field(status, "VmHWM:"), st.Bytes.P2P/1e6, st.Bytes.CDN/1e6)
	return nil
}

func field(status []byte, name string) string {
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			var kib int
			if _, err := fmt.Sscan(rest, &kib); err == nil {
				return fmt.Sprintf("%.1f MiB", float64(kib)/1024)
			}
		}
	}
	return "unknown"
}

func peer(origin, tracker, cache string) error {
	e, err := engine.New(engine.Config{
		Origin: origin, Tracker: tracker, UDP: "127.0.0.1:0", CacheDir: cache,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	node := httptest.NewServer(proxy.New(proxy.Config{Engine: e}))
	fmt.Println(node.URL)
	_, err = io.Copy(io.Discard, os.Stdin) // until the parent is done
	node.Close()
	_ = e.Close()
	return err
}
