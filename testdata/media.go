// Package testdata holds the sample title: HLS with fragmented MP4 in two
// renditions. The demo and the tests use the same files.
package testdata

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed all:media
var files embed.FS

// Media is the sample title's folder: master.m3u8 and what it names.
func Media() fs.FS {
	media, err := fs.Sub(files, "media")
	if err != nil {
		panic(fmt.Sprintf("BUG: embedded folder: %v", err)) // the name is a valid path
	}
	return media
}
