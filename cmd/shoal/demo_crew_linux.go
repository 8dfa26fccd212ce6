package main

import (
	"os"
	"syscall"
)

// childAttributes put a child into a process group of its own, so that Ctrl-C
// reaches only the demo, which ends its children in order; and have the kernel
// end it should the demo be killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func terminate(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGTERM) } // gone already is fine
func kill(p *os.Process)      { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
