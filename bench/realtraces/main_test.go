package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGapIsMeasuredFromTheBestOtherPolicy(t *testing.T) {
	line, err := compare([]byte(`{"policies": [
		{"policy": "shoal", "saving": 0.5, "bound": 0.6, "stalls": 3, "stall_ratio": 0.001},
		{"policy": "sequential", "saving": 0.2, "bound": 0.7},
		{"policy": "rarest-first", "saving": 0.4, "bound": 0.7},
		{"policy": "cdn-only", "saving": 0, "bound": 0.7, "stalls": 2, "stall_ratio": 0.0005}]}`))
	require.NoError(t, err)
	require.Equal(t, "shoal saves 50.0 %, the best other (rarest-first) 40.0 %, bound 60.0 %: 50 % of the gap closed; "+
		"3 stalls (0.100 % of the time) beside 2 (0.050 %) from the CDN alone", line)
	_, err = compare([]byte(`{"policies": []}`))
	require.Error(t, err)
}

func TestRecordingsAreFoundWhereverTheyLie(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	for _, name := range []string{"a/peers_1.csv", "a/b/peers_2.csv.gz", "a/b/panel.csv", "links_1.csv"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	days, panel, err := find(dir)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "a/b/peers_2.csv.gz"), filepath.Join(dir, "a/peers_1.csv")}, days)
	require.Equal(t, filepath.Join(dir, "a/b/panel.csv"), panel)
	for _, none := range []string{"", filepath.Join(dir, "nowhere"), t.TempDir()} {
		err := (&run{traces: none}).all(t.Context())
		require.ErrorContains(t, err, "make bench-replay TRACES=", none)
	}
}
