package emulator

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
)

// Host is a network namespace and its thread.
type Host struct {
	// Addr is the host's address in its Network.
	Addr netip.Addr
	// Nice is the niceness of the programs that are started from now on
	// (setpriority(2)). Below zero, what else runs on the machine is not measured.
	Nice int

	tun   int // descriptor of the device, not blocking
	calls chan call
	quit  chan struct{}
	ended chan struct{} // the thread has left
}

type call struct {
	f   func() error
	err chan error
}

// errClosed is what a host of a closed Network answers.
var errClosed = errors.New("the emulated network is closed")

// openHost makes the namespace and its device.
func openHost(addr netip.Prefix) (*Host, error) {
	h := &Host{Addr: addr.Addr(), calls: make(chan call), quit: make(chan struct{}), ended: make(chan struct{})}
	opened := make(chan error)
	go onThread(func() {
		defer close(h.ended)
		tun, err := enterNamespace(addr)
		h.tun = tun
		opened <- err
		if err != nil {
			return
		}
		for {
			select {
			case c := <-h.calls:
				c.err <- c.f()
			case <-h.quit:
				return
			}
		}
	})
	if err := <-opened; err != nil {
		<-h.ended
		return nil, err
	}
	return h, nil
}

// onThread runs f on a thread that ends with it. The process's first thread
// never ends, so it is not the one.
func onThread(f func()) {
	runtime.LockOSThread() // not undone: the runtime then ends the thread
	if !isMainThread() {
		f()
		return
	}
	taken := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(taken)
		onThread(f)
	}()
	<-taken
	runtime.UnlockOSThread()
}

// Do calls f on the host's thread: sockets that f opens are the host's. Calls
// run one after the other. What f starts on other goroutines is not the host's.
func (h *Host) Do(f func() error) error {
	c := call{f: f, err: make(chan error, 1)}
	select {
	case h.calls <- c:
		return <-c.err
	case <-h.ended:
		return errClosed
	case <-h.quit:
		return errClosed
	}
}

// Start starts a program in the host. The program is killed when the Network is
// closed and when this process ends; it gets a session of its own, so that Ctrl-C
// does not reach it. The caller waits for it.
func (h *Host) Start(cmd *exec.Cmd) error {
	prepare(cmd)
	if err := h.Do(cmd.Start); err != nil || h.Nice == 0 {
		return err
	}
	if err := prioritize(cmd.Process.Pid, h.Nice); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return nil
}

// Dial connects from the host. The address is numeric.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.Do(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens in the host. The address is numeric.
func (h *Host) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	err = h.Do(func() (err error) {
		var c net.ListenConfig
		l, err = c.Listen(ctx, network, address)
		return err
	})
	return l, err
}

// end ends the thread, with the programs it has started.
func (h *Host) end() {
	close(h.quit)
	<-h.ended
}
