package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	rivalsDir = "bench/rivals"                  // the module with anacrolix/torrent
	makeFile  = "bench/truth/rivals/torrent.py" // makes a metainfo file
	sideFile  = "bench/transfer/torrent.py"     // one side of a transfer
	python    = "/usr/bin/python3"              // sees the modules that the system's packages install
	shm       = "/dev/shm"                      // memory, so that no disk is measured
	mediaName = "media.bin"
)

// torrent is the title as BitTorrent clients have it.
type torrent struct {
	dir  string // has seed/media.bin
	meta string
	bin  string // of bench/rivals
}

// makeTorrent writes the title to a folder, with pieces of 64 KiB.
func makeTorrent(t *title) (_ *torrent, err error) {
	if err := exec.Command(python, "-c", "import libtorrent").Run(); err != nil {
		return nil, fmt.Errorf("libtorrent is missing: apt install python3-libtorrent, or scripts/deps.sh (%w)", err)
	}
	parent := ""
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		parent = shm
	}
	r := &torrent{}
	if r.dir, err = os.MkdirTemp(parent, "transfer"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.remove()
		}
	}()
	if err := os.Mkdir(r.seedDir(), 0o755); err != nil {
		return nil, err
	}
	media := filepath.Join(r.seedDir(), mediaName)
	if err := os.WriteFile(media, t.media, 0o644); err != nil {
		return nil, err
	}
	r.meta = filepath.Join(r.dir, "media.torrent")
	if err := command(".", python, makeFile, "make", media, r.meta); err != nil {
		return nil, err
	}
	return r, nil
}

// command runs a program in a folder of the repository.
func command(dir, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Dir, c.Stderr = dir, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s in %s (run this command from the repository's root): %w", name, dir, err)
	}
	return nil
}

func (r *torrent) seedDir() string { return filepath.Join(r.dir, "seed") }

func (r *torrent) remove() { _ = os.RemoveAll(r.dir) }

// measure measures a client; side makes the command for a role. The leech has an
// empty folder.
func (r *torrent) measure(side func(role, dir, addr string) *exec.Cmd) (m measurement, err error) {
	dir, err := os.MkdirTemp(r.dir, "leech")
	if err != nil {
		return m, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return race(side("seed", r.seedDir(), ""), func(addr string) *exec.Cmd { return side("leech", dir, addr) })
}

func (r *torrent) measureLibtorrent() (measurement, error) {
	return r.measure(func(role, dir, addr string) *exec.Cmd {
		return exec.Command(python, sideFile, role, "tcp", r.meta, dir, "127.0.0.1", addr)
	})
}

func (r *torrent) measureAnacrolix() (measurement, error) {
	if r.bin == "" {
		r.bin = filepath.Join(r.dir, "rivals")
		if err := command(rivalsDir, "go", "build", "-o", r.bin, "."); err != nil {
			return measurement{}, err
		}
	}
	return r.measure(func(role, dir, addr string) *exec.Cmd {
		return exec.Command(r.bin, "--role", role, "--dir", dir, "--meta", r.meta, "--peer", addr)
	})
}
