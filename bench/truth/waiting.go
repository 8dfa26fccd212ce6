package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// waiting returns how long the living nodes' threads have waited for a processor
// each time they wanted one, on average: what the machine adds to each of a
// node's reactions. Zero where the kernel does not count it.
func waiting(sessions []*session) time.Duration {
	var wait, times int64
	for _, s := range sessions {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.node.cmd.Process.Pid))
		if err != nil {
			continue // never: the pattern is right
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				continue // the thread has ended
			}
			var ran, waited, count int64
			if _, err := fmt.Sscan(string(text), &ran, &waited, &count); err == nil {
				wait, times = wait+waited, times+count
			}
		}
	}
	if times == 0 {
		return 0
	}
	return time.Duration(wait / times)
}

// machineLoad is the load average over one and five minutes, of everything that
// runs on the machine; empty where the kernel does not tell.
func machineLoad() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(2, len(fields))], " ")
}
