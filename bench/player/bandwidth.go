package player

import (
	"sync"
	"time"

	"shoal/bench/player/abr"
)

// bandwidth is the throughput estimate, which both tracks' loaders feed.
type bandwidth struct {
	mu       sync.Mutex
	estimate abr.Estimate // guarded by mu
}

func (b *bandwidth) sample(bytes int64, ttfb, total time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.estimate.Sample(bytes, ttfb, total)
}

func (b *bandwidth) bitsPerSecond() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.estimate.BitsPerSecond()
}
