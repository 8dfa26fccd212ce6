package wire

import "encoding/binary"

// Sizes of sealed datagrams, in bytes of UDP payload.
const (
	HeaderBytes     = 13 // first byte, receiver index, packet number
	DataHeaderBytes = 19 // and the chunk that a DATA datagram carries
	TagBytes        = 16 // of AES-GCM and of ChaCha20-Poly1305

	// DataDatagramBytes is a DATA datagram with a whole chunk.
	DataDatagramBytes = DataHeaderBytes + ChunkBytes + TagBytes

	// MaxDatagramBytes fits an IPv6 packet of 1,280 bytes, the smallest MTU
	// that every IPv6 link has (RFC 8200 §5): 1280 - 40 - 8.
	MaxDatagramBytes = 1232

	// MaxBodyBytes is the largest body of a kind other than DATA.
	MaxBodyBytes = MaxDatagramBytes - HeaderBytes - TagBytes

	// MinDatagramBytes is a sealed datagram with an empty body.
	MinDatagramBytes = HeaderBytes + TagBytes
)

// Kinds of sealed datagrams between peers. Kinds from 16 on are between a peer
// and its tracker.
const (
	KindRequest = 0
	KindData    = 1
	KindAck     = 2
	KindBusy    = 3
	KindCancel  = 4
	KindPing    = 5
	KindPong    = 6

	// MaxKind is the highest kind that the first byte can say.
	MaxKind = 31
)

// firstByte marks a sealed datagram: 0x20..0x3f.
const firstByte = 0x20

// Header is what a sealed datagram says in clear.
type Header struct {
	Kind     uint8
	Receiver uint32
	Number   uint64
	// DATA only:
	Handle uint16
	Piece  uint32
	Chunk  uint8
}

// IsSealed reports whether a datagram that starts with b is a sealed one.
func IsSealed(b byte) bool { return b&0xe0 == firstByte }

// HeaderSize returns the bytes in clear of a kind.
func HeaderSize(kind uint8) int {
	if kind == KindData {
		return DataHeaderBytes
	}
	return HeaderBytes
}

// AppendHeader appends the clear part of a sealed datagram.
func AppendHeader(b []byte, h Header) []byte {
	b = append(b, firstByte|h.Kind&MaxKind)
	b = binary.BigEndian.AppendUint32(b, h.Receiver)
	b = binary.BigEndian.AppendUint64(b, h.Number)
	if h.Kind == KindData {
		b = binary.BigEndian.AppendUint16(b, h.Handle)
		b = append(b, byte(h.Piece>>16), byte(h.Piece>>8), byte(h.Piece), h.Chunk)
	}
	return b
}

// ParseHeader reads the clear part of a sealed datagram. It is false for what
// cannot be one: another first byte, too short for its kind and a tag, longer
// than [MaxDatagramBytes], a chunk index beyond the piece, a DATA body that is
// empty or longer than a chunk.
func ParseHeader(b []byte) (Header, bool) {
	if len(b) < MinDatagramBytes || len(b) > MaxDatagramBytes || !IsSealed(b[0]) {
		return Header{}, false
	}
	h := Header{
		Kind:     b[0] & MaxKind,
		Receiver: binary.BigEndian.Uint32(b[1:5]),
		Number:   binary.BigEndian.Uint64(b[5:13]),
	}
	if h.Kind != KindData {
		return h, true
	}
	if len(b) <= DataHeaderBytes+TagBytes || len(b) > DataDatagramBytes {
		return Header{}, false
	}
	h.Handle = binary.BigEndian.Uint16(b[13:15])
	h.Piece = uint24(b[15:18])
	h.Chunk = b[18]
	return h, h.Chunk < ChunksPerPiece
}

func uint24(b []byte) uint32 {
	_ = b[2]
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
}

func appendUint24(b []byte, v uint32) []byte {
	return append(b, byte(v>>16), byte(v>>8), byte(v))
}
