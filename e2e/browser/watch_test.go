//go:build e2e

package browser

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/chrome"
)

// watchScript notes in the page what a viewer would have seen: when each
// picture was shown, by requestVideoFrameCallback, and how old the oldest
// picture became while it should have moved.
const watchScript = `window.watch ||= (() => {
  const video = document.querySelector('video')
  const w = {oldest: 0, waits: 0, frames: 0}
  let shown = performance.now()
  const frame = () => {
    shown = performance.now()
    w.frames++
    video.requestVideoFrameCallback(frame)
  }
  video.requestVideoFrameCallback(frame)
  video.addEventListener('waiting', () => w.waits++)
  setInterval(() => {
    if (video.ended || video.paused && video.currentTime > 0) shown = performance.now()
    w.oldest = Math.max(w.oldest, performance.now() - shown)
  }, 10)
  w.reset = () => {
    shown = performance.now()
    Object.assign(w, {oldest: 0, waits: 0, frames: 0})
    return w.sample()
  }
  w.sample = () => ({
    at: performance.now() / 1000, time: video.currentTime, paused: video.paused, duration: video.duration || 0, height: video.videoHeight,
    oldest: w.oldest / 1000, waits: w.waits, frames: w.frames,
    buffer: video.buffered.length ? video.buffered.end(video.buffered.length - 1) - video.currentTime : 0,
  })
  return w
})(); watch.sample()`

// sample is what watchScript has seen since it was reset. Seconds.
type sample struct {
	At, Time, Duration, Buffer, Oldest float64
	Waits, Frames, Height              int
	Paused                             bool
}

// viewer is a person before a page with one video.
type viewer struct {
	*chrome.Tab
	t *testing.T
}

// watch opens a page in a tab of its own and begins to watch its video.
func watch(t *testing.T, url string) viewer {
	t.Helper()
	v := viewer{newTab(t), t}
	require.NoError(t, v.Open(url))
	v.eventually("document.querySelector('video')")
	v.eval(watchScript)
	return v
}

// newTab opens an empty tab that is closed with the test.
func newTab(t *testing.T) *chrome.Tab {
	t.Helper()
	tab, err := browser.Tab()
	require.NoError(t, err)
	t.Cleanup(tab.Close)
	return tab
}

func (v viewer) eval(script string) {
	v.t.Helper()
	_, err := chrome.Eval[chrome.Nothing](v.Tab, script)
	require.NoError(v.t, err, "%s", script)
}

// eventually waits until an expression, or the promise that it is, is true in
// the page.
func (v viewer) eventually(expression string) {
	v.t.Helper()
	v.within(patience, expression)
}

func (v viewer) within(limit time.Duration, expression string) {
	v.t.Helper()
	if err := v.Wait(expression, limit); err != nil {
		state, _ := chrome.Eval[string](v.Tab, `JSON.stringify(window.watch?.sample()) + ' ' + document.body.innerText`)
		require.NoError(v.t, err, "page: %s\nconsole: %q\nrequests: %v", state, v.Errors(), last(v.Requests(), 20))
	}
}

// playsTo waits until the video has come to a position, in seconds.
func (v viewer) playsTo(position string) sample {
	v.t.Helper()
	v.eventually("document.querySelector('video').currentTime >= " + position)
	return v.sample()
}

func (v viewer) sample() sample { return value[sample](v, `watch.sample()`) }

// reset begins to watch anew.
func (v viewer) reset() sample { return value[sample](v, `watch.reset()`) }

// value is an expression's value.
func value[T any](v viewer, expression string) T {
	v.t.Helper()
	x, err := chrome.Eval[T](v.Tab, expression)
	require.NoError(v.t, err, "%s", expression)
	return x
}

// ranSmoothly asserts that the picture was never older than limit, since the
// reset that gave from, and that the film went on in real time.
func (v viewer) ranSmoothly(from sample, limit time.Duration) {
	v.t.Helper()
	to := v.sample()
	require.Less(v.t, to.Oldest, limit.Seconds(), "the picture stood still: %+v", to)
	require.InDelta(v.t, to.At-from.At, to.Time-from.Time, limit.Seconds(), "the film went on in real time: %+v, %+v", from, to)
	require.Greater(v.t, to.Frames, int(to.At-from.At)*5, "pictures were shown, not sound alone: %+v", to)
}

func last[T any](list []T, n int) []T { return list[max(0, len(list)-n):] }
