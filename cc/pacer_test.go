package cc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBurstFollowsTheRate(t *testing.T) {
	for _, tc := range []struct {
		what                string
		mbitPerSec          float64
		minBurst, maxBurst  int           // packets in one answer
		minPeriod, maxPause time.Duration // between answers
	}{
		{"1 Mbit/s: single packets", 1, 1, 1, 8 * ms, 9 * ms},
		{"20 Mbit/s: single packets", 20, 1, 2, 500 * time.Microsecond, ms},
		{"300 Mbit/s: a batch each half millisecond", 300, 16, 17, 450 * time.Microsecond, 510 * time.Microsecond},
		{"1 Gbit/s", 1000, 56, 57, 450 * time.Microsecond, 510 * time.Microsecond},
		{"10 Gbit/s: a full message", 10_000, 60, 60, 50 * time.Microsecond, 60 * time.Microsecond},
	} {
		t.Run(tc.what, func(t *testing.T) {
			rate := tc.mbitPerSec * 1e6 / 8
			p := NewPacer(0, rate)
			p.Spend(0, InitialWindowBytes)
			at, sent := int64(0), 0
			for range 100 {
				wait := p.Wait(at, MaxWindowBytes)
				require.GreaterOrEqual(t, wait, tc.minPeriod)
				require.LessOrEqual(t, wait, tc.maxPause)
				require.Zero(t, p.Budget(at+int64(wait)/2, MaxWindowBytes), "nothing before the quantum is full")
				at += int64(wait)
				burst := p.Budget(at, MaxWindowBytes)
				require.GreaterOrEqual(t, burst/PacketBytes, tc.minBurst)
				require.LessOrEqual(t, burst/PacketBytes, tc.maxBurst)
				p.Spend(at, burst)
				sent += burst
			}
			require.InEpsilon(t, rate, float64(sent)/time.Duration(at).Seconds(), 0.02)
		})
	}
}

func TestPacerForgivesLatenessWithinBounds(t *testing.T) {
	const rate = 125e6 // 1 Gbit/s
	p := NewPacer(0, rate)
	p.Spend(0, InitialWindowBytes)
	var burst int
	at := int64(time.Second) // far too late
	for {
		allowed := p.Budget(at, MaxWindowBytes)
		if allowed == 0 {
			break
		}
		require.LessOrEqual(t, allowed, maxBurstBytes)
		p.Spend(at, allowed)
		burst += allowed
	}
	require.LessOrEqual(t, float64(burst), p.depth())
	require.Greater(t, float64(burst), rate*lateTime.Seconds())
}

func TestInitialWindowLeavesAtOnce(t *testing.T) {
	r := NewRecovery(modelStart, NewCubic(modelStart))
	require.Equal(t, InitialWindowBytes, r.Budget(modelStart))
}

func TestWaitIsLongEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := NewPacer(0, rapid.Float64Range(0, 1e10).Draw(t, "rate"))
		at := int64(0)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			at += rapid.Int64Range(0, int64(20*ms)).Draw(t, "later")
			if rapid.Bool().Draw(t, "change") {
				p.SetRate(at, rapid.Float64Range(-1, 1e10).Draw(t, "rate"))
			}
			wanted := rapid.IntRange(1, 100*PacketBytes).Draw(t, "wanted")
			wait := p.Wait(at, wanted)
			if wait < 0 || wait > maxPause {
				t.Fatalf("waits %v", wait)
			}
			if wait == maxPause {
				continue
			}
			at += int64(wait)
			allowed := p.Budget(at, wanted)
			if allowed <= 0 || allowed > maxBurstBytes || allowed > wanted {
				t.Fatalf("after the wait %d of %d bytes are allowed", allowed, wanted)
			}
			p.Spend(at, allowed)
		}
	})
}

// A sender whose timers are late still sends at the rate.
func TestLateSenderKeepsTheRate(t *testing.T) {
	for _, mbitPerSec := range []float64{5, 20, 100, 1000} {
		rate := mbitPerSec * 1e6 / 8
		p := NewPacer(0, rate)
		p.Spend(0, InitialWindowBytes)
		at, sent := int64(0), 0
		for range 1000 {
			at += int64(p.Wait(at, MaxWindowBytes)) + int64(3*ms)
			for allowed := p.Budget(at, MaxWindowBytes); allowed > 0; allowed = p.Budget(at, MaxWindowBytes) {
				p.Spend(at, allowed)
				sent += allowed
			}
		}
		require.InEpsilon(t, rate, float64(sent)/time.Duration(at).Seconds(), 0.02, "%v Mbit/s", mbitPerSec)
	}
}
