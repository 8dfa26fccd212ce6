//go:build e2e

package browser

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
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
	look = 20 * time.Millisecond

	// logTail is how much of a process's log a failed test shows.
	logTail = 40
)

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

// process is a node or a tracker. It is killed when its test ends.
type process struct {
	t           *testing.T
	name        string
	cmd         *exec.Cmd
	stdout, log output
	done        chan struct{}
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

// start runs the binary until its test ends, and waits for its first line: the
// URL under which it is to be reached.
func start(t *testing.T, name string, args ...string) (p *process, url string) {
	t.Helper()
	p = &process{t: t, name: name, done: make(chan struct{}), cmd: exec.Command(shoal, args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.log
	p.cmd.SysProcAttr = childAttributes()
	// The test's environment must neither set flags nor be written to.
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "SHOAL_") && !strings.HasPrefix(entry, "HOME=") && !strings.HasPrefix(entry, "XDG_") {
			p.cmd.Env = append(p.cmd.Env, entry)
		}
	}
	p.cmd.Env = append(p.cmd.Env, "HOME="+filepath.Join(sharedDir, "home"))
	req := startRequest{p.cmd, make(chan error, 1)}
	starts <- req
	require.NoError(t, <-req.err, "start %s", name)
	go func() {
		_ = p.cmd.Wait() // killed at the end
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			lines := strings.Split(strings.TrimSpace(p.stdout.String()+p.log.String()), "\n")
			t.Logf("%s said:\n%s", name, strings.Join(lines[max(0, len(lines)-logTail):], "\n"))
		}
	})
	require.Eventually(t, func() bool { return strings.Contains(p.stdout.String(), "\n") }, patience, look, "%s prints its URL", name)
	url, _, _ = strings.Cut(p.stdout.String(), "\n")
	return p, strings.TrimSuffix(url, "/")
}

// signal sends a signal to the process.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s), "signal %s", p.name)
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already is fine
	<-p.done
}

// node starts a peer. Its origin is the CDN's prefix, and its player's port is
// chosen by the system unless args say otherwise.
func node(t *testing.T, name, origin string, args ...string) (*process, string) {
	t.Helper()
	return start(t, name, append([]string{
		"peer", "--listen", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--origin", origin, "--name", name,
	}, args...)...)
}

// Systems give ports above these to whoever names none, e.g. to clients. A port
// among these is still free when it comes to be used, and when it is used again.
const firstPort, lastPort = 20000, 32767

// freePort returns a TCP port on which nobody listens.
func freePort() (int, error) {
	var err error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}
