//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// demoDuration is shorter than a viewer would watch and long enough for the
// last of them to have played through peers for half a minute.
const demoDuration = 45 * time.Second

// startupNoise is what the machine may add to a start while others play: a
// viewer who had to wait for a peer or the tracker would wait for longer.
const startupNoise = time.Second

func TestDemoSavesAndDoesNotStall(t *testing.T) {
	temp := t.TempDir()
	demo := start(t, "demo", "env", "TMPDIR="+temp, shoal, "demo", "--json", "--duration", demoDuration.String())
	status := demo.wait(demoDuration + patience)
	require.Zero(t, status, demo.tail())
	var report struct {
		Saving           float64 `json:"saving"`
		Stalls           int     `json:"stalls"`
		CDNStartupMillis int64   `json:"cdn_startup_ms"`
		Peers            []struct {
			Name           string           `json:"name"`
			JoinedS        float64          `json:"joined_s"`
			P2PBytes       int64            `json:"p2p_bytes"`
			CDNBytes       int64            `json:"cdn_bytes"`
			CDNReasons     map[string]int64 `json:"cdn_reasons"`
			CacheBytes     *int64           `json:"cache_bytes"`
			DuplicateBytes *int64           `json:"duplicate_bytes"`
			Saving         float64          `json:"saving"`
			Stalls         int              `json:"stalls"`
			StartupMillis  int64            `json:"startup_ms"`
		} `json:"peers"`
	}
	decoder := json.NewDecoder(strings.NewReader(demo.stdout.String()))
	require.NoError(t, decoder.Decode(&report), demo.stdout.String())
	require.False(t, decoder.More(), "one object and nothing else")
	t.Log(demo.stdout.String())
	require.Zero(t, report.Stalls)
	require.Len(t, report.Peers, 4)
	var p2p, all int64
	for i, p := range report.Peers {
		require.Zero(t, p.Stalls, p.Name)
		require.Positive(t, p.P2PBytes+p.CDNBytes, p.Name)
		require.NotNil(t, p.CacheBytes, p.Name)
		require.NotNil(t, p.DuplicateBytes, p.Name)
		require.Contains(t, p.CDNReasons, "rescue", p.Name)
		require.InDelta(t, float64(p.P2PBytes)/float64(p.P2PBytes+p.CDNBytes), p.Saving, 0.001, p.Name)
		require.GreaterOrEqual(t, p.StartupMillis, int64(0), p.Name)
		require.LessOrEqual(t, p.StartupMillis, report.CDNStartupMillis+startupNoise.Milliseconds(), "%s starts as fast as from the CDN", p.Name)
		if i >= 2 { // the first two have a head start
			require.Greater(t, p.JoinedS, report.Peers[1].JoinedS, p.Name)
			require.GreaterOrEqual(t, p.Saving, 0.80, "%s: %v", p.Name, p.CDNReasons)
		}
		p2p, all = p2p+p.P2PBytes, all+p.P2PBytes+p.CDNBytes
	}
	require.InDelta(t, float64(p2p)/float64(all), report.Saving, 0.001)
	requireNothingLeft(t, temp)
}

func TestInterruptedDemoLeavesNothingBehind(t *testing.T) {
	temp := t.TempDir()
	demo := start(t, "demo", "env", "TMPDIR="+temp, shoal, "demo", "--duration", "60s")
	// Wait until viewers play: origin, tracker and peers are there.
	demo.eventually(func() bool { return len(shoals(t)) >= 5 }, "the demo's processes run")
	demo.eventually(func() bool { return strings.Contains(demo.stdout.String(), "peer-2") }, "two viewers play")
	demo.signal(syscall.SIGINT)
	require.Equal(t, 1, demo.wait(patience), "an interrupted demo has shown nothing")
	require.NotContains(t, demo.log.String(), "panic")
	requireNothingLeft(t, temp)
}

// requireNothingLeft checks for processes of the binary under test, and files.
func requireNothingLeft(t *testing.T, temp string) {
	t.Helper()
	require.Empty(t, shoals(t), "processes")
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	for _, e := range left {
		require.Failf(t, "left behind", "%s", filepath.Join(temp, e.Name()))
	}
}

// shoals lists the processes that run the binary under test.
func shoals(t *testing.T) (running []string) {
	t.Helper()
	for line := range strings.Lines(must(t, patience, "ps", "-A", "-o", "pid=,stat=,args=")) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == shoal {
			running = append(running, strings.TrimSpace(line))
		}
	}
	return running
}
