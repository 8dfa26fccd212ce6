// Package wire holds the codecs of shoal's own messages: sealed datagrams and
// control frames. It parses and appends bytes and does nothing else: no
// sockets, no keys, no state. Every function may be called from any goroutine.
// What a peer sent is never trusted here: a parser returns an error wrapping
// [ErrMalformed] and changes nothing that outlives the call.
//
// All integers are big-endian.
//
// # Sealed datagram
//
//	byte 0      0x20 | kind (32..63, so that QUIC and STUN are told apart)
//	bytes 1-4   receiver index, chosen by the receiver
//	bytes 5-12  packet number, never used twice under one key
//	DATA only, in clear but authenticated:
//	bytes 13-14 handle    15-17 piece    18 chunk
//	body        sealed with the AEAD, 16 bytes of tag at the end
//
// Everything in clear is the AEAD's additional data; the nonce is a 4-byte
// salt followed by the packet number. Bodies of the kinds, in clear:
//
//	REQUEST  1..60 of: handle u16, piece u24, mask u64, tier u8, deadline u32 (ms from now)
//	DATA     1..1024 bytes of the chunk
//	ACK      delay u32 (µs), rate cap u64 (bytes/s, 0 = none), count u8 (1..64),
//	         largest u64, length-1 u32, then count-1 of: gap-1 u32, length-1 u32,
//	         and if there are any: packets that came with a congestion mark u32
//	BUSY     retry after u32 (ms), 4 reserved bytes (sent as zero, ignored)
//	CANCEL   1..60 of: handle u16, piece u24, mask u64
//	PING     token u64, padding of any length (ignored)
//	PONG     token u64
//
// Kinds 16..31 belong to peers and their tracker; tracker.go describes them.
//
// # Control frame
//
// Control frames travel on one QUIC stream: length u24 (of the body), type u8,
// body. A string or a byte field is a length (u8 or u16 as noted beside
// the type) and its bytes. Types:
//
//	1 Hello   2 Join   3 Leave   4 Interest   5 Have   6 HaveDelta
//	7 HashRequest   8 Hashes   9 Ready   10 Stats   11 Goodbye
//
// and from 0x40 on those between a peer and its tracker. Unknown types are
// skipped.
//
// Before the first control frame both sides send one [ChannelHello] of 16
// bytes on the same stream: magic "shoa", version u8, flags u8, receiver index
// u32, 6 reserved bytes (sent as zero, ignored).
package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// Sizes of content, in bytes and counts.
const (
	PieceBytes     = 64 << 10
	ChunkBytes     = 1 << 10
	ChunksPerPiece = PieceBytes / ChunkBytes
)

// MaxPiece is the highest piece index that fits the wire's 24 bits: files of
// up to 1 TiB.
const MaxPiece = 1<<24 - 1

// ErrMalformed is wrapped by every error of a parser.
var ErrMalformed = errors.New("malformed message")

// malformed makes one of the package's constant parse errors. They are made
// once, so that a flood of garbage costs no allocation.
func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// PeerID names a peer: the SHA-256 of its Ed25519 public key.
type PeerID [32]byte

// String returns the first 8 bytes in hexadecimal, enough for logs and people.
func (id PeerID) String() string { return hex.EncodeToString(id[:8]) }

// Hex returns all 32 bytes in hexadecimal.
func (id PeerID) Hex() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether the ID is unset.
func (id PeerID) IsZero() bool { return id == PeerID{} }

// ParsePeerID reads the form that [PeerID.Hex] writes.
func ParsePeerID(s string) (PeerID, error) {
	var id PeerID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return PeerID{}, fmt.Errorf("peer id %.80q: want 64 hexadecimal digits", s)
	}
	copy(id[:], b)
	return id, nil
}

// PieceCount returns the number of pieces of a file.
func PieceCount(fileBytes int64) uint32 {
	if fileBytes <= 0 {
		return 0
	}
	return uint32((fileBytes-1)/PieceBytes) + 1
}

// PieceSize returns the bytes of one piece: PieceBytes, less for the last
// piece of a file, 0 beyond it.
func PieceSize(fileBytes int64, piece uint32) int {
	left := fileBytes - int64(piece)*PieceBytes
	return int(max(0, min(left, PieceBytes)))
}

// ChunkCount returns the number of chunks of one piece, 0..64.
func ChunkCount(fileBytes int64, piece uint32) int {
	return (PieceSize(fileBytes, piece) + ChunkBytes - 1) / ChunkBytes
}

// FullMask returns the set of all chunks of one piece.
func FullMask(fileBytes int64, piece uint32) uint64 {
	n := ChunkCount(fileBytes, piece)
	if n == ChunksPerPiece {
		return ^uint64(0)
	}
	return 1<<n - 1
}
