package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"shoal/bench/replay/trace"
	"shoal/testdata"
)

// runTrace runs shoal trace with a command line and returns what it said.
func runTrace(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	root := &cobra.Command{Use: "shoal"}
	root.AddCommand(traceCommand())
	var out, notices bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&notices)
	var failure bytes.Buffer
	status = execute(ctx, root, append([]string{"trace"}, args...), environment(nil), &failure)
	return status, out.String(), notices.String() + failure.String()
}

// folder makes a folder of files and returns the function that joins its path.
func folder(t *testing.T, files map[string]string) func(name string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
	}
	return func(name string) string { return filepath.Join(dir, name) }
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

func TestTraceImportWritesEachFormat(t *testing.T) {
	in := folder(t, map[string]string{
		"peers.csv": "peer,first_ms,last_ms,swarm,country_fips,region,city_id,isp,rx_bytes,rx_ms,tx_bytes,tx_ms,partners\n0,24,1024,0,FR,W,0,Free,1,1,0,0,1\n",
		"panel.csv": "isp,technology,region,down_avg,up_avg,rtt_ms,weight\nSky,FTTC,East,71.97,13.87,9.33,0.3\nZen,FTTC,East,71.97,13.87,9.33,\n",
		"s.json":    `[{"duration_ms":1000,"bandwidth_kbps":5544,"latency_ms":20}]`,
		"v.down":    "1\n499\n900\n",
		"v.up":      "2\n900\n",
		"p.log":     "0 1.5\n5 2\n",
	})
	for _, run := range []struct {
		args []string
		says string
		file string
		want string
	}{
		{
			[]string{"import", "p2p-live", in("peers.csv"), "-o", in("sessions.csv")},
			"1 sessions, 0 bad rows skipped", "sessions.csv",
			"session,start_s,title,watch_s,kind,bitrate_kbps,isp,region,linger_s,uploads\npeer-0,0.024,swarm-0,1,live,1713,Free,FR,0,no\n",
		},
		{[]string{"import", "sabre", in("s.json"), "-o", in("s.csv")}, "2 rows, 1s", "s.csv", "t_ms,down_kbps,up_kbps,rtt_ms\n0,5544,,\n1000,5544,,\n"},
		{[]string{"import", "mahimahi", in("v.down"), "-o", in("v.csv")}, "1 rows", "v.csv", "t_ms,down_kbps,up_kbps,rtt_ms\n0,48,24,\n"},
		{[]string{"import", "mahimahi", in("v.up"), "-o", in("u.csv")}, "1 rows", "u.csv", "t_ms,down_kbps,up_kbps,rtt_ms\n0,,24,\n"},
		{[]string{"import", "mahimahi", in("v.down"), "--up", in("v.down"), "-o", in("w.csv")}, "1 rows", "w.csv", "t_ms,down_kbps,up_kbps,rtt_ms\n0,48,48,\n"},
		{[]string{"import", "pensieve", in("p.log"), "--direction", "up", "-o", in("p.csv")}, "2 rows, 5s", "p.csv", "t_ms,down_kbps,up_kbps,rtt_ms\n0,,1500,\n5000,,2000,\n"},
	} {
		status, stdout, stderr := runTrace(t.Context(), run.args...)
		require.Equal(t, exitOK, status, stderr)
		require.Contains(t, stdout, "wrote "+in(run.file)+": "+run.says)
		require.Equal(t, run.want, read(t, in(run.file)))
	}

	status, stdout, stderr := runTrace(t.Context(), "import", "ofcom", in("panel.csv"), "-o", in("homes.json.gz"))
	require.Equal(t, exitOK, status, stderr)
	require.Contains(t, stdout, "1 homes, 1 left out (no national weight)")
	p, err := trace.OpenProfile(in("homes.json.gz"))
	require.NoError(t, err)
	require.Equal(t, 71970, p.Homes.Lines[0].DownKbps)
}

func TestTraceImportOfAFolderKeepsNames(t *testing.T) {
	in := folder(t, map[string]string{
		"m/A.down": "1\n600\n", "m/A.up": "1\n1\n600\n", "m/B-up.pps": "1\n600\n", "m/README": "not a trace",
		"s/x.json": `[{"duration_ms":1000,"bandwidth_kbps":1}]`, "s/y.csv": "t_ms,down_kbps\n0,7\n", "s/LICENSE": "",
		"twice/x.json": "[]", "twice/x.csv": "t_ms\n0\n",
	})
	status, _, stderr := runTrace(t.Context(), "import", "mahimahi", in("m"), "-o", in("networks"))
	require.Equal(t, exitOK, status, stderr)
	status, _, stderr = runTrace(t.Context(), "import", "sabre", in("s"), "-o", in("networks"))
	require.Equal(t, exitOK, status, stderr)
	all, err := trace.OpenNetworks(in("networks"), trace.Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"A", "B", "x", "y"}, all.Names(), "the uplink of A is in A")
	a, _ := all.Lookup("A")
	require.Equal(t, []int{24, 48}, []int{a.At(0).DownKbps, a.At(0).UpKbps})

	status, _, stderr = runTrace(t.Context(), "import", "sabre", in("twice"), "-o", in("out"))
	require.Equal(t, exitFailure, status)
	require.Contains(t, stderr, "would both become")
	status, _, stderr = runTrace(t.Context(), "import", "mahimahi", in("s"), "-o", in("m/README"))
	require.Equal(t, exitFailure, status, stderr)
	status, _, stderr = runTrace(t.Context(), "import", "mahimahi", t.TempDir(), "-o", in("out"))
	require.Equal(t, exitUsage, status)
	require.Contains(t, stderr, "no traces of mahimahi")
}

func TestTraceImportSaysWhatIsWrongAndLeavesTheOldFile(t *testing.T) {
	in := folder(t, map[string]string{
		"bad.csv":  "peer,first_ms,last_ms,swarm,country_fips,isp,tx_bytes\n0,x,1,0,FR,Free,0\n1,0,1,0,FR,Free,0\n",
		"none.csv": "peer,first_ms,last_ms,swarm,country_fips,isp,tx_bytes\n",
		"out.csv":  "precious",
	})
	for _, run := range []struct {
		status int
		says   string
		args   []string
	}{
		{exitFailure, `bad.csv:2: column first_ms: "x" is not a number`, []string{"import", "p2p-live", in("bad.csv"), "-o", in("out.csv")}},
		{exitFailure, "none.csv: has no sessions", []string{"import", "p2p-live", in("none.csv"), "-o", in("out.csv")}},
		{exitFailure, "bad.csv:1: column technology: is missing", []string{"import", "ofcom", in("bad.csv"), "-o", in("out.csv")}},
		{exitUsage, "no such file", []string{"import", "ofcom", in("missing.csv"), "-o", in("out.csv")}},
		{exitUsage, `unknown format "netem": use p2p-live, ofcom`, []string{"import", "netem", in("bad.csv"), "-o", in("out.csv")}},
		{exitUsage, "-o FILE is missing", []string{"import", "ofcom", in("bad.csv")}},
		{exitUsage, "--direction \"left\": use down or up", []string{"import", "sabre", in("bad.csv"), "-o", "x", "--direction", "left"}},
		{exitUsage, "--up is for mahimahi", []string{"import", "sabre", in("bad.csv"), "-o", "x", "--up", "y"}},
		{exitUsage, "is a folder", []string{"import", "ofcom", in("."), "-o", "x"}},
		{exitUsage, "accepts 2 arg(s)", []string{"import", "ofcom"}},
		{exitUsage, "unknown command", []string{"export"}},
	} {
		status, stdout, stderr := runTrace(t.Context(), run.args...)
		require.Equal(t, run.status, status, run.args)
		require.Contains(t, stderr, run.says)
		require.Empty(t, stdout)
		require.Equal(t, "precious", read(t, in("out.csv")))
	}
	status, stdout, stderr := runTrace(t.Context(), "import", "--skip-bad", "p2p-live", in("bad.csv"), "-o", in("out.csv"))
	require.Equal(t, exitOK, status, stderr)
	require.Contains(t, stdout, "1 sessions, 1 bad rows skipped")
	left, err := filepath.Glob(in(".shoal-*"))
	require.NoError(t, err)
	require.Empty(t, left, "no temporary files")
}

func TestTraceGenerateMakesWhatComesWithShoal(t *testing.T) {
	in := folder(t, nil)
	args := strings.Fields("generate --profile live --seed 1 --sessions 150 --titles 2 --from 20h --to 21h30m --end 22h -o " + in("a.csv"))
	status, stdout, stderr := runTrace(t.Context(), args...)
	require.Equal(t, exitOK, status, stderr)
	require.Contains(t, stdout, "150 sessions, profile live, seed 1")
	require.Contains(t, stderr, "profile live: from profile default: access, nat, title_length")
	want, err := fs.ReadFile(testdata.Traces(), "live-evening.csv")
	require.NoError(t, err)
	require.Equal(t, string(want), read(t, in("a.csv")))

	status, _, stderr = runTrace(t.Context(), "generate", "--sessions", "20", "-o", in("b.csv.gz"))
	require.Equal(t, exitOK, status, stderr)
	f, err := trace.Open(in("b.csv.gz"))
	require.NoError(t, err)
	s, err := trace.ReadSessions(f, "b", trace.Options{}).Next()
	require.NoError(t, err)
	require.Equal(t, trace.VOD, s.Kind)
	require.NoError(t, f.Close())
}

func TestTraceGenerateSaysWhatIsWrong(t *testing.T) {
	in := folder(t, map[string]string{"p.json": "{"})
	for _, run := range []struct {
		says string
		args []string
	}{
		{"-o FILE is missing", nil},
		{`profile "nobody": neither a file nor one of default, live`, []string{"--profile", "nobody", "-o", in("x")}},
		{"p.json: ends in the middle", []string{"--profile", in("p.json"), "-o", in("x")}},
		{"0 sessions: choose 1 to", []string{"--sessions", "0", "-o", in("x")}},
		{"from 3h0m0s to 2h0m0s", []string{"--from", "3h", "--to", "2h", "-o", in("x")}},
	} {
		status, _, stderr := runTrace(t.Context(), append([]string{"generate"}, run.args...)...)
		require.Equal(t, exitUsage, status, stderr)
		require.Contains(t, stderr, run.says)
	}
	require.NoFileExists(t, in("x"))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	status, _, stderr := runTrace(ctx, "generate", "-o", in("x"))
	require.Equal(t, exitFailure, status)
	require.Contains(t, stderr, "interrupted")
	require.NoFileExists(t, in("x"))
}

func TestImportedProfileNamesItsSource(t *testing.T) {
	in := folder(t, map[string]string{"panel.csv": "isp,technology,region,down_avg,up_avg,rtt_ms,weight\nSky,FTTC,East,71.97,13.87,9.33,0.3\n"})
	status, _, stderr := runTrace(t.Context(), "import", "ofcom", in("panel.csv"), "-o", in("homes.json"))
	require.Equal(t, exitOK, status, stderr)
	var p trace.Profile
	require.NoError(t, json.Unmarshal([]byte(read(t, in("homes.json"))), &p))
	require.Equal(t, []string{"ofcom"}, p.Homes.Source)
	require.NotEmpty(t, p.Sources["ofcom"].Licence)
}
