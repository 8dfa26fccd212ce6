//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Set by TestMain.
var (
	shoal     string // the binary under test
	sharedDir string // lasts for the whole run: binary and titles
	nginxPath string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if missing := missingPrograms(); len(missing) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: the end-to-end tests need %s: run make deps\n", strings.Join(missing, ", "))
		return 1
	}
	dir, err := os.MkdirTemp("", "shoal-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sharedDir, shoal = dir, filepath.Join(dir, "shoal")
	build := exec.Command("go", "build", "-o", shoal, "shoal/cmd/shoal")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "FAIL: go build: %v\n%s", err, out)
		return 1
	}
	go startProcesses()
	return m.Run()
}

func missingPrograms() (missing []string) {
	for _, name := range []string{"go", "curl", "ffmpeg", "ffprobe", "mpv"} {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	var err error
	if nginxPath, err = exec.LookPath("nginx"); err != nil {
		// Debian keeps it where only root's PATH looks.
		if nginxPath, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			missing = append(missing, "nginx")
		}
	}
	return missing
}
