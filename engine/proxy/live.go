package proxy

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"shoal/engine"
)

const (
	// liveEvery is how often a dashboard is told the node's state: twice a
	// second looks alive, and costs the engine two snapshots a second however
	// many look.
	liveEvery = 500 * time.Millisecond

	// liveSubscribersMax bounds the open streams. A browser opens six
	// connections to one host at most; this is a few browsers.
	liveSubscribersMax = 16

	// liveHeartbeat is the longest silence on a stream: what lies between may
	// cut a connection that is silent for half a minute.
	liveHeartbeat = 15 * time.Second

	// liveWriteTimeout ends a stream whose reader takes nothing, e.g. a laptop
	// that sleeps. The browser comes back by itself.
	liveWriteTimeout = 10 * time.Second

	// liveRetryMillis is when it comes back.
	liveRetryMillis = "1000"

	// viewerIDBytesMax bounds the ID that a stream asks for; a CMCD session ID
	// has 64 characters (CTA-5004).
	viewerIDBytesMax = 256
)

// liveStatus is the data of a status event.
type liveStatus struct {
	Status engine.Status `json:"status"`
	// PassthroughBytes are those of shoal_passthrough_bytes_total.
	PassthroughBytes uint64 `json:"passthrough_bytes"`
	Says             string `json:"says"`
	AtMillis         int64  `json:"at_ms"` // Unix
}

// live sends the node's state to dashboards by server-sent events. One
// goroutine asks the node while anybody listens. Safe for concurrent use.
type live struct {
	// constant after newLive
	node node
	now  func() time.Time
	done chan struct{} // closed by close
	poke chan struct{} // somebody came and should not wait for the next tick

	mu          sync.Mutex
	subscribers map[chan []byte]bool // guarded by mu; each holds the latest status event
	watching    bool                 // guarded by mu: watch runs
	closed      bool                 // guarded by mu
	wg          sync.WaitGroup

	last snapshot // owned by watch
}

func newLive(n node) *live {
	return &live{
		node: n, now: time.Now,
		done: make(chan struct{}), poke: make(chan struct{}, 1),
		subscribers: make(map[chan []byte]bool),
	}
}

// close ends all streams and waits for the goroutine; the streams' handlers are
// the server's to wait for.
func (l *live) close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	l.mu.Unlock()
	l.wg.Wait()
}

// subscribe returns a channel of status events, or nil when there are too many
// or the node is going away.
func (l *live) subscribe() chan []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.subscribers) >= liveSubscribersMax {
		return nil
	}
	ch := make(chan []byte, 1)
	l.subscribers[ch] = true
	if !l.watching {
		l.watching = true
		l.wg.Go(l.watch)
	}
	select {
	case l.poke <- struct{}{}:
	default:
	}
	return ch
}

func (l *live) unsubscribe(ch chan []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.subscribers, ch)
}

// watch asks the node and tells the subscribers, while there are any.
func (l *live) watch() {
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-l.poke:
		case <-tick.C:
		}
		if !l.tell() {
			return
		}
	}
}

// tell gives everybody the present state; false: nobody is left.
func (l *live) tell() bool {
	now := l.now()
	s := observe(l.last, l.node.status(), l.node.passthroughBytes(), now)
	event := encodeEvent("status", liveStatus{
		Status: s.status, PassthroughBytes: s.passthrough, Says: says(l.last, s), AtMillis: now.UnixMilli(),
	})
	l.last = s
	l.mu.Lock()
	defer l.mu.Unlock()
	for ch := range l.subscribers {
		select {
		case <-ch: // one that was not taken is out of date
		default:
		}
		ch <- event // the only sender, and there is room for one
	}
	l.watching = len(l.subscribers) > 0
	return l.watching
}

// encodeEvent makes a server-sent event; JSON has no line breaks of its own.
func encodeEvent(name string, data any) []byte {
	body, err := json.Marshal(data)
	if err != nil {
		panic("BUG: an event that is no JSON: " + err.Error())
	}
	return append(append([]byte("event: "+name+"\ndata: "), body...), "\n\n"...)
}

// serve answers /api/live until the client goes or the node does.
func (l *live) serve(w http.ResponseWriter, r *http.Request) {
	states := l.subscribe()
	if states == nil {
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, "Too many dashboards are open on this node, or it is shutting down; close one and reload.")
		return
	}
	defer l.unsubscribe(states)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx in front would hold the events back
	s := stream{w: w, rc: http.NewResponseController(w)}
	defer s.release()
	if !s.send([]byte("retry: "+liveRetryMillis+"\n\n")) || r.Method == http.MethodHead {
		return
	}
	events := l.node.events(ctx)
	viewer := r.URL.Query().Get("viewer")
	if len(viewer) > viewerIDBytesMax {
		viewer = ""
	}
	heartbeat := time.NewTimer(liveHeartbeat)
	defer heartbeat.Stop()
	for {
		var out []byte
		select {
		case <-ctx.Done():
			return
		case <-l.done:
			return
		case <-heartbeat.C:
			out = []byte(": still here\n\n")
		case state := <-states:
			out = append(out, state...)
			if m, ok := l.pieces(viewer); ok {
				out = append(out, encodeEvent("pieces", m)...)
			}
		case e, more := <-events:
			if !more {
				return // the engine is closed
			}
			out = encodeEvent("event", e)
		}
		if !s.send(out) {
			return
		}
		heartbeat.Reset(liveHeartbeat)
	}
}

// pieces is the map around a viewer's playhead; of the one that was active last
// when that one is not here.
func (l *live) pieces(viewer string) (engine.PieceMap, bool) {
	if m, ok := l.node.pieces("", viewer); ok || viewer == "" {
		return m, ok
	}
	return l.node.pieces("", "")
}

// stream is one answer that stays open.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// send writes and flushes, and gives up on a reader that takes nothing.
func (s stream) send(b []byte) bool {
	_ = s.rc.SetWriteDeadline(time.Now().Add(liveWriteTimeout)) // without support: a test's recorder
	if _, err := s.w.Write(b); err != nil {
		return false
	}
	return s.rc.Flush() == nil
}

// release takes the deadline back: the connection may serve another request.
func (s stream) release() { _ = s.rc.SetWriteDeadline(time.Time{}) }
