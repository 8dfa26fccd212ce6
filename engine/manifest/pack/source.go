package pack

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"shoal/engine/manifest"
)

// Limits of what is read into memory.
const (
	maxPlaylistBytes = 16 << 20 // 100,000 segments of 160 bytes
	maxScanned       = 1 << 20  // files of a folder
)

// resource is a file of the title.
type resource struct {
	path string   // relative to the top folder
	url  *url.URL // with its query; nil in a folder
}

// source is where the media are.
type source interface {
	// name is the top folder's name.
	name() string
	// find lists the playlists and the files that may be MP4s, in the order of their paths.
	find(ctx context.Context) (playlists, movies []resource, err error)
	// resolve makes a resource of a URI in a playlist.
	resolve(base resource, uri string) (resource, error)
	// playlist reads a whole playlist.
	playlist(ctx context.Context, r resource) ([]byte, error)
	// random opens a file for reading anywhere, and tells its size.
	random(ctx context.Context, r resource) (randomReader, int64, error)
	// hash fills in size and pieces of all files. With each set, a file's failure is kept in its err and the others go on.
	hash(ctx context.Context, files []*hashed, o hashOptions) error
}

type randomReader interface {
	io.ReaderAt
	io.Closer
}

// hashed is a file and what hashing found.
type hashed struct {
	resource
	size   int64
	pieces []manifest.Hash
	err    error
}

type hashOptions struct {
	workers  int
	each     bool
	progress *Progress
}

// checkRelative turns a cleaned path into a resource path or says why it cannot be one.
func checkRelative(path, uri string) error {
	if path == ".." || len(path) > 2 && path[:3] == "../" {
		return fmt.Errorf("%q lies outside of the title's folder: move the playlist up, or the media down", uri)
	}
	return manifest.CheckPath(path)
}
