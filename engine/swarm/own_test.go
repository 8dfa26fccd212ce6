package swarm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOwnPictureComesFirst(t *testing.T) {
	u := newUploader(t, 2)
	const a, b = Peer(0), Peer(1)
	u.asks(a, 0, 40, 10*time.Second)
	u.asks(b, 40, 40, 10*time.Second)
	serves := func() bool { return len(u.uploads(100*time.Millisecond)) > 0 }
	delays := func(toA, toB time.Duration) {
		u.PathStats(u.now, a, 40*time.Millisecond+toA, 0)
		u.PathStats(u.now, b, 60*time.Millisecond+toB, 0)
	}
	plays := func(p Playhead) {
		p.Title = u.title
		u.now = u.now.Add(planEvery)
		u.Playhead(u.now, 1, p)
		u.Advance(u.now)
	}
	delays(0, 0)
	plays(Playhead{Rate: 1, Position: 5 * time.Second, Buffer: time.Second})
	require.NotEmpty(t, u.fetches, "the player waits for what the CDN brings")
	require.True(t, serves(), "the uplink is no bottleneck")
	delays(500*time.Millisecond, 0)
	require.True(t, serves(), "the queue is not here: it is a's")
	delays(500*time.Millisecond, 300*time.Millisecond)
	require.False(t, serves(), "all round trips are longer, and the buffer is nearly empty")
	require.Empty(t, u.busy, "leeches wait, for the moment")
	delays(50*time.Millisecond, 50*time.Millisecond)
	require.True(t, serves(), "the queue has gone")
	delays(500*time.Millisecond, 300*time.Millisecond)
	plays(Playhead{Rate: 1, Buffer: 10 * time.Second})
	require.True(t, serves(), "there is time")
	plays(Playhead{Position: 5 * time.Second, Buffer: time.Second})
	require.True(t, serves(), "paused")
	plays(Playhead{Rate: 1, Position: 11 * time.Second, Buffer: time.Second})
	u.fetches = nil
	require.True(t, serves(), "it waits for nothing, as at the end of a title")
}
