package main

import (
	"fmt"
	"os"
)

// processors is how long the machine's processors have worked and idled, in
// ticks.
type processors struct{ all, idle float64 }

// processorTime reads /proc/stat; zero where there is none.
func processorTime() (p processors) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return p
	}
	var t [8]float64 // user nice system idle iowait irq softirq steal
	_, err = fmt.Sscanf(string(text), "cpu %g %g %g %g %g %g %g %g", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7])
	if err != nil {
		return p
	}
	for _, v := range t {
		p.all += v
	}
	p.idle = t[3] + t[4]
	return p
}

// sinceThen is the share of the time since then in which processors worked,
// for this program or any other.
func (p processors) sinceThen() float64 {
	now := processorTime()
	if now.all <= p.all {
		return 0
	}
	return 1 - (now.idle-p.idle)/(now.all-p.all)
}
