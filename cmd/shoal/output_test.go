package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func hello(w io.Writer) error {
	_, err := io.WriteString(w, "hello")
	return err
}

func TestOutputGoesWhereItsNameSays(t *testing.T) {
	var out strings.Builder
	cmd := new(cobra.Command)
	cmd.SetOut(&out)
	require.NoError(t, writeOutput(cmd, "-", hello))
	require.Equal(t, "hello", out.String())

	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(file, []byte("before"), 0o600))
	require.NoError(t, os.Symlink(file, link))
	broken := errors.New("broken")
	require.ErrorIs(t, writeOutput(cmd, file, func(w io.Writer) error { return errors.Join(hello(w), broken) }), broken)
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "before", string(kept))

	require.NoError(t, writeOutput(cmd, link, hello))
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "hello", string(written))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing temporary stays")
}

// A device or a pipe must never be replaced by a file: as root that would be the
// end of /dev/null.
func TestOutputIntoADeviceLeavesIt(t *testing.T) {
	null := filepath.Join(t.TempDir(), "null")
	require.NoError(t, os.Symlink(os.DevNull, null))
	require.NoError(t, writeOutput(new(cobra.Command), null, hello))
	info, err := os.Stat(os.DevNull)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeCharDevice)
	info, err = os.Lstat(null)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
}

// An output that fails is told of, and the others are there.
func TestReplayWritesWhatCanBeWritten(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /dev/full")
	}
	events := filepath.Join(t.TempDir(), "events.csv")
	_, errs, status := replayed(t, twoViewers, "--json", "/dev/full", "--events", events)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "/dev/full")
	require.FileExists(t, events)
}

func TestReplayHasOneStandardOutput(t *testing.T) {
	out, errs, status := replayed(t, twoViewers, "--events", "-")
	require.Zero(t, status, errs)
	require.True(t, strings.HasPrefix(out, "policy,session,"), out)
	require.NotContains(t, out, "saving ")
	_, errs, status = replayed(t, twoViewers, "--events", "-", "--json", "-")
	require.Equal(t, 2, status)
	require.Contains(t, errs, "only one of")
}

func TestGeneratedSessionsOnStandardOutput(t *testing.T) {
	var out, errs strings.Builder
	root := rootCommand()
	root.SetOut(&out)
	root.SetErr(&errs)
	require.Zero(t, execute(t.Context(), root, []string{"trace", "generate", "--sessions", "3", "-o", "-"}, noEnv, &errs), errs.String())
	require.Equal(t, 4, strings.Count(out.String(), "\n"), out.String())
	require.Contains(t, errs.String(), "3 sessions")
}
