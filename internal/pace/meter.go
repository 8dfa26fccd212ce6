package pace

import (
	"slices"
	"time"
)

const (
	// lineSampleTime and lineSampleBytes are the least that makes a sample:
	// arrivals come in steps of 16 KiB and in batches of datagrams, and a shorter
	// stretch would measure the batch.
	lineSampleTime  = 100 * time.Millisecond
	lineSampleBytes = 64 << 10

	// lineEndBytes let the end of a busy period count as well: three of the four
	// steps of a piece that was fetched alone, the first one having started the clock.
	lineEndBytes = 48 << 10

	// lineSteadyBytes is how much must have come in one go before it says that the
	// line brings no more: less may never have left slow start. It is the core's
	// smallest CDN request to a line that it does not know.
	lineSteadyBytes = 256 << 10

	// lineRise is how much faster than the estimate a short burst must be to
	// count all the same. The noise of bursts must not lift the estimate.
	lineRise = 1.25

	// lineSamples are kept; their median is the estimate. Five samples, half a
	// second of arrivals, follow a change of the line, and four that were stopped
	// by something else or arrived in a heap change nothing.
	lineSamples = 9

	// lineSilence ends a busy period: whatever is owed, nobody is sending.
	lineSilence = 2 * time.Second
)

// Meter estimates what a line brings while something is asked of it. It
// counts from the first byte of each busy period on, so that the time to first
// byte, which players set apart as well, is no part of it.
//
// What is asked of the line is often less than it could bring: a piece now and
// then, for a buffer that is full. As in BBR (draft-ietf-ccwg-bbr, §4.1.2), a
// sample that may have been limited by that counts only if it raises the estimate.
//
// A Meter reads no clock. It is not safe for concurrent use.
type Meter struct {
	ring    [lineSamples]float64
	samples int
	rate    float64 // median of ring, bytes per second; 0: nothing yet

	busy        bool
	start, last time.Time // of the sample at hand
	bytes       int       // since start
	total       int       // since the busy period began
}

// Received takes n bytes that arrived at now.
func (m *Meter) Received(now time.Time, n int) {
	if m.busy && now.Sub(m.last) > lineSilence {
		m.End()
	}
	if !m.busy {
		m.busy, m.start, m.last, m.bytes, m.total = true, now, now, 0, n
		return
	}
	m.last = now
	m.bytes += n
	m.total += n
	if m.bytes >= lineSampleBytes && now.Sub(m.start) >= lineSampleTime {
		m.sample()
		m.start, m.bytes = now, 0
	}
}

// End closes a busy period: nothing is owed any more.
func (m *Meter) End() {
	if m.busy && m.bytes >= lineEndBytes {
		m.sample()
	}
	m.busy = false
}

// Busy tells whether a busy period is open.
func (m *Meter) Busy() bool { return m.busy }

// Last is when the latest bytes of this busy period came.
func (m *Meter) Last() time.Time { return m.last }

// Estimate is the rate in bytes per second; 0 when too little has come.
func (m *Meter) Estimate() float64 {
	if m.samples == 0 && m.busy && m.bytes >= lineEndBytes {
		return m.current()
	}
	return m.rate
}

// Presume gives the meter an estimate from elsewhere, which one real sample outweighs.
func (m *Meter) Presume(bytesPerSec float64) { m.rate = bytesPerSec }

// current is the rate of the sample at hand. A clock of a millisecond is the
// finest believed: on a loopback path it, and not the path, would be measured.
func (m *Meter) current() float64 {
	return float64(m.bytes) / max(m.last.Sub(m.start), time.Millisecond).Seconds()
}

func (m *Meter) sample() {
	s := m.current()
	if m.total < lineSteadyBytes && m.samples > 0 && s < m.rate*lineRise {
		return
	}
	m.ring[m.samples%lineSamples] = s
	m.samples++
	kept := m.ring
	n := min(m.samples, lineSamples)
	slices.Sort(kept[:n])
	m.rate = kept[(n-1)/2] // of two in the middle the lower one
}
