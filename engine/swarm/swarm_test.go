package swarm

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

func TestLaterViewersAreFedByEarlierOnes(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	a.play(0)
	w.run(10 * time.Second)
	b := w.add("b")
	b.play(0)
	w.run(5 * time.Second)
	c := w.add("c")
	c.play(0)
	w.run(130 * time.Second)
	for _, n := range w.nodes {
		t.Logf("%s saving %.3f startup %v stalls %d bytes %+v ended %v", n.name, n.saving(), n.startup, n.stalls, n.bytes(), n.ended)
		require.Zero(t, n.stalls)
		require.True(t, n.ended)
	}
	require.Less(t, a.saving(), 0.5)
	// All but the first segment, which starts from the CDN, and their share of
	// the window's far end, which nobody has yet.
	require.Greater(t, b.saving(), 0.88)
	require.Greater(t, c.saving(), 0.88)
}

func TestSimultaneousViewersShareFirstCopies(t *testing.T) {
	w := newWorld(t)
	w.segments = 60
	for _, name := range []string{"a", "b", "c", "d"} {
		w.add(name)
	}
	for _, n := range w.nodes {
		n.play(0)
	}
	w.run(370 * time.Second)
	var p2p, cdn int64
	for _, n := range w.nodes {
		t.Logf("%s saving %.3f startup %v stalls %d bytes %+v ended %v", n.name, n.saving(), n.startup, n.stalls, n.bytes(), n.ended)
		require.Zero(t, n.stalls)
		p2p, cdn = p2p+n.bytes().P2P, cdn+n.bytes().CDN
	}
	t.Logf("swarm saving %.3f", float64(p2p)/float64(p2p+cdn))
	require.Greater(t, float64(p2p)/float64(p2p+cdn), 0.60)
}

func TestKilledSeedIsReplacedWithoutAStall(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	a.play(0)
	w.run(10 * time.Second)
	b := w.add("b")
	b.play(0)
	w.run(5 * time.Second)
	c := w.add("c")
	c.play(0)
	w.run(3 * time.Second)
	a.dead = true // SIGKILL: no goodbye, its paths just go silent
	w.run(120 * time.Second)
	for _, n := range []*node{b, c} {
		t.Logf("%s saving %.3f %+v", n.name, n.saving(), n.bytes())
		require.Zero(t, n.stalls)
		require.True(t, n.ended)
	}
}

func TestPausedOriginIsBridgedByPeersThatHoldTheData(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	a.play(0)
	w.run(100 * time.Second) // a's window reaches the end of the title
	b := w.add("b")
	b.play(0)
	w.run(5 * time.Second)
	w.cdnPaused = true
	w.run(125 * time.Second)
	require.Zero(t, b.stalls)
	require.True(t, b.ended)
	require.Greater(t, b.saving(), 0.9)
}

func TestPollutersAreBannedAndInnocentsAreNot(t *testing.T) {
	w := newWorld(t)
	nodes := make(map[string]*node)
	for _, name := range []string{"good", "also", "evil"} {
		n := w.add(name)
		nodes[name] = n
		n.play(0)
	}
	w.run(100 * time.Second)
	nodes["evil"].pollute = func(int) bool { return true }
	v := w.add("viewer")
	v.play(0)
	w.run(130 * time.Second)
	t.Logf("%+v", v.bytes())
	require.Zero(t, v.stalls)
	require.True(t, v.ended)
	require.True(t, v.core.banned[nodes["evil"].id])
	require.False(t, v.core.banned[nodes["good"].id])
	require.False(t, v.core.banned[nodes["also"].id])
	require.Positive(t, v.bytes().HashFailed)
}

func TestSameSeedGivesTheSameTranscript(t *testing.T) {
	run := func() string {
		w := newWorld(t)
		w.log = new(strings.Builder)
		for _, name := range []string{"a", "b", "c"} {
			w.add(name).play(0)
			w.run(2 * time.Second)
		}
		w.run(30 * time.Second)
		return w.log.String()
	}
	first := run()
	for range 3 {
		require.Equal(t, first, run())
	}
}

func TestSeekGoesToWhereverThePlayheadIs(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	a.play(0)
	w.run(100 * time.Second)
	b := w.add("b")
	b.play(0)
	w.run(5 * time.Second)
	b.core.Cancel(w.now, b.wantID)
	b.startup = 0
	b.playing = false
	b.play(15)
	w.run(60 * time.Second)
	t.Logf("startup after seek %v, %+v", b.startup, b.bytes())
	require.Zero(t, b.stalls)
	require.True(t, b.ended)
	require.Less(t, b.startup, 500*time.Millisecond)
}

func TestOriginThatComesBackIsUsedAgain(t *testing.T) {
	w := newWorld(t)
	a := w.add("a")
	a.play(0)
	w.run(100 * time.Second)
	a.upBytesPerSec = 20_000 // it has everything, and can carry a quarter of it
	b := w.add("b")
	b.play(0)
	w.run(30 * time.Second)
	w.cdnPaused = true
	w.run(10 * time.Second)
	require.Positive(t, b.core.cdnDown.fails)
	w.cdnPaused = false
	w.run(140 * time.Second)
	t.Logf("stalls %d, %+v", b.stalls, b.bytes())
	require.Zero(t, b.core.cdnDown.fails)
	require.Zero(t, b.stalls, "its buffer outlasts the outage")
	require.True(t, b.ended)
}

func TestSegmentIsDueBeforeItIsShown(t *testing.T) {
	s := newStranger()
	film := s.Grown(s.now, s.title, nil, []Record{{Root: [32]byte{4}, Length: wire.PieceBytes, Track: 1, Segments: []Segment{
		{Length: wire.PieceBytes, Start: 30 * time.Second, Duration: 4 * time.Second},
	}}})[0]
	due := func(p Playhead) time.Duration {
		p.Title, p.Position, p.Buffer = s.title, 20*time.Second, 10*time.Second
		s.Playhead(s.now, 9, p)
		s.Want(s.now, Want{ID: 7, Viewer: 9, File: film, Length: wire.PieceBytes})
		s.Advance(s.now)
		return s.needOf(Piece{film, 0}).deadline - s.at(s.now)
	}
	require.Equal(t, 10*time.Second, due(Playhead{Rate: 1}))
	require.Equal(t, 9500*time.Millisecond, due(Playhead{Rate: 1, Append: 500 * time.Millisecond}))
	require.Equal(t, 4500*time.Millisecond, due(Playhead{Rate: 2, Append: 500 * time.Millisecond}), "at double speed it takes no less")
	require.Zero(t, due(Playhead{Rate: 1, Append: time.Minute}), "never in the past")
}

func TestReadThatAdvancesIsNotOverdue(t *testing.T) {
	s := newStranger()
	long := s.Grown(s.now, s.title, nil, []Record{{Root: [32]byte{4}, Length: 64 << 20, Track: 1, Segments: []Segment{{Length: 64 << 20}}}})[0]
	read := func(offset int64) {
		s.Want(s.now, Want{ID: 7, Viewer: 9, File: long, Offset: offset, Length: 64<<20 - offset})
		s.Advance(s.now)
	}
	read(0)
	s.now = s.now.Add(time.Minute)
	read(1 << 20)
	require.Equal(t, s.at(s.now)+wantLead, s.needOf(Piece{long, 16}).deadline, "what comes next is due as at the start")
	read(1 << 20)
	s.now = s.now.Add(time.Minute)
	read(1 << 20)
	require.Less(t, s.needOf(Piece{long, 16}).deadline, s.at(s.now), "a reader that waits is late")
}
