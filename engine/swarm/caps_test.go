package swarm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// Two seeds owe more than the line brings, and all round trips grow.
func TestSeedsAreToldTheirPartOfAFullLine(t *testing.T) {
	s := newStranger()
	const length = 512 * wire.PieceBytes
	long := Record{Root: [32]byte{5}, Length: length, Track: 1, Segments: []Segment{{Length: length, Start: 12 * time.Second, Duration: time.Minute}}}
	s.Grown(s.now, s.title, nil, []Record{long})
	other, _ := s.PathUp(s.now, wire.PeerID{8}, 0)
	s.Joined(s.now, other, s.title)
	var every []uint32
	for i := range uint32(512) {
		every = append(every, i)
	}
	for _, p := range []Peer{s.peer, other} {
		s.Control(s.now, p, wire.Have{Handle: 3, Root: long.Root, Length: length, Bitmap: bitmap(every...)})
		s.PathStats(s.now, p, 20*time.Millisecond, 0)
	}
	var owed []Request
	caps := make(map[Peer]float64)
	for i := 0; i < 150 && len(caps) == 0; i++ {
		s.now = s.now.Add(20 * time.Millisecond)
		s.Advance(s.now)
		o := s.drain()
		owed = append(owed, o.Requests...)
		for _, c := range o.Caps {
			caps[c.Peer] = c.BytesPerSec
		}
		if len(owed) > 0 { // a piece in 20 ms
			r := owed[0]
			owed = owed[1:]
			if pc, missing := s.Expect(r.Peer, r.Request.Handle, r.Request.Piece); missing != 0 {
				s.Arrived(s.now, r.Peer, pc, r.Request.Mask)
			}
		}
		for _, p := range []Peer{s.peer, other} {
			s.PathStats(s.now, p, 200*time.Millisecond, 0)
		}
	}
	require.Len(t, caps, 2)
	require.InDelta(t, 0.8*wire.PieceBytes*50, caps[s.peer]+caps[other], 0.3*wire.PieceBytes*50)
}
