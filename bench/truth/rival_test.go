package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/replay"
)

func TestEveryRivalHasAPolicyThatModelsIt(t *testing.T) {
	for _, want := range rivals {
		require.NoError(t, replay.CheckPolicy(want.policy))
		got, err := rivalByName(want.name)
		require.NoError(t, err)
		require.Equal(t, want, *got)
	}
	_, err := rivalByName("bittyrant")
	require.ErrorContains(t, err, "p2p-media-loader, libtorrent")
}

// At 6.5 s the first two segments have been shown, the third has only come, and
// the second is in no report.
func TestRivalIsCreditedWithSegmentsThatWereShown(t *testing.T) {
	var report rivalReport
	require.NoError(t, json.Unmarshal([]byte(`{"startup_ms": 800, "position_s": 6.5, "stalls": 1, "stalled_s": 0.4,
		"p2p_bytes": 500, "cdn_bytes": 70, "segments": {"000.m4s": {"p2p": 60, "cdn": 40}, "002.m4s": {"p2p": 90, "cdn": 10}}}`), &report))
	s := rivalSession{home: home{Name: "viewer-1"}, report: report}
	got := s.result(&title{bytes: map[string]int64{"000.m4s": 100, "001.m4s": 110, "002.m4s": 100}})
	require.EqualValues(t, 60, got.P2PBytes)
	require.EqualValues(t, 40, got.CDNBytes)
	require.EqualValues(t, 110, got.UnseenBytes)
	require.EqualValues(t, 500, got.RawP2PBytes)
	require.InDelta(t, 800, got.StartupMillis, 0)

	s.report.StartupMillis = -1
	got = s.result(&title{bytes: map[string]int64{"000.m4s": 100}})
	require.Zero(t, got.P2PBytes+got.CDNBytes+got.UnseenBytes, "nothing was shown")
	require.InDelta(t, -1, got.StartupMillis, 0)
}

// A page of another origin asks for a range, as both rivals do.
func TestOriginServesRangesToAnyPage(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "film"), []byte("0123456789"), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := http.Server{Handler: titleHandler(dir), ReadHeaderTimeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+"/film", nil)
	require.NoError(t, err)
	req.Header.Set("Range", "bytes=3-5")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "345", string(body))
	require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))

	req.Method = http.MethodOptions
	resp, err = http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	require.Equal(t, "Range", resp.Header.Get("Access-Control-Allow-Headers"))
}

func TestJoinedSegmentsAreInOrder(t *testing.T) {
	dir := t.TempDir()
	for i, text := range []string{"one", "two", "three"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, segmentName(i)), []byte(text), 0o600))
	}
	require.NoError(t, joinSegments(dir, 3))
	film, err := os.ReadFile(filepath.Join(dir, filmFile))
	require.NoError(t, err)
	require.Equal(t, "onetwothree", string(film))
}
