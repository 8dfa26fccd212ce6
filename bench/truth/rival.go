package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"shoal/bench/emulator"
)

const (
	webTrackerPort = 8000
	torrentPort    = 6881

	// torrentWindow, webSeedBelow and webSeedPieces are those of the replay's
	// BitTorrent policies.
	torrentWindow = 60 * time.Second
	webSeedBelow  = 12 * time.Second
	webSeedPieces = 16
	startBuffer   = 2 * time.Second
)

// rivalFiles are what runs the other programs; the programs are installed.
//
//go:embed rivals
var rivalFiles embed.FS

// rival is another program, and the policy of the replay that models it.
type rival struct {
	name, policy string
	browser      bool // p2p-media-loader; otherwise libtorrent
	sequential   bool
	// webSeedBelow is the buffer below which the web seed is used; zero: always.
	webSeedBelow time.Duration
}

// rivals by name. A libtorrent that is left alone uses its web seed all the
// time: libtorrent-web-seed tells what the policies' sparing is worth.
var rivals = []rival{
	{name: "p2p-media-loader", policy: "whole-segment", browser: true},
	{name: "libtorrent", policy: "sequential", sequential: true, webSeedBelow: webSeedBelow},
	{name: "libtorrent-rarest-first", policy: "rarest-first", webSeedBelow: webSeedBelow},
	{name: "libtorrent-web-seed", policy: "sequential", sequential: true},
}

func rivalByName(name string) (*rival, error) {
	var names []string
	for i := range rivals {
		if rivals[i].name == name {
			return &rivals[i], nil
		}
		names = append(names, rivals[i].name)
	}
	return nil, fmt.Errorf("--rival %q: choose from %s", name, strings.Join(names, ", "))
}

// openRivalLab prepares runs of a rival in a folder.
func openRivalLab(ctx context.Context, dir string, r *rival) (*lab, error) {
	dir, err := filepath.Abs(filepath.Join(dir, "rivals"))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l := &lab{dir: dir, rival: r}
	if l.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if err := l.writeRivalFiles(); err != nil {
		return nil, err
	}
	if l.title, err = makeRivalTitle(ctx, filepath.Join(dir, "title")); err != nil {
		return nil, err
	}
	if r.browser {
		return l, l.installModules(ctx)
	}
	return l, l.makeTorrent(ctx)
}

func (l *lab) writeRivalFiles() error {
	files, err := rivalFiles.ReadDir("rivals")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := rivalFiles.ReadFile("rivals/" + f.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(l.dir, f.Name()), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// installModules installs p2p-media-loader and its tracker, unless they are
// there. Their scripts do not run: one of them compiles WebRTC for Node, which
// nothing here uses.
func (l *lab) installModules(ctx context.Context) error {
	const lock = "package-lock.json"
	want, err := os.ReadFile(filepath.Join(l.dir, lock))
	if err != nil {
		return err
	}
	marker := filepath.Join(l.dir, "node_modules", lock)
	if have, err := os.ReadFile(marker); err == nil && slices.Equal(have, want) {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := command(ctx, "npm", "ci", "--prefix", l.dir, "--ignore-scripts", "--no-audit", "--no-fund"); err != nil {
		return fmt.Errorf("install p2p-media-loader: %w; it needs npm and its registry", err)
	}
	return os.WriteFile(marker, want, 0o644)
}

// play plays a world once with what the lab is for.
func (l *lab) play(ctx context.Context, w *world, name string) (*runResult, error) {
	if l.rival != nil {
		return l.runRival(ctx, w, name)
	}
	return l.run(ctx, w, name)
}

// runRival plays a world once with the rival.
func (l *lab) runRival(ctx context.Context, w *world, name string) (r *runResult, err error) {
	dir := filepath.Join(l.dir, "logs", l.rival.name+"-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp(l.dir, "scratch-")
	if err != nil {
		return nil, err
	}
	network, err := emulator.NewStar(w.seed, w.links())
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(scratch))
	}
	// Ends all processes, which use scratch.
	defer func() { err = errors.Join(err, network.Close(), removeLater(scratch)) }()
	for _, h := range network.Hosts {
		h.Nice = l.nice
	}
	origin, tracker, err := l.startRivalServers(ctx, network.Hosts[0], dir)
	if err != nil {
		return nil, err
	}
	sessions := make([]*rivalSession, len(w.homes))
	for i, h := range w.homes {
		s := &rivalSession{home: h, host: network.Hosts[i+1], dir: dir, lab: l}
		if sessions[i] = s; l.rival.browser {
			s.command = l.browserCommand(origin, tracker, filepath.Join(scratch, h.Name))
			if err := s.open(ctx); err != nil {
				return nil, err
			}
		} else if s.command, err = l.torrentCommand(network, i, origin, scratch, dir); err != nil {
			return nil, err
		}
	}
	if err := watchAll(ctx, sessions, time.Now().Add(settle)); err != nil {
		return nil, err
	}
	r = &runResult{}
	var waited waits
	for _, s := range sessions {
		r.Viewers = append(r.Viewers, s.result(l.title))
		waited.add(s.waits)
	}
	r.WaitMillis = float64(waited.mean()) / float64(time.Millisecond)
	r.sum()
	if err := r.addNetwork(network); err != nil {
		return nil, err
	}
	return r, r.write(filepath.Join(dir, "result.json"))
}

// startRivalServers starts the origin and, for browsers, the tracker.
func (l *lab) startRivalServers(ctx context.Context, h *emulator.Host, dir string) (originURL, trackerURL string, err error) {
	origin, err := l.startOrigin(h, dir)
	if err != nil {
		return "", "", err
	}
	if originURL, err = origin.firstLine(ctx); err != nil || !l.rival.browser {
		return originURL, "", err
	}
	tracker, err := start(h, dir, "tracker", "node", filepath.Join(l.dir, "tracker.mjs"), h.Addr.String(), fmt.Sprint(webTrackerPort))
	if err != nil {
		return "", "", err
	}
	trackerURL, err = tracker.firstLine(ctx)
	tracker.drain()
	return originURL, trackerURL, err
}

// browserCommand is a viewer with p2p-media-loader.
func (l *lab) browserCommand(origin, tracker, profile string) []string {
	return []string{
		l.self, "--browse", origin + "/" + playlist, "--tracker", tracker, "--modules", l.dir, "--profile", profile,
		"--nice", fmt.Sprint(l.nice),
	}
}

// torrentConfig is what torrent.py reads.
type torrentConfig struct {
	Address       string           `json:"address"`
	Port          int              `json:"port"`
	Peers         []string         `json:"peers"` // those who have come before
	Torrent       string           `json:"torrent"`
	Scratch       string           `json:"scratch"`
	Sequential    bool             `json:"sequential"`
	Segments      []torrentSegment `json:"segments"`
	SegmentS      float64          `json:"segment_s"`
	StartBufferS  float64          `json:"start_buffer_s"`
	WindowS       float64          `json:"window_s"`
	WebSeed       string           `json:"web_seed"`
	WebSeedHost   string           `json:"web_seed_host"`
	WebSeedBelowS float64          `json:"web_seed_below_s"`
	WebSeedPieces int              `json:"web_seed_pieces"`
}

type torrentSegment struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// torrentCommand is viewer i with libtorrent. It tells each who has come before,
// as a tracker would.
func (l *lab) torrentCommand(network *emulator.Network, i int, origin, scratch, dir string) ([]string, error) {
	c := torrentConfig{
		Address: network.Hosts[i+1].Addr.String(), Port: torrentPort, Peers: []string{},
		Torrent: filepath.Join(l.dir, "title.torrent"), Scratch: scratch, Sequential: l.rival.sequential,
		SegmentS: segmentLength.Seconds(), StartBufferS: startBuffer.Seconds(), WindowS: torrentWindow.Seconds(),
		WebSeed: origin + "/" + filmFile, WebSeedHost: network.Hosts[0].Addr.String(),
		WebSeedBelowS: l.rival.webSeedBelow.Seconds(), WebSeedPieces: webSeedPieces,
	}
	for _, h := range network.Hosts[1 : i+1] {
		c.Peers = append(c.Peers, h.Addr.String())
	}
	for j := range l.title.bytes {
		c.Segments = append(c.Segments, torrentSegment{j, l.title.bytes[j]})
	}
	slices.SortFunc(c.Segments, func(a, b torrentSegment) int { return strings.Compare(a.Name, b.Name) })
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, fmt.Sprintf("viewer-%d.json", i+1))
	return []string{systemPython, filepath.Join(l.dir, "torrent.py"), "watch", file}, os.WriteFile(file, text, 0o644)
}

// systemPython sees the modules that the system's packages install.
const systemPython = "/usr/bin/python3"

func (l *lab) makeTorrent(ctx context.Context) error {
	err := command(ctx, systemPython, filepath.Join(l.dir, "torrent.py"), "make",
		filepath.Join(l.title.dir, filmFile), filepath.Join(l.dir, "title.torrent"))
	if err != nil {
		return fmt.Errorf("%w; it needs libtorrent: apt install python3-libtorrent", err)
	}
	return nil
}

// removeLater removes what processes that are being killed may still write to.
func removeLater(dir string) (err error) {
	const tries, pause = 50, 100 * time.Millisecond
	for range tries {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(pause)
	}
	return err
}
