//go:build e2e

package main

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"shoal/testdata"
)

// resultFields are the fields of a policy in the JSON of shoal replay.
var resultFields = strings.Fields(`policy seed digest partial skipped_rows sessions viewer_seconds sim_seconds wall_seconds
	p2p_bytes cdn_bytes cdn_startup_bytes cdn_first_copy_bytes cdn_rescue_bytes cache_bytes relay_bytes duplicate_bytes
	wasted_bytes saving net_saving bound saving_over_bound cdn_p95_mbps twin_cdn_p95_mbps stall_ratio stalls startup_ms_p50
	startup_ms_p95 startup_ms_p99 same_isp_share same_region_share same_country_share upload_gini mean_kbps twin_mean_kbps switches`)

// A slice of each sample trace, which the race detector would make minutes of, in which enough viewers meet: what
// make bench-replay measures on whole days.
func TestShoalSavesMoreThanTheOthersOnTheSampleTraces(t *testing.T) {
	for _, c := range []struct {
		trace, profile, from, to, policies string
		// ofTheGap between the best other policy and the bound, at least: what live viewers
		// share is still there, what viewers of a film watched earlier has left small caches.
		ofTheGap float64
	}{
		{"vod-evening.csv", "default", "73500", "74200", "shoal,whole-segment,sequential,cdn-only", 0},
		{"live-evening.csv", "live", "73000", "73200", "shoal,whole-segment,rarest-first,sequential,cdn-only", 0.4},
	} {
		t.Run(c.trace, func(t *testing.T) {
			sessions, err := fs.ReadFile(testdata.Traces(), c.trace)
			require.NoError(t, err)
			slice := []string{"--profile", c.profile, "--from", c.from, "--to", c.to}
			all := asJSON(t, string(sessions), append(slice, "--workers", "2", "--policy", c.policies)...)
			again := asJSON(t, string(sessions), append(slice, "--workers", "1", "--policy", "shoal")...)
			require.Equal(t, all[0]["digest"], again[0]["digest"])
			shoal := all[0]["saving"].(float64)
			require.Greater(t, shoal, 0.2)
			best := 0.0
			for _, r := range all {
				var fields []string
				for name := range r {
					fields = append(fields, name)
				}
				require.ElementsMatch(t, resultFields, fields)
				require.LessOrEqual(t, r["saving"], r["bound"], r["policy"])
				require.Zero(t, r["relay_bytes"])
				require.InEpsilon(t, r["twin_mean_kbps"], r["mean_kbps"], 0.01, "nobody adapts")
				if r["policy"] != "shoal" {
					require.Less(t, r["saving"], shoal, r["policy"])
					best = max(best, r["saving"].(float64))
				}
				if r["policy"] == "cdn-only" {
					require.LessOrEqual(t, all[0]["stall_ratio"], r["stall_ratio"].(float64)+0.001)
				}
			}
			require.GreaterOrEqual(t, (shoal-best)/(all[0]["bound"].(float64)-best), c.ofTheGap)
		})
	}
}
