package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// childGrace is how long a child may take to end by itself. A peer gives
	// its players 2 s.
	childGrace = 5 * time.Second

	// childReady bounds the wait for a child's first line.
	childReady = 20 * time.Second

	// logLines of a child are shown when it fails.
	logLines = 12

	// logLineBytesMax bounds one of them.
	logLineBytesMax = 4 << 10
)

// crew runs this binary's other commands as processes, and leaves none behind:
// each has a process group of its own, which close ends, and the system ends
// the processes when this one is killed.
type crew struct {
	exe    string
	starts chan startRequest
	died   chan *child // at most one is told: the first ends the demo
	grace  time.Duration

	mu       sync.Mutex
	children []*child
}

type startRequest struct {
	cmd *exec.Cmd
	err chan error
}

func newCrew() (*crew, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	c := &crew{exe: exe, starts: make(chan startRequest), died: make(chan *child, 1), grace: childGrace}
	go func() {
		// Linux ends a child with the thread that started it (prctl(2),
		// PR_SET_PDEATHSIG), so this thread starts all and stays.
		runtime.LockOSThread()
		for req := range c.starts {
			req.err <- req.cmd.Start()
		}
	}()
	return c, nil
}

// start runs a command of this binary. Its death is told on c.died.
func (c *crew) start(name string, args ...string) (*child, error) {
	ch, err := c.spawn(name, args)
	if err != nil {
		return nil, err
	}
	go func() {
		<-ch.done
		if !ch.stopping.Load() {
			select {
			case c.died <- ch:
			default:
			}
		}
	}()
	return ch, nil
}

// runToEnd runs a command of this binary that ends by itself.
func (c *crew) runToEnd(ctx context.Context, name string, args ...string) error {
	ch, err := c.spawn(name, args)
	if err != nil {
		return err
	}
	select {
	case <-ch.done:
	case <-ctx.Done():
		ch.stop(c.grace)
		return ctx.Err()
	}
	if ch.err != nil {
		return ch.deathError()
	}
	return nil
}

func (c *crew) spawn(name string, args []string) (*child, error) {
	ch := &child{name: name, first: make(chan string, 1), done: make(chan struct{})}
	cmd := exec.Command(c.exe, args...)
	ch.cmd = cmd
	cmd.SysProcAttr = childAttributes()
	// Settings of the demo's own environment are not meant for its children.
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, envPrefix) {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	req := startRequest{cmd, make(chan error, 1)}
	c.starts <- req
	if err := <-req.err; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.mu.Lock()
	c.children = append(c.children, ch)
	c.mu.Unlock()
	var readers sync.WaitGroup
	readers.Go(func() { ch.readLines(stdout, true) })
	readers.Go(func() { ch.readLines(stderr, false) })
	go func() {
		readers.Wait() // before Wait, which closes the pipes
		ch.err = cmd.Wait()
		close(ch.done)
	}()
	return ch, nil
}

// close ends all children, the last one first, and waits for them.
func (c *crew) close() {
	c.mu.Lock()
	children := c.children
	c.children = nil
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, ch := range children {
		wg.Go(func() { ch.stop(c.grace) })
	}
	wg.Wait()
	close(c.starts)
}

// child is one process.
type child struct {
	name     string
	cmd      *exec.Cmd
	first    chan string
	done     chan struct{}
	err      error // valid after done
	stopping atomic.Bool

	mu   sync.Mutex
	tail []string // last lines of its log
}

func (ch *child) readLines(r io.Reader, stdout bool) {
	lines := bufio.NewReaderSize(r, logLineBytesMax)
	for {
		line, _, err := lines.ReadLine() // a longer line comes in parts
		if err != nil {
			return
		}
		if stdout {
			select {
			case ch.first <- string(line):
			default:
			}
		}
		ch.mu.Lock()
		if len(ch.tail) == logLines {
			copy(ch.tail, ch.tail[1:])
			ch.tail = ch.tail[:logLines-1]
		}
		ch.tail = append(ch.tail, string(line))
		ch.mu.Unlock()
	}
}

// firstLine waits for the first line of output, which says where the child
// listens.
func (ch *child) firstLine(ctx context.Context) (string, error) {
	timeout := time.NewTimer(childReady)
	defer timeout.Stop()
	select {
	case line := <-ch.first:
		return strings.TrimSpace(line), nil
	case <-ch.done:
		return "", ch.deathError()
	case <-timeout.C:
		return "", fmt.Errorf("%s did not get ready within %v%s", ch.name, childReady, ch.logs())
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// stop asks the child to end, and makes it.
func (ch *child) stop(grace time.Duration) {
	ch.stopping.Store(true)
	select {
	case <-ch.done:
		return
	default:
	}
	terminate(ch.cmd.Process)
	timeout := time.NewTimer(grace)
	defer timeout.Stop()
	select {
	case <-ch.done:
	case <-timeout.C:
		kill(ch.cmd.Process)
		<-ch.done
	}
}

// deathError says why the child ended although nobody asked it to.
func (ch *child) deathError() error {
	<-ch.done
	var exit *exec.ExitError
	if ch.err == nil || errors.As(ch.err, &exit) && exit.ExitCode() >= 0 {
		return fmt.Errorf("%s ended with status %d%s", ch.name, ch.cmd.ProcessState.ExitCode(), ch.logs())
	}
	return fmt.Errorf("%s: %w%s", ch.name, ch.err, ch.logs())
}

// logs are the child's last lines, to be put behind an error.
func (ch *child) logs() string {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if len(ch.tail) == 0 {
		return "; it printed nothing"
	}
	return "; its last lines: " + strings.Join(ch.tail, " | ")
}
