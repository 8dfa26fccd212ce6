// Command hash compares the speed of shoal pack's hashing with that of
// openssl's SHA-256 on the same machine in the same run.
//
//	go run ./bench/hash
//
// It prints both in MB/s and their ratio. The target is a ratio of 0.8 of openssl's
// speed times the cores.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"time"

	"shoal/engine/manifest/pack"
)

const (
	files     = 16
	fileBytes = 32 << 20
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("hash: ", err)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "hash")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := makeTitle(dir); err != nil {
		return err
	}
	before, err := openssl()
	if err != nil {
		return err
	}
	best := 0.0
	for range 3 {
		start := time.Now()
		r, err := pack.Pack(context.Background(), pack.Options{Source: dir})
		if err != nil {
			return err
		}
		best = max(best, float64(r.Bytes)/1e6/time.Since(start).Seconds())
	}
	after, err := openssl()
	if err != nil {
		return err
	}
	reference := (before + after) / 2
	fmt.Printf("shoal pack %.0f MB/s, openssl sha256 on %d cores %.0f MB/s, ratio %.2f\n",
		best, runtime.NumCPU(), reference, best/reference)
	return nil
}

// openssl is its speed over 16 KiB blocks on all cores, in MB/s.
func openssl() (float64, error) {
	out, err := exec.Command("openssl", "speed", "-multi", strconv.Itoa(runtime.NumCPU()),
		"-seconds", "2", "-bytes", "16384", "-evp", "sha256").Output()
	if err != nil {
		return 0, fmt.Errorf("openssl speed: %w (make deps installs openssl)", err)
	}
	m := regexp.MustCompile(`(?mi)^sha256\s.*?([0-9.]+)k\s*$`).FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("openssl speed: no figure in %q", out)
	}
	kb, err := strconv.ParseFloat(string(m[1]), 64)
	return kb / 1e3, err
}

// makeTitle writes HLS with segments of random bytes: hashing does not look at
// what it hashes.
func makeTitle(dir string) error {
	list := "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n"
	data := make([]byte, fileBytes)
	for i := range files {
		if _, err := rand.Read(data); err != nil {
			return err
		}
		name := fmt.Sprintf("%02d.ts", i)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
		list += "#EXTINF:6.0,\n" + name + "\n"
	}
	list += "#EXT-X-ENDLIST\n"
	master := "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=40000000,CODECS=\"avc1.4d401f\"\nmedia.m3u8\n"
	if err := os.WriteFile(filepath.Join(dir, "media.m3u8"), []byte(list), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "master.m3u8"), []byte(master), 0o644)
}
