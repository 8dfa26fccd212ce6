package cc

import "time"

// minCompeteBytes is the least window beside a flow that fills the queue.
const minCompeteBytes = 4 * PacketBytes

// A competition is the window while somebody else keeps the bottleneck's queue
// filled: a model without queue would get nothing, so the window grows on
// Cubic's curve, and the talk's α says what a back-off leaves.
type competition struct {
	on          bool
	windowBytes float64
	curve       curve
	slowStart   bool    // until the first back-off
	aim         float64 // but below this window slow start goes on; each back-off halves it
	drained     int     // drain tests in a row that found the queue gone

	leftAt    int64 // when the mode was left last, and with which window
	leftBytes float64
}

// rejoinTime is how long the window of the last competition is worth resuming.
const rejoinTime = 10 * time.Second

func (x *competition) enter(windowBytes, keep float64) {
	windowBytes = max(windowBytes, minCompeteBytes)
	x.on, x.windowBytes, x.drained, x.slowStart, x.aim = true, windowBytes, 0, false, 0
	x.curve = curve{beta: keep, weight: 1, wMax: windowBytes / PacketBytes, wPrior: windowBytes / PacketBytes}
}

// lately tells whether the mode was left not long ago.
func (x *competition) lately(at int64) bool {
	return x.leftAt > 0 && time.Duration(at-x.leftAt) < rejoinTime
}

func (x *competition) leave(at int64) {
	x.on, x.leftAt, x.leftBytes = false, at, x.windowBytes
}

// acked grows the window. weight is this channel's part of one Cubic's place.
func (x *competition) acked(now time.Time, ackedBytes int, srtt time.Duration, weight float64) {
	if x.slowStart {
		x.windowBytes = min(x.windowBytes+float64(ackedBytes)*weight, MaxWindowBytes)
		return
	}
	window := x.windowBytes / PacketBytes
	if x.curve.epoch.IsZero() {
		x.curve.begin(now, window)
	}
	acked := float64(ackedBytes) / PacketBytes
	x.curve.weight = weight
	x.windowBytes = min(PacketBytes*x.curve.grow(window, acked, now.Sub(x.curve.epoch), srtt), MaxWindowBytes)
}

func (x *competition) backOff(keep, floorBytes float64) {
	x.curve.beta = keep
	x.curve.reduced(x.windowBytes / PacketBytes)
	x.windowBytes = max(x.windowBytes*keep, floorBytes)
	x.slowStart = x.slowStart && x.windowBytes < x.aim
	x.aim /= 2
}
