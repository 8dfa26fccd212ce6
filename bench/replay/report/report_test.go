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
