// Command rivals measures how fast anacrolix/torrent, the Go BitTorrent client,
// moves verified bytes between two processes on loopback: TCP, 64 KiB pieces.
// It is a module of its own, so that nobody who builds shoal builds it.
//
// With no --role it starts a seed and a leech of itself and prints one JSON
// line: {"system","gbps"}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/anacrolix/torrent"
	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/metainfo"
	"github.com/anacrolix/torrent/storage"
)

const pieceBytes = 64 << 10

func main() {
	role := flag.String("role", "", "seed or leech; empty: measure")
	dir := flag.String("dir", "", "folder of this role")
	meta := flag.String("meta", "", "metainfo file")
	peer := flag.String("peer", "", "address of the seed")
	mib := flag.Int("mib", 512, "size of the file in MiB")
	flag.Parse()
	var err error
	switch *role {
	case "seed":
		err = seed(*dir, *meta)
	case "leech":
		err = leech(*dir, *meta, *peer)
	default:
		err = measure(*mib)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// measure makes a file, starts both sides and prints the rate.
func measure(mib int) error {
	tmp, err := os.MkdirTemp(memoryDir(), "rivals")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	seedDir, leechDir := filepath.Join(tmp, "seed"), filepath.Join(tmp, "leech")
	for _, d := range []string{seedDir, leechDir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	meta, err := makeTorrent(seedDir, mib, tmp)
	if err != nil {
		return err
	}
	s := exec.Command(os.Args[0], "--role", "seed", "--dir", seedDir, "--meta", meta)
	s.Stderr = os.Stderr
	out, err := s.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	l := exec.Command(os.Args[0], "--role", "leech", "--dir", leechDir, "--meta", meta, "--peer", strings.TrimSpace(addr))
	l.Stderr = os.Stderr
	seconds, err := l.Output()
	_ = s.Process.Signal(syscall.SIGTERM)
	_ = s.Wait()
	if err != nil {
		return fmt.Errorf("leech: %w", err)
	}
	var took float64
	if _, err := fmt.Sscan(string(seconds), &took); err != nil {
		return err
	}
	bytes := float64(mib) * (1 << 20)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"system": "anacrolix/torrent v1.61.0, TCP, 64 KiB pieces", "gbps": bytes * 8 / took / 1e9,
	})
}

// memoryDir is a folder in memory where the system has one, so that no disk is
// measured; empty: the usual one for temporary files.
func memoryDir() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return ""
}

func makeTorrent(dir string, mib int, tmp string) (string, error) {
	f, err := os.Create(filepath.Join(dir, "media.bin"))
	if err != nil {
		return "", err
	}
	rng := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, 1<<20)
	for range mib {
		_, _ = rng.Read(buf)
		if _, err := f.Write(buf); err != nil {
			return "", err
		}
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	info := metainfo.Info{PieceLength: pieceBytes}
	if err := info.BuildFromFilePath(f.Name()); err != nil {
		return "", err
	}
	mi := metainfo.MetaInfo{InfoBytes: bencode.MustMarshal(info)}
	path := filepath.Join(tmp, "media.torrent")
	out, err := os.Create(path)
	if err != nil {
		return "", err
	}
	if err := mi.Write(out); err != nil {
		return "", err
	}
	return path, out.Close()
}

func client(dir string) (*torrent.Client, error) {
	cfg := torrent.NewDefaultClientConfig()
	cfg.DataDir = dir
	// By default every verified piece is synced to a database on disk, which
	// takes longer than its transfer. The other side of the comparison keeps
	// its pieces in memory, too.
	cfg.DefaultStorage = storage.NewFileOpts(storage.NewFileClientOpts{
		ClientBaseDir: dir, PieceCompletion: storage.NewMapPieceCompletion(),
	})
	cfg.ListenHost = func(string) string { return "127.0.0.1" }
	cfg.ListenPort = 0
	cfg.NoDHT, cfg.DisableTrackers, cfg.DisablePEX = true, true, true
	cfg.DisableUTP, cfg.DisableIPv6, cfg.NoDefaultPortForwarding = true, true, true
	cfg.DisableWebtorrent, cfg.DisableWebseeds = true, true
	cfg.Seed = true
	cfg.AcceptPeerConnections = true
	return torrent.NewClient(cfg)
}

func seed(dir, meta string) error {
	c, err := client(dir)
	if err != nil {
		return err
	}
	t, err := c.AddTorrentFromFile(meta)
	if err != nil {
		return err
	}
	if err := t.VerifyDataContext(context.Background()); err != nil {
		return err
	}
	fmt.Println(c.ListenAddrs()[0])
	select {}
}

func leech(dir, meta, peer string) error {
	c, err := client(dir)
	if err != nil {
		return err
	}
	t, err := c.AddTorrentFromFile(meta)
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddrPort(peer)
	if err != nil {
		return err
	}
	start := time.Now()
	t.AddPeers([]torrent.PeerInfo{{Addr: tcpAddr(addr.String()), Trusted: true}})
	t.DownloadAll()
	<-t.Complete().On()
	fmt.Println(time.Since(start).Seconds())
	return nil
}

type tcpAddr string

func (a tcpAddr) String() string { return string(a) }
