//go:build e2e

package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"shoal/internal/chrome"
	"shoal/testdata"
)

// Set by TestMain.
var (
	shoal     string          // the binary under test
	sharedDir string          // lasts for the whole run
	filmDir   string          // the packed sample title: HLS, and movie.mp4
	browser   *chrome.Browser // one for all tests
	// Ports of this machine that the browser takes for a part of the internet.
	publicSite, publicCDN int
)

const (
	// siteName is the host of the sites on which people watch. To the browser it
	// is another site than the node, and a secure context, as a real one is.
	siteName = "site.localhost"

	// evilName is a stranger's, who made it resolve to the viewer's own machine.
	evilName = "evil.test"
)

// parallel tests mostly wait for films to play, so that two processors carry
// more than two; with four, pictures come late.
const parallel = "3"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "shoal-browser-")
	if err != nil {
		return complain(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sharedDir, shoal, filmDir = dir, filepath.Join(dir, "shoal"), filepath.Join(dir, "film")
	build := exec.Command("go", "build", "-o", shoal, "shoal/cmd/shoal")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return complain(fmt.Errorf("go build: %w", err))
	}
	if err := makeFilm(); err != nil {
		return complain(err)
	}
	for _, port := range []*int{&publicSite, &publicCDN} {
		if *port, err = freePort(); err != nil {
			return complain(err)
		}
	}
	browser, err = chrome.Start(context.Background(),
		"host-resolver-rules=MAP "+evilName+" 127.0.0.1, MAP *.localhost 127.0.0.1",
		fmt.Sprintf("ip-address-space-overrides=127.0.0.1:%d=public,127.0.0.1:%d=public", publicSite, publicCDN))
	if err != nil {
		return complain(err)
	}
	defer browser.Close()
	go startProcesses()
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		return complain(err)
	}
	return m.Run()
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "FAIL:", err)
	return 1
}

// makeFilm unpacks the sample title, adds one of its renditions as an MP4, and
// packs it.
func makeFilm() error {
	if err := os.CopyFS(filmDir, testdata.Media()); err != nil {
		return err
	}
	commands := [][]string{
		{
			"ffmpeg", "-nostdin", "-v", "error", "-i", filepath.Join(filmDir, "360p", "index.m3u8"),
			"-c", "copy", "-movflags", "+faststart", filepath.Join(filmDir, "movie.mp4"),
		},
		{shoal, "pack", filmDir, "--name", "The shoal", "--key", filepath.Join(sharedDir, "publisher.key")},
	}
	for _, command := range commands {
		if _, err := exec.LookPath(command[0]); err != nil {
			return fmt.Errorf("%s is missing: run make deps", command[0])
		}
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", command[0], err, out)
		}
	}
	return nil
}
