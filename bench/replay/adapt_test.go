package replay

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/internal/wire"
)

// climber is a viewer of a film of one minute who adapts.
func climber(id string, start time.Duration, downKbps int) Session {
	s := homely(id, start, 0)
	s.Adapts, s.BitrateKbps, s.DownKbps = true, -1, downKbps
	return s
}

// Worked out by hand, for a line of 1 Mbit/s. The segments of 6 s of these
// renditions have 4, 7, 12 and 24 pieces. A player begins with an estimate of 500
// kbit/s, of which 0.95 carry 350 and 0.7 do not carry 612. Its first segment
// comes in 35 ms (round trip and think time) and 4 × 64 KiB × 8 × 1.04 ÷ 1 Mbit/s
// = 2.18 s; 100 ms of it count as latency. 2.10 Mbit in 2.12 s are 991 kbit/s:
// 0.7 of them carry 612, and not 1,049. The other nine segments have 7 pieces.
func TestPlayerClimbsAsFarAsItsLineCarries(t *testing.T) {
	ladder := []int{350, 612, 1049, 2097}
	for _, c := range []struct {
		down, pieces, switches int
	}{
		{400, 10 * 4, 0},
		{1000, 4 + 9*7, 1},
		{5000, 4 + 9*24, 1},
	} {
		r := replay(t, Config{Ladder: ladder, Policies: []string{"cdn-only"}}, []Session{climber("a", 0, c.down)})[0]
		require.EqualValues(t, c.pieces*wire.PieceBytes, r.CDNBytes, "%d kbit/s", c.down)
		require.Equal(t, c.switches, r.Switches, "%d kbit/s", c.down)
		require.InDelta(t, float64(c.pieces)*wire.PieceBytes*8/1000/60, r.MeanKbps, 1e-9)
		require.Equal(t, r.MeanKbps, r.TwinMeanKbps)
		require.Zero(t, r.Stalls)
	}
}

func TestSessionWithATrackStaysOnIt(t *testing.T) {
	a, b := climber("a", 0, 5000), homely("b", 10*time.Second, 0)
	r := replay(t, Config{Ladder: []int{350, 2097}}, []Session{a, b})[0]
	require.InDelta(t, 699, r.PerSession[1].MeanKbps(), 1)
	require.Zero(t, r.PerSession[1].Switches)
	require.Greater(t, r.PerSession[0].MeanKbps(), 1900.0)
}

// What a node has fetched ahead is here at once, and looks like a fast line to a
// player: without its pace, viewers would play what their lines do not carry.
func TestPeersDoNotDeceivePlayers(t *testing.T) {
	var list []Session
	for i := range 4 {
		s := climber(fmt.Sprint(i), time.Duration(i)*5*time.Second, 10_000)
		s.TitleLength, s.Watch, s.UpKbps = 2*time.Minute, 3*time.Minute, 40_000
		list = append(list, s)
	}
	// A single switch is 6 % of four viewers' mean.
	const seeds = 3
	mean, twin := 0.0, 0.0
	for seed := range uint64(seeds) {
		r := replay(t, Config{Seed: seed, Ladder: []int{1400, 2800, 5600, 11_200}}, list)[0]
		mean, twin = mean+r.MeanKbps/seeds, twin+r.TwinMeanKbps/seeds
		require.Zero(t, r.Stalls)
		require.Greater(t, r.Saving, 0.3)
		require.InDelta(t, r.Saving, r.NetSaving, 1e-9, "of the bytes that were played")
	}
	require.InDelta(t, twin, mean, 0.05*twin)
}

func TestPlayersChooseFromTheLadder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, sessions := drawConfig(t), drawSessions(t)
		cfg.Policies = Policies()
		for i := range sessions {
			sessions[i].Adapts = true
		}
		results, err := Run(context.Background(), cfg, sessions, nil)
		require.NoError(t, err)
		lowest, top := float64(cfg.Ladder[0]), float64(cfg.Ladder[len(cfg.Ladder)-1])
		slack := wire.PieceBytes / kbps / cfg.Segment.Seconds() // segments have whole pieces
		left := time.Duration(0)                                // in the middle, before all of it had come: once by a seek, once at the end
		if cfg.Progressive {
			left = 2 * cfg.Segment
		}
		for _, r := range results {
			for _, s := range r.PerSession {
				if s.Shown == 0 {
					continue
				}
				require.GreaterOrEqual(t, s.MeanKbps(), lowest-slack)
				require.LessOrEqual(t, s.MeanKbps(), top+slack)
				require.LessOrEqual(t, s.Played, s.Shown+left)
				if len(cfg.Ladder) == 1 {
					require.Zero(t, s.Switches)
				}
			}
			require.LessOrEqual(t, r.Saving, r.Bound+1e-9)
		}
	})
}
