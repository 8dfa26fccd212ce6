//go:build e2e && unix && !linux

package browser

import "syscall"

// childAttributes are those of any process.
func childAttributes() *syscall.SysProcAttr { return nil }
