package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine"
)

// guestOf is a guest whose peer says what the test makes it say.
func guestOf(t *testing.T, out *bytes.Buffer) (*guest, func(engine.Status)) {
	var mu sync.Mutex
	var status engine.Status
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(status)
	}))
	t.Cleanup(peer.Close)
	d := &demo{screen: newScreen(out, false), crew: &crew{died: make(chan *child, 1)}, began: time.Now()}
	d.guest = &guest{demo: d, url: peer.URL}
	return d.guest, func(s engine.Status) {
		mu.Lock()
		defer mu.Unlock()
		status = s
	}
}

func watched(rate float64) engine.Status {
	return engine.Status{
		Bytes:  engine.Bytes{P2P: 3e6, CDN: 1e6, Served: 2e6},
		Titles: []engine.TitleStatus{{Viewers: []engine.ViewerStatus{{Rate: rate, PositionS: 61, BufferS: 12}}}},
	}
}

func TestANodeThatNobodyWatchesIsInNoReport(t *testing.T) {
	g, say := guestOf(t, &bytes.Buffer{})
	g.poll(t.Context())
	require.Nil(t, g.report())
	say(watched(0))
	g.poll(t.Context())
	require.Nil(t, g.report(), "opened, but not played")
	require.False(t, g.watching(time.Now()))
	require.NoError(t, g.demo.stayForGuest(t.Context()), "and nobody is waited for")
}

func TestAPersonWhoWatchesIsShownAndWaitedFor(t *testing.T) {
	var out bytes.Buffer
	g, say := guestOf(t, &out)
	say(watched(1))
	g.poll(t.Context())
	require.Equal(t, &guestReport{JoinedS: g.report().JoinedS, P2PBytes: 3e6, CDNBytes: 1e6, ServedBytes: 2e6, Saving: 0.75}, g.report())
	require.Equal(t, 61*time.Second, g.row().report.Position)
	require.True(t, g.watching(time.Now()))
	require.False(t, g.watching(time.Now().Add(guestLeft)))

	ctx, ctrlC := context.WithCancel(t.Context())
	ctrlC()
	require.NoError(t, g.demo.stayForGuest(ctx), "Ctrl-C is a good end here")
	require.Contains(t, out.String(), "You still watch")

	g.seen = time.Now().Add(-guestLeft + 20*time.Millisecond)
	say(watched(0))
	require.NoError(t, g.demo.stayForGuest(t.Context()))
	require.Contains(t, out.String(), "The picture was stopped")

	g.demo.flags.json, g.seen = true, time.Now()
	out.Reset()
	require.NoError(t, g.demo.stayForGuest(t.Context()), "a program that waits for JSON is not kept waiting")
	require.Empty(t, out.String())
}

func TestTheSummaryTellsWhatAPersonWatched(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, newScreen(&out, false).summary(demoReport{You: &guestReport{P2PBytes: 3e6, CDNBytes: 1e6, ServedBytes: 2e6}}))
	require.Contains(t, out.String(), "You: 3.00 MB from other viewers, 1.00 MB from the CDN, 2.00 MB for others.")
	require.Contains(t, out.String(), "and what you watched included")
	out.Reset()
	require.NoError(t, newScreen(&out, false).summary(demoReport{}))
	require.NotContains(t, out.String(), "You:")
}

// The demo prints where to watch, a browser is told the same, and the node of
// that page knows the title.
func TestDemoKeepsAPlaceForAPerson(t *testing.T) {
	t.Setenv(beShoal, "1")
	crew, err := newCrew()
	require.NoError(t, err)
	defer crew.close()
	var out bytes.Buffer
	var opened []string
	d := &demo{
		flags: demoFlags{open: true}, dir: t.TempDir(), crew: crew, screen: newScreen(&out, false),
		origin: "http://127.0.0.1:9", playlist: "my film/master.m3u8", swarmView: "http://127.0.0.1:8/",
		open: func(page string) error { opened = append(opened, page); return errors.New("no display") },
	}
	require.NoError(t, d.startGuest(t.Context()))
	printed := regexp.MustCompile(`(?m)^Watch with them: (http://127\.0\.0\.1:\d+)/#my%20film/master\.m3u8$`).FindStringSubmatch(out.String())
	require.Len(t, printed, 2, out.String())
	require.Contains(t, out.String(), "See the swarm: http://127.0.0.1:8/\n")
	require.Equal(t, []string{d.guest.page}, opened)
	require.Contains(t, out.String(), "no display", "and what to do instead")
	code, titles := get(t, printed[1]+"/api/titles")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, titles, `"path": "my film/master.m3u8"`)
}

func TestTheSwarmViewsAddressIsWaitedFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "swarm.url")
	written := make(chan error, 1)
	go func() {
		temp := file + ".new"
		err := os.WriteFile(temp, []byte("http://127.0.0.1:7001/\n"), 0o600)
		written <- errors.Join(err, os.Rename(temp, file))
	}()
	got, err := readSwarmView(t.Context(), file)
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.Equal(t, "http://127.0.0.1:7001/", got)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = readSwarmView(ctx, file+".none")
	require.ErrorContains(t, err, "did not tell")
}
