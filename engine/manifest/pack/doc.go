// Package pack makes manifests (shoal/engine/manifest) of media: it finds a
// title's files and their media times in HLS playlists and MP4 boxes, and
// hashes them. It also checks a folder against its manifest, and exports a title
// as BitTorrent v2 metainfo.
//
// The media are a folder or an HTTP URL. A folder is read through an os.Root: no
// path, playlist or symlink reaches out of it. Of a URL nothing is kept on disk.
// All functions may be called from any goroutine; they start their own workers
// and wait for them before they return.
//
// # What becomes of what
//
//   - Every master playlist of a folder, every media playlist that no master
//     names, and every MP4 that no playlist names belong to the one title.
//   - Each media playlist and each MP4 is a track. The same playlist named twice
//     (by variants with different audio groups) is one track.
//   - A segment that is a whole file becomes a record with a time; byte ranges of
//     one file become one record with segments; EXT-X-MAP is a record or segment
//     of no duration at the time when it is first needed.
//   - Playlists and keys are never recorded: they always come from the CDN.
//   - Paths are decoded and relative to the folder of the first playlist (or of the
//     MP4). Hosts, queries and fragments are dropped: they are no part of a title.
package pack
