// Package e2e holds the end-to-end tests: the built binary, run as separate
// processes on loopback beside real programs (nginx, curl, ffmpeg, ffprobe,
// mpv), watched from outside through what it serves, prints and logs.
//
// It has no code of its own to import. The tests are behind a build tag, because
// they take minutes and need those programs (make deps installs them):
//
//	go test -tags e2e ./e2e/ -count=1
//
// Titles are made anew for each run, with noise in picture and sound, so that no
// two runs see the same bytes. Tests run one after the other: each plays in real
// time, and two at once would measure each other. Every process is killed and
// every folder removed when its test ends.
package e2e
