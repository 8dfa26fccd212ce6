package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/bench/replay/trace"
)

// The core takes the segments of a file once: a live file that grew would have
// no place in time for what was added.
func TestLiveSegmentIsAFileOfItsOwn(t *testing.T) {
	s := homely("a", 0, 0)
	s.Kind = trace.Live
	m, err := newMedia(Config{}.withDefaults(), "channel", []*Session{&s})
	require.NoError(t, err)
	require.Equal(t, m.segments, m.files())
	require.Equal(t, chapter{firstSeg: 7, endSeg: 8, first: 56, end: 64}, m.renditions[0].chapter(7))
}

func TestEveryPieceHasOneRenditionSegmentAndFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		cfg.Ladder = rapid.SliceOfN(rapid.IntRange(50, 9000), 1, 5).Draw(t, "ladder")
		sessions := drawSessions(t)
		sessions[0].Adapts = true
		var list []*Session
		for i := range sessions {
			list = append(list, &sessions[i])
		}
		m, err := newMedia(cfg, "title", list)
		require.NoError(t, err)
		next := uint32(0)
		for _, r := range m.renditions {
			for seg := range m.segments {
				require.Equal(t, next, r.firstPiece(seg))
				for ; next < r.firstPiece(seg+1); next++ {
					require.Same(t, r, m.of(next))
					require.Equal(t, seg, r.segmentOf(next))
					ch := r.chapter(r.chapterOf(next))
					require.True(t, ch.first <= next && next < ch.end && ch.firstSeg <= seg && seg < ch.endSeg)
				}
			}
		}
	})
}

func TestTitleBeyondAllBoundsIsRefused(t *testing.T) {
	s := homely("a", 0, 0)
	s.BitrateKbps, s.TitleLength = 100_000_000, 366*24*time.Hour
	_, err := Run(t.Context(), Config{}, []Session{s}, nil)
	require.ErrorContains(t, err, "title film: 1 renditions, the first of 100000000 kbit/s, of 8784h0m0s each are more than can be replayed")
}
