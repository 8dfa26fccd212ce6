package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestResultIsTheMedianOfRuns(t *testing.T) {
	run := func(seconds, cpu float64) measurement {
		return measurement{
			bytes: 1e9, took: time.Duration(seconds * float64(time.Second)), cpu: time.Duration(cpu * float64(time.Second)),
		}
	}
	s := &system{name: "shoal", runs: []measurement{run(4, 3), run(1, 9), run(2, 1)}}
	text, err := json.Marshal(s.result())
	require.NoError(t, err)
	require.JSONEq(t, `{"system": "shoal", "what": "", "gbps": 4, "cpu_s_per_gb": 3, "runs": [2, 8, 4]}`, string(text))
}

func TestChosenSystems(t *testing.T) {
	all := []*system{{name: "a"}, {name: "b"}, {name: "c"}}
	chosen, err := choose(all, "")
	require.NoError(t, err)
	require.Equal(t, all, chosen)
	chosen, err = choose(all, "c,a")
	require.NoError(t, err)
	require.Equal(t, []*system{all[2], all[0]}, chosen)
	_, err = choose(all, "a,x")
	require.ErrorContains(t, err, "choose from a, b, c")
}
