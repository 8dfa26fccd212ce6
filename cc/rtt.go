package cc

import "time"

const (
	// initialRTT is assumed before the first sample (RFC 9002 §6.2.2).
	initialRTT = 333 * time.Millisecond

	// granularity of timers (RFC 9002 §6.1.2, kGranularity).
	granularity = time.Millisecond

	// maxAckDelay bounds the delay that a receiver may claim, so that it cannot
	// make us believe in a shorter path than there is (RFC 9002 §5.3).
	maxAckDelay = 25 * time.Millisecond

	// minRTTWindow is how long a minimum counts. Longer than the period in
	// which any competing flow drains the queue once, short enough that a new
	// path is believed soon (draft-ietf-ccwg-bbr, MinRTTFilterLen).
	minRTTWindow = 10 * time.Second

	// emptyRTTWindow is how long a minimum is the path without anybody's queue. A download
	// that fills a deep buffer may not empty it for minutes; but a path that has become
	// longer must not pass for a queue for ever, and what the line carries (carriedWindow)
	// should still be known then.
	emptyRTTWindow = 5 * time.Minute
)

// RTT estimates the round-trip time of one path after RFC 9002 §5.
type RTT struct {
	latest, smoothed, variation, min time.Duration

	window  windowedMin
	empty   windowedMin
	sampled bool
}

// Sampled tells whether a round trip has been measured yet.
func (r *RTT) Sampled() bool { return r.sampled }

// Latest is the newest sample as measured; zero before the first.
func (r *RTT) Latest() time.Duration { return r.latest }

// Smoothed is RFC 9002's smoothed_rtt; zero before the first sample.
func (r *RTT) Smoothed() time.Duration { return r.smoothed }

// Var is RFC 9002's rttvar; zero before the first sample.
func (r *RTT) Var() time.Duration { return r.variation }

// Min is RFC 9002's min_rtt: the least sample since the path came into use or
// persistent congestion made us distrust it; zero before the first sample.
func (r *RTT) Min() time.Duration { return r.min }

// WindowMin is the least sample of the last ten seconds; zero before the first.
func (r *RTT) WindowMin() time.Duration { return time.Duration(r.window.value()) }

// emptyMin is the least sample of the last five minutes; zero before the first.
func (r *RTT) emptyMin() time.Duration { return time.Duration(r.empty.value()) }

// sample takes one measurement and returns it less the receiver's delay; at
// counts nanoseconds from any fixed moment.
func (r *RTT) sample(at int64, measured, ackDelay time.Duration) time.Duration {
	measured = max(measured, 0)
	ackDelay = min(max(ackDelay, 0), maxAckDelay)
	r.window.add(at, int64(measured), int64(minRTTWindow))
	r.empty.add(at, int64(measured), int64(emptyRTTWindow))
	if !r.sampled {
		r.sampled = true
		r.latest, r.smoothed, r.variation, r.min = measured, measured, measured/2, measured
		return measured
	}
	r.min = min(r.min, measured)
	// The receiver's delay is taken off only where that does not lead below
	// the least RTT ever seen (RFC 9002 §5.3).
	adjusted := measured
	if measured-ackDelay >= r.min {
		adjusted = measured - ackDelay
	}
	r.latest = measured
	r.variation = (3*r.variation + (r.smoothed - adjusted).Abs()) / 4
	r.smoothed = (7*r.smoothed + adjusted) / 8
	return adjusted
}

// distrust forgets the minimum after persistent congestion (RFC 9002 §5.2).
func (r *RTT) distrust(at int64) {
	if !r.sampled {
		return
	}
	r.min = r.latest
	r.window, r.empty = windowedMin{}, windowedMin{}
	r.window.add(at, int64(r.latest), int64(minRTTWindow))
	r.empty.add(at, int64(r.latest), int64(emptyRTTWindow))
}

// expected is when an ACK should have come: the longer of the smoothed and the
// latest round trip (RFC 9002 §6.1.2).
func (r *RTT) expected() time.Duration {
	if !r.sampled {
		return initialRTT
	}
	return max(r.latest, r.smoothed)
}

// pto is the probe time-out without back-off (RFC 9002 §6.2.1).
func (r *RTT) pto() time.Duration {
	if !r.sampled {
		return initialRTT + 4*(initialRTT/2) + maxAckDelay
	}
	return r.smoothed + max(4*r.variation, granularity) + maxAckDelay
}

// windowedMin keeps the least value of a sliding window in constant space:
// the best, and the best of what came after it, twice (K. Nichols' filter, as
// in Linux lib/win_minmax.c).
type windowedMin struct {
	kept [3]timedValue
	set  bool
}

type timedValue struct{ at, value int64 }

func (w *windowedMin) value() int64 { return w.kept[0].value }

func (w *windowedMin) add(at, value, window int64) {
	v := timedValue{at, value}
	if !w.set || value <= w.kept[0].value || at-w.kept[2].at > window {
		w.kept = [3]timedValue{v, v, v}
		w.set = true
		return
	}
	if value <= w.kept[1].value {
		w.kept[1], w.kept[2] = v, v
	} else if value <= w.kept[2].value {
		w.kept[2] = v
	}
	age := at - w.kept[0].at
	switch {
	case age > window:
		// The best has left the window: the next ones move up.
		w.kept[0], w.kept[1], w.kept[2] = w.kept[1], w.kept[2], v
		if at-w.kept[0].at > window {
			w.kept[0], w.kept[1] = w.kept[1], w.kept[2]
		}
	case w.kept[1].at == w.kept[0].at && age > window/4:
		// A quarter without a second choice: take it from now on.
		w.kept[1], w.kept[2] = v, v
	case w.kept[2].at == w.kept[1].at && age > window/2:
		w.kept[2] = v
	}
}
