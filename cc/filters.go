package cc

import "time"

// windowedMax keeps the greatest value of a sliding window, as windowedMin
// keeps the least.
type windowedMax struct{ negated windowedMin }

func (w *windowedMax) value() int64                  { return -w.negated.value() }
func (w *windowedMax) add(at, value, window int64)   { w.negated.add(at, -value, window) }
func (w *windowedMax) expired(at, window int64) bool { return w.negated.expired(at, window) }

// expired tells whether nothing of the window is left.
func (w *windowedMin) expired(at, window int64) bool { return !w.set || at-w.kept[2].at > window }

// ewma moves an average towards a value by one part in n; from zero it jumps.
func ewma[T ~int64 | ~float64](average, value, n T) T {
	if average == 0 {
		return value
	}
	return average + (value-average)/n
}

// bytesAt is what a rate carries in a time.
func bytesAt(bytesPerSec float64, d time.Duration) float64 { return bytesPerSec * d.Seconds() }
