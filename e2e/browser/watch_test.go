//go:build e2e

package browser

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"shoal/internal/chrome"
)

// watchScript notes in the page what a viewer would have seen: when each
// picture was shown, by requestVideoFrameCallback, and how old the oldest
// picture became while it should have moved.
//
// It measures by a clock that only goes on while the browser draws. That is
// real time, unless the machine has no time for the browser: then no player
// could show a picture, and none is missed. How much that was is noted too. A
// player that waits although it has film waits for the machine as well.
const watchScript = `window.watch ||= (() => {
  const video = document.querySelector('video')
  const w = {oldest: 0, waits: 0, frames: 0}
  const drawMax = 50 // ms; browsers draw every 17
  let drawn = 0, last = performance.now(), shown = 0, late = 0, lateBefore = 0
  const ahead = () => {
    const t = video.currentTime, b = video.buffered
    for (let i = 0; i < b.length; i++) if (b.start(i) <= t + 0.1 && b.end(i) > t) return b.end(i) - t
    return 0
  }
  const frame = () => {
    shown = drawn
    w.frames++
    video.requestVideoFrameCallback(frame)
  }
  video.requestVideoFrameCallback(frame)
  video.addEventListener('waiting', () => { if (ahead() < 0.5) w.waits++ })
  const draw = () => {
    const now = performance.now()
    drawn += Math.min(now - last, drawMax)
    late += Math.max(now - last - drawMax, 0)
    last = now
    if (video.ended || video.paused && video.currentTime > 0) shown = drawn
    w.oldest = Math.max(w.oldest, drawn - shown)
    requestAnimationFrame(draw)
  }
  requestAnimationFrame(draw)
  w.reset = () => {
    shown = drawn
    lateBefore = late
    Object.assign(w, {oldest: 0, waits: 0, frames: 0})
    return w.sample()
  }
  w.sample = () => ({
    at: performance.now() / 1000, late: (late - lateBefore) / 1000, lateInAll: late / 1000, time: video.currentTime, paused: video.paused,
    duration: video.duration || 0, height: video.videoHeight, oldest: w.oldest / 1000, waits: w.waits, frames: w.frames,
    buffer: video.buffered.length ? video.buffered.end(video.buffered.length - 1) - video.currentTime : 0,
  })
  return w
})(); watch.sample()`

// sample is what watchScript has seen since it was reset. Seconds; Oldest by the
// clock of what was drawn, which is Late. Waits are those without film.
type sample struct {
	At, Late, LateInAll, Time, Duration, Buffer, Oldest float64
	Waits, Frames, Height                               int
	Paused                                              bool
}

// lateMin is from when on the machine is called too busy. Seconds, in which a
// browser on an idle machine is never late.
const lateMin = 1

// starved reports whether the machine had no time for the browser, and so none
// for node and CDN either. A stall is nobody's fault then.
func (s sample) starved() bool { return s.Late >= lateMin }

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

// playsTo waits until the video has come to a position, in seconds, for as long
// as the film takes and patience on top.
func (v viewer) playsTo(position float64) sample {
	v.t.Helper()
	here := value[float64](v, "document.querySelector('video').currentTime")
	film := time.Duration(max(0, position-here) * float64(time.Second))
	v.within(film+patience, fmt.Sprintf("document.querySelector('video').currentTime >= %g", position))
	return v.sample()
}

// notes waits until the tab has noted something: what the browser tells of
// requests and errors comes by itself, often after the page has gone on.
func (v viewer) notes(condition func() bool, what string, args ...any) {
	v.t.Helper()
	if !assert.Eventually(v.t, condition, patience, look, append([]any{what}, args...)...) {
		require.FailNow(v.t, "not noted", "console: %q\nrequests: %v", v.Errors(), last(v.Requests(), 20))
	}
}

// complains waits until the page's console has an error with a text.
func (v viewer) complains(text string) {
	v.t.Helper()
	v.notes(func() bool {
		return slices.ContainsFunc(v.Errors(), func(e string) bool { return strings.Contains(e, text) })
	}, "the console says %q", text)
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

// neverOlder asserts that the picture was never older than limit since the reset.
func (v viewer) neverOlder(limit time.Duration) {
	v.t.Helper()
	s := v.sample()
	v.t.Logf("the picture was at most %.1f s old; the machine was %.1f s late", s.Oldest, s.Late)
	most := limit.Seconds()
	if s.starved() {
		most += s.Late
	}
	require.Less(v.t, s.Oldest, most, "the picture stood still: %+v", s)
}

// ranSmoothly asserts that the picture was never older than limit, since the
// reset that gave from, that the film went on in real time, and that the player
// never waited for it.
func (v viewer) ranSmoothly(from sample, limit time.Duration) {
	v.t.Helper()
	to := v.sample()
	elapsed, played := to.At-from.At, to.Time-from.Time
	require.Less(v.t, played, elapsed+limit.Seconds(), "the film ran ahead: %+v, %+v", from, to)
	v.neverOlder(limit)
	if to.starved() {
		return
	}
	require.Greater(v.t, played, elapsed-limit.Seconds(), "the film fell behind: %+v, %+v", from, to)
	require.Greater(v.t, to.Frames, int(elapsed)*5, "pictures were shown, not sound alone: %+v", to)
	require.Zero(v.t, to.Waits, "the player waited for the film")
}

func last[T any](list []T, n int) []T { return list[max(0, len(list)-n):] }
