package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"shoal/bench/emulator"
)

const (
	originPort  = 8080
	trackerPort = 7000
	peerPort    = 7070

	// readyWithin bounds the wait for a process's first line.
	readyWithin = 30 * time.Second

	// originCongestion is what the replay's CDN models, whatever the machine's default.
	originCongestion = "cubic"
)

// lab has what all runs share.
type lab struct {
	dir   string
	shoal string // the binary
	self  string // this one, which also is the player
	title *title
	nice  int    // of all programs in hosts
	rival *rival // that runs instead of shoal; nil: none
}

func openLab(ctx context.Context, dir, shoal string) (*lab, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l := &lab{dir: dir, shoal: filepath.Join(dir, "shoal")}
	if l.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if shoal == "" {
		err = command(ctx, "go", "build", "-o", l.shoal, "shoal/cmd/shoal")
	} else {
		l.shoal, err = filepath.Abs(shoal)
	}
	if err != nil {
		return nil, err
	}
	l.title, err = makeTitle(ctx, l.shoal, filepath.Join(dir, "title"))
	return l, err
}

// process is a program in a host.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   *os.File
	lines chan string // of standard output; closed at its end
	done  chan struct{}
	err   error // of Wait; valid after done
	quit  sync.Once
}

// start starts a program in a host; dir gets its log.
func start(h *emulator.Host, dir, name, program string, args ...string) (*process, error) {
	p := &process{name: name, lines: make(chan string, 16), done: make(chan struct{})}
	var err error
	if p.log, err = os.Create(filepath.Join(dir, name+".log")); err != nil {
		return nil, err
	}
	p.cmd = exec.Command(program, args...)
	p.cmd.Stderr = p.log
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "SHOAL_") { // would set flags
			p.cmd.Env = append(p.cmd.Env, entry)
		}
	}
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = h.Start(p.cmd)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), p.log.Close())
	}
	go p.read(out)
	return p, nil
}

// read passes lines on until the process ends.
func (p *process) read(out io.Reader) {
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		p.lines <- scanner.Text()
	}
	close(p.lines)
	p.err = p.cmd.Wait()
	_ = p.log.Close() // its writer has ended
	close(p.done)
}

// firstLine waits for the first line of output, which says that it is ready.
func (p *process) firstLine(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	select {
	case line, ok := <-p.lines:
		if !ok {
			<-p.done
			return "", fmt.Errorf("%s ended: %w; see %s", p.name, p.err, p.log.Name())
		}
		return strings.TrimSpace(line), nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s does not get ready: %w; see %s", p.name, ctx.Err(), p.log.Name())
	}
}

// drain discards the output from now on.
func (p *process) drain() {
	go func() {
		for range p.lines {
			continue
		}
	}()
}

// crash ends the process as a power cut would, and waits until it is gone.
func (p *process) crash() {
	p.quit.Do(func() { _ = p.cmd.Process.Kill() }) // gone already is fine
	<-p.done
}
