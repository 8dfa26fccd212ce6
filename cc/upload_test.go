package cc

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seeding is a node with four channels on an uplink of 10 Mbit/s, for ten seconds.
func seeding(t *testing.T, queueBytes int, g func(w *world) *UploadGovernor) (w *world, channels []*flow) {
	t.Helper()
	return seedingTo(t, 4, queueBytes, g)
}

func seedingTo(t *testing.T, leeches, queueBytes int, g func(w *world) *UploadGovernor) (w *world, channels []*flow) {
	t.Helper()
	w = newWorld(10, queueBytes)
	group := new(Group)
	governor := g(w)
	for range leeches {
		f := w.addFlow(group.NewTiered(w.now, Fast), 40*time.Millisecond)
		f.batchedAcks, f.claimsDelay = true, true
		f.r.Govern(governor)
		channels = append(channels, f)
	}
	w.run(10 * time.Second)
	return w, channels
}

// yielding makes a governor that gives way.
func yielding(w *world) *UploadGovernor { return NewUploadGovernor(w.now, Uploads{Yield: true}) }

const (
	oneBDP    = 50_000
	deepQueue = 128 << 10
)

func sum(flows []*flow) (bytes int) {
	for _, f := range flows {
		bytes += f.delivered
	}
	return bytes
}

func TestUploadsGiveWayToTheHousehold(t *testing.T) {
	for _, queueBytes := range []int{oneBDP, deepQueue} {
		w, channels := seeding(t, queueBytes, yielding)
		other := w.addFlow(NewCubic(w.now), 40*time.Millisecond)
		w.run(2 * time.Second) // to be noticed
		before, others := sum(channels), other.delivered
		w.run(20 * time.Second)
		line := w.rateBytesPerSec * 20
		t.Logf("household %.3f, uploads %.3f", float64(other.delivered-others)/line, float64(sum(channels)-before)/line)
		require.Greater(t, float64(other.delivered-others)/line, 0.95)

		other.sending = false
		w.run(12 * time.Second)
		before = sum(channels)
		w.run(10 * time.Second)
		require.Greater(t, float64(sum(channels)-before)/(w.rateBytesPerSec*10), 0.9, "and it rises again")
	}
}

// All paths become longer, as when the provider takes another route: that looks like a
// queue, for some minutes.
func TestLongerPathIsNotAQueueForEver(t *testing.T) {
	w, channels := seeding(t, deepQueue, yielding)
	for _, f := range channels {
		f.rtt += 20 * ms
	}
	w.run(5 * time.Second)
	before := sum(channels)
	w.run(10 * time.Second)
	require.Less(t, float64(sum(channels)-before)/(w.rateBytesPerSec*10), 0.1, "it may be somebody's")
	w.run(emptyRTTWindow + 20*time.Second)
	before = sum(channels)
	w.run(10 * time.Second)
	require.Greater(t, float64(sum(channels)-before)/(w.rateBytesPerSec*10), 0.9)
}

func TestUploadsAloneAreNotGoverned(t *testing.T) {
	w, channels := seeding(t, deepQueue, yielding)
	before := sum(channels)
	w.run(20 * time.Second)
	require.Greater(t, float64(sum(channels)-before)/(w.rateBytesPerSec*20), 0.95)
}

// A line that has become slower looks like somebody who takes half of it, until the
// same half is left once more.
func TestUploadsUseASlowerLine(t *testing.T) {
	w, channels := seeding(t, deepQueue, yielding)
	w.rateBytesPerSec /= 2
	w.run(20 * time.Second)
	before := sum(channels)
	w.run(20 * time.Second)
	require.Greater(t, float64(sum(channels)-before)/(w.rateBytesPerSec*20), 0.9)
}

func TestUploadsAreBounded(t *testing.T) {
	w, channels := seeding(t, deepQueue, func(w *world) *UploadGovernor {
		return NewUploadGovernor(w.now, Uploads{MaxBytesPerSec: 200_000})
	})
	require.InDelta(t, 200_000*10, sum(channels), 200_000)
	before := sum(channels)
	w.run(10 * time.Second)
	require.InDelta(t, 200_000*10, sum(channels)-before, 60_000)
}

func TestUploadsEndWithTheDaysVolume(t *testing.T) {
	g := new(UploadGovernor)
	w, channels := seeding(t, deepQueue, func(w *world) *UploadGovernor {
		g = NewUploadGovernor(w.now, Uploads{MaxBytesPerDay: 2 << 20})
		return g
	})
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
	for _, leeches := range []int{1, 4} {
		g := new(UploadGovernor)
		w, channels := seedingTo(t, leeches, deepQueue, func(w *world) *UploadGovernor {
			g = NewUploadGovernor(w.now, Uploads{Yield: true})
			return g
		})
		share := func() float64 {
			before := sum(channels)
			w.run(10 * time.Second)
			return float64(sum(channels)-before) / (w.rateBytesPerSec * 10)
		}
		g.UserActive(w.now, w.now.Add(10*time.Second))
		require.InDelta(t, userShare, share(), 0.03, "%d leeches", leeches)
		w.run(time.Second)
		require.Greater(t, share(), 0.9, "%d leeches", leeches)
	}
}

// Nobody knows yet what the line carries.
func TestWhoAsksForTheLineBeforeAnythingWasSentHasIt(t *testing.T) {
	g := new(UploadGovernor)
	w, channels := seeding(t, deepQueue, func(w *world) *UploadGovernor {
		g = NewUploadGovernor(w.now, Uploads{})
		g.UserActive(w.now, w.now.Add(10*time.Second))
		return g
	})
	require.Less(t, float64(sum(channels)), userShare*w.rateBytesPerSec*10)
	w.run(5 * time.Second)
	before := sum(channels)
	w.run(5 * time.Second)
	require.Greater(t, float64(sum(channels)-before)/(w.rateBytesPerSec*5), 0.9, "and not for longer")
}

// A limit below the floor is a limit, and it holds again when nobody needs the line
// any more.
func TestTheHardLimitHoldsWhateverElseDoes(t *testing.T) {
	const least = uploadFloor / 2
	w, channels := seeding(t, deepQueue, func(w *world) *UploadGovernor {
		return NewUploadGovernor(w.now, Uploads{MaxBytesPerSec: least, Yield: true})
	})
	before := sum(channels)
	w.run(20 * time.Second)
	require.Less(t, float64(sum(channels)-before), 1.2*least*20)

	var g *UploadGovernor
	w, channels = seeding(t, deepQueue, func(w *world) *UploadGovernor {
		g = NewUploadGovernor(w.now, Uploads{MaxBytesPerSec: 200_000})
		return g
	})
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
