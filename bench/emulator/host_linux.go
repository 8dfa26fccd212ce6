package emulator

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	deviceName = "tun0"

	// deviceQueue is the kernel's queue in front of the emulator, in packets: it
	// must hold what arrives while the reader waits for a processor. At 1 Gbit/s
	// this is 100 ms; it is empty otherwise.
	deviceQueue = 8192
)

func isMainThread() bool { return unix.Gettid() == unix.Getpid() }

// prepare makes a program die with its thread, and gives it a session of its own:
// Ctrl-C does not reach it, and where the kernel divides the processors among
// sessions (sched(7), autogroup), it has a share of its own.
func prepare(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}

// prioritize gives a program that was just started, and its session, a niceness.
func prioritize(pid, niceness int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, pid, niceness); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("set the niceness to %d: %w", niceness, err)
	}
	session := fmt.Sprintf("/proc/%d/autogroup", pid)
	err := os.WriteFile(session, strconv.AppendInt(nil, int64(niceness), 10), 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil // this kernel has none, or the program has ended
	}
	return err
}

// enterNamespace moves the calling thread into a new network namespace and
// returns the descriptor of a TUN device there that has an address.
func enterNamespace(addr netip.Prefix) (fd int, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if errors.Is(err, unix.EPERM) {
			return -1, fmt.Errorf("make a network namespace: %w; run this as root", err)
		}
		return -1, fmt.Errorf("make a network namespace: %w", err)
	}
	if err := up("lo"); err != nil {
		return -1, fmt.Errorf("set up lo: %w", err)
	}
	fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w; the kernel needs its module tun (modprobe tun)", err)
	}
	if err := setUp(fd, addr); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("set up a TUN device: %w", err)
	}
	return fd, nil
}

func setUp(fd int, addr netip.Prefix) error {
	ifr, err := unix.NewIfreq(deviceName)
	if err != nil {
		return err
	}
	// No offloads are asked for: the kernel cuts everything down to the MTU.
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return err
	}
	mask := net.CIDRMask(addr.Bits(), 8*net.IPv4len)
	for _, step := range []struct {
		request uint
		set     func(*unix.Ifreq) error
	}{
		{unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(MTU); return nil }},
		{unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(deviceQueue); return nil }},
		{unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(addr.Addr().AsSlice()) }},
		// The route to the other hosts comes with the mask.
		{unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask) }},
	} {
		if err := configure(deviceName, step.request, step.set); err != nil {
			return err
		}
	}
	return up(deviceName)
}

// configure sends one request about a device of the calling thread's namespace.
func configure(device string, request uint, set func(*unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	if err := set(ifr); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, request, ifr)
}

func up(device string) error {
	return configure(device, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return nil
	})
}

// drops counts the packets that the device's own queue had no room for.
func (h *Host) drops() (count int64, err error) {
	err = h.Do(func() error {
		table, err := os.ReadFile("/proc/thread-self/net/dev")
		if err != nil {
			return err
		}
		for line := range bytes.Lines(table) {
			name, counters, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
			// Eight counters of reception; of sending: bytes, packets, errors, drops.
			if fields := bytes.Fields(counters); string(name) == deviceName && len(fields) > 11 {
				count, err = strconv.ParseInt(string(fields[11]), 10, 64)
				return err
			}
		}
		return fmt.Errorf("no %s in /proc/thread-self/net/dev", deviceName)
	})
	return count, err
}
