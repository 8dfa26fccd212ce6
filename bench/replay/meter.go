package replay

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Meter is what a run tells while it goes on. Everything may be read at any time,
// from any goroutine.
type Meter struct {
	Online        atomic.Int64 // nodes in all worlds at work
	ViewerSeconds atomic.Int64 // watched so far
	Sessions      atomic.Int64 // ended

	mu     sync.Mutex
	clocks map[*world]time.Duration // of the worlds at work
	least  time.Duration
}

// Simulated is the moment of the trace that has been reached by the world at work
// that is farthest behind.
func (m *Meter) Simulated() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.clocks) > 0 {
		m.least = slices.Min(slices.Collect(maps.Values(m.clocks)))
	}
	return m.least
}

func (m *Meter) reached(w *world, at time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clocks == nil {
		m.clocks = make(map[*world]time.Duration)
	}
	m.clocks[w] = at
}

func (m *Meter) ended(w *world) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.least = m.clocks[w] // stays if it was the last
	delete(m.clocks, w)
}

// tellMeter shows how far the world is.
func (w *world) tellMeter() {
	watched := w.watched
	for _, p := range w.peers {
		if p != nil && p.online {
			watched += p.watched()
		}
	}
	w.meter.ViewerSeconds.Add(int64(watched/time.Second) - w.told)
	w.told = int64(watched / time.Second)
	w.meter.reached(w, w.now)
}

// watched is how long a viewer has been there, playing or not.
func (p *peer) watched() time.Duration { return min(p.w.now-p.arrived, p.s.Watch) }
