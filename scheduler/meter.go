package scheduler

import "time"

const (
	// meterWindow is the shortest busy time that makes a rate sample: shorter
	// ones measure the burst, not the path.
	meterWindow = 100 * time.Millisecond
	// meterMinBytes lets a short transfer count all the same: one piece.
	meterMinBytes = ChunksPerPiece * ChunkBytes
	meterGain     = 0.3
)

// meter estimates a delivery rate over the time in which something was
// outstanding; idle time says nothing about a source.
type meter struct {
	rate  float64 // bytes per second; 0: unmeasured
	start time.Duration
	bytes int
	busy  bool
}

// begin starts a busy period.
func (m *meter) begin(at time.Duration) {
	if !m.busy {
		m.busy, m.start, m.bytes = true, at, 0
	}
}

// add records delivered bytes.
func (m *meter) add(at time.Duration, bytes int) {
	m.bytes += bytes
	if at-m.start >= meterWindow {
		m.sample(at)
	}
}

// end closes a busy period: nothing is outstanding any more.
func (m *meter) end(at time.Duration) {
	if m.busy && m.bytes >= meterMinBytes {
		m.sample(at)
	}
	m.busy = false
}

func (m *meter) sample(at time.Duration) {
	// A source can't be timed below a millisecond: on a loopback path the clock,
	// not the path, would be measured.
	elapsed := max(at-m.start, time.Millisecond)
	s := float64(m.bytes) / elapsed.Seconds()
	if m.rate == 0 {
		m.rate = s
	} else {
		m.rate += meterGain * (s - m.rate)
	}
	m.start, m.bytes = at, 0
}
