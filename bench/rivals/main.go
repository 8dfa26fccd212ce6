// Command rivals is anacrolix/torrent, the Go BitTorrent client, as one side of
// a transfer that bench/transfer measures: TCP on loopback, verified. It is a
// module of its own, so that nobody who builds shoal builds it.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"

	"github.com/anacrolix/torrent"
	"github.com/anacrolix/torrent/storage"
)

func main() {
	role := flag.String("role", "", "seed or leech")
	dir := flag.String("dir", "", "folder of this role")
	meta := flag.String("meta", "", "metainfo file")
	peer := flag.String("peer", "", "address of the seed")
	flag.Parse()
	var err error
	switch *role {
	case "seed":
		err = seed(*dir, *meta)
	case "leech":
		err = leech(*dir, *meta, *peer)
	default:
		err = fmt.Errorf("unknown role %q: this is a part of bench/transfer", *role)
	}
	if err != nil {
		log.Fatal(err)
	}
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
	fmt.Println("ready", c.ListenAddrs()[0])
	return end()
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
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	t.AddPeers([]torrent.PeerInfo{{Addr: tcpAddr(addr.String()), Trusted: true}})
	t.DownloadAll()
	<-t.Complete().On()
	fmt.Println("done", t.Length())
	return end()
}

// end waits for the end of the input.
func end() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

type tcpAddr string

func (a tcpAddr) String() string { return string(a) }
