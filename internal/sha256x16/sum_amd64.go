package sha256x16

import (
	"encoding/binary"

	"golang.org/x/sys/cpu"
)

// Available tells whether this machine has the instructions. They are those of AVX-512: with SHA instructions
// alone, crypto/sha256 is as fast.
var Available = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW

// state is FIPS 180-4's H of sixteen messages, word by word.
type state [8][Lanes]uint32

// blocks takes n blocks of 64 bytes of each message.
//
//go:noescape
func blocks(h *state, k *[64]uint32, messages *[Lanes]*byte, n int)

// Sum hashes sixteen messages of the same length, a multiple of 64 bytes. It must not be
// called where Available is false.
func Sum(sums *[Lanes][32]byte, messages *[Lanes][]byte) {
	if !Available {
		panic("BUG: sha256x16 is not available")
	}
	var h state
	for i, v := range initial {
		for lane := range h[i] {
			h[i][lane] = v
		}
	}
	size := len(messages[0])
	// Whole blocks leave the padding one of its own (FIPS 180-4 §5.1.1).
	padding := [blockBytes]byte{0: 0x80}
	binary.BigEndian.PutUint64(padding[blockBytes-8:], uint64(size)*8)
	var data, end [Lanes]*byte
	for i, m := range messages {
		if len(m) != size || size%blockBytes != 0 || size == 0 {
			panic("BUG: messages of different lengths, or not of whole blocks")
		}
		data[i], end[i] = &m[0], &padding[0]
	}
	blocks(&h, &roundConstants, &data, size/blockBytes)
	blocks(&h, &roundConstants, &end, 1)
	for lane := range sums {
		for i := range h {
			binary.BigEndian.PutUint32(sums[lane][4*i:], h[i][lane])
		}
	}
}

const blockBytes = 64

var initial = [8]uint32{
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
}

// roundConstants are FIPS 180-4's K (§4.2.2).
var roundConstants = [64]uint32{
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
