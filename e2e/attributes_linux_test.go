//go:build e2e

package e2e

import "syscall"

// childAttributes gives a process a group of its own and ties its life to ours.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
