package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// waiting returns how long the living nodes' threads have waited for a processor
// each time they wanted one, on average: what the machine adds to each of a
// node's reactions. Zero where the kernel does not count it.
func waiting(sessions []*session) time.Duration {
	var all waits
	for _, s := range sessions {
		all.add(processWaits(s.node.cmd.Process.Pid))
	}
	return all.mean()
}

// waits are how often threads wanted a processor, and how long they waited for
// it in sum.
type waits struct{ sum, times int64 }

func (w *waits) add(v waits) { w.sum, w.times = w.sum+v.sum, w.times+v.times }

func (w *waits) mean() time.Duration {
	if w.times == 0 {
		return 0
	}
	return time.Duration(w.sum / w.times)
}

// processWaits are those of a process's threads that live.
func processWaits(pid int) (w waits) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return w // never: the pattern is right
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		var ran, waited, count int64
		if _, err := fmt.Sscan(string(text), &ran, &waited, &count); err == nil {
			w.add(waits{waited, count})
		}
	}
	return w
}

// sessionWaits are those of all processes of a session.
func sessionWaits(leader int) (w waits) {
	for _, pid := range sessionProcesses(leader) {
		w.add(processWaits(pid))
	}
	return w
}

// sessionProcesses are the processes of the session that a process leads: a
// browser has several.
func sessionProcesses(leader int) (pids []int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil // never: the pattern is right
	}
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the process has ended
		}
		// The name before the bracket may contain anything.
		fields := string(text[bytes.LastIndexByte(text, ')')+1:])
		var state string
		var parent, group, session int
		if _, err := fmt.Sscan(fields, &state, &parent, &group, &session); err != nil || session != leader {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
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
