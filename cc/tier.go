package cc

import "time"

// Tier says how near the playhead the data of a channel is, and so how
// aggressively it travels. The numbers are those of a REQUEST on the wire.
type Tier uint8

// Tiers, the most urgent first.
const (
	Fast Tier = iota
	Medium
	Slow
)

// String returns the tier's name.
func (t Tier) String() string { return tierTable[min(t, Slow)].name }

// tierParams are what distinguishes the tiers. See docs/congestion-control.md.
type tierParams struct {
	name string

	// keep (α/10) is the part of the window or rate that remains after
	// congestion. Cubic keeps 0.7.
	keep float64
	// avoid (β) is the part of the span between rttMin and rttMax above which
	// nothing grows: latecomers could not start otherwise.
	avoid float64
	// filter (γ) is the part of that span below which a loss is taken for
	// random: a queue that overflows stands high.
	filter float64

	// probeGain is the first step beyond the known bandwidth, where nothing blurs what
	// it finds. The queue of a probe is what the flow's longest queue is made of.
	probeGain float64
	// probeEveryMin and probeEveryMax bound the rounds between probes: they are
	// what a standing flow costs the others.
	probeEveryMin, probeEveryMax int64

	// ownQueue (Qmin) is the queue that the channel may keep: it covers what
	// pacing leaves of burstiness.
	ownQueue time.Duration
	// extraBytes (K) is added to every window, whatever its size: between flows of one
	// bottleneck it works against the larger.
	extraBytes float64

	// lossTolerance is how far loss may rise above its baseline, lossCap how far
	// at all, cut what then remains of the rate.
	lossTolerance, lossCap, cut float64

	// yields makes the tier a scavenger that keeps the queue below queueTarget.
	yields      bool
	queueTarget time.Duration
}

var tierTable = [...]tierParams{
	Fast: {
		name: "fast", keep: 0.8, avoid: 0.80, filter: 0.50,
		probeGain: 1.15, probeEveryMin: 8, probeEveryMax: 24,
		ownQueue: 4 * time.Millisecond, extraBytes: 4 * PacketBytes,
		lossTolerance: 0.02, lossCap: 0.10, cut: 0.85,
	},
	Medium: {
		name: "medium", keep: 0.7, avoid: 0.60, filter: 0.35,
		probeGain: 1.12, probeEveryMin: 8, probeEveryMax: 40,
		ownQueue: 3 * time.Millisecond, extraBytes: 2 * PacketBytes,
		lossTolerance: 0.02, lossCap: 0.07, cut: 0.80,
	},
	Slow: {
		name: "slow", keep: 0.6, filter: 0.20,
		lossTolerance: 0.01, lossCap: 0.03, cut: 0.70,
		yields: true, queueTarget: 8 * time.Millisecond,
	},
}
