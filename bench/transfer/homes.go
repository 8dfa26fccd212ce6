package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"shoal/bench/emulator"
)

// The household of a seed: many leeches on thin lines.
const (
	homes        = 50
	homeMbits    = 2
	homesMib     = 64                     // more than one leech takes in a run
	homeDelay    = 10 * time.Millisecond  // one way
	homeQueue    = 100 * time.Millisecond // before the thin line
	settle       = 10 * time.Second       // before the measurement: handshakes, slow starts
	bytesPerMbit = 1e6 / 8

	// homesNice puts what is measured before what else runs on the machine.
	homesNice = -10
)

// measureHomes serves the leeches of a system for some time, and measures the
// seed's side alone. seed and leech make the commands; the seed is told the host
// that it is on and leech i the seed's address.
func measureHomes(n *emulator.Network, took time.Duration, seed *exec.Cmd, leech func(i int, addr string) *exec.Cmd) (m measurement, err error) {
	s, err := start(seed, n.Hosts[1].Start)
	if err != nil {
		return m, err
	}
	defer s.stop()
	addr, err := s.await("ready")
	if err != nil {
		return m, err
	}
	for i := range homes {
		l, err := start(leech(i, addr), n.Hosts[2+i].Start)
		if err != nil {
			return m, err
		}
		defer l.kill()
		if _, err := l.await("ready"); err != nil {
			return m, err
		}
		if err := l.tell(); err != nil {
			return m, err
		}
	}
	time.Sleep(settle)
	before, err := s.mark()
	if err != nil {
		return m, err
	}
	began := time.Now()
	time.Sleep(took)
	after, err := s.mark()
	if err != nil {
		return m, err
	}
	m = measurement{bytes: after.bytes - before.bytes, took: time.Since(began), cpu: after.cpu - before.cpu}
	m.rss, err = s.peakRSS()
	return m, err
}

// mark is what a seed has done so far.
func (p *process) mark() (m measurement, err error) {
	if err := p.tell(); err != nil {
		return m, err
	}
	if m.bytes, err = p.awaitBytes("served"); err != nil {
		return m, err
	}
	m.cpu, err = p.cpu()
	return m, err
}

// kill ends a leech in the middle of its transfer.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// peakRSS is the most memory that the process has had resident, in bytes.
func (p *process) peakRSS() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNoProc, err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kib int64
			_, err := fmt.Sscan(rest, &kib)
			return kib << 10, err
		}
	}
	return 0, errNoProc
}

// homesNetwork has a host for origin and tracker, one for the seed, and the
// leeches. Its devices take no offload, and their MTU is 1,500 bytes.
func homesNetwork() (*emulator.Network, error) {
	fast := emulator.Link{}
	thin := emulator.Link{
		Down: emulator.Line{BytesPerSec: homeMbits * bytesPerMbit, Delay: homeDelay, Queue: emulator.Queue{Time: homeQueue}},
		Up:   emulator.Line{Delay: homeDelay},
	}
	links := []emulator.Link{fast, fast}
	for range homes {
		links = append(links, thin)
	}
	n, err := emulator.NewStar(1, links)
	if err != nil {
		return nil, err
	}
	for _, h := range n.Hosts {
		h.Nice = homesNice
	}
	return n, nil
}

func runHomes(took time.Duration, runs int, names string, asJSON bool) error {
	t, err := makeTitle(homesMib)
	if err != nil {
		return err
	}
	files, err := makeTorrent(t)
	if err != nil {
		return err
	}
	defer files.remove()
	all := []*system{
		{name: "shoal", what: "its seed alone, cache on disk", measure: func() (measurement, error) {
			return inHomes(func(n *emulator.Network) (measurement, error) { return shoalHomes(n, t, files.dir, took) })
		}},
		{name: "libtorrent", what: "its seed alone, uTP, 64 KiB pieces", measure: func() (measurement, error) {
			return inHomes(func(n *emulator.Network) (measurement, error) { return libtorrentHomes(n, files, took) })
		}},
	}
	systems, err := choose(all, names)
	if err != nil {
		return err
	}
	results, err := compare(systems, runs)
	if err != nil {
		return err
	}
	return show(results, asJSON)
}

// inHomes measures in a network of its own.
func inHomes(measure func(*emulator.Network) (measurement, error)) (m measurement, err error) {
	n, err := homesNetwork()
	if err != nil {
		return m, err
	}
	m, err = measure(n)
	return m, errors.Join(err, n.Close())
}

func shoalHomes(n *emulator.Network, t *title, dir string, took time.Duration) (m measurement, err error) {
	dir, err = os.MkdirTemp(dir, "homes")
	if err != nil {
		return m, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := serveSwarm(t, filepath.Join(dir, "tracker"), n.Hosts[0].Addr.String(), n.Hosts[0].Do)
	if err != nil {
		return m, err
	}
	defer s.close()
	role := func(name string, host int, args ...string) *exec.Cmd {
		return exec.Command(os.Args[0], append([]string{
			"--role", name, "--origin", s.originURL, "--tracker", s.trackerURL,
			"--udp", net.JoinHostPort(n.Hosts[host].Addr.String(), "0"),
		}, args...)...)
	}
	seed := role("shoal-seed", 1, "--cache", filepath.Join(dir, "seed"))
	return measureHomes(n, took, seed, func(i int, _ string) *exec.Cmd {
		s.dry.Store(true) // or they would take it from there
		// Each begins elsewhere, and none of them helps the seed.
		return role("shoal-leech", 2+i, "--no-upload", "--offset", fmt.Sprint(i*len(t.media)/homes))
	})
}

func libtorrentHomes(n *emulator.Network, files *torrent, took time.Duration) (m measurement, err error) {
	dir, err := os.MkdirTemp(files.dir, "homes")
	if err != nil {
		return m, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	side := func(role, dir string, host int, addr string) *exec.Cmd {
		return exec.Command(python, sideFile, role, "utp", files.meta, dir, n.Hosts[host].Addr.String(), addr)
	}
	seed := side("seed", files.seedDir(), 1, "")
	return measureHomes(n, took, seed, func(i int, addr string) *exec.Cmd {
		return side("leech", filepath.Join(dir, fmt.Sprint(i)), 2+i, addr)
	})
}
