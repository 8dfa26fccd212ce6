package swarm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// channel is a live title of a file each second, with one peer that has all of them.
type channel struct {
	*stranger
	t *testing.T
}

func newChannel(t *testing.T, segments int) *channel {
	c := &channel{newStranger(), t}
	c.Cancel(c.now, 1)
	records := make([]Record, segments)
	for i := range records {
		records[i] = Record{Root: [32]byte{3, byte(i), byte(i >> 8)}, Length: wire.PieceBytes, Track: 1, Segments: []Segment{
			{Length: wire.PieceBytes, Start: time.Duration(i) * time.Second, Duration: time.Second},
		}}
	}
	c.files = c.Grown(c.now, c.title, nil, records)
	return c
}

// hears takes the peer's announcement of a segment.
func (c *channel) hears(handle uint16, segment int) {
	c.Control(c.now, c.peer, wire.Have{
		Handle: handle, Root: c.Core.files[c.files[segment]].root, Length: wire.PieceBytes, Bitmap: bitmap(0),
	})
}

// plays moves the playhead of this node and returns what is to be done then.
func (c *channel) plays(segment int) Output {
	c.now = c.now.Add(refreshEvery)
	c.Playhead(c.now, 1, Playhead{Title: c.title, Position: time.Duration(segment) * time.Second, Rate: 1})
	c.Advance(c.now)
	return c.drain()
}

// wants takes the peer's interest and returns what it is told.
func (c *channel) wants(from, to int) []wire.Have {
	c.Control(c.now, c.peer, wire.Interest{Title: [32]byte{1}, Active: true, FromMillis: uint32(from) * 1000, ToMillis: uint32(to) * 1000})
	return haves(c.drain())
}

func haves(o Output) (all []wire.Have) {
	for _, m := range o.Control {
		if h, ok := m.Message.(wire.Have); ok {
			all = append(all, h)
		}
	}
	return all
}

func TestLeechForgetsWhatItPassedLongAgo(t *testing.T) {
	const hours = 2 * 3600
	c := newChannel(t, hours)
	for i := range hours {
		c.hears(uint16(i), i)
		c.plays(i)
	}
	p := c.peers[c.peer]
	require.Less(t, len(p.theirs), int((interestBehind+forgetBeyond+c.cfg.Ahead+interestAhead+2*interestStep+2*forgetEvery)/time.Second), "at twice the speed")
	require.True(t, c.holders(c.files[hours-1], 0).Has(0))
	require.Nil(t, c.Core.files[c.files[0]].seeds)

	// Word of it was on its way. It is no garbage, and no news.
	c.Control(c.now, c.peer, wire.HaveDelta{Runs: []wire.HaveRun{{Handle: 0, Change: wire.Stored, Count: 1}}})
	require.Zero(t, p.garbage)
	c.Control(c.now, c.peer, wire.HaveDelta{Runs: []wire.HaveRun{{Handle: hours, Change: wire.Stored, Count: 1}}})
	require.EqualValues(t, 1, p.garbage, "nobody has ever said what that is")
}

func TestWhatIsForgottenCountsAgainWhenAnnouncedAgain(t *testing.T) {
	c := newChannel(t, 2000)
	c.hears(0, 0)
	c.now = c.now.Add(forgetEvery)
	c.plays(1999)
	require.Empty(t, c.peers[c.peer].theirs)
	c.plays(0)
	c.hears(0, 0)
	require.True(t, c.holders(c.files[0], 0).Has(0))
	c.Control(c.now, c.peer, wire.HaveDelta{Runs: []wire.HaveRun{{Handle: 0, Change: wire.Evicted, Count: 1}}})
	require.True(t, c.holders(c.files[0], 0).Empty())
}

// A leech that seeks far away takes back what it has asked for before it forgets by
// which name.
func TestSeekCancelsBeforeItForgets(t *testing.T) {
	c := newChannel(t, 2000)
	c.plays(0)
	c.hears(0, 5)
	c.Want(c.now, Want{ID: 2, Viewer: 1, File: c.files[5], Length: wire.PieceBytes})
	o := c.plays(1)
	require.Len(t, o.Requests, 1)
	c.Cancel(c.now, 2)
	c.now = c.now.Add(forgetEvery)
	o = c.plays(1999)
	require.Len(t, o.Cancels, 1)
	require.Equal(t, wire.Cancel{Handle: 0, Mask: o.Cancels[0].Cancel.Mask}, o.Cancels[0].Cancel)
	require.Empty(t, c.peers[c.peer].theirs)
}

func TestSeedAnnouncesAgainWhatIsOfInterestAgain(t *testing.T) {
	c := newChannel(t, 100)
	for _, i := range []int{30, 40} {
		c.Stored(c.now, Piece{c.files[i], 0})
	}
	first := c.wants(25, 35)
	require.Len(t, first, 1)
	require.Empty(t, c.wants(26, 36), "it knows")
	require.Len(t, c.wants(36, 46), 1, "the other one")
	again := c.wants(25, 46)
	require.Equal(t, first, again, "by the same name")

	// What has gone meanwhile is announced under a new name when it comes back.
	c.wants(36, 46)
	c.Evicted(c.now, Piece{c.files[30], 0})
	c.plays(0) // and it is told
	require.Empty(t, c.wants(25, 46))
	c.Stored(c.now, Piece{c.files[30], 0})
	back := haves(c.plays(0))
	require.Len(t, back, 1)
	require.NotEqual(t, first[0].Handle, back[0].Handle)
}

func TestOnlyFilesWithSomethingStoredAreLookedThrough(t *testing.T) {
	c := newChannel(t, 10)
	before := len(c.stocked)
	for _, i := range []int{7, 3, 3} {
		c.Stored(c.now, Piece{c.files[i], 0})
	}
	files := func() (all []File) {
		for _, s := range c.stocked[before:] {
			all = append(all, s.file)
		}
		return all
	}
	require.Equal(t, []File{c.files[3], c.files[7]}, files())
	c.Evicted(c.now, Piece{c.files[3], 0})
	c.Evicted(c.now, Piece{c.files[3], 0})
	require.Equal(t, []File{c.files[7]}, files())

	// What gets a place in another title is of interest to who watches that.
	other := c.AddTitle(c.now, [32]byte{2})
	c.Joined(c.now, c.peer, other)
	c.Grown(c.now, other, []Track{{ID: 1}}, []Record{{Root: c.Core.files[c.files[7]].root, Length: wire.PieceBytes, Track: 1, Segments: []Segment{
		{Length: wire.PieceBytes, Start: time.Hour, Duration: time.Second},
	}}})
	c.Control(c.now, c.peer, wire.Interest{Title: [32]byte{2}, Active: true, FromMillis: 3_600_000, ToMillis: 3_660_000})
	require.Contains(t, c.drain().Control, ControlMessage{Peer: c.peer, Message: wire.Have{
		Root: c.Core.files[c.files[7]].root, Length: wire.PieceBytes, Bitmap: bitmap(0),
	}})
}
