package store

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile takes the lock that the kernel releases when the process ends, however it ends. The byte locked is far
// behind the process ID, which others may read.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{Offset: 1 << 30})
}
