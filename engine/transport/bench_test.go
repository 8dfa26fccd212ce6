package transport

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// seed sends chunks as fast as its channel lets it, until stop is closed. It is
// the loop of a seed with nothing else to do.
func (s *side) seed(stop <-chan struct{}) {
	piece := randomBytes(wire.PieceBytes)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	next := uint32(0)
	for {
		now := time.Now()
		for budget := s.channel.SendBudget(now); budget > 0; budget = s.channel.SendBudget(now) {
			for range budget {
				at := next % wire.ChunksPerPiece
				chunk := Chunk{Handle: 1, Piece: next / wire.ChunksPerPiece & wire.MaxPiece, Chunk: uint8(at)}
				s.channel.SendData(now, chunk, piece[at*wire.ChunkBytes:][:wire.ChunkBytes])
				next++
			}
		}
		s.channel.Advance(now)
		wake := earlier(s.channel.Next(), s.channel.NextSend(now))
		timer.Reset(time.Until(wake))
		select {
		case b, ok := <-s.inbox:
			if !ok {
				return
			}
			for _, p := range b.Packets {
				_, _, _ = s.channel.OpenMessage(time.Now(), p, nil)
			}
			b.Release()
		case <-timer.C:
		case <-stop:
			return
		}
	}
}

// leech opens one batch and returns the number of chunks in it.
func (s *side) leech(piece []byte) (chunks int) {
	b := <-s.inbox
	now := time.Now()
	for _, p := range b.Packets {
		kind, chunk, _ := s.channel.Header(p.Data)
		if kind != wire.KindData {
			_, _, _ = s.channel.OpenMessage(now, p, nil)
			continue
		}
		at := int(chunk.Chunk) * wire.ChunkBytes
		if _, err := s.channel.OpenData(now, p, piece[at:at+wire.ChunkBytes]); err == nil {
			chunks++
		}
	}
	b.Release()
	s.channel.Advance(now)
	return chunks
}

func benchmarkLoopback(b *testing.B, cfg Config) {
	dialer, acceptor := pair(b, cfg)
	stop := make(chan struct{})
	var seeding sync.WaitGroup
	seeding.Go(func() { acceptor.seed(stop) })
	piece := make([]byte, wire.PieceBytes)
	for delivered := 0; delivered < 32<<10; { // past slow start
		delivered += dialer.leech(piece)
	}
	b.SetBytes(wire.PieceBytes)
	b.ReportAllocs()
	before, start := acceptor.endpoint.Stats(), time.Now()
	wanted, delivered := 0, 0
	for b.Loop() {
		for wanted += wire.ChunksPerPiece; delivered < wanted; {
			delivered += dialer.leech(piece)
		}
	}
	seconds := time.Since(start).Seconds()
	close(stop)
	seeding.Wait()
	st, recv := acceptor.endpoint.Stats(), dialer.endpoint.Stats()
	sent := float64(st.PacketsOut - before.PacketsOut)
	b.ReportMetric(float64(delivered)*wire.ChunkBytes*8/seconds/1e9, "Gbit/s")
	b.ReportMetric(sent/float64(st.SendSystemCalls-before.SendSystemCalls), "packets/call")
	b.ReportMetric(100*float64(acceptor.channel.Stats().LostPackets)/float64(acceptor.channel.Stats().PacketsOut), "%lost")
	require.Zero(b, recv.DroppedForged+recv.DroppedGarbage+recv.DroppedReplayed)
}

// BenchmarkChannelLoopback moves pieces over a sealed channel: QUIC handshake,
// congestion control and ACKs included, both ends in this process.
func BenchmarkChannelLoopback(b *testing.B) {
	b.Run("offload", func(b *testing.B) { benchmarkLoopback(b, Config{}) })
	b.Run("no offload", func(b *testing.B) { benchmarkLoopback(b, Config{DisableOffload: true}) })
	b.Run("portable", func(b *testing.B) { benchmarkLoopback(b, Config{portable: true}) })
}
