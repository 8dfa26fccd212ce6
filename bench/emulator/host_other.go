//go:build !linux

package emulator

import (
	"errors"
	"net/netip"
	"os/exec"
	"syscall"
)

// device is nothing: no Network is ever open.
type device struct{}

func isMainThread() bool { return false }

func prepare(*exec.Cmd) {}

func prioritize(_, _ int) error { return nil }

func enterNamespace(netip.Prefix) (int, error) {
	return -1, errors.New("emulated links need Linux: network namespaces and TUN devices")
}

// Congestion fails: the controls are the Linux kernel's.
func Congestion(name string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, _ syscall.RawConn) error {
		return errors.New("set the congestion control " + name + ": that needs Linux")
	}
}

func (n *Network) openDevice() error  { return nil }
func (n *Network) closeDevice() error { return nil }
func (n *Network) wake() error        { return nil }
func (n *Network) run()               {}
func (h *Host) write(*packet)         {}
func (h *Host) drops() (int64, error) { return 0, nil }
