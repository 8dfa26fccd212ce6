// Package engine is the live peer: it downloads the bytes that a video player
// is about to play from other viewers, and from the CDN only when a playback
// deadline would otherwise be missed.
//
// An Engine speaks for one origin prefix. A caller opens a Title by any path
// below it, asks for a File, and reads byte ranges:
//
//	e, err := engine.New(engine.Config{Origin: "https://cdn.example/vod", Tracker: "quic://tracker.example:7000"})
//	title, err := e.OpenTitle(ctx, "film/720p/seg-00001.m4s", nil)
//	file, err := title.File(ctx, "film/720p/seg-00001.m4s")
//	r, err := file.Open(ctx, engine.OpenOptions{Length: -1, Deadline: time.Now().Add(4 * time.Second)})
//	io.Copy(w, r)
//
// Every byte that a Reader returns was checked against the publisher's signed
// manifest. What no manifest describes (playlists, keys, licences) is not the
// engine's business: fetch it with Origin.
//
// The engine holds no policy. What to download, from whom, and when to leave
// the swarm for the CDN is decided by package shoal/engine/swarm; this package
// gives that core sockets, disks, hashes and a clock. One goroutine, the loop
// (see loop.go), owns the core and everything that the core's decisions touch.
// All exported methods may be called from any goroutine.
package engine
