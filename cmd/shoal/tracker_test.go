package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine/manifest"
	"shoal/tracker"
)

// startTracker runs the command until the test ends and returns the first line
// that it prints.
func startTracker(t *testing.T, args ...string) (first string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	output, input := io.Pipe()
	cmd := trackerCommand()
	cmd.SetOut(input)
	cmd.SetErr(io.Discard)
	status := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		code := execute(ctx, cmd, args, environment(nil), &stderr)
		_ = input.CloseWithError(io.EOF)
		status <- code
	}()
	first, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		cancel()
		<-status
		t.Fatalf("no line: %s", stderr.String())
	}
	stop = func() int { cancel(); return <-status }
	return strings.TrimSuffix(first, "\n"), stop
}

func TestTrackerPrintsAndWritesItsURL(t *testing.T) {
	dir := t.TempDir()
	state, urlFile := filepath.Join(dir, "state"), filepath.Join(dir, "tracker.url")
	args := []string{"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--state", state, "--url-file", urlFile}
	first, stop := startTracker(t, args...)
	u, err := tracker.ParseURL(first)
	require.NoError(t, err)
	require.True(t, u.Pinned())
	var written []byte
	require.Eventually(t, func() bool { written, err = os.ReadFile(urlFile); return err == nil }, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, first+"\n", string(written))
	if runtime.GOOS != "windows" {
		info, err := os.Stat(filepath.Join(state, "tracker.key"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	require.Equal(t, exitOK, stop())

	again, stop := startTracker(t, args...)
	v, err := tracker.ParseURL(again)
	require.NoError(t, err)
	require.Equal(t, u.Fingerprint, v.Fingerprint, "the key is kept")
	require.Equal(t, exitOK, stop())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "no temporary files")
}

func TestTrackerWritesWhereItsSwarmViewIs(t *testing.T) {
	dir := t.TempDir()
	title, key := filepath.Join(dir, "title.shoal"), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	var b bytes.Buffer
	require.NoError(t, manifest.Write(&b, key, manifest.Content{
		Name: "The Film", Tracks: []manifest.Track{{ID: 1, Kind: manifest.KindVideo}},
		Files: []manifest.File{{
			Record: manifest.Record{Path: "a.m4s", Length: 1, Track: 1, Duration: time.Second},
			Pieces: []manifest.Hash{manifest.PieceHash([]byte{7}, 0, 1)},
		}},
	}))
	require.NoError(t, os.WriteFile(title, b.Bytes(), 0o600))
	id, name, err := titleName(t.Context(), title)
	require.NoError(t, err)
	require.Equal(t, "The Film", name)
	require.Equal(t, manifest.TitleIDOf(key.Public().(ed25519.PublicKey), "The Film"), id)

	httpFile := filepath.Join(dir, "view.url")
	_, stop := startTracker(t, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-file", httpFile,
		"--title", title, "--allow-host", "view.example")
	var written []byte
	require.Eventually(t, func() bool { written, err = os.ReadFile(httpFile); return err == nil }, 10*time.Second, 5*time.Millisecond)
	url := strings.TrimSuffix(string(written), "\n")
	require.Regexp(t, `^http://127\.0\.0\.1:\d+/$`, url)
	for host, want := range map[string]int{"": http.StatusOK, "view.example": http.StatusOK, "evil.example": http.StatusMisdirectedRequest} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		request.Host = host
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode, host)
	}
	require.Equal(t, exitOK, stop())
}

func TestTrackerThatCannotStartSaysWhy(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	require.NoError(t, os.MkdirAll(broken, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(broken, "tracker.key"), []byte("not a key"), 0o600))
	for name, c := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"half a certificate":     {[]string{"--tls-cert", "x"}, exitUsage, "--tls-cert and --tls-key belong together"},
		"missing certificate":    {[]string{"--tls-cert", "x", "--tls-key", "y"}, exitFailure, "certificate of the tracker"},
		"broken key":             {[]string{"--state", broken}, exitFailure, "tracker.key"},
		"address that is none":   {[]string{"--listen", "nonsense"}, exitFailure, "nonsense"},
		"URL file in no folder":  {[]string{"--url-file", filepath.Join(broken, "none", "url")}, exitFailure, "write URL file"},
		"an argument too many":   {[]string{"extra"}, exitUsage, "extra"},
		"HTTP address is no one": {[]string{"--http", "nonsense"}, exitFailure, "nonsense"},
		"a file for no view":     {[]string{"--http-file", "x"}, exitUsage, "--http-file needs --http"},
		"geo database is none":   {[]string{"--geoip", filepath.Join(broken, "tracker.key")}, exitFailure, "bring a City, Country, ASN or ISP database"},
		"geo database is away":   {[]string{"--geoip", filepath.Join(broken, "none.mmdb")}, exitFailure, "none.mmdb"},
		"title is none":          {[]string{"--title", filepath.Join(broken, "tracker.key")}, exitFailure, "give the title.shoal that shoal pack has written"},
		"title is away":          {[]string{"--title", filepath.Join(broken, "title.shoal")}, exitFailure, "title.shoal"},
		"view file in no folder": {[]string{"--http", "127.0.0.1:0", "--http-file", filepath.Join(broken, "none", "url")}, exitFailure, "write URL file"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			cmd := trackerCommand()
			cmd.SetOut(io.Discard)
			cmd.SetErr(io.Discard)
			// The first of a repeated flag is overridden by the case's own.
			args := append([]string{"--listen", "127.0.0.1:0", "--http", ""}, c.args...)
			require.Equal(t, c.status, execute(t.Context(), cmd, args, environment(nil), &stderr), stderr.String())
			require.Contains(t, stderr.String(), c.want)
			require.Equal(t, 1, strings.Count(stderr.String(), "\n"), "one line")
		})
	}
}
