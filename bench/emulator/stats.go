package emulator

import "time"

// LineStats counts what a line has done.
type LineStats struct {
	Name string `json:"name"`
	// Packets and Bytes arrived at its beginning; those by fate sum up to them.
	Packets int64 `json:"packets"`
	Bytes   int64 `json:"bytes"`
	// Delivered are those handed on, by now or to be.
	DeliveredPackets int64 `json:"delivered_packets"`
	DeliveredBytes   int64 `json:"delivered_bytes"`
	Policed          int64 `json:"policed"`
	QueueFull        int64 `json:"queue_full"`
	Lost             int64 `json:"lost"`
	// Overrun: the emulator could not hold more. Not zero: the run is worthless.
	Overrun int64 `json:"overrun"`

	// Queue delays of the accepted packets, without their own sending.
	QueueMean time.Duration `json:"queue_mean_ns"`
	QueueP50  time.Duration `json:"queue_p50_ns"`
	QueueP95  time.Duration `json:"queue_p95_ns"`
	QueueMax  time.Duration `json:"queue_max_ns"`

	// Late is by how much packets were handed on after their time: what the
	// machine adds to the line's delay.
	LateMean time.Duration `json:"late_mean_ns"`
	LateP95  time.Duration `json:"late_p95_ns"`
	LateMax  time.Duration `json:"late_max_ns"`
}

// histogram of durations, exact to its grain. Its memory is bounded: all above
// its last bucket count there.
type histogram struct {
	buckets [histogramBuckets]int64
	count   int64
	sum     time.Duration
	most    time.Duration
}

const (
	// 0.25 ms and 2 s: jitter and deep buffers both fit; 64 KiB.
	histogramGrain   = 250 * time.Microsecond
	histogramBuckets = 8192
)

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.buckets[min(int(d/histogramGrain), histogramBuckets-1)]++
	h.count++
	h.sum += d
	h.most = max(h.most, d)
}

func (h *histogram) mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return h.sum / time.Duration(h.count)
}

// quantile returns the middle of the bucket that holds it.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(q * float64(h.count))
	for i, n := range h.buckets {
		if rank < n {
			return min(time.Duration(i)*histogramGrain+histogramGrain/2, h.most)
		}
		rank -= n
	}
	return h.most
}
