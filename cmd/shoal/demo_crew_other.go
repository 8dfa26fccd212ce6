//go:build !linux

package main

import (
	"os"
	"runtime"
	"syscall"
)

func childAttributes() *syscall.SysProcAttr { return nil }

// terminate asks where the system knows how to ask.
func terminate(p *os.Process) {
	if runtime.GOOS == "windows" {
		kill(p)
		return
	}
	_ = p.Signal(syscall.SIGTERM) // gone already is fine
}

func kill(p *os.Process) { _ = p.Kill() }
