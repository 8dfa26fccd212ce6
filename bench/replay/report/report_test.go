package report

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/replay"
)

func TestPageShowsEveryPolicyAndEscapesNames(t *testing.T) {
	results := []replay.Result{
		{
			Policy: "shoal", Saving: 0.875, Partial: true, SkippedRows: 3,
			Series: replay.Series{
				BinLength: 10 * time.Second, P2P: []int64{0, 30, 40}, CDN: []int64{50, 10, 0}, TwinCDN: []int64{50, 40, 40},
				Online: []float64{1, 2, 2},
			},
			PerSession: []replay.SessionResult{{Started: true, Startup: time.Second, Played: time.Minute, Sent: 100}, {}},
			Swarms:     []replay.SwarmResult{{Title: "film", MeanOnline: 2, Saving: 0.5}},
		},
		{Policy: "cdn-only"},
	}
	var page strings.Builder
	require.NoError(t, Write(&page, "<b>evening</b>.csv", results))
	html := page.String()
	require.Contains(t, html, "87.5 %")
	require.Contains(t, html, "&lt;b&gt;evening")
	require.Contains(t, html, "<strong>Partial:</strong>")
	require.Contains(t, html, "3 rows of the input")
	require.Equal(t, 7, strings.Count(html, "<figure>"))
	require.NotContains(t, html, "NaN")
	require.NotContains(t, html, "<script")
	require.NotContains(t, html, "ZgotmplZ", "the template took something for unsafe")
}

func TestNothingToShowIsSaid(t *testing.T) {
	var page strings.Builder
	require.NoError(t, Write(&page, "empty", nil))
	require.Contains(t, page.String(), "Nothing to show.")
}

func TestRowsHaveOneUnit(t *testing.T) {
	results := []replay.Result{{Policy: "a", P2PBytes: 12_500_000_000}, {Policy: "b", P2PBytes: 4_000_000}}
	var page strings.Builder
	require.NoError(t, Write(&page, "units", results))
	require.Contains(t, page.String(), "12.5 GB")
	require.Contains(t, page.String(), "0.0 GB")
}

func TestStallsShowWhoStalledOfAll(t *testing.T) {
	r := replay.Result{PerSession: make([]replay.SessionResult, 10)}
	r.PerSession[3] = replay.SessionResult{Played: 90 * time.Second, Stalled: 10 * time.Second}
	r.PerSession[7] = replay.SessionResult{Played: 50 * time.Second, Stalled: 50 * time.Second}
	p := stalls([]replay.Result{r})
	p.LayOut()
	require.False(t, p.Empty)
	require.Equal(t, "0.2", p.YTicks[len(p.YTicks)-1].Label, "two of ten have stalled")
	require.Equal(t, "50", p.XTicks[len(p.XTicks)-1].Label)
}
