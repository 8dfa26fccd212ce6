//go:build linux && e2e

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// replayProcess is shoal replay as a process of its own.
func replayProcess(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"replay"}, args...)...)
	cmd.Env = append(os.Environ(), beShoal+"=yes")
	cmd.Dir = t.TempDir()
	return cmd
}

// endless is a year of watching, and a column that gives rise to a notice.
const endless = `session,start_s,title,watch_s,kind,bitrate_kbps,down_kbps,up_kbps,remark
a,0,film,31536000,vod,2500,20000,20000,x
b,10,film,31536000,vod,2500,20000,20000,x
`

func TestInterruptedReplayTellsWhatItHas(t *testing.T) {
	cmd := replayProcess(t, "--sessions", "sessions.csv", "--json", "out.json", "--report", "out.html", "--events", "events.csv")
	require.NoError(t, os.WriteFile(filepath.Join(cmd.Dir, "sessions.csv"), []byte(endless), 0o600))
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(stderr)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "remark")
	for !strings.Contains(line, "simulated") { // the first progress, after ten seconds
		line, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Error(t, cmd.Wait())
	require.Equal(t, exitFailure, cmd.ProcessState.ExitCode())
	require.Contains(t, string(rest), "interrupted: the results are partial")
	require.Contains(t, out.String(), "PARTIAL")
	for file, says := range map[string]string{"out.json": `"partial": true`, "out.html": "interrupted", "events.csv": "partial"} {
		content, err := os.ReadFile(filepath.Join(cmd.Dir, file))
		require.NoError(t, err)
		require.Contains(t, string(content), says)
	}
}

// rssMax is what hostile input may make of a process that needs some 20 MB: a
// bitmap of a title, bins of twelve weeks, tables of 64 KiB.
const rssMax = 400 << 20

func TestHostileInputCostsBoundedMemory(t *testing.T) {
	header := "session,start_s,title,watch_s,kind,bitrate_kbps,down_kbps,up_kbps,title_s\n"
	row := func(start, watch, kbps, length string) string {
		return fmt.Sprintf("%s,%s,film,%s,vod,%s,20000,20000,%s\n", start, start, watch, kbps, length)
	}
	for name, c := range map[string]struct {
		input  func(io.Writer) error
		status int
		says   string
	}{
		"a line of 256 MB in 260 KB": {repeat(header, strings.Repeat("0", 1<<20), 256), exitUsage, "sessions.csv:2: longer than 65536 bytes"},
		"a header of 256 MB":         {repeat("", strings.Repeat("a,", 1<<19), 256), exitUsage, "sessions.csv:1: longer than 65536 bytes"},
		"a start in 30 years":        {repeat(header, row("1000000000", "20", "700", "60")+row("1000000001", "20", "700", "60"), 1), exitOK, ""},
		"a title of a year at 100 Gbit/s": {
			repeat(header, row("0", "60", "100000000", "31536000")+row("1", "60", "100000000", "31536000"), 1), exitUsage, "are more than can be replayed",
		},
		"a bad cell": {repeat(header, row("0", "60", "700", "60")+row("x", "60", "700", "60"), 1), exitUsage, `sessions.csv:3: column start_s: "x" is not a number of seconds`},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := replayProcess(t, "--sessions", "sessions.csv", "--policy", "cdn-only", "--json", "out.json", "--report", "out.html")
			file, err := os.Create(filepath.Join(cmd.Dir, "sessions.csv"))
			require.NoError(t, err)
			zipped := gzip.NewWriter(file)
			require.NoError(t, c.input(zipped))
			require.NoError(t, zipped.Close())
			require.NoError(t, file.Close())
			out, err := cmd.CombinedOutput()
			require.Equal(t, c.status != exitOK, err != nil)
			require.Equal(t, c.status, cmd.ProcessState.ExitCode(), string(out))
			require.Contains(t, string(out), c.says)
			require.Less(t, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss*1024, int64(rssMax))
		})
	}
}

func repeat(header, text string, times int) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, header)
		for i := 0; i < times && err == nil; i++ {
			_, err = io.WriteString(w, text)
		}
		return err
	}
}
