package cc

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seeding is a node with four channels on an uplink of 10 Mbit/s, and perhaps
// somebody else's Cubic upload that begins after ten seconds.
func seeding(t *testing.T, g func(w *world) *UploadGovernor, household bool) (w *world, channels []*flow, other *flow) {
	t.Helper()
	w = newWorld(10, 128<<10)
	group := new(Group)
	governor := g(w)
	for range 4 {
		f := w.addFlow(group.NewTiered(w.now, Fast), 40*time.Millisecond)
		f.batchedAcks = true
		f.r.Govern(governor)
		channels = append(channels, f)
	}
	w.run(10 * time.Second)
	if household {
		other = w.addFlow(NewCubic(w.now), 40*time.Millisecond)
	}
	return w, channels, other
}

func sum(flows []*flow) (bytes int) {
	for _, f := range flows {
		bytes += f.delivered
	}
	return bytes
}

func TestUploadsGiveWayToTheHousehold(t *testing.T) {
	g := new(UploadGovernor)
	w, channels, other := seeding(t, func(w *world) *UploadGovernor {
		g = NewUploadGovernor(w.now, Uploads{Yield: true})
		return g
	}, true)
	w.run(5 * time.Second) // to be noticed
	before, others := sum(channels), other.delivered
	w.run(20 * time.Second)
	line := w.rateBytesPerSec * 20
	t.Logf("household %.3f, uploads %.3f, limit %.0f", float64(other.delivered-others)/line, float64(sum(channels)-before)/line, g.LimitBytesPerSec(w.now))
	require.Greater(t, float64(other.delivered-others)/line, 0.95)

	other.sending = false
	w.run(30 * time.Second)
	before = sum(channels)
	w.run(10 * time.Second)
	require.Greater(t, float64(sum(channels)-before)/(w.rateBytesPerSec*10), 0.9, "and it rises again")
}

func TestUploadsAloneAreNotGoverned(t *testing.T) {
	w, channels, _ := seeding(t, func(w *world) *UploadGovernor { return NewUploadGovernor(w.now, Uploads{Yield: true}) }, false)
	before := sum(channels)
	w.run(20 * time.Second)
	require.Greater(t, float64(sum(channels)-before)/(w.rateBytesPerSec*20), 0.92)
}

func TestUploadsAreBounded(t *testing.T) {
	w, channels, _ := seeding(t, func(w *world) *UploadGovernor {
		return NewUploadGovernor(w.now, Uploads{MaxBytesPerSec: 200_000})
	}, false)
	require.InDelta(t, 200_000*10, sum(channels), 200_000)
	before := sum(channels)
	w.run(10 * time.Second)
	require.InDelta(t, 200_000*10, sum(channels)-before, 60_000)
}

func TestUploadsEndWithTheDaysVolume(t *testing.T) {
	g := new(UploadGovernor)
	w, channels, _ := seeding(t, func(w *world) *UploadGovernor {
		g = NewUploadGovernor(w.now, Uploads{MaxBytesPerDay: 2 << 20})
		return g
	}, false)
	var sent uint64
	for _, f := range channels {
		sent += f.r.Stats().SentBytes
	}
	require.InDelta(t, 2<<20, sent, 4*maxBurstBytes)
	require.Equal(t, modelStart.Add(24*time.Hour), g.Next(w.now))
	require.Zero(t, g.LimitBytesPerSec(w.now))
	require.Positive(t, g.Budget(modelStart.Add(24*time.Hour)), "tomorrow is another day")
}

func TestUploadsLeaveTheLineToWhoAsksForIt(t *testing.T) {
	g := new(UploadGovernor)
	w, channels, _ := seeding(t, func(w *world) *UploadGovernor {
		g = NewUploadGovernor(w.now, Uploads{Yield: true})
		return g
	}, false)
	share := func() float64 {
		before := sum(channels)
		w.run(10 * time.Second)
		return float64(sum(channels)-before) / (w.rateBytesPerSec * 10)
	}
	g.UserActive(w.now, w.now.Add(10*time.Second))
	require.InDelta(t, userShare, share(), 0.03)
	w.run(time.Second)
	require.Greater(t, share(), 0.9)
}

// A limit below the floor is a limit, and it holds again when nobody needs the line
// any more.
func TestTheHardLimitHoldsWhateverElseDoes(t *testing.T) {
	const least = uploadFloor / 2
	w, channels, _ := seeding(t, func(w *world) *UploadGovernor {
		return NewUploadGovernor(w.now, Uploads{MaxBytesPerSec: least, Yield: true})
	}, false)
	before := sum(channels)
	w.run(20 * time.Second)
	require.Less(t, float64(sum(channels)-before), 1.2*least*20)

	var g *UploadGovernor
	w, channels, _ = seeding(t, func(w *world) *UploadGovernor {
		g = NewUploadGovernor(w.now, Uploads{MaxBytesPerSec: 200_000})
		return g
	}, false)
	g.UserActive(w.now, w.now.Add(5*time.Second))
	w.run(8 * time.Second)
	before = sum(channels)
	w.run(10 * time.Second)
	require.InDelta(t, 200_000*10, sum(channels)-before, 60_000)
}

// With one channel, a queue may as well be at its leech.
func TestOneChannelIsLeftToItsController(t *testing.T) {
	w := newWorld(10, 128<<10)
	g := NewUploadGovernor(w.now, Uploads{Yield: true})
	f, _ := w.addTiered(Fast, 40*time.Millisecond)
	f.r.Govern(g)
	w.addFlow(NewCubic(w.now), 40*time.Millisecond)
	w.run(20 * time.Second)
	require.True(t, math.IsInf(g.LimitBytesPerSec(w.now), 1))
}
