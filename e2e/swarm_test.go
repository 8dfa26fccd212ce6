//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// status is what /api/status is documented to say, as far as the tests read it.
type status struct {
	PeerID  string `json:"peer_id"`
	Tracker struct {
		Connected bool `json:"connected"`
	} `json:"tracker"`
	Bytes struct {
		P2P        int64 `json:"p2p"`
		CDN        int64 `json:"cdn"`
		Cache      int64 `json:"cache"`
		Served     int64 `json:"served"`
		Duplicate  int64 `json:"duplicate"`
		HashFailed int64 `json:"hash_failed"`
	} `json:"bytes"`
	CDNReasons map[string]int64 `json:"cdn_reasons"`
	Saving     float64          `json:"saving"`
	Titles     []struct {
		ID string `json:"id"`
		N  int    `json:"n"`
	} `json:"titles"`
	Seeds []struct {
		ID            string `json:"id"`
		Addr          string `json:"addr"`
		Outstanding   int    `json:"outstanding_bytes"`
		ReceivedBytes int64  `json:"received_bytes"`
		Pieces        int    `json:"pieces"`
	} `json:"seeds"`
	Cache struct {
		Bytes  int64  `json:"bytes"`
		Pieces int    `json:"pieces"`
		Mode   string `json:"mode"`
	} `json:"cache"`
}

// client makes the tests' own requests.
var client = &http.Client{Transport: &http.Transport{}, Timeout: patience}

// peer is a running shoal peer.
type peer struct {
	*process
	url string // without a trailing slash
}

// startPeer starts a peer by hand with the documented flags.
func startPeer(t *testing.T, name, origin, tracker, cache string, more ...string) *peer {
	t.Helper()
	args := []string{"peer", "--listen", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--origin", origin, "--name", name}
	if tracker != "" {
		args = append(args, "--tracker", tracker)
	}
	if cache != "" {
		args = append(args, "--cache", cache)
	}
	return readyPeer(start(t, name, shoal, append(args, more...)...))
}

// readyPeer waits until a peer listens, and makes sure at the end that it never panicked.
func readyPeer(p *process) *peer {
	p.t.Helper()
	line := p.firstLine()
	require.Regexp(p.t, `^http://127\.0\.0\.1:\d+/$`, line)
	p.t.Cleanup(func() {
		require.NotContains(p.t, p.log.String(), "panic", "%s", p.name)
	})
	return &peer{process: p, url: strings.TrimSuffix(line, "/")}
}

// startTracker returns the tracker and its URL.
func startTracker(t *testing.T) (*process, string) {
	t.Helper()
	return startTrackerAt(t, "127.0.0.1:0", t.TempDir())
}

func startTrackerAt(t *testing.T, address, state string) (*process, string) {
	t.Helper()
	p := start(t, "tracker", shoal, "tracker", "--listen", address, "--http", "", "--state", state)
	url := p.firstLine()
	require.Regexp(t, `^quic://127\.0\.0\.1:\d+#\w+$`, url)
	return p, url
}

// status asks the peer for its state.
func (p *peer) status() (s status) {
	p.t.Helper()
	getJSON(p.t, p.url+"/api/status", &s)
	return s
}

func getJSON(t *testing.T, url string, v any) {
	t.Helper()
	resp, err := client.Get(url)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, json.NewDecoder(resp.Body).Decode(v))
}

// metric reads one sample of /metrics, e.g. shoal_bytes_total{source="p2p"}.
func (p *peer) metric(sample string) float64 {
	p.t.Helper()
	value, found := p.find(sample)
	require.True(p.t, found, "no such sample: %s at %s", sample, p.url)
	return value
}

// find is like metric, for what may not be there yet.
func (p *peer) find(sample string) (value float64, found bool) {
	p.t.Helper()
	resp, err := client.Get(p.url + "/metrics")
	require.NoError(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	for line := range strings.Lines(string(text)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), sample+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			require.NoError(p.t, err)
			return v, true
		}
	}
	return 0, false
}

// seeds waits until the peer knows so many seeds that hold something.
func (p *peer) seeds(count int) {
	p.t.Helper()
	p.eventually(func() bool {
		ready := 0
		for _, s := range p.status().Seeds {
			if s.Pieces > 0 {
				ready++
			}
		}
		return ready >= count
	}, "%s knows %d seeds", p.name, count)
}

// opens has the peer open a title, of which it gets the first byte, so that it
// looks for others who hold it.
func (p *peer) opens(title *title) {
	p.t.Helper()
	media := slices.IndexFunc(title.files, func(name string) bool { return !strings.HasSuffix(name, ".m3u8") })
	got := curl(p.t, p.url+"/"+title.name+"/"+title.files[media], "--range", "0-0")
	require.Equal(p.t, http.StatusPartialContent, got.status)
}

// watchAll has curl fetch all files of a title through the peer, so that it
// holds them, and checks every byte.
func (p *peer) watchAll(title *title) {
	p.t.Helper()
	dir := p.t.TempDir()
	args := []string{"--silent", "--show-error", "--fail", "--create-dirs"}
	for _, name := range title.files {
		args = append(args, "-o", filepath.Join(dir, name), p.url+"/"+title.name+"/"+name)
	}
	must(p.t, 2*time.Minute, "curl", args...)
	for _, name := range title.files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(p.t, err)
		requireSame(p.t, title.read(p.t, name), got, "%s through %s", name, p.name)
	}
	require.NoError(p.t, os.RemoveAll(dir))
}

// holdsAll waits until all pieces of a title are in the peer's store.
func (p *peer) holdsAll(title *title) {
	p.t.Helper()
	p.eventually(func() bool { return p.status().Cache.Pieces >= title.pieces }, "%s holds %d pieces", p.name, title.pieces)
}

// requireSame compares bytes and says where they differ first.
func requireSame(t *testing.T, want, got []byte, what string, args ...any) {
	t.Helper()
	if bytes.Equal(want, got) {
		return
	}
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	require.Failf(t, "other bytes", "%s: %d bytes instead of %d, the first difference at %d",
		fmt.Sprintf(what, args...), len(got), len(want), at)
}
