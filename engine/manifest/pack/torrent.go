package pack

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/metainfo"
	infohashv2 "github.com/anacrolix/torrent/types/infohash-v2"

	"shoal/engine/manifest"
	"shoal/internal/wire"
)

// TorrentOptions say what goes beside the files into a metainfo.
type TorrentOptions struct {
	// WebSeeds are URLs of the folder above the title's (BEP 19: a client appends the torrent's name and the file's path).
	// Empty = Result.Parent, if known.
	WebSeeds []string
}

// WriteTorrent exports the title as complete BitTorrent v2 metainfo (BEP 52) and returns its infohash. The torrent holds the
// recorded files and the playlists that name them, so that its folder plays by itself and a web seed needs nothing
// else; keys and whatever else lies in the folder stay out. Its name is the top folder's, as web seeds require.
func (r *Result) WriteTorrent(w io.Writer, o TorrentOptions) (infohash [32]byte, err error) {
	name := clip(r.Folder)
	if name == "" || strings.ContainsAny(name, "/\\") {
		return infohash, fmt.Errorf("the folder's name %q cannot be a torrent's", r.Folder)
	}
	root := make(map[string]any)
	layers := make(map[string]string)
	add := func(path string, size int64, pieces []manifest.Hash) error {
		fileRoot := manifest.FileRoot(pieces)
		file := map[string]any{"length": size}
		if size > 0 { // BEP 52: an empty file has no root
			file["pieces root"] = string(fileRoot[:])
		}
		if len(pieces) > 1 { // BEP 52: only files larger than a piece have a layer
			layers[string(fileRoot[:])] = string(bytes.Join(hashSlices(pieces), nil))
		}
		return place(root, strings.Split(path, "/"), file)
	}
	for _, f := range r.Content.Files {
		if err := add(f.Path, f.Length, f.Pieces); err != nil {
			return infohash, err
		}
	}
	for _, p := range r.playlists {
		if err := add(p.path, p.size, p.pieces); err != nil {
			return infohash, err
		}
	}
	// Maps and not metainfo.Info: its file tree writes a root of no bytes for empty files.
	info, err := bencode.Marshal(map[string]any{
		"file tree": root, "meta version": 2, "name": name, "piece length": wire.PieceBytes,
	})
	if err != nil {
		return infohash, err
	}
	mi := metainfo.MetaInfo{InfoBytes: info, CreatedBy: "shoal", PieceLayers: layers}
	for _, seed := range o.WebSeeds {
		// Without the slash a client takes the URL for the file itself.
		mi.UrlList = append(mi.UrlList, strings.TrimSuffix(seed, "/")+"/")
	}
	if len(o.WebSeeds) == 0 && r.Parent != nil {
		mi.UrlList = append(mi.UrlList, r.Parent.String())
	}
	return infohashv2.HashBytes(info), mi.Write(w)
}

// place puts a file into the tree of BEP 52.
func place(dir map[string]any, path []string, file map[string]any) error {
	for _, element := range path[:len(path)-1] {
		below, ok := dir[element].(map[string]any)
		if !ok {
			if dir[element] != nil {
				return fmt.Errorf("%s: a file and a folder", strings.Join(path, "/"))
			}
			below = make(map[string]any)
			dir[element] = below
		}
		dir = below
	}
	dir[path[len(path)-1]] = map[string]any{"": file}
	return nil
}

func hashSlices(hashes []manifest.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}
