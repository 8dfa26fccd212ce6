package main

import (
	"math/bits"
	"slices"

	"shoal/internal/wire"
)

// wanted is what a seed has been asked for and has not sent yet, by ascending
// piece. The leech asks again for old pieces that have gaps, and these go out
// first.
type wanted []wire.Request

func (w *wanted) add(r wire.Request) {
	at, known := slices.BinarySearchFunc(*w, r.Piece, func(r wire.Request, piece uint32) int { return int(r.Piece) - int(piece) })
	if known {
		(*w)[at].Mask |= r.Mask
		return
	}
	*w = slices.Insert(*w, at, r)
}

// take removes the first chunk; there must be one.
func (w *wanted) take() (piece uint32, chunk uint8) {
	r := &(*w)[0]
	piece, chunk = r.Piece, uint8(bits.TrailingZeros64(r.Mask))
	if r.Mask &= r.Mask - 1; r.Mask == 0 {
		*w = slices.Delete(*w, 0, 1)
	}
	return piece, chunk
}
