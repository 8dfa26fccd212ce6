package wire

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPiecesAndChunksOfFiles(t *testing.T) {
	for _, tt := range []struct {
		name      string
		fileBytes int64
		pieces    uint32
		lastBytes int
		lastMask  uint64
	}{
		{"empty", 0, 0, 0, 0},
		{"negative", -5, 0, 0, 0},
		{"one byte", 1, 1, 1, 1},
		{"one chunk", ChunkBytes, 1, ChunkBytes, 1},
		{"a byte into the second chunk", ChunkBytes + 1, 1, ChunkBytes + 1, 3},
		{"one piece", PieceBytes, 1, PieceBytes, ^uint64(0)},
		{"a byte into the second piece", PieceBytes + 1, 2, 1, 1},
		{"three gigabytes", 3 << 30, 3 << 30 / PieceBytes, PieceBytes, ^uint64(0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.pieces, PieceCount(tt.fileBytes))
			last := max(tt.pieces, 1) - 1
			require.Equal(t, tt.lastBytes, PieceSize(tt.fileBytes, last))
			require.Equal(t, tt.lastMask, FullMask(tt.fileBytes, last))
			require.Zero(t, PieceSize(tt.fileBytes, tt.pieces), "beyond the end")
			require.Zero(t, FullMask(tt.fileBytes, tt.pieces), "beyond the end")
			require.Zero(t, ChunkCount(tt.fileBytes, tt.pieces), "beyond the end")
		})
	}
}

func TestPeerIDForms(t *testing.T) {
	id := PeerID{0xab, 1, 31: 0xff}
	require.Equal(t, "ab01000000000000", id.String())
	back, err := ParsePeerID(id.Hex())
	require.NoError(t, err)
	require.Equal(t, id, back)
	for _, bad := range []string{"", "ab", id.Hex() + "00", strings.Repeat("g", 64)} {
		_, err := ParsePeerID(bad)
		require.ErrorContains(t, err, "64 hexadecimal digits", bad)
	}
	require.True(t, PeerID{}.IsZero())
	require.False(t, id.IsZero())
}

// The budget of the data plane: DATA costs at most 6 % of IP bytes on IPv4,
// 7.5 % on IPv6, and fits an MTU of 1,280.
func TestDataOverhead(t *testing.T) {
	overhead := func(ip int) float64 {
		total := ip + 8 + DataDatagramBytes
		return float64(total-ChunkBytes) / float64(total)
	}
	require.Less(t, overhead(20), 0.06)
	require.Less(t, overhead(40), 0.0755)
	require.LessOrEqual(t, 40+8+DataDatagramBytes, 1280)
	require.LessOrEqual(t, requestBytes*MaxRequests, MaxBodyBytes)
	require.LessOrEqual(t, cancelBytes*MaxCancels, MaxBodyBytes)
	require.LessOrEqual(t, ackHeaderBytes+(MaxAckRanges-1)*ackRangeBytes+ackMarksBytes, MaxBodyBytes)
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Header{
			Kind:     rapid.Uint8Range(0, MaxKind).Draw(t, "kind"),
			Receiver: rapid.Uint32().Draw(t, "receiver"),
			Number:   rapid.Uint64().Draw(t, "number"),
		}
		body := rapid.IntRange(1, ChunkBytes).Draw(t, "body")
		if h.Kind == KindData {
			h.Handle = rapid.Uint16().Draw(t, "handle")
			h.Piece = rapid.Uint32Range(0, MaxPiece).Draw(t, "piece")
			h.Chunk = rapid.Uint8Range(0, ChunksPerPiece-1).Draw(t, "chunk")
		}
		b := AppendHeader(nil, h)
		require.Len(t, b, HeaderSize(h.Kind))
		require.True(t, IsSealed(b[0]))
		got, ok := ParseHeader(append(b, make([]byte, body+TagBytes)...))
		require.True(t, ok)
		require.Equal(t, h, got)
	})
}

func TestHeaderRefusesWhatCannotBe(t *testing.T) {
	data := AppendHeader(nil, Header{Kind: KindData})
	other := AppendHeader(nil, Header{Kind: KindAck})
	grow := func(b []byte, n int) []byte { return append(bytes.Clone(b), make([]byte, n)...) }
	for _, tt := range []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"nothing", nil, false},
		{"QUIC", grow([]byte{0x40}, 100), false},
		{"header without tag", other, false},
		{"empty body", grow(other, TagBytes), true},
		{"longest body", grow(other, MaxBodyBytes+TagBytes), true},
		{"too long", grow(other, MaxBodyBytes+TagBytes+1), false},
		{"DATA without data", grow(data, TagBytes), false},
		{"DATA of one byte", grow(data, TagBytes+1), true},
		{"DATA of a chunk", grow(data, TagBytes+ChunkBytes), true},
		{"DATA of more", grow(data, TagBytes+ChunkBytes+1), false},
	} {
		_, ok := ParseHeader(tt.b)
		require.Equal(t, tt.ok, ok, tt.name)
	}
	data = grow(data, TagBytes+1)
	data[18] = ChunksPerPiece
	_, ok := ParseHeader(data)
	require.False(t, ok, "chunk beyond the piece")
}

func TestRequestsAndCancelsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, MaxRequests).Draw(t, "n")
		requests, cancels := make([]Request, n), make([]Cancel, n)
		for i := range n {
			requests[i] = Request{
				Handle: rapid.Uint16().Draw(t, "handle"), Piece: rapid.Uint32Range(0, MaxPiece).Draw(t, "piece"),
				Mask: rapid.Uint64Min(1).Draw(t, "mask"), Tier: rapid.Uint8().Draw(t, "tier"),
				DeadlineMillis: rapid.Uint32().Draw(t, "deadline"),
			}
			cancels[i] = Cancel{Handle: requests[i].Handle, Piece: requests[i].Piece, Mask: requests[i].Mask}
		}
		gotRequests, err := ParseRequests(nil, AppendRequests(nil, requests))
		require.NoError(t, err)
		require.Equal(t, requests, gotRequests)
		gotCancels, err := ParseCancels(nil, AppendCancels(nil, cancels))
		require.NoError(t, err)
		require.Equal(t, cancels, gotCancels)
	})
}

func TestBadRequestsLeaveNothingBehind(t *testing.T) {
	good := AppendRequests(nil, []Request{{Mask: 1}, {Mask: 2}})
	before := []Request{{Handle: 9, Mask: 9}}
	for _, bad := range [][]byte{nil, good[:len(good)-1], AppendRequests(good, []Request{{}}), bytes.Repeat(good, 31)} {
		got, err := ParseRequests(before, bad)
		require.ErrorIs(t, err, ErrMalformed)
		require.Equal(t, before, got)
	}
	cancels := AppendCancels(nil, []Cancel{{Mask: 1}})
	for _, bad := range [][]byte{nil, cancels[1:], AppendCancels(cancels, []Cancel{{}}), bytes.Repeat(cancels, MaxCancels+1)} {
		got, err := ParseCancels([]Cancel{{Mask: 7}}, bad)
		require.ErrorIs(t, err, ErrMalformed)
		require.Equal(t, []Cancel{{Mask: 7}}, got)
	}
}

func TestAckRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Ack{
			Delay:              time.Duration(rapid.Uint32().Draw(t, "delay")) * time.Microsecond,
			RateCapBytesPerSec: rapid.Uint64().Draw(t, "cap"),
			CEPackets:          rapid.Uint32().Draw(t, "marks"),
		}
		at := uint64(0)
		for range rapid.IntRange(1, MaxAckRanges).Draw(t, "ranges") {
			first := at + rapid.Uint64Range(0, 1<<32-1).Draw(t, "gap")
			last := first + rapid.Uint64Range(0, 1<<32-1).Draw(t, "run")
			want.Ranges = append([]AckRange{{first, last}}, want.Ranges...)
			at = last + 2
		}
		var got Ack
		require.NoError(t, ParseAck(AppendAck(nil, &want), &got))
		require.Equal(t, want, got)
	})
}

func TestAckCutsWhatItCannotSay(t *testing.T) {
	var got Ack
	long := Ack{Delay: 2 * MaxAckDelay, Ranges: []AckRange{{0, 1 << 40}}}
	require.NoError(t, ParseAck(AppendAck(nil, &long), &got))
	require.Equal(t, []AckRange{{1<<40 - (1<<32 - 1), 1 << 40}}, got.Ranges)
	require.Equal(t, MaxAckDelay, got.Delay)
	many := Ack{}
	for i := range uint64(100) {
		many.Ranges = append(many.Ranges, AckRange{1000 - 2*i, 1000 - 2*i})
	}
	require.NoError(t, ParseAck(AppendAck(nil, &many), &got))
	require.Equal(t, many.Ranges[:MaxAckRanges], got.Ranges)
	far := Ack{Ranges: []AckRange{{1 << 40, 1 << 40}, {5, 5}}}
	require.NoError(t, ParseAck(AppendAck(nil, &far), &got))
	require.Equal(t, far.Ranges[:1], got.Ranges, "a gap that does not fit ends the ACK")
}

func TestBadAcks(t *testing.T) {
	good := AppendAck(nil, &Ack{Ranges: []AckRange{{10, 12}, {5, 6}}})
	edit := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for name, bad := range map[string][]byte{
		"empty":               nil,
		"no range":            edit(12, 0),
		"more than are there": edit(12, 3),
		"65 ranges":           edit(12, 65),
		"cut":                 good[:len(good)-1],
		"run below zero":      edit(24, 13),
		"gap below zero":      edit(28, 9),
		"second run below":    edit(32, 7),
		"half a count":        append(bytes.Clone(good), 0, 1),
		"a count of no marks": append(bytes.Clone(good), 0, 0, 0, 0),
	} {
		a := Ack{Ranges: make([]AckRange, 0, 4)}
		require.ErrorIs(t, ParseAck(bad, &a), ErrMalformed, name)
		require.Empty(t, a.Ranges, name)
	}
}

func TestSmallMessagesRoundTrip(t *testing.T) {
	busy, err := ParseBusy(AppendBusy(nil, Busy{RetryAfterMillis: 1 << 31}))
	require.NoError(t, err)
	require.Equal(t, Busy{RetryAfterMillis: 1 << 31}, busy)
	ping, err := ParsePing(append(AppendPing(nil, Ping{Token: 1 << 63}), "padding"...))
	require.NoError(t, err)
	require.Equal(t, Ping{Token: 1 << 63}, ping)
	pong, err := ParsePong(AppendPong(nil, Pong(ping)))
	require.NoError(t, err)
	require.Equal(t, ping.Token, pong.Token)
	require.GreaterOrEqual(t, len(AppendBusy(nil, busy)), PingBytes, "any message pays for a PING")
	for name, err := range map[string]error{
		"busy": second(ParseBusy([]byte{1})), "ping": second(ParsePing(make([]byte, 7))), "pong": second(ParsePong(make([]byte, 9))),
	} {
		require.ErrorIs(t, err, ErrMalformed, name)
	}
}

func second[T any](_ T, err error) error { return err }

func TestParsingAllocatesNothing(t *testing.T) {
	datagram := append(AppendHeader(nil, Header{Kind: KindData}), make([]byte, ChunkBytes+TagBytes)...)
	body := AppendRequests(nil, []Request{{Mask: 1}, {Mask: 2}})
	ackBody := AppendAck(nil, &Ack{Ranges: []AckRange{{10, 12}, {5, 6}}})
	requests, ack, out := make([]Request, 0, MaxRequests), Ack{Ranges: make([]AckRange, 0, MaxAckRanges)}, make([]byte, 0, MaxDatagramBytes)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		h, _ := ParseHeader(datagram)
		_ = AppendHeader(out, h)
		requests, _ = ParseRequests(requests[:0], body)
		_ = AppendRequests(out, requests)
		_ = ParseAck(ackBody, &ack)
		_ = AppendAck(out, &ack)
		_, _ = ParseBusy(body)
		_, _ = ParseRequests(requests[:0], body[1:])
	}))
}

func TestChannelHelloRoundTrip(t *testing.T) {
	for _, want := range []ChannelHello{{}, {Receiver: 1<<32 - 1, AES: true}} {
		b := AppendChannelHello(nil, want)
		require.Len(t, b, ChannelHelloBytes)
		got, err := ParseChannelHello(b)
		require.NoError(t, err)
		require.Equal(t, want, got)
		for i := range 5 { // magic and version
			b[i]++
			_, err := ParseChannelHello(b)
			require.ErrorIs(t, err, ErrMalformed)
			b[i]--
		}
		_, err = ParseChannelHello(b[1:])
		require.ErrorIs(t, err, ErrMalformed)
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(append(AppendHeader(nil, Header{Kind: KindData, Chunk: 3}), make([]byte, 20)...))
	f.Add(append(AppendHeader(nil, Header{Kind: KindPing}), make([]byte, 24)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, ok := ParseHeader(b); ok {
			require.Equal(t, b[:HeaderSize(h.Kind)], AppendHeader(nil, h))
		}
	})
}

func FuzzParseMessages(f *testing.F) {
	f.Add(AppendRequests(nil, []Request{{Handle: 1, Piece: 2, Mask: 3, Tier: 1, DeadlineMillis: 4}}))
	f.Add(AppendCancels(nil, []Cancel{{Handle: 1, Piece: 2, Mask: 3}}))
	f.Add(AppendAck(nil, &Ack{Ranges: []AckRange{{10, 12}, {5, 6}}}))
	f.Add(AppendAck(nil, &Ack{Ranges: []AckRange{{10, 12}}, CEPackets: 3}))
	f.Add(AppendPing(nil, Ping{Token: 1}))
	f.Add(AppendChannelHello(nil, ChannelHello{Receiver: 7, AES: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if requests, err := ParseRequests(nil, b); err == nil {
			require.Equal(t, b, AppendRequests(nil, requests))
		}
		if cancels, err := ParseCancels(nil, b); err == nil {
			require.Equal(t, b, AppendCancels(nil, cancels))
		}
		var ack Ack
		if ParseAck(b, &ack) == nil {
			require.LessOrEqual(t, len(ack.Ranges), MaxAckRanges)
			require.Equal(t, b, AppendAck(nil, &ack))
		}
		if m, err := ParseBusy(b); err == nil {
			require.Equal(t, b[:4], AppendBusy(nil, m)[:4])
		}
		if m, err := ParsePing(b); err == nil {
			require.Equal(t, b[:8], AppendPing(nil, m))
		}
		if m, err := ParsePong(b); err == nil {
			require.Equal(t, b, AppendPong(nil, m))
		}
		if m, err := ParseChannelHello(b); err == nil {
			again, err := ParseChannelHello(AppendChannelHello(nil, m))
			require.NoError(t, err)
			require.Equal(t, m, again)
		}
	})
}
