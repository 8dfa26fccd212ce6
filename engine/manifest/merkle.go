package manifest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"shoal/internal/sha256x16"
	"shoal/internal/wire"
)

const (
	leafBytes      = 16 << 10 // BEP 52
	leavesPerPiece = pieceBytes / leafBytes
	groupHeight    = 10 // levels from a piece hash to its group's: log2 of GroupPieces
)

// padHashes are the hashes of subtrees without data: [0] stands for a missing piece, [i] for 2^i of them.
var padHashes = sync.OnceValue(func() (pads [groupHeight + 16]Hash) {
	leaf := Hash{} // BEP 52: the remaining leaf hashes are set to zero
	pads[0] = hashPair(hashPair(leaf, leaf), hashPair(leaf, leaf))
	for i := 1; i < len(pads); i++ {
		pads[i] = hashPair(pads[i-1], pads[i-1])
	}
	return pads
})

func hashPair(left, right Hash) Hash {
	var b [2 * sha256.Size]byte
	copy(b[:], left[:])
	copy(b[sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// PieceHash is the hash of one piece as BEP 52 defines it. data is the whole piece, pieceIndex its number, fileBytes the
// length of its file. It allocates nothing.
func PieceHash(data []byte, pieceIndex uint32, fileBytes int64) Hash {
	var leaves [leavesPerPiece]Hash
	n := 0
	for ; len(data) > 0 && n < leavesPerPiece; n++ {
		size := min(len(data), leafBytes)
		leaves[n] = sha256.Sum256(data[:size])
		data = data[size:]
	}
	width := leavesPerPiece
	if pieceIndex == 0 && fileBytes <= pieceBytes {
		// A file of one piece has a tree of its own leaves only, rounded up to a power of two.
		for width > 1 && width/2 >= n {
			width /= 2
		}
	}
	return foldTree(leaves[:width])
}

// foldTree returns the root above hashes, of which there are a power of two, and overwrites them.
func foldTree(hashes []Hash) Hash {
	for width := len(hashes); width > 1; width /= 2 {
		for i := range width / 2 {
			hashes[i] = hashPair(hashes[2*i], hashes[2*i+1])
		}
	}
	return hashes[0]
}

// A Piece is what PieceHash takes.
type Piece struct {
	Data      []byte
	Index     uint32
	FileBytes int64
}

// PiecesTogether is the most that PieceHashes takes: 1 where the processor hashes several no faster than one by one.
func PiecesTogether() int {
	if !sha256x16.Available {
		return 1
	}
	return sha256x16.Lanes / leavesPerPiece
}

// PieceHashes is PieceHash of some pieces, which need not be of one file. Where the processor has wide registers, four
// take less than the time of two. It allocates nothing.
func PieceHashes(sums []Hash, pieces []Piece) {
	isShort := func(p Piece) bool { return len(p.Data) != pieceBytes }
	if len(pieces) < 2 || !sha256x16.Available || slices.ContainsFunc(pieces, isShort) {
		for i, p := range pieces {
			sums[i] = PieceHash(p.Data, p.Index, p.FileBytes)
		}
		return
	}
	var leaves [sha256x16.Lanes][]byte
	for i := range leaves {
		p := pieces[i/leavesPerPiece%len(pieces)] // lanes without a piece repeat one
		leaves[i] = p.Data[i%leavesPerPiece*leafBytes:][:leafBytes]
	}
	var hashes [sha256x16.Lanes]Hash
	sha256x16.Sum(&hashes, &leaves)
	for i := range pieces {
		sums[i] = foldTree(hashes[i*leavesPerPiece:][:leavesPerPiece])
	}
}

// FileRoot is the root of a file whose pieces have the given hashes.
func FileRoot(pieces []Hash) Root {
	if len(pieces) <= 1 {
		if len(pieces) == 0 {
			return Root{}
		}
		return Root(pieces[0])
	}
	if len(pieces) <= GroupPieces {
		return Root(subtree(pieces, treeHeight(len(pieces)), 0))
	}
	groups := groupHashes(pieces)
	return Root(subtree(groups, treeHeight(len(groups)), groupHeight))
}

// GroupCount is the number of hash groups of a file.
func GroupCount(fileBytes int64) uint32 {
	return (wire.PieceCount(fileBytes) + GroupPieces - 1) / GroupPieces
}

// treeHeight is log2(n), rounded up.
func treeHeight(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// subtree hashes a tree of the given height over nodes, of which each stands padLevel levels above the pieces; what is
// missing on the right is padding.
func subtree(nodes []Hash, height, padLevel int) Hash {
	pads := padHashes()
	if len(nodes) == 0 {
		return pads[padLevel+height]
	}
	row := append([]Hash(nil), nodes...)
	for level := range height {
		if len(row)%2 == 1 {
			row = append(row, pads[padLevel+level])
		}
		for i := range len(row) / 2 {
			row[i] = hashPair(row[2*i], row[2*i+1])
		}
		row = row[:len(row)/2]
	}
	return row[0]
}

// groupHashes is the layer of group hashes over a file's piece hashes.
func groupHashes(pieces []Hash) []Hash {
	out := make([]Hash, 0, (len(pieces)+GroupPieces-1)/GroupPieces)
	for len(pieces) > 0 {
		n := min(len(pieces), GroupPieces)
		out = append(out, subtree(pieces[:n], groupHeight, 0))
		pieces = pieces[n:]
	}
	return out
}

// groupProof lists the siblings on the way from a group's hash to the root.
func groupProof(groups []Hash, group uint32) []Hash {
	pads := padHashes()
	var proof []Hash
	row := append([]Hash(nil), groups...)
	index := int(group)
	for level := range treeHeight(len(groups)) {
		if len(row)%2 == 1 {
			row = append(row, pads[groupHeight+level])
		}
		proof = append(proof, row[index^1])
		for i := range len(row) / 2 {
			row[i] = hashPair(row[2*i], row[2*i+1])
		}
		row, index = row[:len(row)/2], index/2
	}
	return proof
}

// groupSize is the number of pieces of a group.
func groupSize(fileBytes int64, group uint32) int {
	return min(GroupPieces, int(wire.PieceCount(fileBytes))-int(group)*GroupPieces)
}

// ErrHashes is wrapped by every refusal of hashes that a record's root does not vouch for.
var ErrHashes = errors.New("hashes do not match the file's root")

// VerifyHashes checks one group of piece hashes got from anywhere (the layout is HashBytes's) against the record's root
// and returns the hashes of the group's pieces. It reads nothing but r.Length and r.Root.
func VerifyHashes(r Record, group uint32, data []byte) ([]Hash, error) {
	pieces, _, err := verifyHashes(r, group, data)
	return pieces, err
}

func verifyHashes(r Record, group uint32, data []byte) (pieces, proof []Hash, err error) {
	groups := GroupCount(r.Length)
	if r.Length <= 0 || r.Length > MaxFileBytes || group >= groups {
		return nil, nil, fmt.Errorf("group %d of a file of %d bytes: %w", group, r.Length, ErrHashes)
	}
	size, proofSize := groupSize(r.Length, group), treeHeight(int(groups))
	if len(data) != (size+proofSize)*hashBytes {
		return nil, nil, fmt.Errorf("group %d: %d bytes, want %d: %w", group, len(data), (size+proofSize)*hashBytes, ErrHashes)
	}
	all := toHashes(data)
	pieces, proof = all[:size:size], all[size:]
	if groups == 1 {
		if FileRoot(pieces) != r.Root {
			return nil, nil, fmt.Errorf("group %d: %w", group, ErrHashes)
		}
		return pieces, nil, nil
	}
	node := subtree(pieces, groupHeight, 0)
	for level, sibling := range proof {
		if group>>level&1 == 0 {
			node = hashPair(node, sibling)
		} else {
			node = hashPair(sibling, node)
		}
	}
	if Root(node) != r.Root {
		return nil, nil, fmt.Errorf("group %d: %w", group, ErrHashes)
	}
	return pieces, proof, nil
}

func toHashes(data []byte) []Hash {
	out := make([]Hash, len(data)/hashBytes)
	for i := range out {
		copy(out[i][:], data[i*hashBytes:])
	}
	return out
}

func appendHashes(b []byte, hashes []Hash) []byte {
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

// hashAreaBytes is what a file takes in its page's hash area.
func hashAreaBytes(fileBytes int64) int64 {
	n := int64(wire.PieceCount(fileBytes))
	switch {
	case n <= 1:
		return 0
	case n <= GroupPieces:
		return n * hashBytes
	default:
		return (n + int64(GroupCount(fileBytes))) * hashBytes
	}
}
