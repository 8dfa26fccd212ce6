package pace

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lineStory feeds a meter as the loop does.
type lineStory struct {
	m   Meter
	now time.Time
}

func newLineStory() *lineStory { return &lineStory{now: time.Unix(1000, 0)} }

// arrive brings bytes at a rate in steps of 16 KiB, after the time to first byte.
func (s *lineStory) arrive(bytes int, bytesPerSec float64) {
	s.now = s.now.Add(200 * time.Millisecond)
	for ; bytes > 0; bytes -= stepBytes {
		n := min(bytes, stepBytes)
		s.now = s.now.Add(time.Duration(float64(n) / bytesPerSec * float64(time.Second)))
		s.m.Received(s.now, n)
	}
}

// rest ends the busy period and lets time pass.
func (s *lineStory) rest(d time.Duration) {
	s.m.End()
	s.now = s.now.Add(d)
}

const (
	stepBytes = 16 << 10    // what the loop is handed at once
	slowLine  = 375_000.0   // 3 Mbit/s
	fastLine  = 6_250_000.0 // 50 Mbit/s
)

func TestLineIsKnownAfterItsFirstPiece(t *testing.T) {
	s := newLineStory()
	require.Zero(t, s.m.Estimate())
	s.arrive(32<<10, slowLine)
	require.Zero(t, s.m.Estimate(), "one step apart says little")
	s.arrive(32<<10, slowLine)
	require.NotZero(t, s.m.Estimate())
	s = newLineStory()
	s.arrive(64<<10, slowLine)
	require.InEpsilon(t, slowLine, s.m.Estimate(), 0.01, "without the time to first byte")
}

func TestLineIsMeasuredWhileItIsBusy(t *testing.T) {
	s := newLineStory()
	for range 20 { // a piece now and then, for a full buffer
		s.arrive(64<<10, slowLine)
		s.rest(3 * time.Second)
	}
	require.InEpsilon(t, slowLine, s.m.Estimate(), 0.01)
}

func TestLineFollowsAChangeWithinASecondOfArrivals(t *testing.T) {
	s := newLineStory()
	s.arrive(8<<20, fastLine)
	require.InEpsilon(t, fastLine, s.m.Estimate(), 0.01)
	s.rest(time.Second)
	// 256 KiB until it counts, and five samples of 80 KiB.
	s.arrive(256<<10+6*80<<10, slowLine)
	require.InEpsilon(t, slowLine, s.m.Estimate(), 0.01)
	s.arrive(4<<20, fastLine)
	require.InEpsilon(t, fastLine, s.m.Estimate(), 0.01)
}

func TestShortBurstsDoNotLowerTheLine(t *testing.T) {
	s := newLineStory()
	s.arrive(4<<20, fastLine)
	for range 50 { // each of them in slow start
		s.rest(2 * time.Second)
		s.arrive(64<<10, fastLine/5)
	}
	require.InEpsilon(t, fastLine, s.m.Estimate(), 0.01)
}

func TestShortBurstsRaiseTheLineOnlyByFar(t *testing.T) {
	s := newLineStory()
	s.arrive(2<<20, slowLine)
	for range 50 {
		s.rest(time.Second)
		s.arrive(64<<10, slowLine*1.2)
	}
	require.InEpsilon(t, slowLine, s.m.Estimate(), 0.01, "noise does not add up")
	for range lineSamples {
		s.rest(time.Second)
		s.arrive(64<<10, slowLine*4)
	}
	require.InEpsilon(t, slowLine*4, s.m.Estimate(), 0.01)
}

func TestAHeapOfArrivalsChangesNothing(t *testing.T) {
	s := newLineStory()
	s.arrive(2<<20, slowLine)
	for range 3 {
		s.arrive(256<<10, 1e9) // the loop was late
		s.arrive(512<<10, slowLine)
	}
	require.InEpsilon(t, slowLine, s.m.Estimate(), 0.05)
}

func TestSilenceIsNotTheLine(t *testing.T) {
	s := newLineStory()
	s.arrive(2<<20, slowLine)
	s.now = s.now.Add(10 * time.Second) // a seed owes a chunk and has died
	s.arrive(2<<20, slowLine)
	require.InEpsilon(t, slowLine, s.m.Estimate(), 0.01)
}

func TestAPresumedLineGivesWayToARealOne(t *testing.T) {
	s := newLineStory()
	s.m.Presume(fastLine)
	require.Equal(t, fastLine, s.m.Estimate())
	s.arrive(64<<10, slowLine)
	s.rest(0)
	require.InEpsilon(t, slowLine, s.m.Estimate(), 0.01)
}
