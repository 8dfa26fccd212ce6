package cc

import "time"

const (
	// reorderingMemory is how long reordering counts after it was last seen.
	reorderingMemory = 30 * time.Second

	// maxReordering bounds the patience in round trips, whatever a receiver claims.
	maxReordering = 1
)

// reordering is how much later than the packets that overtook them the packets of
// this path arrive. Where that happens at all, numbers say nothing about losses
// any more, and only time does (RFC 8985 §6.2).
type reordering struct{ lateness windowedMax }

// seen notes a packet that arrived after a later one.
func (o *reordering) seen(at, sentAt int64, rtt time.Duration) {
	late := time.Duration(at-sentAt) - rtt
	o.lateness.add(at, int64(max(late, time.Nanosecond)), int64(reorderingMemory))
}

// happens tells whether reordering was seen lately.
func (o *reordering) happens(at int64) bool {
	return !o.lateness.expired(at, int64(reorderingMemory))
}

// patience is how long beyond a round trip an overtaken packet may still come:
// an eighth of it (RFC 9002 §6.1.2), or a quarter more than was seen.
func (o *reordering) patience(at int64, rtt time.Duration) time.Duration {
	least := max(rtt/8, granularity-rtt)
	if !o.happens(at) {
		return least
	}
	return max(least, min(time.Duration(o.lateness.value())*5/4, maxReordering*rtt))
}
