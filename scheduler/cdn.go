package scheduler

import (
	"slices"
	"time"
)

const (
	// priorCDNRate and priorFirstByte stand in until the first fetch is measured:
	// 8 Mbit/s and 300 ms, a slow line to a far CDN.
	priorCDNRate   = 1e6
	priorFirstByte = 300 * time.Millisecond
	// rescueMargin covers what the estimates don't: hashing, the player's own
	// request, one scheduling round on a busy machine. A fetch that is retried
	// once needs about as much again.
	rescueMargin = 1500 * time.Millisecond
	// firstByteSamples is how many fetches the 95th percentile looks back.
	firstByteSamples = 32
)

// CDNMeter estimates what the CDN delivers to this node, over all fetches at
// once: they share the same line.
type CDNMeter struct {
	epoch     time.Time
	meter     meter
	running   int
	firstByte [firstByteSamples]time.Duration
	samples   int
	p95, min  time.Duration // of firstByte
}

// NewCDNMeter returns a meter that knows nothing yet.
func NewCDNMeter(now time.Time) *CDNMeter { return &CDNMeter{epoch: now} }

// Started records the start of a fetch.
func (m *CDNMeter) Started(now time.Time) {
	m.running++
	m.meter.begin(now.Sub(m.epoch))
}

// Received records payload of any fetch.
func (m *CDNMeter) Received(now time.Time, bytes int) { m.meter.add(now.Sub(m.epoch), bytes) }

// Done records the end of a fetch; firstByte 0 means that none came.
func (m *CDNMeter) Done(now time.Time, firstByte time.Duration) {
	if m.running--; m.running == 0 {
		m.meter.end(now.Sub(m.epoch))
	}
	if firstByte > 0 {
		m.firstByte[m.samples%firstByteSamples] = firstByte
		m.samples++
		n := min(m.samples, firstByteSamples)
		sorted := m.firstByte
		slices.Sort(sorted[:n])
		m.p95, m.min = sorted[(n-1)*95/100], sorted[0]
	}
}

// Estimate returns the present view; the caller adds what is in flight.
func (m *CDNMeter) Estimate() CDN {
	c := CDN{BytesPerSec: m.meter.rate, FirstByte: priorFirstByte, RoundTrip: priorRTT, Margin: rescueMargin}
	if c.BytesPerSec == 0 {
		c.BytesPerSec = priorCDNRate
	}
	if m.samples > 0 {
		c.FirstByte, c.RoundTrip = m.p95, m.min
	}
	return c
}
