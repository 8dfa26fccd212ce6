package emulator

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// device is what the loop waits on besides the hosts' devices.
type device struct {
	opened bool
	wake   int // an eventfd
}

const (
	// batch bounds what is read from one host before the others, and what has
	// arrived, get their turn: 0.3 ms of work.
	batch = 128

	// priority of the loop's thread among those that are served before all others:
	// what would be hardware waits for nobody. The second lowest one leaves one
	// to programs in the hosts. The loop needs a few microseconds per packet.
	priority = 2
)

// openDevice prepares the calling thread to run the loop.
func (n *Network) openDevice() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	n.device = device{opened: true, wake: fd}
	attributes := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: priority, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}
	if err := unix.SchedSetAttr(0, attributes, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("raise the emulator's priority: %w", err) // without the right to, it runs as it is
	}
	return nil
}

// wake makes the loop look whether it is to end.
func (n *Network) wake() error {
	if !n.device.opened {
		return nil
	}
	_, err := unix.Write(n.device.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}

func (n *Network) closeDevice() (err error) {
	for _, h := range n.Hosts {
		err = errors.Join(err, unix.Close(h.tun))
	}
	if n.device.opened {
		err = errors.Join(err, unix.Close(n.device.wake))
	}
	return err
}

// run is the loop. It owns the calling thread.
func (n *Network) run() {
	polled := make([]unix.PollFd, 0, len(n.Hosts)+1)
	for _, h := range n.Hosts {
		polled = append(polled, unix.PollFd{Fd: int32(h.tun), Events: unix.POLLIN})
	}
	polled = append(polled, unix.PollFd{Fd: int32(n.device.wake), Events: unix.POLLIN})
	for {
		n.mu.Lock()
		next := n.deliver()
		for i := range n.Hosts {
			if polled[i].Revents != 0 {
				n.read(i)
			}
		}
		// What has come may be due at once.
		if n.flight.len() > 0 {
			next = min(next, n.flight.first()-n.Now())
		}
		closed := n.closed
		n.mu.Unlock()
		if closed {
			return
		}
		var timeout *unix.Timespec
		if next != forever {
			t := unix.NsecToTimespec(int64(max(next, 0) / time.Nanosecond))
			timeout = &t
		}
		if _, err := unix.Ppoll(polled, timeout, nil); err != nil {
			for i := range polled {
				polled[i].Revents = 0 // interrupted
			}
		}
	}
}

// read takes what a host has sent, up to a batch. The rest is there at the next
// turn.
func (n *Network) read(i int) {
	for range batch {
		p := n.packet()
		got, err := unix.Read(n.Hosts[i].tun, p.data[:])
		if err != nil || got <= 0 {
			n.release(p)
			return
		}
		p.n = got
		n.take(i, p)
	}
}

// write hands a packet to the host's kernel.
func (h *Host) write(p *packet) {
	_, _ = unix.Write(h.tun, p.data[:p.n]) // refused: lost, as by a host without room
}
