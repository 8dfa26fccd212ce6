package main

import (
	"bytes"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/replay/trace"
	"shoal/engine"
	"shoal/testdata"
)

// recordedNode is an engine beside an origin with the sample title.
func recordedNode(t *testing.T) (e *engine.Engine, segment string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "film"), testdata.Media()))
	_, stderr, err := runPack(t, filepath.Join(dir, "film"), "--key", filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err, stderr)
	origin := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(origin.Close)
	segments, err := fs.Glob(testdata.Media(), "360p/*.m4s")
	require.NoError(t, err)
	e, err = engine.New(engine.Config{Origin: origin.URL, UDP: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.Close() })
	return e, "film/" + segments[0]
}

func watch(t *testing.T, e *engine.Engine, path string) {
	t.Helper()
	title, err := e.OpenTitle(t.Context(), path, nil)
	require.NoError(t, err)
	f, err := title.File(t.Context(), path)
	require.NoError(t, err)
	v := title.Viewer("tab")
	v.Report(engine.Playback{Rate: 1})
	r, err := f.Open(t.Context(), engine.OpenOptions{Viewer: v})
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
}

func TestRecordingIsWhatAReplayReads(t *testing.T) {
	e, segment := recordedNode(t)
	file := filepath.Join(t.TempDir(), "home.csv")
	before := time.Now().UTC()
	stop, err := startRecording(file, e, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	watch(t, e, segment)
	require.NoError(t, stop())
	require.NoError(t, e.Close())

	f, err := trace.Open(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	r := trace.ReadSessions(f, file, trace.Options{Notice: func(s string) { t.Error(s) }})
	s, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "self-1", s.ID)
	require.True(t, strings.HasPrefix(s.Title, "film-"), s.Title)
	require.Equal(t, trace.VOD, s.Kind)
	require.InDelta(t, 66, s.TitleLength.Seconds(), 3)
	require.Positive(t, s.BitrateKbps)
	require.Equal(t, trace.UploadsYes, s.Uploads)
	require.Equal(t, "home-network", s.Network)
	since := before.Sub(time.Date(before.Year(), before.Month(), before.Day(), 0, 0, 0, 0, time.UTC))
	require.InDelta(t, since.Seconds(), s.Start.Seconds(), 5, "since midnight UTC")
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)

	networks, err := trace.OpenNetworks(filepath.Dir(file), trace.Options{})
	require.NoError(t, err)
	_, ok := networks.Lookup(s.Network)
	require.True(t, ok)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "who watched what is nobody else's business")
}

func TestAnOlderRecordingIsNotTouched(t *testing.T) {
	e, _ := recordedNode(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "home.csv"), []byte("precious"), 0o600))
	for range 2 {
		stop, err := startRecording(filepath.Join(dir, "home.csv"), e, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		require.NoError(t, stop())
	}
	require.Equal(t, "precious", read(t, filepath.Join(dir, "home.csv")))
	for _, name := range []string{"home-2", "home-3"} {
		require.True(t, strings.HasPrefix(read(t, filepath.Join(dir, name+".csv")), "session,start_s,title,watch_s,"))
		require.True(t, strings.HasPrefix(read(t, filepath.Join(dir, name+"-network.csv")), "t_ms,down_kbps,up_kbps,rtt_ms"))
	}
}

func TestRecordingThatCannotBeMadeSaysWhy(t *testing.T) {
	e, _ := recordedNode(t)
	for file, want := range map[string]string{
		filepath.Join(t.TempDir(), "missing", "x.csv"): "no such file or directory",
		"x.csv.gz": "recordings are not gzipped",
	} {
		_, err := startRecording(file, e, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "--record")
	}
	stop, err := startRecording("", e, slog.New(slog.DiscardHandler))
	require.NoError(t, err, "nothing to record")
	require.NoError(t, stop())
}

func TestRecordingThatFailsLeavesTheNodePlaying(t *testing.T) {
	e, segment := recordedNode(t)
	tp, err := openTape(filepath.Join(t.TempDir(), "home.csv"))
	require.NoError(t, err)
	require.NoError(t, tp.sessions.Close()) // as if the disk were full
	var log bytes.Buffer
	done, stopped := make(chan struct{}), make(chan error, 1)
	watch(t, e, segment)
	close(done)
	go func() { stopped <- tp.run(e, slog.New(slog.NewTextHandler(&log, nil)), done) }()
	require.ErrorIs(t, <-stopped, os.ErrClosed)
	watch(t, e, segment)
}
