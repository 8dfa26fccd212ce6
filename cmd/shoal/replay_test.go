package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/replay"
)

// twoViewers watch the same short film one after the other.
const twoViewers = `session,start_s,title,watch_s,kind,title_s,bitrate_kbps,down_kbps,up_kbps,nat,rtt_ms,isp,region,position_s,linger_s,cache_mb
a,100,film,90,vod,60,699,100000,100000,open,10,x,GB,0,0,200
b,130,film,90,vod,60,699,100000,100000,open,10,x,GB,0,0,200
`

func replayed(t *testing.T, sessions string, args ...string) (string, string, int) {
	file := filepath.Join(t.TempDir(), "sessions.csv")
	require.NoError(t, os.WriteFile(file, []byte(sessions), 0o644))
	var out, errs strings.Builder
	root := rootCommand()
	root.SetOut(&out)
	root.SetErr(&errs)
	status := execute(t.Context(), root, append([]string{"replay", "--sessions", file}, args...), noEnv, &errs)
	return out.String(), errs.String(), status
}

func noEnv(string) (string, bool) { return "", false }

func TestReplayPrintsPoliciesSideBySideAndWritesFiles(t *testing.T) {
	dir := t.TempDir()
	name := func(file string) string { return filepath.Join(dir, file) }
	out, errs, status := replayed(t, twoViewers, "--policy", "shoal,whole-segment,cdn-only", "--seed", "7",
		"--json", name("out.json"), "--report", name("out.html"), "--events", name("events.csv"))
	require.Zero(t, status, errs)
	require.Contains(t, out, "whole-segment")
	require.Contains(t, out, "seed 7")

	var doc struct {
		Policies []map[string]any `json:"policies"`
	}
	data, err := os.ReadFile(name("out.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &doc))
	require.Len(t, doc.Policies, 3)
	require.Greater(t, doc.Policies[0]["saving"], 0.2)

	page, err := os.ReadFile(name("out.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "<svg")
	require.NotContains(t, string(page), "http", "the page needs nothing else")
	events, err := os.ReadFile(name("events.csv"))
	require.NoError(t, err)
	require.Equal(t, 1+3*2, strings.Count(string(events), "\n"))

	again, _, _ := replayed(t, twoViewers, "--policy", "shoal,whole-segment,cdn-only", "--seed", "7", "--workers", "1")
	digests := func(text string) string { return text[strings.Index(text, "digest"):strings.Index(text, "2 sessions")] }
	require.Equal(t, digests(out), digests(again))
}

func TestReplayRefusesWhatItCannotPlay(t *testing.T) {
	header := "session,start_s,title,watch_s\n"
	for name, c := range map[string]struct {
		sessions string
		args     []string
		says     string
	}{
		"unknown policy": {twoViewers, []string{"--policy", "magic"}, `unknown policy "magic": choose from shoal`},
		"no sessions":    {header, nil, "no sessions"},
		"nothing left":   {twoViewers, []string{"--from", "200"}, "no sessions"},
		"no overlap":     {header + "a,0,film,10\nb,100,film,10\n", nil, "no two sessions of a title overlap"},
		"bad row":        {header + "a,0,film,10\nb,x,film,10\n", nil, "sessions.csv:3"},
		"upside down":    {twoViewers, []string{"--from", "2h", "--to", "1h"}, "--from must be before --to"},
		"twice":          {twoViewers, []string{"--policy", "shoal,shoal"}, "--policy names shoal twice"},
		"long buffer":    {twoViewers, []string{"--buffer", "100h"}, "at most 1m"},
		"no folder":      {twoViewers, []string{"--json", "nowhere/out.json"}, "--json nowhere/out.json: there is no folder nowhere: make it first"},
		"a folder":       {twoViewers, []string{"--report", os.TempDir()}, "is a folder: name a file in it"},
		"no CDN":         {twoViewers, []string{"--cdn-rate", "0"}, "--cdn-rate must be from 1"},
		"bad time":       {twoViewers, []string{"--from", "noon"}, "seconds since the trace's beginning"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, status := replayed(t, c.sessions, c.args...)
			require.Equal(t, exitUsage, status)
			require.Contains(t, errs, c.says)
		})
	}
}

func TestReplaySkipsBadRowsWhenToldAndCountsThem(t *testing.T) {
	out, errs, status := replayed(t, twoViewers+"c,never,film,10,,,,,,,,,,,,\n", "--skip-bad")
	require.Zero(t, status, errs)
	require.Contains(t, out, "1 rows could not be read and were skipped")

	dir := t.TempDir()
	name := func(file string) string { return filepath.Join(dir, file) }
	bad := twoViewers + "c,never,film,10,,,,,,,,,,,,\n"
	require.EqualValues(t, 1, asJSON(t, bad, "--skip-bad", "--report", name("out.html"), "--events", name("events.csv"))[0]["skipped_rows"])
	page, err := os.ReadFile(name("out.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "1 rows of the input could not be read")
	events, err := os.ReadFile(name("events.csv"))
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(string(events), ",false,1\n"), "in each line")
}

func TestInterruptedPoliciesThatSawDifferentSessionsDoNotCompare(t *testing.T) {
	table := func(sessions ...int) string {
		var out strings.Builder
		var results []replay.Result
		for _, n := range sessions {
			results = append(results, replay.Result{Policy: "shoal", Partial: true, Sessions: n, Digest: "0123456789ab"})
		}
		require.NoError(t, printReplay(&out, results))
		return out.String()
	}
	require.Contains(t, table(10, 7), "do not compare")
	require.NotContains(t, table(7, 7), "do not compare")
}

func TestProgressShowsTheSpeedOfLate(t *testing.T) {
	begin := time.Unix(0, 0)
	s := newSpeed(begin)
	require.InDelta(t, 1000, s.at(begin.Add(time.Second), 1000), 1e-9)
	done := int64(0)
	for i := range 30 {
		done = int64(100_000 + 10*i)
		s.at(begin.Add(time.Duration(10+i)*time.Second), done)
	}
	require.InDelta(t, 10, s.at(begin.Add(40*time.Second), done+10), 1e-9)
}

// asJSON runs a replay and returns its policies' results.
func asJSON(t *testing.T, sessions string, args ...string) []map[string]any {
	out, errs, status := replayed(t, sessions, append(args, "--json", "-")...)
	require.Zero(t, status, errs)
	var doc struct {
		Policies []map[string]any `json:"policies"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &doc))
	return doc.Policies
}

func TestNetworkTracesAreDrawnForSessionsThatNameNone(t *testing.T) {
	dir := t.TempDir()
	slow := "t_ms,down_kbps\n0,300\n" // less than the 699 kbit/s that are watched
	require.NoError(t, os.WriteFile(filepath.Join(dir, "slow.csv"), []byte(slow), 0o644))
	args := []string{"--policy", "cdn-only", "--network", dir}
	require.Zero(t, asJSON(t, twoViewers, args...)[0]["stalls"])
	require.NotZero(t, asJSON(t, twoViewers, append(args, "--network-share", "1")...)[0]["stalls"])
	require.NotZero(t, asJSON(t, twoViewers, "--policy", "cdn-only", "--cdn-rate", "300")[0]["stalls"], "nor is the CDN faster, if told")
	_, errs, status := replayed(t, twoViewers, "--network-share", "1")
	require.Equal(t, exitUsage, status)
	require.Contains(t, errs, "name their folder with --network")
}

func TestLadderIsForSessionsWithoutABitrate(t *testing.T) {
	open := strings.Replace(twoViewers, "bitrate_kbps", "note", 1)
	r := asJSON(t, open, "--ladder", "350,2097", "--policy", "shoal,cdn-only")
	for _, policy := range r {
		require.EqualValues(t, 2, policy["switches"], "each goes up once")
		require.Equal(t, r[1]["mean_kbps"], policy["mean_kbps"])
	}
	for _, c := range []struct{ ladder, says string }{
		{"350,2097", "every session has its track or bitrate"},
		{"2097,350", "rising"},
		{"350", "two bitrates or more"},
		{"350,x", "invalid"},
	} {
		_, errs, status := replayed(t, twoViewers, "--ladder", c.ladder)
		require.Equal(t, exitUsage, status, c.ladder)
		require.Contains(t, errs, c.says)
	}
}
