package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/emulator"
)

func TestRunIsReadFromTheCommandLine(t *testing.T) {
	o, err := parseRun(strings.Fields("--rate 20mbit --rtt 40ms --jitter 20ms --loss 0.03 --burst-loss 0.02:10 --buffer 64kib "+
		"--policer 10mbit:16kib --step 10s:5mbit --step 20s:20mbit --flow shoal-fast:slow@10s:fast@20s --flow tcp-cubic@5s "+
		"--flow shoal-upload*4@3s:slow@9s --seconds 30 --warmup 1s --seed 7 --mss 1000 --json"), io.Discard)
	require.NoError(t, err)
	require.True(t, o.asJSON)
	s := o.scenario
	require.Equal(t, []flow{
		{Kind: "shoal-fast", Channels: 1, Tiers: []tierChange{{10 * time.Second, "slow"}, {20 * time.Second, "fast"}}},
		{Kind: "tcp-cubic", Channels: 1, Start: 5 * time.Second},
		{Kind: "shoal-upload", Channels: 4, Start: 3 * time.Second, Tiers: []tierChange{{9 * time.Second, "slow"}}},
	}, s.Flows)
	require.Equal(t, "shoal-fast:slow@10s:fast@20s", s.Flows[0].String())
	require.Equal(t, "tcp-cubic@5s", s.Flows[1].String())
	require.Equal(t, "shoal-upload*4@3s:slow@9s", s.Flows[2].String())
	require.Equal(t, uint64(7), s.Seed)
	from, to := s.measured()
	require.Equal(t, 6*time.Second, from)
	require.Equal(t, 30*time.Second, to)

	there, back := s.lines()
	require.Equal(t, 20*time.Millisecond, there.Delay)
	require.Equal(t, 20*time.Millisecond, there.Jitter)
	require.Equal(t, emulator.Queue{Bytes: 64 << 10}, there.Queue)
	require.Equal(t, emulator.Policer{BytesPerSec: 10 * mbit, Bucket: 16 << 10}, there.Policer)
	require.InEpsilon(t, 0.02, there.Burst.Enter/(there.Burst.Enter+there.Burst.Leave), 1e-9, "share of the time in a burst")
	require.InEpsilon(t, 0.1, there.Burst.Leave, 1e-9)
	require.Equal(t, []emulator.Step{
		{BytesPerSec: 20 * mbit, Delay: -1},
		{At: setUp + 10*time.Second, BytesPerSec: 5 * mbit, Delay: -1},
		{At: setUp + 20*time.Second, BytesPerSec: 20 * mbit, Delay: -1},
	}, there.Steps)
	require.Equal(t, emulator.Line{Delay: 20 * time.Millisecond}, back, "nothing but delay on the way back")
}

func TestCapacityIsTheMeanOverSteps(t *testing.T) {
	o, err := parseRun(strings.Fields("--rate 20mbit --step 10s:5mbit --seconds 20 --flow tcp-cubic"), io.Discard)
	require.NoError(t, err)
	require.InDelta(t, 12.5*mbit, o.scenario.meanRate(0, 20*time.Second), 1)
	require.InDelta(t, 20*mbit, o.scenario.meanRate(0, 10*time.Second), 1)
	require.InDelta(t, 5*mbit, o.scenario.meanRate(10*time.Second, 20*time.Second), 1)
	o.scenario.Policer.BytesPerSec = 10 * mbit
	require.InDelta(t, 10*mbit, o.scenario.meanRate(0, 10*time.Second), 1)
}

func TestTraceIsTheRate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link.csv")
	require.NoError(t, os.WriteFile(path, []byte("t_ms,down_kbps,up_kbps,rtt_ms\n0,8000,1000,60\n2000,0,,\n3000,16000,2000,100\n"), 0o600))
	o, err := parseRun([]string{"--trace", path, "--buffer", "0.5bdp", "--seconds", "6", "--flow", "tcp-reno"}, io.Discard)
	require.NoError(t, err)
	there, back := o.scenario.lines()
	// The rows repeat after their last one, which lasts as long as the median row.
	require.Equal(t, []emulator.Step{
		{BytesPerSec: 8 * mbit, Delay: 30 * time.Millisecond},
		{At: setUp + 2*time.Second, BytesPerSec: 0, Delay: -1},
		{At: setUp + 3*time.Second, BytesPerSec: 16 * mbit, Delay: 50 * time.Millisecond},
		{At: setUp + 5*time.Second, BytesPerSec: 8 * mbit, Delay: 30 * time.Millisecond},
		{At: setUp + 6*time.Second, BytesPerSec: rateMax, Delay: -1},
	}, there.Steps)
	require.InDelta(t, 1*mbit, back.Steps[0].BytesPerSec, 1)
	require.InDelta(t, rateMax, back.Steps[1].BytesPerSec, 1, "what is not measured does not limit")
	require.InDelta(t, (2*8+2*16+8)*mbit/6, o.scenario.meanRate(0, 6*time.Second), 1)
	require.Equal(t, emulator.BDP(0.5, o.scenario.meanRate(0, 6*time.Second), 40*time.Millisecond), there.Queue)
}

func TestBadCommandLinesAreExplained(t *testing.T) {
	const good = "--rate 20mbit --flow shoal-cubic "
	for _, tc := range []struct{ args, says string }{
		{"", "no flow"},
		{"--flow tcp-cubic", "no rate"},
		{"--rate 20 --flow tcp-cubic", "a rate is a number with kbit, mbit or gbit"},
		{"--rate 1kbit --flow tcp-cubic", "between 10kbit and 2gbit"},
		{"--rate NaNmbit --flow tcp-cubic", "a rate"},
		{good + "--flow tcp-vegas", "there is no flow"},
		{good + "--flow tcp-cubic@soon", "is no time"},
		{good + "--flow tcp-cubic*4", "tcp-cubic has no channels"},
		{good + "--flow shoal-cubic*4", "shoal-cubic has no channels"},
		{good + "--flow shoal-fast*0", "1 to 16 channels"},
		{good + "--flow shoal-upload*17", "1 to 16 channels"},
		{good + "--flow tcp-cubic@-5s", "is no time"},
		{good + "--flow tcp-cubic:slow@5s", "has no tiers"},
		{good + "--flow shoal-cubic:slow@5s", "has no tiers"},
		{good + "--flow shoal-fast:turbo@5s", "there is no tier"},
		{good + "--flow shoal-fast:slow", "is not after"},
		{good + "--flow shoal-fast:slow@5s:fast@4s", "is not after"},
		{good + "--flow shoal-fast:slow@40s", "after the run's end"},
		{good + "--flow tcp-cubic@29s", "nothing is left to measure"},
		{good + "--loss 1.5", "is no ratio"},
		{good + "--loss NaN", "is no ratio"},
		{good + "--burst-loss 0.1", "RATIO:PACKETS"},
		{good + "--burst-loss 0.1:0", "1 to 1000 packets"},
		{good + "--buffer 0bdp", "a buffer"},
		{good + "--buffer 10", "between 1500 bytes"},
		{good + "--buffer much", "a size"},
		{good + "--policer 10mbit", "RATE:BUCKET"},
		{good + "--step 5mbit", "TIME:RATE"},
		{good + "--step 10s:5mbit --step 5s:1mbit", "times rise"},
		{good + "--step 40s:5mbit", "run's end"},
		{good + "--rtt 1h", "at most"},
		{good + "--seconds 0", "--seconds"},
		{good + "--seconds NaN", "--seconds"},
		{good + "--seconds 600 --rate 2gbit", "fewer --seconds"},
		{good + "--mss 100", "--mss"},
		{good + "--trace none.csv", "none.csv"},
		{good + "--trace arguments.go", "--trace"},
		{good + "--whatever", "see run --help"},
		{good + "rest", "is no option"},
		{strings.Repeat("--flow tcp-cubic ", flowsMax+1) + "--rate 20mbit", "flows"},
	} {
		_, err := parseRun(strings.Fields(tc.args), io.Discard)
		require.ErrorContains(t, err, tc.says, tc.args)
		require.ErrorAs(t, err, new(usageError), tc.args)
	}
}

func TestTableTakesRowsByName(t *testing.T) {
	o, err := parseTable([]string{"--row", "queue", "--row", "loss", "--runs", "1"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.rows, 2)
	require.Equal(t, "go run ./bench/link table --runs 1", o.command())
	require.Empty(t, o.docs, "a part of the table is not written down")
	all, err := parseTable([]string{"--traces", "somewhere", "--at-once", "2"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, all.rows, len(rows))
	require.Equal(t, "go run ./bench/link table --runs 3 --traces TRACES --at-once 2", all.command())
	for _, args := range []string{"--row none", "--row traces", "--runs 0", "--at-once 0", "--at-once 17", "more"} {
		_, err := parseTable(strings.Fields(args), io.Discard)
		require.ErrorAs(t, err, new(usageError), args)
	}
}
