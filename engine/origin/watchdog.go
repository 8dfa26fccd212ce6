package origin

import "time"

// minProgressBytes have to come within a window: a connection that drips single bytes to stay alive is as useless
// as a silent one.
const minProgressBytes = 1 << 10

// watchdog calls bark when too little progress is made within a window. It is used by one goroutine; bark runs on
// another.
type watchdog struct {
	timer   *time.Timer
	window  time.Duration
	due     time.Time
	pending int
}

func newWatchdog(window time.Duration, bark func()) *watchdog {
	return &watchdog{timer: time.AfterFunc(window, bark), window: window, due: time.Now().Add(window)}
}

// restart begins a new window.
func (w *watchdog) restart(window time.Duration) {
	w.window, w.pending = window, 0
	w.due = time.Now().Add(window)
	w.timer.Reset(window)
}

// progress counts bytes that came.
func (w *watchdog) progress(n int) {
	if w.pending += n; w.pending >= minProgressBytes {
		w.restart(w.window)
	}
}

// pause stops the clock while it is not the origin's turn; it returns how much of the window was left.
func (w *watchdog) pause() time.Duration {
	w.timer.Stop()
	return max(0, time.Until(w.due))
}

// resume lets the rest of the window run.
func (w *watchdog) resume(left time.Duration) {
	w.due = time.Now().Add(left)
	w.timer.Reset(left)
}

func (w *watchdog) stop() { w.timer.Stop() }
