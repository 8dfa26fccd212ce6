package scheduler

import (
	"testing"
	"time"
)

// BenchmarkPick is one round of scheduling with 20,000 needed pieces and 100
// seeds, in the steady state: a piece has come in, and its seed has room again.
func BenchmarkPick(b *testing.B) {
	now := time.Unix(0, 0)
	s := New(now, Config{})
	for id := range Seed(100) {
		s.SeedUp(id, 20*time.Millisecond)
	}
	for i := range uint32(20_000) {
		var h SeedSet
		for k := range 10 {
			h.Add(Seed((int(i) + k*7) % 100))
		}
		s.Need(now, Need{Piece: Piece{Index: i}, Full: ^uint64(0), Deadline: now.Add(time.Duration(i) * 10 * time.Millisecond), Holders: h})
	}
	asks := s.Assign(now, make([]Ask, 0, 4096))
	if len(asks) == 0 {
		b.Fatal("nothing was asked")
	}
	var out []Ask
	out = make([]Ask, 0, 256)
	next := 0
	b.ReportAllocs()
	for b.Loop() {
		a := asks[next]
		now = now.Add(time.Microsecond)
		s.Arrived(now, a.Seed, a.Piece, a.Mask)
		if s.Missing(a.Piece) == 0 { // verified: it leaves, and is needed again at the far end
			b.StopTimer()
			s.Forget(now, a.Piece)
			s.Need(now, Need{Piece: a.Piece, Full: ^uint64(0), Deadline: now.Add(time.Hour), Holders: SeedSet{1 << (a.Piece.Index % 64)}})
			b.StartTimer()
		}
		out = s.Assign(now, out[:0])
		b.StopTimer()
		asks = append(asks, out...)
		next++
		b.StartTimer()
	}
}

// BenchmarkRescue is the schedulability test over a window of 1,000 pieces.
func BenchmarkRescue(b *testing.B) {
	now := time.Unix(0, 0)
	s := New(now, Config{})
	for id := range Seed(100) {
		s.SeedUp(id, 20*time.Millisecond)
	}
	for i := range uint32(1000) {
		s.Need(now, Need{Piece: Piece{Index: i}, Full: ^uint64(0), Deadline: now.Add(time.Duration(i) * 25 * time.Millisecond), Holders: SeedSet{uint64(i) * 0x9e3779b97f4a7c15}})
	}
	var out []Gap
	b.ReportAllocs()
	for b.Loop() {
		out = s.Rescue(now, CDN{BytesPerSec: 1e6, FirstByte: 50 * time.Millisecond, Margin: time.Second}, 1<<20, out[:0])
	}
}
