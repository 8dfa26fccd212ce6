package replay

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkReplay plays swarms of 200 viewers at 2.5 Mbit/s under policy shoal,
// on one core. "viewer-s/s" is per second of CPU time, which other work on the
// machine does not change.
func BenchmarkReplay(b *testing.B) {
	for _, sessions := range []int{1000, 4000, 16000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			b.ReportMetric(1/cpuPerViewerSecond(b, audience(1, sessions, 200, 4*time.Minute)), "viewer-s/s")
		})
	}
}

// cpuPerViewerSecond plays sessions and returns what a second watched has cost.
func cpuPerViewerSecond(b *testing.B, list []Session) (seconds float64) {
	b.Helper()
	watched := 0.0
	begin := cpuTime(b)
	for b.Loop() {
		r, err := Run(context.Background(), Config{Seed: 1}, list, nil)
		require.NoError(b, err)
		watched += r[0].ViewerSeconds
	}
	return (cpuTime(b) - begin).Seconds() / watched
}

// BenchmarkLinear plays short sessions in swarms of 200, more and more of them.
// "cost-ratio" is the CPU time of a viewer-second against that with 1,000.
func BenchmarkLinear(b *testing.B) {
	first := 0.0
	for _, sessions := range []int{1000, 4000, 16000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			cost := cpuPerViewerSecond(b, audience(1, sessions, 200, 20*time.Second))
			if first == 0 {
				first = cost
			}
			b.ReportMetric(cost/first, "cost-ratio")
			b.ReportMetric(1/cost, "viewer-s/s")
		})
	}
}

// BenchmarkPeer shows what an online peer takes in memory in the middle of a
// film, in a swarm of 200.
func BenchmarkPeer(b *testing.B) {
	list := audience(1, 200, 200, time.Hour)
	for i := range list {
		list[i].Start /= 100
	}
	cfg := Config{Seed: 1}.withDefaults()
	for b.Loop() {
		before := heap()
		build, err := policyByName("shoal")
		require.NoError(b, err)
		sw := cut(list)[0]
		w := newWorld(cfg, build, sw, new(Meter))
		for w.now < 10*time.Minute {
			at, ev := w.events.pop()
			w.now = at
			w.do(&ev, sw)
		}
		require.Equal(b, 200, w.online)
		b.ReportMetric(float64(heap()-before)/float64(w.online)/1024, "KiB/peer")
		runtime.KeepAlive(w)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
