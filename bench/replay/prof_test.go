package replay

import (
	"context"
	"testing"
	"time"
)

func BenchmarkProf(b *testing.B) {
	list := audience(1, 200, 200, 5*time.Minute)
	var watched float64
	begin := cpuTime(b)
	for b.Loop() {
		r, _ := Run(context.Background(), Config{Seed: 1}, list, nil)
		watched += r[0].ViewerSeconds
		x := r[0]
		x.PerSession, x.Series, x.Swarms = nil, Series{}, nil
		b.Logf("%+v", x)
		raw, p2p := int64(0), int64(0)
		for _, n := range r[0].Series.CDN {
			raw += n
		}
		for _, n := range r[0].Series.P2P {
			p2p += n
		}
		b.Log(raw, p2p)
	}
	b.ReportMetric(watched/(cpuTime(b)-begin).Seconds(), "viewer-s/s")
}
