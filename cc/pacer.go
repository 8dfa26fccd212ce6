package cc

import (
	"math"
	"time"
)

const (
	// maxBurstBytes is what one call may release: 60 datagrams, one message of
	// segmentation offload (at most 64 segments and 65,507 bytes of payload).
	maxBurstBytes = 60 * PacketBytes

	// burstTime bounds what a sender that wakes in time releases at once.
	burstTime = time.Millisecond / 2

	// lateTime is what a sender that wakes late may catch up, and so the longest
	// queue that a burst makes. A timer of Go's runtime is a millisecond late as
	// a rule (it waits in epoll_wait, by the millisecond), and a process that
	// waits for a processor some more: with less, what is sent falls behind the
	// rate, and a controller that goes by measured rates takes that for the path.
	lateTime = 4 * time.Millisecond

	// minBurstBytes lets a slow sender release two packets at a time, or the
	// acknowledgement of every second packet would stop it.
	minBurstBytes = 2 * PacketBytes

	// minRateBytesPerSec keeps waiting times finite.
	minRateBytesPerSec = 1.0

	// maxPause bounds the wait that is announced, far beyond any useful one.
	maxPause = time.Hour
)

// A Pacer spreads packets over time (RFC 9002 §7.7): a token bucket, in bytes,
// that fills at the pacing rate.
//
// Tokens are handed out by the quantum, what burstTime earns but never more than
// maxBurstBytes: a fast sender is woken for a batch worth a system call, a slow
// one for a single packet. The bucket holds more than that, so that either may
// come lateTime late and lose nothing.
type Pacer struct {
	rateBytesPerSec float64
	creditBytes     float64 // negative after packets that did not ask
	filledAt        int64
}

// NewPacer returns a Pacer that lets an initial window pass at once, as
// RFC 9002 §7.7 permits. Moments are nanoseconds from any fixed one.
func NewPacer(at int64, rateBytesPerSec float64) Pacer {
	p := Pacer{creditBytes: InitialWindowBytes, filledAt: at}
	p.SetRate(at, rateBytesPerSec)
	return p
}

// SetRate changes the rate from now on; what was earned stays.
func (p *Pacer) SetRate(at int64, rateBytesPerSec float64) {
	p.fill(at)
	if !(rateBytesPerSec >= minRateBytesPerSec) { // NaN too
		rateBytesPerSec = minRateBytesPerSec
	}
	p.rateBytesPerSec = rateBytesPerSec
}

// Budget is the number of bytes that may leave now, at most wanted: nothing
// until the lesser of a quantum and wanted has been earned.
func (p *Pacer) Budget(at int64, wantedBytes int) int {
	p.fill(at)
	wantedBytes = min(wantedBytes, maxBurstBytes)
	if wantedBytes <= 0 || p.creditBytes < p.threshold(wantedBytes) {
		return 0
	}
	return min(wantedBytes, int(p.creditBytes))
}

// Wait is how long after at Budget for as many bytes will be positive.
func (p *Pacer) Wait(at int64, wantedBytes int) time.Duration {
	p.fill(at)
	missing := p.threshold(min(wantedBytes, maxBurstBytes)) - p.creditBytes
	if missing <= 0 {
		return 0
	}
	// One nanosecond more: the sum must not fall short by rounding.
	nanos := math.Ceil(missing/p.rateBytesPerSec*float64(time.Second)) + 1
	return time.Duration(min(nanos, float64(maxPause)))
}

// Spend takes the bytes of a packet that left; packets that did not ask (a
// probe, an ACK) may overdraw the bucket, by at most a second of the rate.
func (p *Pacer) Spend(at int64, bytes int) {
	p.fill(at)
	p.creditBytes = max(p.creditBytes-float64(bytes), -max(p.rateBytesPerSec, minBurstBytes))
}

func (p *Pacer) fill(at int64) {
	elapsed := at - p.filledAt
	if elapsed <= 0 {
		return
	}
	p.filledAt = at
	earned := p.creditBytes + p.rateBytesPerSec*float64(elapsed)/float64(time.Second)
	// What is above the depth (an initial window, a rate that fell) is kept,
	// but earns nothing.
	p.creditBytes = max(p.creditBytes, min(earned, p.depth()))
}

// depth of the bucket.
func (p *Pacer) depth() float64 {
	return max(p.quantum()+p.rateBytesPerSec*lateTime.Seconds(), minBurstBytes)
}

// quantum is what is worth waking up for.
func (p *Pacer) quantum() float64 {
	return min(max(p.rateBytesPerSec*burstTime.Seconds(), PacketBytes), maxBurstBytes)
}

func (p *Pacer) threshold(wantedBytes int) float64 {
	return min(p.quantum(), float64(wantedBytes))
}
