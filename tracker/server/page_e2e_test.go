//go:build e2e

package server_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/chrome"
	"shoal/internal/wire"
	"shoal/tracker"
	"shoal/tracker/client"
	"shoal/tracker/server"
	"shoal/tracker/store"
)

// browserPatience is for a machine that has more to do than this test.
const browserPatience = time.Minute

// window is the swarm view in a browser.
type window struct {
	*testing.T
	*chrome.Tab
}

func openWindow(t *testing.T, url string) window {
	t.Helper()
	browser, err := chrome.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(browser.Close)
	tab, err := browser.Tab()
	require.NoError(t, err)
	t.Cleanup(tab.Close)
	require.NoError(t, tab.Open(url))
	return window{t, tab}
}

func (w window) shows(expression string) {
	w.Helper()
	if err := w.Wait(expression, browserPatience); err != nil {
		text, _ := chrome.Eval[string](w.Tab, "document.body.innerText")
		w.Fatalf("%s: %v\n%s", expression, err, text)
	}
}

func (w window) does(expression string) {
	w.Helper()
	_, err := chrome.Eval[chrome.Nothing](w.Tab, expression)
	require.NoError(w, err)
}

func text(selector, want string) string {
	return fmt.Sprintf("document.querySelector(%q)?.innerText.replace(/\\s+/g, ' ').includes(%q)", selector, want)
}

func TestSwarmViewInABrowser(t *testing.T) {
	series := [32]byte{'s'}
	s := start(t, server.Config{
		Titles: map[store.TitleID]string{film: `<img src=x onerror="document.title='owned'"> Film`},
		Bounds: tracker.Config{Locate: func(netip.Addr) tracker.Place {
			return tracker.Place{ISP: `<b onclick="x">Net</b>`, Region: "DE-BY"}
		}},
	})
	w := openWindow(t, s.ViewURL())
	w.shows(text("#says", "Nobody is here yet."))
	w.shows("document.getElementById('swarm').hidden && !document.getElementById('titles-empty').hidden")

	alice, bob := newWatcher(t, s, 1), newWatcher(t, s, 2)
	carol := newViewer(t, s.URL().String(), 3, func(c *client.Config) {
		c.Announce = func() []client.Announcement { return []client.Announcement{{Title: series, Uploads: true}} }
	})
	alice.says(0, 4_000_000)
	bob.says(3_000_000, 1_000_000, wire.FedBy{ID: alice.id, Bytes: 3_000_000})
	name := func(w *watcher) string { return w.id.Hex()[:8] }

	// In words, in numbers, and as a picture.
	w.shows(text("#says", "3 viewers watch 2 titles; 38 % of all bytes came from each other."))
	w.shows(text("#link", "Live"))
	w.shows(text("#swarm-head", "> Film"))
	w.shows("document.title !== 'owned' && !document.querySelector('main img, main b[onclick]')")
	w.shows(text("#isps", `<b onclick="x">Net</b> 2 peers`))
	w.shows(text("#regions", "Germany, BY 2 peers"))
	w.shows(text("#reasons", "Rescues 2.5 MB · 50 %"))
	w.shows("document.querySelectorAll('#graph .line.p2p').length === 1 && document.querySelectorAll('#graph .peer').length === 2")

	// With the keyboard: a peer of the picture, then the table.
	w.does(fmt.Sprintf("document.querySelector('.peer[data-id=%q]').focus()", name(bob)))
	require.NoError(t, w.Press("\r"))
	w.shows(text("#graph-words", name(bob)+` (<b onclick="x">Net</b>, Germany, BY`))
	w.shows(text("#graph-words", "took 3.0 MB from 1 peer and 1.0 MB from the CDN"))
	w.shows("document.activeElement.getAttribute('aria-pressed') === 'true'")
	w.does("document.getElementById('as-table').focus()")
	require.NoError(t, w.Press(" "))
	w.shows(text("#feeds", strings.Join([]string{name(alice), name(bob), "3.0 MB"}, " ")))
	w.shows("document.getElementById('picture').hidden")

	// It is live, and focus stays where it is.
	bob.says(6_000_000, 1_000_000, wire.FedBy{ID: alice.id, Bytes: 6_000_000})
	w.shows(text("#feeds", "6.0 MB"))
	w.shows("document.activeElement.id === 'as-table'")

	// Another title, by its link; then back to the largest when it dissolves.
	w.does(fmt.Sprintf("document.querySelector('#titles a[href=\"#%x\"]').click()", series))
	w.shows(text("#swarm-head", fmt.Sprintf("%x…", series[:4])))
	w.shows("document.querySelectorAll('#members tr').length === 1")
	carol.client.Close()
	w.shows(text("#swarm-head", "> Film"))
	w.shows("location.hash === ''")

	for _, c := range []struct {
		width  int64
		phone  bool
		scheme string
	}{{1280, false, "light"}, {390, true, "dark"}, {360, true, "light"}} {
		require.NoError(t, w.Viewport(c.width, 800, c.phone))
		require.NoError(t, w.Media("prefers-color-scheme", c.scheme))
		w.shows("document.documentElement.scrollWidth <= innerWidth")
	}
	require.Empty(t, w.Errors())
	for _, r := range w.Requests() {
		require.True(t, strings.HasPrefix(r.URL, s.ViewURL()), r.URL)
	}

	require.NoError(t, s.Close())
	w.shows(text("#link", "The tracker does not answer; trying again."))
}
