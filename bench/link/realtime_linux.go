package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// realtimeEnv tells a process which of them it has.
const realtimeEnv = "SHOAL_LINK_PRIORITY"

// becomeRealtime has this process served before all ordinary ones, as the link
// is: what would be other machines waits for no program here. It starts the
// process anew, for a policy holds for a thread and those that it starts, and
// Go's runtime has some already. Without the right to, all stays as it is.
func becomeRealtime(priority uint32) error {
	wanted := strconv.FormatUint(uint64(priority), 10)
	if os.Getenv(realtimeEnv) == wanted {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attributes := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: priority}
	if err := unix.SchedSetAttr(0, attributes, 0); errors.Is(err, unix.EPERM) {
		return nil
	} else if err != nil {
		return fmt.Errorf("raise the priority: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(realtimeEnv, wanted); err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}
