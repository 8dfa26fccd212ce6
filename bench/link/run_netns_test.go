//go:build netns && linux

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets the processes of the flows be this one again.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == endCommand {
		if err := runEnd(os.Args[2], os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestFlowsShareARealLink(t *testing.T) {
	o, err := parseRun(strings.Fields("--rate 10mbit --rtt 20ms --seconds 3 --warmup 1s --flow shoal-cubic --flow tcp-cubic"), os.Stderr)
	require.NoError(t, err)
	r, err := measure(t.Context(), &o.scenario)
	require.NoError(t, err, "this test needs root")
	require.Len(t, r.Flows, 2)
	sum := 0.0
	for _, f := range r.Flows {
		require.Greater(t, f.GoodputMbps, 0.5, f.Flow)
		require.Greater(t, f.RTTMillisP50, 19.0, f.Flow)
		require.Positive(t, f.QueueMillisP95, f.Flow)
		require.Greater(t, f.WindowBytesCV, 0.0, f.Flow)
		sum += f.CapacityShare
	}
	require.InDelta(t, 1, sum, 0.25, "two flows fill the link, and no more than that")
}
