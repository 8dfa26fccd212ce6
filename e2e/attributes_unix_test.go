//go:build e2e && unix && !linux

package e2e

import "syscall"

// childAttributes gives a process a group of its own.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
