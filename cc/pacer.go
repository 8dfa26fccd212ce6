package cc

import (
	"math"
	"time"
)

const (
	// maxBurstBytes is what one call may release: 60 datagrams, one message of
	// segmentation offload (at most 64 segments and 65,507 bytes of payload).
	maxBurstBytes = 60 * PacketBytes

	// burstTime bounds a burst by the rate: a queue of at most a millisecond.
	burstTime = time.Millisecond

	// catchUpTime is how late a sender may wake and lose nothing: two ticks of a
	// scheduler on a busy machine. A rate that loses its late packets would be
	// measured as the path's, and the next one would be lower still.
	catchUpTime = 8 * time.Millisecond

	// minBurstBytes lets a slow sender release two packets at a time, or the
	// acknowledgement of every second packet would stop it.
	minBurstBytes = 2 * PacketBytes

	// minRateBytesPerSec keeps waiting times finite.
	minRateBytesPerSec = 1.0

	// maxPause bounds the wait that is announced, far beyond any useful one.
	maxPause = time.Hour
)

// A Pacer spreads packets over time (RFC 9002 §7.7): a token bucket, in bytes,
// that fills at the pacing rate and holds the burst that the rate allows.
//
// Tokens are handed out by the quantum, half a full bucket but never more than
// maxBurstBytes: a fast sender is woken for a batch worth a system call, a slow
// one for a single packet, and either may come a quantum late and lose nothing.
type Pacer struct {
	rateBytesPerSec float64
	creditBytes     float64 // negative after packets that did not ask
	filledAt        int64
	promisedAt      int64 // when a sender that waits was told to come; 0: none waits
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
	wait := time.Duration(min(nanos, float64(maxPause)))
	p.promisedAt = at + int64(wait)
	return wait
}

// Spend takes the bytes of a packet that left; packets that did not ask (a
// probe, an ACK) may overdraw the bucket, by at most a second of the rate.
func (p *Pacer) Spend(at int64, bytes int) {
	p.fill(at)
	p.creditBytes = max(p.creditBytes-float64(bytes), -max(p.rateBytesPerSec, minBurstBytes))
	p.promisedAt = 0
}

func (p *Pacer) fill(at int64) {
	elapsed := at - p.filledAt
	if elapsed <= 0 {
		return
	}
	p.filledAt = at
	depth := p.depth()
	if p.promisedAt > 0 && at > p.promisedAt {
		late := min(time.Duration(at-p.promisedAt), catchUpTime)
		depth += p.rateBytesPerSec * late.Seconds()
	}
	earned := p.creditBytes + p.rateBytesPerSec*float64(elapsed)/float64(time.Second)
	// What is above the depth (an initial window, a rate that fell) is kept,
	// but earns nothing.
	p.creditBytes = max(p.creditBytes, min(earned, depth))
}

// depth of the bucket.
func (p *Pacer) depth() float64 {
	return max(p.rateBytesPerSec*burstTime.Seconds(), minBurstBytes)
}

func (p *Pacer) threshold(wantedBytes int) float64 {
	return min(p.depth()/2, maxBurstBytes, float64(wantedBytes))
}
