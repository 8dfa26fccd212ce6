package player

import (
	"math"
	"sync"
	"time"
)

// bandwidth estimates throughput as hls.js does (ewma-bandwidth-estimator):
// the smaller of a fast and a slow average, weighted by download time, so that
// it falls quickly and rises slowly.
type bandwidth struct {
	mu         *sync.Mutex
	fast, slow ewma
	ttfb       ewma
}

const (
	// defaultEstimate is hls.js's abrEwmaDefaultEstimate, bits per second.
	defaultEstimate = 500_000
	// downFactor and upFactor are hls.js's abrBandWidthFactor and
	// abrBandWidthUpFactor.
	downFactor = 0.95
	upFactor   = 0.7
	// sampleMin keeps answers from a cache from counting as infinitely fast
	// (minDelayMs_).
	sampleMin = 50 * time.Millisecond
	// ttfbDefault is assumed before the first measurement (abrEwmaDefault…).
	ttfbDefault = 100 * time.Millisecond
)

func newBandwidth() bandwidth {
	return bandwidth{mu: new(sync.Mutex), fast: ewma{halfLife: 3}, slow: ewma{halfLife: 9}, ttfb: ewma{halfLife: 9}}
}

// sample takes a finished load.
func (b *bandwidth) sample(bytes int64, ttfb, total time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	expected := ttfbDefault.Seconds()
	if b.ttfb.weight > 0 {
		expected = b.ttfb.value()
	}
	b.ttfb.add(max(math.Sqrt(ttfb.Seconds()*1000), 1)/2, ttfb.Seconds())
	took := max(total.Seconds()-min(ttfb.Seconds(), expected), sampleMin.Seconds())
	bitsPerSecond := float64(bytes) * 8 / took
	b.fast.add(took, bitsPerSecond)
	b.slow.add(took, bitsPerSecond)
}

// bitsPerSecond returns the estimate.
func (b *bandwidth) bitsPerSecond() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fast.weight == 0 {
		return defaultEstimate
	}
	return min(b.fast.value(), b.slow.value())
}

type ewma struct {
	halfLife float64
	sum      float64
	weight   float64
}

func (e *ewma) add(weight, v float64) {
	alpha := math.Pow(0.5, weight/e.halfLife)
	e.sum = v*(1-alpha) + alpha*e.sum
	e.weight += weight
}

// value corrects for the zero that the average began with.
func (e *ewma) value() float64 {
	return e.sum / (1 - math.Pow(0.5, e.weight/e.halfLife))
}

// choose returns the index of the rendition to load next. Bandwidths rise.
func choose(bandwidths []int, current int, bitsPerSecond float64) int {
	best := 0
	for i, b := range bandwidths {
		factor := downFactor
		if i > current {
			factor = upFactor
		}
		if float64(b) <= bitsPerSecond*factor {
			best = i
		}
	}
	return best
}
