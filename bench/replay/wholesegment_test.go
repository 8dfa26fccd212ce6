package replay

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// filmPieces are those of a segment of the homely film.
const filmPieces = 8

func wholeSegmentRun(t *testing.T, seed uint64, sessions ...Session) []SessionResult {
	t.Helper()
	results, err := Run(context.Background(), Config{Seed: seed, Policies: []string{"whole-segment"}}, sessions, nil)
	require.NoError(t, err)
	require.Zero(t, results[0].Stalls)
	return results[0].PerSession
}

// rawCDN is all that came from the CDN, played or not.
func rawCDN(s *SessionResult) int64 { return s.CDNSum() + s.P2P + s.Duplicate + s.Wasted - s.Received }

// Who is alone has nobody to prefetch for: whatever comes is due within 15 s. At
// 20 s the playhead is some 0.3 s behind the clock, and the segment of 30 s has
// been asked for, that of 36 s has not.
func TestWholeSegmentTakesWhatIsDueWithoutPeers(t *testing.T) {
	alone := homely("a", 0, 0)
	alone.Watch = 20 * time.Second
	a := wholeSegmentRun(t, 1, alone)[0]
	require.EqualValues(t, 6*filmPieces*wire.PieceBytes, rawCDN(&a))
	require.Zero(t, a.Received)
}

// A neighbour that has the film sends it as far as it goes, but for what is due
// at once: the segments of 0 and 6 s come over HTTP. That of 12 s begins to come
// from the peer while HTTP is busy with those, and may change over to it then.
func TestWholeSegmentTakesAFilmFromAPeer(t *testing.T) {
	late := homely("b", 2*time.Minute, 0)
	late.Watch = 8 * time.Second
	b := wholeSegmentRun(t, 1, homely("a", 0, 5*time.Minute), late)[1]
	require.GreaterOrEqual(t, rawCDN(&b), int64(2*filmPieces*wire.PieceBytes))
	require.LessOrEqual(t, rawCDN(&b), int64(3*filmPieces*wire.PieceBytes))
	require.GreaterOrEqual(t, b.Received, int64(7*filmPieces*wire.PieceBytes))
}

// A message of 64 KiB takes 2.6 s on an uplink of 200 kbit/s: nothing of use
// comes, and after three tries nobody is asked any more. On one of 1 Mbit/s it
// takes 0.5 s.
func TestWholeSegmentGivesUpAPeerThatIsSlowerThanAMessage(t *testing.T) {
	for _, kbps := range []int{200, 1000} {
		slow := homely("a", 0, 5*time.Minute)
		slow.UpKbps = kbps
		b := wholeSegmentRun(t, 1, slow, homely("b", 2*time.Minute, 0))[1]
		require.Positive(t, b.Received)
		if kbps == 200 {
			require.Less(t, b.Received, int64(3*wire.PieceBytes))
		} else {
			require.Greater(t, b.P2P, int64(10*wire.PieceBytes))
		}
	}
}

func TestWholeSegmentPrefersPeersThatHaveBeenFast(t *testing.T) {
	fast, slow, unproven := new(neighbour), new(neighbour), new(neighbour)
	s := &wholeSegment{sources: map[*neighbour]*segmentSource{
		fast: {arrivals: []arrival{{0, 0}, {time.Second, 900_000}}},
		slow: {arrivals: []arrival{{0, 0}, {time.Second, 300_000}}},
	}}
	r := &rival{p: &peer{rng: rand.New(rand.NewPCG(1, 0))}}
	count := make(map[*neighbour]int)
	const draws = 12_900
	for range draws {
		count[s.choose(r, []*neighbour{unproven, slow, fast})]++
	}
	// 90,000 : 300,000 : 900,000.
	require.InDelta(t, 900, count[unproven], 150)
	require.InDelta(t, 3000, count[slow], 250)
	require.InDelta(t, 9000, count[fast], 300)
}

func TestBandwidthCountsTheLastSecondsOfLoading(t *testing.T) {
	var src segmentSource
	require.Zero(t, src.bandwidth())
	src.arrived(0, 1_000_000)
	for i := range 16 {
		src.arrived(time.Duration(i+1)*time.Second, 1000)
	}
	require.InDelta(t, 16_000.0/15, src.bandwidth(), 1)
}
