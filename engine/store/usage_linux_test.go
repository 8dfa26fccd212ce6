package store

import (
	"io/fs"
	"syscall"
)

// allocatedBytes is what a file really takes; blocks of stat(2) have 512 bytes.
func allocatedBytes(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }
