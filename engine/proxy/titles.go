package proxy

import (
	"bytes"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"shoal/engine"
)

const (
	// titlesMax bounds the titles that are remembered: more than a person looks
	// through, and with titlePathBytesMax 128 KiB.
	titlesMax = 64

	// titlePathBytesMax bounds the path of one; longer ones are not listed.
	titlePathBytesMax = 2 << 10
)

// Sources of a listed title.
const (
	titleConfigured = "configured"
	titlePlayed     = "played"
)

// listedTitle is one line of /api/titles.
type listedTitle struct {
	Path   string `json:"path"` // below the origin's prefix, unescaped
	Name   string `json:"name"` // the publisher's, or made of the path
	ID     string `json:"id"`   // empty until the title is open
	Live   bool   `json:"live"`
	Source string `json:"source"`
}

// titleEntry is what is remembered of a title.
type titleEntry struct {
	path     string
	source   string
	playlist bool
	live     bool
}

// covers tells whether p lies beside or below the entry's playlist. A rendition
// does; it is a part of that title and no title of its own.
func (e *titleEntry) covers(p string) bool {
	return e.playlist && p != e.path && strings.HasPrefix(p, folder(e.path))
}

// folder is the path's folder with its slash; empty at the top.
func folder(p string) string { return p[:strings.LastIndexByte(p, '/')+1] }

// titleList remembers what a person may want to watch (again): what was
// configured, and what was played through this node. Safe for concurrent use.
type titleList struct {
	mu      sync.Mutex
	entries []*titleEntry // guarded by mu: the configured ones, then played ones, the latest first
}

func newTitleList(configured []string) *titleList {
	l := &titleList{}
	for _, p := range configured {
		p = strings.TrimLeft(p, "/")
		known := slices.ContainsFunc(l.entries, func(e *titleEntry) bool { return e.path == p })
		if p == "" || known || len(p) > titlePathBytesMax || len(l.entries) == titlesMax {
			continue
		}
		l.entries = append(l.entries, &titleEntry{path: p, source: titleConfigured, playlist: isPlaylist(p)})
	}
	return l
}

// playlist learns from a playlist that passes through. A master playlist is a
// title. A media playlist is one unless a master above it is known: players ask
// for the master first.
func (l *titleList) playlist(p string, body []byte) {
	if len(p) > titlePathBytesMax || !bytes.HasPrefix(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), []byte("#EXTM3U")) {
		return
	}
	master := bytes.Contains(body, []byte("#EXT-X-STREAM-INF"))
	live := !master && bytes.Contains(body, []byte("#EXTINF")) &&
		!bytes.Contains(body, []byte("#EXT-X-ENDLIST")) && !bytes.Contains(body, []byte("#EXT-X-PLAYLIST-TYPE:VOD"))
	l.mu.Lock()
	defer l.mu.Unlock()
	if !master {
		if e := l.covering(p); e != nil {
			e.live = live
			return
		}
	}
	e := l.played(p)
	e.playlist = true
	if master {
		l.entries = slices.DeleteFunc(l.entries, func(other *titleEntry) bool {
			return other.source == titlePlayed && e.covers(other.path) && !other.playlist
		})
		return
	}
	e.live = live
}

// movie learns of a file like an MP4 that is being played. Beside or below a
// playlist it is taken for one of that title's files, unless a media element
// asks for it: those know no playlists.
func (l *titleList) movie(p, fetchDest string) {
	if len(p) > titlePathBytesMax {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if fetchDest == "video" || l.covering(p) == nil {
		l.played(p)
	}
}

// covering returns the entry with the longest folder that covers p, if p has no
// entry of its own; the caller holds mu.
func (l *titleList) covering(p string) *titleEntry {
	var best *titleEntry
	for _, e := range l.entries {
		if e.path == p {
			return nil
		}
		if e.covers(p) && (best == nil || len(folder(e.path)) > len(folder(best.path))) {
			best = e
		}
	}
	return best
}

// played returns the entry of p and makes it the latest; the caller holds mu.
func (l *titleList) played(p string) *titleEntry {
	configured := 0
	for i, e := range l.entries {
		if e.source == titleConfigured {
			configured = i + 1
		}
		if e.path != p {
			continue
		}
		if e.source == titlePlayed {
			l.entries = slices.Insert(slices.Delete(l.entries, i, i+1), configured, e)
		}
		return e
	}
	e := &titleEntry{path: p, source: titlePlayed}
	if configured == titlesMax {
		return e // not listed: there is no room beside the configured ones
	}
	l.entries = slices.Insert(l.entries, configured, e)
	l.entries = l.entries[:min(len(l.entries), titlesMax)]
	return e
}

// list returns the titles, with what the open ones say of themselves.
func (l *titleList) list(open []engine.TitleStatus) []listedTitle {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]listedTitle, 0, len(l.entries))
	for _, e := range l.entries {
		t := listedTitle{Path: e.path, Name: nameOf(e.path), Live: e.live, Source: e.source}
		longest := -1
		var name string
		for _, o := range open {
			if strings.HasPrefix(e.path, o.Path) && len(o.Path) > longest {
				longest, t.ID, name = len(o.Path), o.ID, o.Name
			}
		}
		if name != "" {
			t.Name = name
		}
		out = append(out, t)
	}
	return out
}

// nameOf makes a name of a path: the file's when it says more than what every
// title's playlist is called, or else its folder's.
func nameOf(p string) string {
	base := strings.TrimSuffix(path.Base(p), path.Ext(p))
	switch strings.ToLower(base) {
	case "master", "index", "playlist", "main", "manifest", "stream", "prog_index":
		if dir := path.Base(path.Dir(p)); dir != "." && dir != "/" {
			return dir
		}
	}
	return base
}

// isMovie tells a progressive file by its path.
func isMovie(p string) bool {
	switch strings.ToLower(path.Ext(p)) {
	case ".mp4", ".m4v", ".mov", ".webm":
		return true
	default:
		return false
	}
}

// serveTitles answers /api/titles.
func (p *Proxy) serveTitles(w http.ResponseWriter) {
	writeJSON(w, struct {
		Titles []listedTitle `json:"titles"`
	}{p.titles.list(p.node.status().Titles)})
}
