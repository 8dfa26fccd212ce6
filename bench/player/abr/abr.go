// Package abr chooses renditions as hls.js does: by the throughput that its
// loads had. Decisions by buffer level and the abandonment of a load in progress
// are left out.
//
// It reads no clock; an Estimate is not safe for concurrent use.
package abr

import (
	"math"
	"time"
)

// Estimate is the throughput as hls.js 1.7 estimates it
// (ewma-bandwidth-estimator.ts): the smaller of a fast and a slow average,
// weighted by download time, so that it falls quickly and rises slowly.
type Estimate struct {
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

// New returns the estimate of a player that has loaded nothing.
func New() Estimate {
	return Estimate{fast: ewma{halfLife: 3}, slow: ewma{halfLife: 9}, ttfb: ewma{halfLife: 9}}
}

// Sample takes a finished load: total counts from the request, ttfb is how much
// of it passed before the first byte (abr-controller.ts, onFragBuffered).
func (e *Estimate) Sample(bytes int64, ttfb, total time.Duration) {
	expected := ttfbDefault.Seconds()
	if e.ttfb.weight > 0 {
		expected = e.ttfb.value()
	}
	e.ttfb.add(max(math.Sqrt(ttfb.Seconds()*1000), 1)/2, ttfb.Seconds())
	took := max(total.Seconds()-min(ttfb.Seconds(), expected), sampleMin.Seconds())
	bitsPerSecond := float64(bytes) * 8 / took
	e.fast.add(took, bitsPerSecond)
	e.slow.add(took, bitsPerSecond)
}

// BitsPerSecond returns the estimate.
func (e *Estimate) BitsPerSecond() float64 {
	if e.fast.weight == 0 {
		return defaultEstimate
	}
	return min(e.fast.value(), e.slow.value())
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

// Choose returns the index of the rendition to load next: the highest that the
// estimate, times a factor of safety, carries (abr-controller.ts,
// findBestLevel). Bandwidths rise.
func Choose(bandwidths []int, current int, bitsPerSecond float64) int {
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
