//go:build !linux && !windows

package transport

import "syscall"

var errAddrInUse error = syscall.EADDRINUSE

// isTruncated: these systems cut silently; a full slot tells.
func isTruncated(error) bool { return false }
