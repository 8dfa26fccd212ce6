package engine

import (
	"io"
	"testing"
	"time"
)

// BenchmarkPeerToPeer moves a file from one engine to another over loopback:
// sealed, paced, verified, stored and read, both ends in this process.
func BenchmarkPeerToPeer(b *testing.B) {
	const size = 64 << 20
	w := newWorld(b, 2, size).withTracker()
	roomy := func(c *Config) { c.CacheBytes = 1 << 30 }
	seed := w.peer("seed", roomy)
	f := w.file(seed, 1)
	v := f.Title().Viewer("player")
	v.Report(Playback{Position: segmentTime, Rate: 1})
	if _, err := readAll(f, OpenOptions{Viewer: v}); err != nil {
		b.Fatal(err)
	}
	v.Close()
	w.holds(seed, size/65536)
	b.SetBytes(size)
	b.ReportAllocs()
	var fromPeers, received int64
	var busy time.Duration
	for b.Loop() {
		b.StopTimer()
		leech := w.peer("leech", roomy)
		f := w.file(leech, 1)
		w.connected(leech, 1)
		b.StartTimer()
		start := time.Now()
		r, err := f.Open(b.Context(), OpenOptions{Deadline: time.Now().Add(time.Minute)})
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil || n != size {
			b.Fatal(n, err)
		}
		busy += time.Since(start)
		b.StopTimer()
		_ = r.Close()
		fromPeers += leech.Status().Bytes.P2P
		received += n
		_ = leech.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(fromPeers)/float64(received), "p2p/byte")
	b.ReportMetric(float64(received)*8/1e9/busy.Seconds(), "Gbit/s")
}
