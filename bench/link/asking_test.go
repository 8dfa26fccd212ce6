package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine/transport"
	"shoal/internal/wire"
)

const ms = time.Millisecond

func TestMissingChunksAreAskedForAgain(t *testing.T) {
	begin := time.Unix(1000, 0)
	a := asking{heardAt: begin}
	const rtt, answer = 40 * ms, 60 * ms
	first := a.requests(begin, answer)
	require.Len(t, first, piecesAsked)
	arrive := func(at time.Duration, piece uint32, chunk uint8) {
		a.arrived(begin.Add(at), rtt, transport.Chunk{Handle: handle, Piece: piece, Chunk: chunk}, wire.ChunkBytes)
	}
	for chunk := range uint8(wire.ChunksPerPiece) {
		if chunk != 5 && chunk != 7 {
			arrive(50*ms, 0, chunk)
		}
	}
	require.Empty(t, a.requests(begin.Add(60*ms), answer), "nothing has overtaken them")
	arrive(60*ms, 1, 0)
	require.Empty(t, a.requests(begin.Add(79*ms), answer), "they may be late")
	arrive(79*ms, 0, 7)
	arrive(79*ms, 1, 1) // does not put it off
	again := []wire.Request{{Handle: handle, Piece: 0, Mask: 1 << 5}}
	require.Equal(t, again, a.requests(begin.Add(80*ms), answer))
	arrive(90*ms, 1, 2)
	require.Empty(t, a.requests(begin.Add(139*ms), answer), "the answer is on its way")
	require.Equal(t, again, a.requests(begin.Add(140*ms), answer))
	arrive(150*ms, 0, 5)
	arrive(150*ms, 0, 5) // the answer to the first repetition
	require.Equal(t, int64(67*wire.ChunkBytes), a.usefulBytes, "each chunk counts once")
	next := a.requests(begin.Add(150*ms), answer)
	require.Equal(t, []wire.Request{{Handle: handle, Piece: piecesAsked, Mask: ^uint64(0)}}, next, "a new piece in place of the whole one")
}

func TestSilenceIsAnsweredWithEverything(t *testing.T) {
	begin := time.Unix(1000, 0)
	a := asking{heardAt: begin}
	a.requests(begin, ms)
	a.arrived(begin, ms, transport.Chunk{Piece: 0, Chunk: 0}, 1024)
	require.Empty(t, a.requests(begin.Add(silence), ms))
	require.Len(t, a.requests(begin.Add(silence+ms), ms), piecesAsked)
	due := a.requests(begin.Add(silence+2*ms), ms)
	require.Equal(t, []wire.Request{{Handle: handle, Piece: 0, Mask: ^uint64(1)}}, due, "the answer to the piece that was begun is due")
	require.Len(t, a.requests(begin.Add(2*silence+2*ms), ms), piecesAsked, "these requests may be lost, too")
}

func TestSeedSendsTheFirstPiecesFirst(t *testing.T) {
	var w wanted
	w.add(wire.Request{Piece: 7, Mask: 0b110})
	w.add(wire.Request{Piece: 3, Mask: 0b1})
	w.add(wire.Request{Piece: 7, Mask: 0b1})
	var order [][2]int
	for len(w) > 0 {
		piece, chunk := w.take()
		order = append(order, [2]int{int(piece), int(chunk)})
	}
	require.Equal(t, [][2]int{{3, 0}, {7, 0}, {7, 1}, {7, 2}}, order)
}
