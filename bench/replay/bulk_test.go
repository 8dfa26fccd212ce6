package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/cc"
)

// completed is when a flow had delivered so many bytes, since its start.
func completed(t *testing.T, flow []Delivered, f Flow, bytes int64) time.Duration {
	t.Helper()
	for _, d := range flow {
		if d.Bytes >= bytes {
			return d.At - f.Start
		}
	}
	require.Fail(t, "not completed")
	return 0
}

// 1 MB is 4.24 s of 2 Mbit/s, headers included. Before them lie the handshake, two
// round trips of 50 ms with its bytes, and the request: 130 ms; the start and its
// queue cost some more.
func TestFlowFillsItsBottleneck(t *testing.T) {
	b := Bottleneck{UpKbps: 2000, QueueBytes: 64 << 10, RTT: 50 * ms, Seed: 1}
	for _, tier := range []cc.Tier{cc.Fast, cc.Medium, cc.Slow} {
		f := Flow{Tier: tier, Start: time.Second}
		took := completed(t, RunFlows(b, []Flow{f}, 8*time.Second)[0], f, 1e6)
		require.Greater(t, took, 4240*ms+130*ms, tier)
		require.Less(t, took, 4240*ms+700*ms, tier)
	}
}

// A latecomer of the same tier gets its part of what is left; one that yields, little.
func TestFlowsShareTheirBottleneckByTier(t *testing.T) {
	b := Bottleneck{UpKbps: 5000, QueueBytes: 64 << 10, RTT: 40 * ms, Seed: 1}
	last := func(flow []Delivered) int64 { return flow[len(flow)-1].Bytes }
	first := Flow{Tier: cc.Fast}
	for tier, share := range map[cc.Tier]float64{cc.Fast: 0.5, cc.Slow: 0} {
		both := RunFlows(b, []Flow{first, {Tier: tier, Start: 2 * time.Second}}, 20*time.Second)
		got := float64(last(both[1])) / (5000 * kbps * 18 / peerOverhead)
		require.InDelta(t, share, got, 0.15, tier)
	}
}

func TestLossCostsAFlowWhatIsLost(t *testing.T) {
	f := Flow{Tier: cc.Fast}
	took := func(loss float64) time.Duration {
		b := Bottleneck{UpKbps: 5000, QueueBytes: 64 << 10, RTT: 40 * ms, LossRatio: loss, Seed: 1}
		return completed(t, RunFlows(b, []Flow{f}, time.Minute)[0], f, 4e6)
	}
	clean, lossy := took(0), took(0.05)
	require.InEpsilon(t, clean.Seconds()/0.95, lossy.Seconds(), 0.05)
}
