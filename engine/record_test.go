package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestObservationHasTheSessionsThatAreWatched(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 300<<10).withTracker()
	a, b := w.peer("a", nil), w.peer("b", func(c *Config) { c.NoUpload = true })
	before := time.Now()
	w.play(a, 0)
	w.play(b, 0)
	w.connected(a, 1)

	o, ok := a.Observe()
	require.True(t, ok)
	require.True(t, o.Uploads)
	require.Len(t, o.Viewers, 1)
	v := o.Viewers[0]
	id := w.file(a, 0).Title().ID().String()
	require.Equal(t, []ObservedTitle{{ID: id, Name: "film", Length: 3 * segmentTime}}, o.Titles)
	require.Equal(t, id, v.Title)
	require.Equal(t, "720p", v.Track)
	require.EqualValues(t, (300<<10)*8/segmentTime.Seconds(), v.BitsPerSec, "the segments' own rate, not the playlist's peak")
	require.WithinRange(t, v.Used, before, time.Now())
	require.GreaterOrEqual(t, o.ReceivedBytes, int64(300<<10))
	require.Positive(t, o.CacheBytes)

	require.Len(t, o.Peers, 1)
	require.Equal(t, b.Status().PeerID, o.Peers[0].ID)
	w.eventually("the peer's title is known", func() bool {
		o, _ := a.Observe()
		return len(o.Peers) == 1 && len(o.Peers[0].Titles) == 1 && o.Peers[0].Titles[0] == id
	})
	w.eventually("the way to it is measured", func() bool {
		o, _ := a.Observe()
		return o.NearestRTT > 0 && o.NearestRTT < time.Second
	})
	theirs, ok := b.Observe()
	require.True(t, ok)
	require.False(t, theirs.Uploads)

	require.NoError(t, a.Close())
	_, ok = a.Observe()
	require.False(t, ok)
}

func TestEachViewingSessionHasItsOwnNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1000)
	e := w.peer("alone", nil)
	title := w.file(e, 0).Title()
	first := title.Viewer("player")
	first.Report(Playback{Position: 2 * time.Second, Rate: 0})
	one, _ := e.Observe()
	first.Close()
	none, _ := e.Observe()
	title.Viewer("player").Report(Playback{Rate: 1})
	two, _ := e.Observe()
	require.Len(t, one.Viewers, 1)
	require.Equal(t, 2*time.Second, one.Viewers[0].Position)
	require.Empty(t, none.Viewers)
	require.Len(t, two.Viewers, 1)
	require.NotEqual(t, one.Viewers[0].Session, two.Viewers[0].Session)
}
