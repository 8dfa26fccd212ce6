package main

import (
	"fmt"
	"os/exec"
	"slices"
	"time"
)

// measurement is what one transfer took.
type measurement struct {
	bytes     int64 // of payload
	took, cpu time.Duration
	rss       int64 // the seed's highest; with --homes only
}

func (m measurement) gbps() float64     { return float64(m.bytes) * 8 / m.took.Seconds() / 1e9 }
func (m measurement) cpuPerGB() float64 { return m.cpu.Seconds() / (float64(m.bytes) / 1e9) }

// race starts a seed, then a leech that is told the seed's address, and measures
// the transfer between them.
func race(seed *exec.Cmd, leech func(addr string) *exec.Cmd) (m measurement, err error) {
	s, err := start(seed, (*exec.Cmd).Start)
	if err != nil {
		return m, err
	}
	defer s.stop()
	addr, err := s.await("ready")
	if err != nil {
		return m, err
	}
	l, err := start(leech(addr), (*exec.Cmd).Start)
	if err != nil {
		return m, err
	}
	defer l.stop()
	if _, err := l.await("ready"); err != nil {
		return m, err
	}
	before, err := cpuOf(s, l)
	if err != nil {
		return m, err
	}
	began := time.Now()
	if err := l.tell(); err != nil {
		return m, err
	}
	if m.bytes, err = l.awaitBytes("done"); err != nil {
		return m, err
	}
	m.took = time.Since(began)
	after, err := cpuOf(s, l)
	m.cpu = after - before
	return m, err
}

func cpuOf(processes ...*process) (sum time.Duration, err error) {
	for _, p := range processes {
		used, err := p.cpu()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// A system is one of those compared.
type system struct {
	name, what string
	measure    func() (measurement, error)
	runs       []measurement
}

// result is a system's line of the JSON.
type result struct {
	System   string    `json:"system"`
	What     string    `json:"what"`
	Gbps     float64   `json:"gbps"`         // median
	CPUPerGB float64   `json:"cpu_s_per_gb"` // median, of both sides
	RSSMiB   float64   `json:"rss_mib,omitempty"`
	Runs     []float64 `json:"runs"` // Gbit/s of each
}

func (s *system) result() result {
	r := result{System: s.name, What: s.what}
	var cpu, rss []float64
	for _, m := range s.runs {
		r.Runs = append(r.Runs, m.gbps())
		cpu = append(cpu, m.cpuPerGB())
		rss = append(rss, float64(m.rss)/(1<<20))
	}
	r.Gbps, r.CPUPerGB, r.RSSMiB = median(r.Runs), median(cpu), median(rss)
	return r
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// compare runs the systems in turn.
func compare(systems []*system, runs int) ([]result, error) {
	for range runs {
		for _, s := range systems {
			m, err := s.measure()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			s.runs = append(s.runs, m)
		}
	}
	var results []result
	for _, s := range systems {
		results = append(results, s.result())
	}
	return results, nil
}

// table prints results, and what the first is to the others.
func table(results []result) {
	fmt.Printf("%-18s %8s %12s %7s %7s   %s\n", "", "Gbit/s", "CPU-s/GB", "× rate", "× CPU", "")
	first := results[0]
	for _, r := range results {
		fmt.Printf("%-18s %8.3f %12.2f %7.2f %7.2f   %s\n", r.System, r.Gbps, r.CPUPerGB,
			first.Gbps/r.Gbps, first.CPUPerGB/r.CPUPerGB, r.What)
		if r.RSSMiB > 0 {
			fmt.Printf("%-18s %8.1f MiB resident at most\n", "", r.RSSMiB)
		}
	}
}
