package engine

import (
	"time"

	"shoal/cc"
	"shoal/engine/swarm"
	"shoal/engine/transport"
	"shoal/internal/wire"
)

// chunksPerCycle bounds what one cycle sends: 1 MiB, about half a millisecond
// of sealing, so that received datagrams do not wait longer than that.
const chunksPerCycle = 1024

// load answers Output.Load: the piece is in memory, or a goroutine reads it.
// The core bounds how many pieces leeches can have asked for.
func (l *loop) load(now time.Time, pc swarm.Piece) {
	if l.residents.get(now, pc) != nil {
		l.core.Readable(now, pc, true)
		return
	}
	c := l.contents[pc.File]
	if !c.has(pc.Index) {
		l.core.Readable(now, pc, false)
		return
	}
	if l.loading[pc] {
		return // the answer holds for all who asked
	}
	l.loading[pc] = true
	l.e.loadJobs.push(loadJob{piece: pc, content: c})
}

// loadJob is a piece to be read from the store for a leech.
type loadJob struct {
	piece   swarm.Piece
	content *content
}

func (e *Engine) loadWorker() {
	for {
		job, ok := e.loadJobs.pop()
		if !ok {
			return
		}
		buf, err := e.getPiece(job.content.root, job.content.length, job.piece.Index)
		good := err == nil
		posted := e.post(func(now time.Time) {
			l := e.loop
			delete(l.loading, job.piece)
			if good {
				l.residents.add(now, job.piece, buf, false)
			} else {
				l.lost(now, job.content.root, job.piece.Index)
			}
			l.core.Readable(now, job.piece, good)
		})
		if !posted && good {
			buf.Release()
		}
	}
}

// serve sends what leeches wait for, as far as their channels allow, and counts
// its datagrams.
func (l *loop) serve(now time.Time) (sent int) {
	for _, p := range l.byID {
		if p.serving {
			p.serving = false
			l.core.Reopen(p.handle)
		}
	}
	l.unserved = false
	if len(l.byID) == 0 {
		return 0
	}
	budget := func(h swarm.Peer) int {
		p := l.peers[h]
		n := p.channel.SendBudget(now)
		// Asked and refused: the peer waits for its pacer, for longer than this.
		p.serving = n <= 0
		return n
	}
	for sent < chunksPerCycle {
		s, ok := l.core.NextServe(now, budget)
		if !ok {
			return sent
		}
		sent += max(l.sendChunks(now, s), 1)
	}
	l.unserved = true
	return sent
}

// sendChunks seals one burst straight from the piece's buffer.
func (l *loop) sendChunks(now time.Time, s swarm.Serve) int {
	p := l.peers[s.Peer]
	e := l.residents.get(now, s.Piece)
	if e == nil {
		// It was idle for too long, or many leeches want many pieces: the leech
		// asks again, and it is read again.
		l.core.Readable(now, s.Piece, false)
		return 0
	}
	p.channel.SetTier(now, cc.Tier(s.Tier))
	n, piece := 0, e.buf.Bytes()
	for chunk := range wire.ChunksPerPiece {
		from := chunk * wire.ChunkBytes
		if s.Mask&(1<<chunk) == 0 || from >= len(piece) {
			continue
		}
		p.channel.SendData(now, transport.Chunk{Handle: s.Handle, Piece: s.Piece.Index, Chunk: uint8(chunk)},
			piece[from:min(from+wire.ChunkBytes, len(piece))])
		n++
	}
	l.core.Served(now, s)
	return n
}
