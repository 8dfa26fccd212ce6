package store

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// smallDisk mounts a file system of a few MiB; false where that is not permitted.
func smallDisk(t *testing.T, dir, size string) bool {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Logf("no permission to mount (%v): the failing disk is injected instead", err)
		return false
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return true
}

func TestReallyFullDisk(t *testing.T) {
	var log bytes.Buffer
	cfg := Config{
		Dir: t.TempDir(), Bytes: 64 * mib, FallbackBytes: 8 * mib,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	mounted := smallDisk(t, cfg.Dir, "4m")
	w := open(t, cfg)
	if !mounted {
		w.failAfter(3*mib+12345, syscall.ENOSPC)
	}
	keepsPlaying(t, w, &log)

	// The next run finds what fitted, unharmed.
	w = w.reopen(cfg)
	recovered := w.Recovered(rootOf(1))
	require.Greater(t, len(recovered), 40)
	for _, p := range recovered {
		got, err := w.Get(rootOf(1), p)
		require.NoError(t, err)
		require.Equal(t, contentOf(rootOf(1), 100*mib, p), got)
	}
}

func TestDiskFullFromTheStart(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	cfg := Config{Dir: filepath.Join(dir, "cache"), Bytes: 16 * mib, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	mounted := smallDisk(t, dir, "1m,nr_inodes=2")
	if mounted {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 4096), 0o600))
	}
	w := open(t, cfg)
	if !mounted {
		w.failAfter(0, syscall.ENOSPC)
	}
	w.put(rootOf(1), 100, 0)
	w.wantHeld(rootOf(1), 100, 0)
	require.Equal(t, ModeDegraded, w.Stats().Mode)
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("level=WARN")))
}
