package transport

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// state is what no bad packet may move.
type state struct {
	next      uint64
	replay    []uint64
	acks      []wire.AckRange
	packetsIn uint64
	path      netip.AddrPort
	candidate candidatePath
	got       int
}

func (s *side) state() state {
	st := state{
		s.channel.replay.next, slices.Clone(s.channel.replay.words), nil, s.channel.packetsIn,
		s.channel.path,
		candidatePath{},
		len(s.got),
	}
	for _, r := range s.channel.acks.ranges {
		st.acks = append(st.acks, r.AckRange)
	}
	if s.channel.candidate != nil {
		st.candidate = *s.channel.candidate
	}
	return st
}

func TestBadPacketsAreCountedAndMoveNothing(t *testing.T) {
	dialer, acceptor, nat := behindNAT(t, Config{})
	dialer.channel.SendData(time.Now(), Chunk{Handle: 1, Piece: 2, Chunk: 3}, randomBytes(1000))
	dialer.channel.Flush()
	run(t, func() bool { return len(acceptor.data()) == 1 }, acceptor, dialer)
	sealed := nat.seen()
	require.NotEmpty(t, sealed)
	genuine := sealed[0]
	change := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), genuine...)) }

	for _, tt := range []struct {
		name   string
		packet []byte
		count  func(Stats) uint64
	}{
		{"replayed", genuine, func(s Stats) uint64 { return s.DroppedReplayed }},
		{"truncated to nothing sealed", genuine[:wire.MinDatagramBytes-1], func(s Stats) uint64 { return s.DroppedGarbage }},
		{"truncated header of DATA", genuine[:wire.DataHeaderBytes+wire.TagBytes], func(s Stats) uint64 { return s.DroppedGarbage }},
		{"truncated body, fresh number", change(func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[5:], 1000)
			return b[:500]
		}), func(s Stats) uint64 { return s.DroppedForged }},
		{"one bit of the body, fresh number", change(func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[5:], 1000)
			b[100] ^= 1
			return b
		}), func(s Stats) uint64 { return s.DroppedForged }},
		{"another chunk in the clear header", change(func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[5:], 1000)
			b[18]++
			return b
		}), func(s Stats) uint64 { return s.DroppedForged }},
		{"number beyond any", change(func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[5:], 1<<63)
			return b
		}), func(s Stats) uint64 { return s.DroppedGarbage }},
		{"chunk outside of the piece", change(func(b []byte) []byte {
			b[18] = 64
			return b
		}), func(s Stats) uint64 { return s.DroppedGarbage }},
		{"oversized", append(change(func(b []byte) []byte { return b }), make([]byte, 500)...), func(s Stats) uint64 { return s.DroppedOversize }},
		{"nobody's receiver index", change(func(b []byte) []byte {
			b[1] ^= 0xff
			return b
		}), func(s Stats) uint64 { return s.DroppedUnknown }},
		{"neither sealed nor QUIC", []byte{0x10, 1, 2, 3}, func(s Stats) uint64 { return s.DroppedGarbage }},
		{"QUIC beyond any size", append([]byte{0x40}, make([]byte, 1500)...), func(s Stats) uint64 { return s.DroppedOversize }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, counted := acceptor.state(), tt.count(acceptor.endpoint.Stats())
			nat.inject(tt.packet)
			run(t, func() bool { return tt.count(acceptor.endpoint.Stats()) == counted+1 }, acceptor, dialer)
			require.Equal(t, before, acceptor.state())
			require.NoError(t, acceptor.session.Err())
		})
	}
	// The session goes on as if nothing had been.
	dialer.channel.SendData(time.Now(), Chunk{}, []byte("still here"))
	dialer.channel.Flush()
	run(t, func() bool { return len(acceptor.data()) == 2 }, acceptor, dialer)
}

func TestDataLargerThanItsPlaceIsRefused(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	dialer.channel.SendData(time.Now(), Chunk{}, make([]byte, 100))
	dialer.channel.Flush()
	b := <-acceptor.inbox
	before := acceptor.state()
	_, err := acceptor.channel.OpenData(time.Now(), b.Packets[0], make([]byte, 99))
	require.ErrorIs(t, err, ErrOversize)
	require.Equal(t, before, acceptor.state())
	n, err := acceptor.channel.OpenData(time.Now(), b.Packets[0], make([]byte, 100))
	require.NoError(t, err, "with the right place it opens after all")
	require.Equal(t, 100, n)
	b.Release()
	require.Panics(t, b.Release)
}

func TestLyingAckEndsTheSession(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	lie := wire.AppendAck(nil, &wire.Ack{Ranges: []wire.AckRange{{First: 0, Last: 5000}}})
	dialer.send(wire.KindAck, lie)
	run(t, func() bool { return acceptor.session.Err() != nil }, acceptor, dialer)
	require.ErrorContains(t, acceptor.session.Err(), "protocol violation")
	<-dialer.session.Done()
	var end *CloseError
	require.ErrorAs(t, dialer.session.Err(), &end)
	require.True(t, end.Remote)
	require.Zero(t, acceptor.channel.SendBudget(time.Now()), "a dead channel sends nothing")
}

// A receiver that claims more congestion than packets can have met would make the
// sender slow down for others' sake; one whose count falls is broken.
func TestImpossibleCongestionMarksEndTheSession(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	acceptor.send(wire.MaxKind, nil)
	newest := acceptor.channel.next - 1
	dialer.send(wire.KindAck, wire.AppendAck(nil, &wire.Ack{
		Ranges: []wire.AckRange{{First: newest, Last: newest}}, CEPackets: uint32(newest) + 2,
	}))
	run(t, func() bool { return acceptor.session.Err() != nil }, acceptor, dialer)
	require.ErrorContains(t, acceptor.session.Err(), "congestion marks")
}

// An optimistic receiver that acknowledges everything up to the newest packet
// that it could guess is caught by the numbers left out.
func TestOptimisticAckIsCaught(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	now := time.Now()
	for dialer.channel.next <= 2*minSkipDistance {
		dialer.channel.SendMessage(now, wire.MaxKind, nil)
	}
	dialer.channel.Flush()
	lie := wire.AppendAck(nil, &wire.Ack{Ranges: []wire.AckRange{{First: 0, Last: dialer.channel.next - 1}}})
	acceptor.send(wire.KindAck, lie)
	run(t, func() bool { return dialer.session.Err() != nil }, dialer, acceptor)
	require.ErrorContains(t, dialer.session.Err(), "protocol violation")
}

func TestUsedUpKeyEndsTheSessionWithAReason(t *testing.T) {
	dialer, acceptor := pair(t, Config{})
	dialer.channel.keyLimit = 3
	for range 4 {
		dialer.channel.SendMessage(time.Now(), wire.MaxKind, nil)
	}
	require.ErrorContains(t, dialer.session.Err(), "key used up")
	<-acceptor.session.Done()
	require.ErrorContains(t, acceptor.session.Err(), "key used up")
	require.LessOrEqual(t, dialer.channel.next, uint64(3))
}

// handOver as the reader does it, with packets of so many bytes in all.
func handOver(e *Endpoint, in *inbox, bytes int) (slabUsed bool) {
	s := e.pools.slab()
	s.refs.Store(1)
	for at := 0; at < bytes; at += wire.DataDatagramBytes {
		in.add(Packet{Data: s.buf[at : at+wire.DataDatagramBytes]})
	}
	used := in.handOver(e, s, true)
	if used {
		e.pools.unref(s)
	}
	return used
}

func TestInboxThatNobodyReadsIsBounded(t *testing.T) {
	e := listen(t, Config{})
	for _, tt := range []struct {
		name    string
		bytes   int
		batches int
	}{
		{"trickle", 1, inboxBatches},
		{"flood", 100 << 10, maxSlabs},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newInbox()
			dropped := e.Stats().DroppedInboxFull
			for range tt.batches {
				handOver(e, in, tt.bytes)
			}
			require.Len(t, in.batches, tt.batches)
			require.Equal(t, dropped, e.Stats().DroppedInboxFull)
			handOver(e, in, tt.bytes)
			require.Len(t, in.batches, tt.batches)
			require.Greater(t, e.Stats().DroppedInboxFull, dropped)
			// Read, and there is room again.
			for range tt.batches {
				(<-in.batches).Release()
			}
			require.Zero(t, e.pools.slabsOut.Load())
			handOver(e, in, tt.bytes)
			require.Len(t, in.batches, 1)
			(<-in.batches).Release()
		})
	}
}

func TestReaderWaitsForASlab(t *testing.T) {
	e, in := listen(t, Config{}), newInbox()
	for range maxSlabs {
		handOver(e, in, 100<<10)
	}
	released := make(chan struct{})
	go func() {
		defer close(released)
		(<-in.batches).Release()
	}()
	for range maxSlabs { // whoever comes first: a wait ends as soon as there is room
		if handOver(e, in, 100<<10) {
			break
		}
	}
	<-released
	require.Len(t, in.batches, maxSlabs)
}

func TestLittleIsCopiedAndMuchIsHandedOver(t *testing.T) {
	e, in := listen(t, Config{}), newInbox()
	require.False(t, handOver(e, in, smallBatchBytes/2), "the slab is free for the next read")
	require.True(t, handOver(e, in, 4*smallBatchBytes))
	require.EqualValues(t, 1, e.pools.slabsOut.Load())
	(<-in.batches).Release()
	(<-in.batches).Release()
	require.Zero(t, e.pools.slabsOut.Load())
}

func FuzzReceivedDatagrams(f *testing.F) {
	dialer, acceptor, nat := behindNAT(f, Config{})
	dialer.channel.SendData(time.Now(), Chunk{}, []byte("genuine"))
	dialer.channel.Flush()
	run(f, func() bool { return len(acceptor.data()) == 1 }, acceptor, dialer)
	genuine := nat.seen()[0]
	f.Add(genuine)
	f.Add([]byte{0x20})
	f.Add([]byte{0xc0, 0, 0, 0, 1})
	for kind := range byte(wire.MaxKind) {
		f.Add(append([]byte{0x20 | kind}, genuine[1:]...))
	}
	dst := make([]byte, wire.ChunkBytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := acceptor.state()
		p := Packet{Channel: acceptor.channel, Data: append([]byte(nil), b...), From: acceptor.channel.path}
		_, _, _ = acceptor.channel.Header(p.Data)
		_, err := acceptor.channel.OpenData(time.Now(), p, dst)
		require.Error(t, err)
		_, _, err = acceptor.channel.OpenMessage(time.Now(), p, nil)
		require.Error(t, err)
		require.Equal(t, before, acceptor.state())
	})
}
