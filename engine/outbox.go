package engine

import (
	"sync"

	"shoal/internal/wire"
)

// outbox holds encoded control frames until a session's writer takes them. The
// loop adds without ever waiting.
type outbox struct {
	ready chan struct{} // room for one: there is something to take

	// guarded by mu
	mu     sync.Mutex
	frames []byte
	ended  bool
	reason string
}

func newOutbox() *outbox { return &outbox{ready: make(chan struct{}, 1)} }

// add queues a frame; false when too much waits already.
func (o *outbox) add(m wire.Control) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) > outboxBytes {
		return false
	}
	o.frames = wire.AppendControl(o.frames, m)
	o.wake()
	return true
}

// end lets the writer write what is there and a goodbye, and then close.
func (o *outbox) end(reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	o.ended, o.reason = true, reason
	o.frames = wire.AppendControl(o.frames, wire.Goodbye{Reason: reason})
	o.wake()
}

// take returns what is queued, and whether and why nothing will follow.
func (o *outbox) take() (frames []byte, reason string, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames = o.frames
	o.frames = nil
	return frames, o.reason, o.ended
}

func (o *outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}
