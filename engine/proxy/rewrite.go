package proxy

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// servePlaylist passes a request through to the origin and rewrites the answer
// when it is a playlist.
func (p *Proxy) servePlaylist(w *statusWriter, r *http.Request, path string) {
	if p.base == nil {
		p.node.passthrough(w, r, path)
		return
	}
	pw := &playlistWriter{
		ResponseWriter: w, asked: r.Clone(r.Context()), named: isPlaylist(path), rewriter: newRewriter(p.base, path),
		seen: func(body []byte) { p.titles.playlist(path, body) },
	}
	if pw.named {
		// A part of a playlist cannot be rewritten, and what HEAD and ranges
		// tell must be about the rewritten one.
		r.Header.Del("Range")
		r.Header.Del("If-Range")
		if r.Method == http.MethodHead {
			pw.headOnly = true
			r.Method = http.MethodGet
		}
	}
	p.node.passthrough(pw, r, path)
	pw.finish()
}

// playlistWriter holds back a complete playlist until it is rewritten, and lets
// everything else through as it comes.
type playlistWriter struct {
	http.ResponseWriter
	asked    *http.Request // as the player sent it
	rewriter rewriter
	seen     func(playlist []byte)
	named    bool // its path says that it is a playlist
	headOnly bool // the player asked with HEAD

	decided, holding bool
	body             bytes.Buffer
}

func (w *playlistWriter) WriteHeader(code int) {
	if code < 200 {
		w.ResponseWriter.WriteHeader(code)
		return
	}
	if w.decided {
		return
	}
	w.decided = true
	h := w.Header()
	w.holding = code == http.StatusOK && h.Get("Content-Encoding") == "" &&
		(w.named || isPlaylistType(h.Get("Content-Type"))) && h.Get("Content-Length") != "0"
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil && n > playlistBytesMax {
		w.holding = false
	}
	if !w.holding {
		w.ResponseWriter.WriteHeader(code)
	}
}

func (w *playlistWriter) Write(b []byte) (int, error) {
	if !w.decided {
		w.WriteHeader(http.StatusOK)
	}
	if w.holding && w.body.Len()+len(b) > playlistBytesMax {
		w.holding = false
		if err := w.release(w.body.Bytes()); err != nil {
			return 0, err
		}
		w.body = bytes.Buffer{}
	}
	switch {
	case w.holding:
		return w.body.Write(b)
	case w.headOnly:
		return len(b), nil
	default:
		return w.ResponseWriter.Write(b)
	}
}

// Flush and FlushError flush what is not held back.
func (w *playlistWriter) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *playlistWriter) FlushError() error {
	if w.holding || !w.decided {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// finish writes the playlist that was held back.
func (w *playlistWriter) finish() {
	if !w.holding {
		return
	}
	w.holding = false
	h := w.Header()
	if said := h.Get("Content-Length"); said != "" && said != strconv.Itoa(w.body.Len()) && !w.headOnly {
		refuse(w.ResponseWriter, http.StatusGatewayTimeout, "The origin broke off in the middle of the playlist.")
		return
	}
	w.seen(w.body.Bytes())
	out := w.rewriter.playlist(w.body.Bytes())
	h.Del("Content-Length")
	http.ServeContent(w.ResponseWriter, w.asked, "", time.Time{}, bytes.NewReader(out))
}

func (w *playlistWriter) release(b []byte) error {
	w.ResponseWriter.WriteHeader(http.StatusOK)
	if w.headOnly {
		return nil
	}
	_, err := w.ResponseWriter.Write(b)
	return err
}
