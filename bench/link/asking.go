package main

import (
	"slices"
	"time"

	"shoal/engine/transport"
	"shoal/internal/wire"
)

const (
	// piecesAsked at a time: 16 MiB, more than any window here, so that the
	// seed's controller is the only limit.
	piecesAsked = 256

	// patienceMin is the least time after which a chunk that was overtaken by
	// a later piece counts as missing: a jitter of the receiver's own.
	patienceMin = 5 * time.Millisecond

	// answerSlack is added to the round trip that a repeated request may take:
	// the ACK that measures a round trip may be delayed by as much.
	answerSlack = 25 * time.Millisecond

	// silence after which everything is asked for again: the requests themselves
	// may be lost.
	silence = time.Second
)

// asking keeps a seed busy: piecesAsked pieces are always outstanding, chunks that
// are missing are asked for again, and each counts once. The decisions of a
// viewer's scheduler (from whom, how urgent) have no place here.
type asking struct {
	next        uint32  // the first piece not asked for yet
	outstanding []asked // by ascending piece
	heardAt     time.Time
	usefulBytes int64
}

// asked is a piece that has been asked for.
type asked struct {
	piece   uint32
	missing uint64
	again   bool      // it has been asked for more than once
	due     time.Time // when what is missing is asked for again; zero: not yet
}

// arrived counts a chunk. The seed sends the first pieces first: those before it
// that miss something have been overtaken, and are asked for again unless the
// chunks come within half a round trip.
func (a *asking) arrived(now time.Time, rtt time.Duration, c transport.Chunk, bytes int) {
	a.heardAt = now
	for i := range a.outstanding {
		p := &a.outstanding[i]
		switch {
		case p.piece > c.Piece:
			return
		case p.piece == c.Piece:
			if bit := uint64(1) << c.Chunk; p.missing&bit != 0 {
				p.missing &^= bit
				a.usefulBytes += int64(bytes)
			}
			if p.missing == 0 {
				a.outstanding = slices.Delete(a.outstanding, i, i+1)
			}
			return
		case !p.again && p.due.IsZero():
			p.due = now.Add(max(rtt/2, patienceMin))
		}
	}
}

// requests returns what is to be asked for now: what is missing, and further
// pieces. An answer may take so long.
func (a *asking) requests(now time.Time, answer time.Duration) (requests []wire.Request) {
	silent := now.Sub(a.heardAt) > silence
	if silent {
		a.heardAt = now
	}
	for i := range a.outstanding {
		p := &a.outstanding[i]
		due := !p.due.IsZero() && !now.Before(p.due)
		if silent || due {
			// Of what the seed has not begun to send nothing is overdue: it is queued
			// there, or the next silence will tell.
			if due || p.missing != ^uint64(0) {
				p.again, p.due = true, now.Add(answer)
			}
			requests = append(requests, wire.Request{Handle: handle, Piece: p.piece, Mask: p.missing})
		}
	}
	for len(a.outstanding) < piecesAsked {
		a.outstanding = append(a.outstanding, asked{piece: a.next, missing: ^uint64(0)})
		requests = append(requests, wire.Request{Handle: handle, Piece: a.next, Mask: ^uint64(0)})
		a.next++
	}
	return requests
}
