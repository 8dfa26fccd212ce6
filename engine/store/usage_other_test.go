//go:build !linux

package store

import "io/fs"

// allocatedBytes is at most what a file takes here.
func allocatedBytes(info fs.FileInfo) int64 { return info.Size() }
