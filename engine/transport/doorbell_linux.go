package transport

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A doorbell tells the endpoint's reader that its socket has something to read.
//
// The runtime's poller would do so too, but it asks to hear of every datagram that
// came and of every one that has left, whether or not anybody waits: a program that
// is idle in between wakes for each, which costs several times what the datagram
// does. So the poller gets an epoll instance of ours instead of the socket; that
// one hears of what comes, and only while it is armed.
type doorbell struct {
	file  *os.File // the epoll instance
	raw   syscall.RawConn
	fd    int // the socket
	armed bool
}

func newDoorbell(fd int) (*doorbell, error) {
	instance, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	d := &doorbell{fd: fd}
	err = errors.Join(
		unix.SetNonblock(instance, true), // or os would not give it to the poller
		unix.EpollCtl(instance, unix.EPOLL_CTL_ADD, fd, new(unix.EpollEvent)),
	)
	d.file = os.NewFile(uintptr(instance), "epoll")
	if err == nil { // a file that the poller did not take says so here first
		err = d.file.SetReadDeadline(time.Time{})
	}
	if err == nil {
		d.raw, err = d.file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(err, d.file.Close())
	}
	return d, nil
}

// await calls try until it is true: now, and whenever something has come. An
// error means that the doorbell is closed.
func (d *doorbell) await(try func() bool) error {
	err := d.raw.Read(func(instance uintptr) bool {
		if try() {
			return true
		}
		d.arm(int(instance), true)
		return false
	})
	if err != nil {
		return net.ErrClosed
	}
	return nil
}

// disarm keeps the doorbell quiet until somebody waits again.
func (d *doorbell) disarm() {
	_ = d.raw.Control(func(instance uintptr) { d.arm(int(instance), false) }) // closed: it is quiet
}

func (d *doorbell) arm(instance int, armed bool) {
	if armed == d.armed {
		return
	}
	event := unix.EpollEvent{}
	if armed {
		event.Events = unix.EPOLLIN
	}
	if err := unix.EpollCtl(instance, unix.EPOLL_CTL_MOD, d.fd, &event); err != nil {
		panic("BUG: the doorbell's socket was closed before it: " + err.Error())
	}
	d.armed = armed
}

// close ends await, and waits for that.
func (d *doorbell) close() error { return d.file.Close() }
