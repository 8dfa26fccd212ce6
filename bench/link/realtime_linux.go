package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// realtimeEnv marks a process that has done what becomeRealtime does.
const realtimeEnv = "SHOAL_LINK_REALTIME"

// becomeRealtime has this process served before all ordinary ones, as the link
// is: what would be other machines waits for no program here. It starts the
// process anew, for a policy holds for a thread and those that it starts, and
// Go's runtime has some already. Without the right to, all stays as it is.
func becomeRealtime() error {
	if os.Getenv(realtimeEnv) != "" {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attributes := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}
	if err := unix.SchedSetAttr(0, attributes, 0); errors.Is(err, unix.EPERM) {
		return nil
	} else if err != nil {
		return fmt.Errorf("raise the priority: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, append(os.Environ(), realtimeEnv+"=1"))
}
