// Package browser holds the end-to-end tests in a real browser: the viewer page
// with its dashboard, shoal.js on pages of other sites, and what a stranger's
// page gets. Chromium is driven from outside; nodes and tracker are the built
// binary, run as separate processes on loopback; the CDN and the other sites are
// servers of the test, so that they can fail on purpose and tell what was asked.
//
// It has no code of its own to import. The tests are behind a build tag:
//
//	go test -tags e2e ./e2e/browser/ -count=1
//
// They play in real time and share one browser process; each has tabs without
// common cache or storage, nodes and a CDN of its own. Whether a picture stood
// still is measured in the page by what was shown, not by waiting. Screenshots
// are written to build/screenshots.
package browser
