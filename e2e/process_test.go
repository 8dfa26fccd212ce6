//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// patience bounds every wait for something that should take a second: the
	// machine may be busy with other things.
	patience = time.Minute

	// look is how often a condition is looked at.
	look = 10 * time.Millisecond

	// logTail is how much of a process's log a failed test shows.
	logTail = 40
)

// lateMin is from when on a machine is called too busy to judge whether a film
// plays in real time. An idle one is never late by so much.
const lateMin = time.Second

// lateness is for how long the machine had no time for the test, and so none for
// its processes either.
type lateness struct{ sum atomic.Int64 }

func (l *lateness) total() time.Duration { return time.Duration(l.sum.Load()) }

// measureLateness begins to measure, until the test ends.
func measureLateness(t *testing.T) *lateness {
	t.Helper()
	const every, noise = 10 * time.Millisecond, 50 * time.Millisecond
	l := &lateness{}
	tick, ended := time.NewTicker(every), t.Context().Done()
	go func() {
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-tick.C:
			case <-ended:
				return
			}
			now := time.Now()
			l.sum.Add(int64(max(now.Sub(last)-noise, 0)))
			last = now
		}
	}()
	return l
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// lines returns the lines that are complete.
func (o *output) lines() []string {
	lines := strings.Split(o.String(), "\n")
	return lines[:len(lines)-1]
}

// process is a program under test, or beside it. It is killed when its test ends.
type process struct {
	t           *testing.T
	name        string
	cmd         *exec.Cmd
	stdout, log output
	done        chan struct{}
	err         error // of Wait; valid after done
}

type startRequest struct {
	cmd *exec.Cmd
	err chan error
}

var starts = make(chan startRequest)

// startProcesses starts all processes on one thread that never ends: on Linux
// they are told to die with the thread that started them, so that a test run
// that is killed leaves none behind.
func startProcesses() {
	runtime.LockOSThread()
	for req := range starts {
		req.err <- req.cmd.Start()
	}
}

// start runs a program until its test ends.
func start(t *testing.T, name, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, done: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.log
	p.cmd.SysProcAttr = childAttributes()
	p.cmd.WaitDelay = 10 * time.Second // its own children may hold the pipes
	// The test's environment must neither set flags nor be written to.
	home := filepath.Join(sharedDir, "home")
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "SHOAL_") && !strings.HasPrefix(entry, "HOME=") && !strings.HasPrefix(entry, "XDG_") {
			p.cmd.Env = append(p.cmd.Env, entry)
		}
	}
	p.cmd.Env = append(p.cmd.Env, "HOME="+home, "LC_ALL=C")
	req := startRequest{p.cmd, make(chan error, 1)}
	starts <- req
	require.NoError(t, <-req.err, "start %s", name)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.tail())
		}
	})
	return p
}

func (p *process) tail() string {
	lines := strings.Split(strings.TrimSpace(p.stdout.String()+p.log.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-logTail):], "\n")
}

// firstLine waits for the first line on standard output.
func (p *process) firstLine() string {
	p.t.Helper()
	p.eventually(func() bool { return len(p.stdout.lines()) > 0 }, "%s prints its first line", p.name)
	return p.stdout.lines()[0]
}

// eventually waits for a condition while the process lives.
func (p *process) eventually(condition func() bool, what string, args ...any) {
	p.t.Helper()
	met := false // it may hold for a moment only, and is not asked again
	require.Eventually(p.t, func() bool {
		select {
		case <-p.done:
			return true
		default:
			met = condition()
			return met
		}
	}, patience, look, append([]any{what}, args...)...)
	if !met {
		require.Failf(p.t, p.name+" has ended", "%v\n%s", p.err, p.tail())
	}
}

// signal sends a signal to the process alone.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s), "signal %s", p.name)
}

// kill ends the process, and what it has started, as a power cut would.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // gone already is fine
	<-p.done
}

// wait waits for the end of the process and returns its exit status.
func (p *process) wait(limit time.Duration) int {
	p.t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		require.Failf(p.t, p.name+" does not end", "after %v\n%s", limit, p.tail())
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		require.NoError(p.t, p.err, "%s", p.name)
	}
	return p.cmd.ProcessState.ExitCode()
}

// runToEnd runs a program that ends by itself.
func runToEnd(t *testing.T, limit time.Duration, program string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	p := start(t, filepath.Base(program), program, args...)
	status = p.wait(limit)
	return status, p.stdout.String(), p.log.String()
}

// must runs a program that has to succeed and returns its standard output.
func must(t *testing.T, limit time.Duration, program string, args ...string) string {
	t.Helper()
	status, stdout, stderr := runToEnd(t, limit, program, args...)
	require.Zerof(t, status, "%s %s\n%s%s", program, strings.Join(args, " "), stdout, stderr)
	return stdout
}
