package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSide is not a test: with the variable set it is a process of TestRace.
func TestSide(t *testing.T) {
	switch os.Getenv("TRANSFER_TEST_SIDE") {
	case "seed":
		require.NoError(t, tlsSeed(1))
	case "leech":
		require.NoError(t, tlsLeech(os.Getenv("TRANSFER_TEST_ADDR")))
	default:
		return
	}
	os.Exit(0)
}

func TestRaceMeasuresBothProcesses(t *testing.T) {
	side := func(name, addr string) *exec.Cmd {
		c := exec.Command(os.Args[0], "-test.run=^TestSide$")
		c.Env = append(os.Environ(), "TRANSFER_TEST_SIDE="+name, "TRANSFER_TEST_ADDR="+addr)
		return c
	}
	m, err := race(side("seed", ""), func(addr string) *exec.Cmd { return side("leech", addr) })
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, m.bytes)
	require.Positive(t, m.took)

	_, err = race(exec.Command("echo", "hello"), nil)
	require.ErrorContains(t, err, `instead of "ready"`)
}
