package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/replay/trace"
)

func TestScaleChangesNothingButTheUplinks(t *testing.T) {
	sum := func(w *world) (kbps int) {
		for _, h := range w.homes {
			kbps += h.UpKbps
		}
		return kbps
	}
	whole, half := newWorld(7, 1, 2300, 2*time.Minute), newWorld(7, 0.5, 2300, 2*time.Minute)
	require.InDelta(t, whole.demandKbps(), sum(whole), viewers)
	require.InDelta(t, whole.demandKbps()/2, sum(half), viewers)
	for i := range whole.homes {
		require.InDelta(t, 2, float64(whole.homes[i].UpKbps)/float64(half.homes[i].UpKbps), 0.01)
		whole.homes[i].UpKbps = half.homes[i].UpKbps
	}
	require.Equal(t, whole.homes, half.homes)
	require.Equal(t, half, newWorld(7, 0.5, 2300, 2*time.Minute), "the seed decides")
	require.NotEqual(t, half, newWorld(8, 0.5, 2300, 2*time.Minute))
}

func TestTwoViewersCrashWhileTheyWatch(t *testing.T) {
	for seed := range uint64(50) {
		crashed := 0
		w := newWorld(seed, 1, 2300, 2*time.Minute)
		require.Zero(t, w.homes[0].Start)
		for _, h := range w.homes {
			require.Less(t, h.Start, 30*time.Second)
			require.Positive(t, h.Watch)
			if h.Crash {
				crashed++
				require.Less(t, h.Start+h.Watch, w.length)
				continue
			}
			require.Equal(t, w.length, h.Start+h.Watch)
		}
		require.Equal(t, crashes, crashed)
	}
}

func TestLinesAddUpToTheReplaysRoundTrips(t *testing.T) {
	w := newWorld(1, 1, 2300, 2*time.Minute)
	links := w.links()
	require.Len(t, links, viewers+1)
	origin, a, b := links[0], links[1], links[2]
	require.Equal(t, w.homes[0].RTT+w.homes[1].RTT+peerWay, a.Up.Delay+b.Down.Delay+b.Up.Delay+a.Down.Delay)
	require.Equal(t, w.homes[0].RTT+originWay, a.Up.Delay+origin.Down.Delay+origin.Up.Delay+a.Down.Delay)
}

func TestSessionsFileIsOneThatTheReplayReads(t *testing.T) {
	w := newWorld(1, 1, 2300, 2*time.Minute)
	var file bytes.Buffer
	require.NoError(t, w.writeSessions(&file))
	var unknown []string
	r := trace.ReadSessions(&file, "sessions.csv", trace.Options{Notice: func(text string) { unknown = append(unknown, text) }})
	for _, h := range w.homes {
		s, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, h.Name, s.ID)
		require.Equal(t, h.Start, s.Start)
		require.Equal(t, h.Watch, s.Watch)
		require.Equal(t, h.UpKbps, s.UpKbps)
		require.Equal(t, h.DownKbps, s.DownKbps)
		require.Equal(t, h.RTT, s.RTT)
		require.Equal(t, 2300, s.BitrateKbps)
		require.Zero(t, s.Linger)
	}
	require.LessOrEqual(t, len(unknown), 1, "only crash may be unknown")
}

func TestPiecesAreCountedBySource(t *testing.T) {
	require.Equal(t, sources{p2p: 2 * pieceBytes, cdn: pieceBytes, mixed: 10}, countPieces("PPCM", 3*pieceBytes+10))
	require.Equal(t, sources{p2p: pieceBytes}, countPieces("P.waKf", 6*pieceBytes))
	require.Equal(t, sources{p2p: 5}, countPieces("PP", 5), "a piece that the neighbour begins")
	var r viewerResult
	r.played(sources{p2p: 10, cdn: 20, mixed: 100}, 0.25)
	require.EqualValues(t, 35, r.P2PBytes)
	require.EqualValues(t, 95, r.CDNBytes)
	require.EqualValues(t, 100, r.MixedBytes)
}

func TestReplayPassesWithinThePointsOrInsideTheSpread(t *testing.T) {
	real := over([]float64{0.40, 0.50, 0.42})
	require.Equal(t, spread{Median: 0.42, Least: 0.40, Most: 0.50}, real)
	for got, pass := range map[float64]bool{0.42: true, 0.469: true, 0.371: true, 0.495: true, 0.36: false, 0.51: false} {
		c := compareFigure(1, "saving", &real, got, savingWithin)
		require.Equal(t, pass, c.Pass, "%v", got)
		require.Equal(t, pass, strings.HasPrefix(c.String(), "PASS"))
		require.InDelta(t, got-0.42, c.Difference, 1e-9)
	}
}

func TestRunSumsUpItsViewers(t *testing.T) {
	r := runResult{Viewers: []viewerResult{
		{P2PBytes: 30, CDNBytes: 70, RawP2PBytes: 50, RawCDNBytes: 150, PlayedS: 90, StalledS: 10, Stalls: 2, StartupMillis: 700, CDNReasons: map[string]int64{"startup": 1}},
		{P2PBytes: 70, CDNBytes: 30, RawP2PBytes: 50, RawCDNBytes: 150, PlayedS: 100, StartupMillis: -1, CDNReasons: map[string]int64{"startup": 2, "rescue": 3}},
		{StartupMillis: 900},
	}}
	r.sum()
	require.InDelta(t, 0.5, r.Saving, 1e-9)
	require.InDelta(t, 0.25, r.RawSaving, 1e-9)
	require.InDelta(t, 0.05, r.StallRatio, 1e-9)
	require.Equal(t, 2, r.Stalls)
	require.InDelta(t, 800, r.StartupP50, 1e-9)
	require.InDelta(t, 900, r.StartupMax, 1e-9)
	require.Equal(t, map[string]int64{"startup": 3, "rescue": 3}, r.CDNReasons)
}

func TestScalesAreParsed(t *testing.T) {
	got, err := parseScales("2,1,0.5")
	require.NoError(t, err)
	require.Equal(t, []float64{2, 1, 0.5}, got)
	for _, bad := range []string{"", "0", "-1", "a", "1,,2", "1e9"} {
		_, err := parseScales(bad)
		require.Error(t, err, bad)
	}
}
