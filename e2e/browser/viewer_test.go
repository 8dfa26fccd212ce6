//go:build e2e

package browser

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// smooth is what counts as no stall: pictures of the sample title are 40 ms
	// apart, and a busy test machine may be late with some.
	smooth = time.Second

	// realTime is how long the film is watched without a touch.
	realTime = 30
)

// openViewer opens a node's own page at a path and waits for the picture, which
// may come a moment after the player says that it plays.
func openViewer(t *testing.T, node, path string) viewer {
	t.Helper()
	v := watch(t, node+"/#"+path)
	v.eventually("shoalViewer.state == 'playing' && shoalViewer.firstFrameMs !== null")
	return v
}

func TestViewerPlaysInRealTimeAndObeys(t *testing.T) {
	t.Parallel()
	cdn := startCDN(t)
	_, url := node(t, "node", cdn.URL)
	v := openViewer(t, url, "film/master.m3u8")
	require.Positive(t, value[int](v, "shoalViewer.firstFrameMs"))
	v.playsTo(1)
	from := v.reset()
	v.playsTo(from.Time + realTime)
	v.ranSmoothly(from, smooth)
	v.neverStalled()

	t.Log("seek far ahead, and back")
	v.goesOn(func() { v.eval("video.currentTime = 56") }, 56)
	v.goesOn(func() { v.eval("video.currentTime = 5") }, 5)

	t.Log("pause and play")
	v.eval("video.pause()")
	v.eventually("shoalViewer.state == 'paused'")
	stopped := v.sample()
	v.eventually(fmt.Sprintf("watch.sample().at > %g", stopped.At+1))
	require.InDelta(t, stopped.Time, v.sample().Time, 0.001, "a paused film stands still")
	v.goesOn(func() { v.eval("void video.play()") }, stopped.Time)

	t.Log("another quality")
	v.takesBest()
	choose := `(q => {
		q.value = [...q.options].find(o => o.text.includes(%q)).value
		q.dispatchEvent(new Event('change', {bubbles: true}))
	})(document.querySelector('#quality'))`
	v.eval(fmt.Sprintf(choose, "180p"))
	v.eventually("video.videoHeight == 180")
	require.False(t, value[bool](v, "shoalViewer.auto"))
	v.goesOn(func() {}, v.sample().Time)
	v.eval(fmt.Sprintf(choose, "360p"))
	v.eventually("video.videoHeight == 360 && !shoalViewer.auto")
	v.eval(fmt.Sprintf(choose, "Auto"))
	v.eventually("shoalViewer.auto")
	v.goesOn(func() {}, v.sample().Time)
	v.takesBest()

	v.neverStalled()
	require.Empty(t, value[string](v, "shoalViewer.error"))
	v.staysAtHome(url)
}

// neverStalled asserts that the page noted no stall for want of film: with film
// in the buffer, the machine was too slow to show it. Nor is it the node's fault
// what is shorter than the time for which the browser had to stand still itself.
func (v viewer) neverStalled() {
	v.t.Helper()
	log := value[string](v, "JSON.stringify(shoalViewer.stallLog)")
	ms := value[float64](v, "shoalViewer.stallLog.filter(stall => stall.bufferS < 0.5).reduce((sum, stall) => sum + Math.max(stall.ms, 1), 0)")
	if late := v.sample().LateInAll; late >= lateMin {
		v.t.Logf("the machine was %.1f s late; stalls: %s", late, log)
		ms -= late * 1000
	}
	require.LessOrEqual(v.t, ms, 0.0, "%s", log)
}

// takesBest asserts that the player by itself comes to the best quality, since
// the line is fast. A player that had to wait for the machine takes it for a
// slow line.
func (v viewer) takesBest() {
	v.t.Helper()
	if v.sample().LateInAll < lateMin {
		v.eventually("video.videoHeight == 360")
	}
}

// goesOn acts, and asserts that the film then plays for two seconds from at.
func (v viewer) goesOn(act func(), at float64) {
	v.t.Helper()
	v.reset()
	act()
	v.eventually(fmt.Sprintf("!video.seeking && !video.paused && video.currentTime >= %g && video.currentTime < %g && shoalViewer.state == 'playing'", at+2, at+30))
	v.neverOlder(fallback)
}

// staysAtHome asserts that the page asked nobody but its node, and that nothing
// went wrong in it.
func (v viewer) staysAtHome(node string) {
	v.t.Helper()
	require.Empty(v.t, v.Errors())
	requests := v.Requests()
	require.NotEmpty(v.t, requests)
	for _, r := range requests {
		ours := strings.HasPrefix(r.URL, node+"/") || strings.HasPrefix(r.URL, "blob:"+node+"/")
		require.True(v.t, ours, "a foreign resource: %+v", r)
		require.True(v.t, r.Failed == "" || r.Canceled, "a request failed: %+v", r)
	}
}

// A node that dies under its own page leaves a sentence that says what to do,
// and the film goes on when the node is back.
func TestViewerSaysThatNodeIsGoneAndGoesOnWhenItIsBack(t *testing.T) {
	t.Parallel()
	cdn := startCDN(t)
	port, err := freePort()
	require.NoError(t, err)
	listen := "127.0.0.1:" + strconv.Itoa(port)
	p, url := node(t, "first node", cdn.URL, "--listen", listen)
	v := openViewer(t, url, "film/master.m3u8")
	v.playsTo(1)
	p.kill()
	v.eval("video.currentTime = 50") // what is not loaded cannot play
	v.eventually("shoalViewer.state == 'lost'")
	v.eventually("document.querySelector('[role=alert]').checkVisibility()")
	require.Contains(t, value[string](v, "document.querySelector('[role=alert]').innerText"), "Start “shoal peer” again")
	v.eventually("document.querySelector('#says').innerText.includes('does not answer')")

	node(t, "second node", cdn.URL, "--listen", listen)
	v.playsTo(52)
	v.eventually("shoalViewer.state == 'playing' && !document.querySelector('[role=alert]').checkVisibility()")
}

func TestViewerExplainsWhatCannotBePlayed(t *testing.T) {
	t.Parallel()
	cdn := startCDN(t)
	cdn.fail(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasPrefix(r.URL.Path, "/secret/"):
			http.Error(w, "no ticket", http.StatusForbidden)
		case r.URL.Path == "/strange/master.m3u8":
			_, _ = fmt.Fprint(w, "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=500000,RESOLUTION=640x360,CODECS=\"zvid.1.2,mp4a.40.2\"\n../film/360p/index.m3u8\n")
		default:
			return false
		}
		return true
	})
	_, url := node(t, "node", cdn.URL)
	v := viewer{newTab(t), t}
	require.NoError(t, v.Open(url+"/"))
	for _, c := range []struct{ path, says, also string }{
		{"secret/master.m3u8", "The CDN refuses “secret/master.m3u8” (403)", "ask for a fresh link"},
		{"film/nowhere.m3u8", "The CDN has nothing at “film/nowhere.m3u8” (404)", "Check the spelling"},
		{"strange/master.m3u8", "This browser cannot decode the title (zvid.1.2,mp4a.40.2)", "mpv or VLC"},
		{"film/title.shoal", "What the CDN has at “film/title.shoal” is no HLS playlist", "Give the path of a .m3u8 or .mp4 file"},
		{"https://elsewhere.example/film/master.m3u8", "This node plays only from " + cdn.URL, "Give a path below it"},
		{"api/status", "is a page of the node itself", "Give the path of a .m3u8 or .mp4 file"},
	} {
		v.eval(fmt.Sprintf("location.hash = %q", "#"+c.path))
		v.eventually(fmt.Sprintf(`(alert => alert.checkVisibility() && alert.innerText.includes(%q) && alert.innerText.includes(%q) && shoalViewer.state == 'error')(document.querySelector('[role=alert]'))`, c.says, c.also))
	}

	t.Log("after all these, the page still plays")
	v.eval("location.hash = '#film/master.m3u8'")
	v.eval(watchScript)
	v.playsTo(1)
	require.False(t, value[bool](v, "document.querySelector('[role=alert]').checkVisibility()"))
	v.quiet()
}
