//go:build e2e

package browser

import "syscall"

// childAttributes ties a process's life to ours.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
