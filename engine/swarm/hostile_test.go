package swarm

import (
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/internal/wire"
)

// stranger is a core with one joined peer that means no good.
type stranger struct {
	*Core
	now   time.Time
	title Title
	files []File
	peer  Peer
}

func newStranger() *stranger {
	now := time.Unix(0, 0)
	s := &stranger{Core: New(now, Config{}), now: now}
	s.title = s.AddTitle(now, [32]byte{1})
	s.files = s.Grown(now, s.title, []Track{{ID: 1, Kind: "muxed"}}, []Record{
		{Root: [32]byte{1}, Length: 200_000, Track: 1, Segments: []Segment{{Length: 200_000, Duration: 6 * time.Second}}},
		{Root: [32]byte{2}, Length: 100_000, Track: 1, Segments: []Segment{{Length: 100_000, Start: 6 * time.Second, Duration: 6 * time.Second}}},
	})
	for i := range uint32(4) {
		s.Stored(now, Piece{s.files[0], i})
	}
	s.peer, _ = s.PathUp(now, wire.PeerID{7}, 0)
	s.Joined(now, s.peer, s.title)
	s.Playhead(now, 1, Playhead{Title: s.title, Rate: 1})
	s.Want(now, Want{ID: 1, Viewer: 1, File: s.files[1], Length: 100_000})
	s.Advance(now)
	return s
}

func bitmap(pieces ...uint32) []byte {
	b, err := roaring.BitmapOf(pieces...).ToBytes()
	if err != nil {
		panic(err)
	}
	return b
}

func (s *stranger) drain() Output {
	var o Output
	s.Drain(&o)
	return o
}

func TestSenselessMessagesAreCountedAndMoveNothing(t *testing.T) {
	have := wire.Have{Handle: 3, Root: [32]byte{2}, Length: 100_000, Bitmap: bitmap(0, 1)}
	for _, tc := range []struct {
		name string
		kind string
		send func(*stranger)
	}{
		{"interest in a title not joined", "not_joined", func(s *stranger) {
			s.Control(s.now, s.peer, wire.Interest{Title: [32]byte{9}, Active: true})
		}},
		{"availability beyond the file", "bitmap", func(s *stranger) {
			h := have
			h.Bitmap = bitmap(0, 2)
			s.Control(s.now, s.peer, h)
		}},
		{"availability of another length", "bitmap", func(s *stranger) {
			h := have
			h.Length++
			s.Control(s.now, s.peer, h)
		}},
		{"a bitmap that is none", "bitmap", func(s *stranger) {
			h := have
			h.Bitmap = []byte{1, 2, 3}
			s.Control(s.now, s.peer, h)
		}},
		{"one handle for two files", "handle", func(s *stranger) {
			s.Control(s.now, s.peer, have)
			s.Control(s.now, s.peer, wire.Have{Handle: 3, Root: [32]byte{1}, Length: 200_000, Bitmap: bitmap()})
		}},
		{"a delta for an unknown handle", "handle", func(s *stranger) {
			s.Control(s.now, s.peer, wire.HaveDelta{Runs: []wire.HaveRun{{Handle: 8, Count: 1}}})
		}},
		{"a delta beyond the file", "piece", func(s *stranger) {
			s.Control(s.now, s.peer, have)
			s.Control(s.now, s.peer, wire.HaveDelta{Runs: []wire.HaveRun{{Handle: 3, First: 1, Count: 1 << 24}}})
		}},
		{"a request for an unknown handle", "handle", func(s *stranger) {
			s.Requested(s.now, s.peer, wire.Request{Handle: 77, Mask: 1})
		}},
		{"a request beyond the file", "piece", func(s *stranger) {
			s.Control(s.now, s.peer, wire.Interest{Title: [32]byte{1}, ToMillis: 60_000, Active: true})
			s.Requested(s.now, s.peer, wire.Request{Handle: 0, Piece: 4, Mask: 1})
		}},
		{"a request for chunks that the last piece lacks", "piece", func(s *stranger) {
			s.Control(s.now, s.peer, wire.Interest{Title: [32]byte{1}, ToMillis: 60_000, Active: true})
			s.Requested(s.now, s.peer, wire.Request{Handle: 0, Piece: 3, Mask: 1 << 63})
		}},
		{"a message that only the shell takes", "message", func(s *stranger) {
			s.Control(s.now, s.peer, wire.Hello{})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStranger()
			tc.send(s)
			require.Equal(t, int64(1), s.Status(s.now).Dropped[tc.kind])
			_, ok := s.NextServe(s.now, func(Peer) int { return 64 })
			require.False(t, ok)
			require.Empty(t, s.drain().Disconnect)
		})
	}
}

func TestEndlessGarbageEndsTheSession(t *testing.T) {
	s := newStranger()
	for range 10 * maxGarbage {
		s.Control(s.now, s.peer, wire.HaveDelta{Runs: []wire.HaveRun{{Handle: 9, Count: 1}}})
	}
	o := s.drain()
	require.Len(t, o.Disconnect, 1, "once")
	require.False(t, o.Disconnect[0].Banned)
}

func TestAnnouncementsOfUnknownFilesAreBoundedAndKeptForTheirRecords(t *testing.T) {
	s := newStranger()
	for i := range 2 * maxUnknown {
		s.Control(s.now, s.peer, wire.Have{Handle: uint16(i), Root: [32]byte{9, byte(i), byte(i >> 8)}, Length: 64 << 10, Bitmap: bitmap(0)})
	}
	require.Len(t, s.peers[s.peer].unknown, maxUnknown)
	files := s.Grown(s.now, s.title, nil, []Record{{Root: [32]byte{9, 5}, Length: 64 << 10, Track: 1, Segments: []Segment{{Length: 64 << 10}}}})
	require.True(t, s.holders(files[0], 0).Has(0))
}

func TestFloodOfRequestsIsAnsweredBusyAndForgotten(t *testing.T) {
	s := newStranger()
	big := s.Grown(s.now, s.title, nil, []Record{{Root: [32]byte{3}, Length: 1 << 30, Track: 1, Segments: []Segment{{Length: 1 << 30}}}})[0]
	for i := range uint32(1 << 14) {
		s.Stored(s.now, Piece{big, i})
	}
	s.Control(s.now, s.peer, wire.Interest{Title: [32]byte{1}, ToMillis: 60_000, Active: true})
	h, _ := s.Core.files[big].handle(s.peer)
	busy := 0
	for i := range uint32(1 << 14) {
		s.Requested(s.now, s.peer, wire.Request{Handle: h, Piece: i, Mask: ^uint64(0)})
		require.LessOrEqual(t, s.peers[s.peer].queued, maxQueuedChunks)
	}
	busy = len(s.drain().Busies)
	require.Positive(t, busy)
}

func TestRequestsAreServedEarliestDeadlineFirst(t *testing.T) {
	s := newStranger()
	other, _ := s.PathUp(s.now, wire.PeerID{8}, 0)
	s.Joined(s.now, other, s.title)
	for _, p := range []Peer{s.peer, other} {
		s.Control(s.now, p, wire.Interest{Title: [32]byte{1}, ToMillis: 60_000, Active: true})
	}
	s.Requested(s.now, s.peer, wire.Request{Piece: 0, Mask: 3, DeadlineMillis: 9000})
	s.Requested(s.now, s.peer, wire.Request{Piece: 1, Mask: 3, DeadlineMillis: 3000})
	s.Requested(s.now, other, wire.Request{Piece: 2, Mask: ^uint64(0), DeadlineMillis: 5000})
	for _, l := range s.drain().Load {
		if l.Index != 1 {
			s.Readable(s.now, l, true)
		}
	}
	var order []uint32
	serve := func(can int) {
		for {
			sv, ok := s.NextServe(s.now, func(Peer) int { return can })
			if !ok {
				return
			}
			order = append(order, sv.Piece.Index)
		}
	}
	serve(0)
	require.Empty(t, order, "no budget, no burst")
	_, ok := s.NextServe(s.now, func(Peer) int { panic("asked again") })
	require.False(t, ok)
	s.Reopen(s.peer)
	s.Reopen(other)
	sv, ok := s.NextServe(s.now, func(p Peer) int { return 10 })
	require.True(t, ok)
	require.Equal(t, Serve{Peer: other, Piece: Piece{s.files[0], 2}, Mask: 1<<10 - 1}, sv, "what is not loaded waits, and a burst fits its budget")
	s.Readable(s.now, Piece{s.files[0], 1}, true)
	serve(64)
	require.Equal(t, []uint32{1, 2, 0}, order)
}

func TestCanceledAndLostPiecesAreNotServed(t *testing.T) {
	s := newStranger()
	s.Control(s.now, s.peer, wire.Interest{Title: [32]byte{1}, ToMillis: 60_000, Active: true})
	for i := range uint32(3) {
		s.Requested(s.now, s.peer, wire.Request{Piece: i, Mask: 0xff})
	}
	s.Canceled(s.now, s.peer, wire.Cancel{Piece: 0, Mask: 0x0f})
	s.Canceled(s.now, s.peer, wire.Cancel{Piece: 1, Mask: ^uint64(0)})
	s.Readable(s.now, Piece{s.files[0], 0}, true)
	s.Readable(s.now, Piece{s.files[0], 1}, true)
	s.Readable(s.now, Piece{s.files[0], 2}, false)
	sv, ok := s.NextServe(s.now, func(Peer) int { return 64 })
	require.True(t, ok)
	require.Equal(t, uint64(0xf0), sv.Mask)
	_, ok = s.NextServe(s.now, func(Peer) int { return 64 })
	require.False(t, ok)
	require.Zero(t, s.peers[s.peer].queued)
}

func TestLiarIsBoundedAndReplaced(t *testing.T) {
	s := newStranger()
	s.Control(s.now, s.peer, wire.Have{Handle: 0, Root: [32]byte{2}, Length: 100_000, Bitmap: bitmap(0, 1)})
	s.Advance(s.now)
	asked := 0
	for range 600 { // 30 s in which it promises and never delivers
		o := s.drain()
		asked += len(o.Requests)
		s.now = s.now.Add(50 * time.Millisecond)
		s.Advance(s.now)
	}
	require.Positive(t, asked)
	require.Less(t, asked, 12, "each try is rarer than the one before")
	require.Less(t, s.Status(s.now).Seeds[0].Score, 0.5)
	require.NotEmpty(t, s.fetches, "the CDN stepped in")
}

// TestNoInputPanics throws arbitrary messages of a peer at a core.
func TestNoInputPanics(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStranger()
		u16, u32, u64 := rapid.Uint16Range(0, 4), rapid.Uint32(), rapid.Uint64()
		root := func() [32]byte { return [32]byte{byte(rapid.IntRange(0, 3).Draw(rt, "root"))} }
		small := rapid.Uint32Range(0, 5)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			p := Peer(rapid.IntRange(0, 2).Draw(rt, "peer"))
			switch rapid.IntRange(0, 11).Draw(rt, "kind") {
			case 0:
				s.Control(s.now, p, wire.Interest{Title: root(), FromMillis: u32.Draw(rt, "from"), ToMillis: u32.Draw(rt, "to"), Active: rapid.Bool().Draw(rt, "active")})
			case 1:
				b := bitmap(rapid.SliceOfN(small, 0, 4).Draw(rt, "pieces")...)
				if rapid.Bool().Draw(rt, "garbage") {
					b = rapid.SliceOf(rapid.Byte()).Draw(rt, "bytes")
				}
				s.Control(s.now, p, wire.Have{Handle: u16.Draw(rt, "handle"), Root: root(), Length: rapid.SampledFrom([]uint64{0, 100_000, 200_000, 1 << 63}).Draw(rt, "length"), Bitmap: b})
			case 2:
				s.Control(s.now, p, wire.HaveDelta{Runs: []wire.HaveRun{{Handle: u16.Draw(rt, "handle"), Change: wire.HaveChange(rapid.IntRange(0, 2).Draw(rt, "change")), First: small.Draw(rt, "first"), Count: u32.Draw(rt, "count")}}})
			case 3:
				s.Requested(s.now, p, wire.Request{Handle: u16.Draw(rt, "handle"), Piece: small.Draw(rt, "piece"), Mask: u64.Draw(rt, "mask"), Tier: uint8(u16.Draw(rt, "tier")), DeadlineMillis: u32.Draw(rt, "deadline")})
			case 4:
				s.Canceled(s.now, p, wire.Cancel{Handle: u16.Draw(rt, "handle"), Piece: small.Draw(rt, "piece"), Mask: u64.Draw(rt, "mask")})
			case 5:
				s.Busied(s.now, p, time.Duration(u64.Draw(rt, "retry")))
			case 6:
				if pc, missing := s.Expect(p, u16.Draw(rt, "handle"), small.Draw(rt, "piece")); missing != 0 {
					s.Arrived(s.now, p, pc, u64.Draw(rt, "mask"))
				}
			case 7:
				s.Control(s.now, p, wire.Leave{Title: root()})
			case 8:
				s.PathDown(s.now, p)
			case 9:
				if slot, ok := s.PathUp(s.now, wire.PeerID{byte(rapid.IntRange(0, 5).Draw(rt, "id"))}, 0); ok {
					s.Joined(s.now, slot, s.title)
				}
			case 10:
				s.Verified(s.now, Piece{s.files[0], small.Draw(rt, "piece")}, rapid.Bool().Draw(rt, "ok"))
			default:
				s.now = s.now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "ms")) * time.Millisecond)
			}
			s.Advance(s.now)
			for {
				if _, ok := s.NextServe(s.now, func(Peer) int { return 7 }); !ok {
					break
				}
			}
			for _, l := range s.drain().Load {
				s.Readable(s.now, l, true)
			}
		}
	})
}

func FuzzBitmap(f *testing.F) {
	f.Add(bitmap(), uint32(1))
	f.Add(bitmap(0, 1, 5), uint32(6))
	f.Add(bitmap(70_000, 1<<20), uint32(1<<21))
	f.Add([]byte{0x3b, 0x30, 0, 0}, uint32(10))
	f.Fuzz(func(t *testing.T, b []byte, pieces uint32) {
		bm := parseBitmap(b, pieces)
		if bm == nil {
			return
		}
		if !bm.IsEmpty() && bm.Maximum() >= pieces {
			t.Fatal("names a piece beyond the file")
		}
		bm.AddRange(0, uint64(pieces%1000)) // it can be worked with
	})
}
