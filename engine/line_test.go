package engine

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func inFolder(dir string) func(*Config) { return func(c *Config) { c.CacheDir = dir } }

func TestLineIsKeptInTheCacheFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 300<<10)
	dir := t.TempDir()
	e := w.peer("first run", inFolder(dir))
	require.Zero(t, e.LineRate(), "nothing was fetched yet")
	w.play(e, 0)
	w.play(e, 1)
	require.NoError(t, e.Close())
	rate := e.LineRate()
	require.Positive(t, rate)
	require.Equal(t, rate, w.peer("second run", inFolder(dir)).LineRate())
}

func TestLineIsNotBusyWhenNothingIsOwed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 300<<10)
	e := w.peer("idle", nil)
	w.play(e, 0)
	w.eventually("the busy period ends", func() bool {
		busy := make(chan bool, 1)
		e.post(func(time.Time) { busy <- e.line.all.Busy() || e.line.cdn.Busy() })
		return !<-busy
	})
}

func TestLineCountsPeersAndCDN(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 300<<10).withTracker()
	seed := w.peer("seed", nil)
	for i := range 3 {
		w.play(seed, i)
	}
	w.holds(seed, 15)
	leech := w.peer("leech", nil)
	w.file(leech, 0)
	w.connected(leech, 1)
	w.origin.pause()
	w.play(leech, 1)
	require.Positive(t, leech.LineRate(), "peers are a part of the line")
}

func TestAnOldOrBrokenLineIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1000)
	for name, content := range map[string]any{
		"old":      lineRecord{BytesPerSec: 1e6, Measured: time.Now().Add(-lineKept - time.Hour)},
		"future":   lineRecord{BytesPerSec: 1e6, Measured: time.Now().Add(time.Hour)},
		"zero":     lineRecord{Measured: time.Now().Add(-time.Hour)},
		"negative": lineRecord{BytesPerSec: -5, Measured: time.Now().Add(-time.Hour)},
		"garbage":  "not a record",
	} {
		dir := t.TempDir()
		b, err := json.Marshal(content)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, lineFile), b, 0o600))
		require.Zero(t, w.peer(name, inFolder(dir)).LineRate(), name)
	}
}

func TestAPresumedLineGetsNoYounger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, lineFile)
	b, err := json.Marshal(lineRecord{BytesPerSec: 1e6, Measured: time.Now().Add(-time.Hour)})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, b, 0o600))
	e := newWorld(t, 1, 1000).peer("idle", inFolder(dir))
	require.InDelta(t, 1e6, e.LineRate(), 1)
	require.NoError(t, e.Close())
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(b), string(after))
}

// trickle is a line of 200 kbit/s to the media: a piece takes 2.6 s.
type trickle struct{}

func (trickle) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, ".m4s") {
		resp.Body = &trickling{resp.Body}
	}
	return resp, err
}

type trickling struct{ io.ReadCloser }

func (b *trickling) Read(p []byte) (int, error) {
	const step = 4 << 10
	n, err := b.ReadCloser.Read(p[:min(len(p), step)])
	<-time.After(time.Duration(n) * time.Second / 25_000)
	return n, err
}

func TestASlowLineIsNoReasonToGiveUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 64<<10)
	e := w.peer("slow", func(c *Config) { c.Transport = trickle{} })
	data, err := readAll(w.file(e, 0), OpenOptions{Deadline: time.Now().Add(500 * time.Millisecond)})
	require.NoError(t, err, "bytes came all the time")
	require.Equal(t, w.media(0), data)
	require.InEpsilon(t, 25_000, e.LineRate(), 0.3)
}
