package emulator

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Congestion returns a Control of a net.Dialer or net.ListenConfig that gives TCP
// sockets, and those accepted by them, a congestion control of the kernel's.
// Without it they have the machine's default, which is not the same everywhere.
func Congestion(name string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		controlErr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
		})
		if err != nil {
			err = fmt.Errorf("set the congestion control %s: %w; try modprobe tcp_%s", name, err, name)
		}
		return errors.Join(controlErr, err)
	}
}
