package store

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// The child of the crash tests is this test binary, told by the environment to write to a store until it is killed.
const childEnv = "SHOAL_STORE_TEST_CHILD"

const (
	crashFileBytes  = 64*wire.PieceBytes + 123
	crashFiles      = 4
	crashCacheBytes = 8 * mib // less than the four files: the child evicts, too
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := writeUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	os.Exit(m.Run())
}

// writeUntilKilled prints a byte for each piece put.
func writeUntilKilled(dir string) error {
	s, err := Open(Config{Dir: dir, Bytes: crashCacheBytes})
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(g)))
			for {
				root, piece := rootOf(rng.IntN(crashFiles)), rng.Uint32N(wire.PieceCount(crashFileBytes))
				if err := putBytes(s, root, crashFileBytes, piece, contentOf(root, crashFileBytes, piece)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(3)
				}
				if _, err := os.Stdout.Write([]byte{'.'}); err != nil {
					os.Exit(4) // the parent has gone
				}
			}
		})
	}
	group.Wait()
	return nil
}

func startChild(t *testing.T, dir string) (*exec.Cmd, *bufio.Reader, *strings.Builder) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	return cmd, bufio.NewReader(out), &stderr
}

func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(7, 7))
	recovered, damaged := 0, 0
	for life := range 16 {
		cmd, out, stderr := startChild(t, dir)
		_, err := io.CopyN(io.Discard, out, 1+rng.Int64N(150))
		require.NoError(t, err, "life %d: %s", life, stderr)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // "signal: killed" is what we asked for
		require.Equal(t, -1, cmd.ProcessState.ExitCode(), "life %d ended by itself: %s", life, stderr)

		if files := extentFiles(t, dir); len(files) > 0 {
			tear(t, files[rng.IntN(len(files))], rng)
		}
		r, d := inspectLife(t, dir)
		recovered += r
		damaged += d
	}
	require.Greater(t, recovered, 500, "pieces survive")
	require.Positive(t, damaged, "and some are torn")
	t.Logf("16 lives: %d pieces recovered, %d torn ones refused", recovered, damaged)
}

// tear does what a machine that loses power adds: a piece of which only a part has reached the disk.
func tear(t *testing.T, path string, rng *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	b := make([]byte, headerUsedBytes)
	_, err = f.ReadAt(b, 0)
	if err != nil {
		return // killed before the header was written
	}
	h, err := parseHeader(b)
	require.NoError(t, err)
	for slot, state := range h.slots {
		if state.bytes == wire.PieceBytes {
			hole := make([]byte, 1+rng.IntN(wire.PieceBytes-1))
			_, err = f.WriteAt(hole, dataOffset(slot)+int64(wire.PieceBytes-len(hole)))
			require.NoError(t, err)
			return
		}
	}
}

// inspectLife opens what a killed process left, and confirms what a manifest would confirm.
func inspectLife(t *testing.T, dir string) (recovered, damaged int) {
	t.Helper()
	w := open(t, Config{Dir: dir, Bytes: crashCacheBytes})
	require.Zero(t, w.Stats().Pieces)
	require.LessOrEqual(t, w.Stats().Bytes, int64(crashCacheBytes))
	require.LessOrEqual(t, diskUsage(t, dir), int64(crashCacheBytes))
	for i := range crashFiles {
		root := rootOf(i)
		for _, p := range w.Recovered(root) {
			require.False(t, w.Has(root, p), "unverified")
			got, err := w.Get(root, p)
			if err != nil {
				require.ErrorIs(t, err, ErrCorrupt)
				w.wantGone(root, p)
				damaged++
				continue
			}
			require.Equal(t, contentOf(root, crashFileBytes, p), got)
			require.True(t, w.Confirm(root, p))
			recovered++
		}
		require.Empty(t, w.Recovered(root))
	}
	w.wantBalanced()
	require.Empty(t, w.evicted)
	require.NoError(t, w.Close())
	return recovered, damaged
}

func TestFolderInUseByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	cmd, out, stderr := startChild(t, dir)
	_, err := out.ReadByte()
	require.NoError(t, err, stderr)
	_, err = Open(Config{Dir: dir})
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", cmd.Process.Pid))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // "signal: killed" is what we asked for
	open(t, Config{Dir: dir})
}
