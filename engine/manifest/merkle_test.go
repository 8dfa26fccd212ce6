package manifest

import (
	"math/rand/v2"
	"testing"

	"github.com/anacrolix/torrent/merkle"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/internal/sha256x16"
	"shoal/internal/wire"
)

func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = rng.Read(b)
	return b
}

func piecesOf(data []byte) []Hash {
	out := make([]Hash, wire.PieceCount(int64(len(data))))
	for i := range out {
		end := min((i+1)*wire.PieceBytes, len(data))
		out[i] = PieceHash(data[i*wire.PieceBytes:end], uint32(i), int64(len(data)))
	}
	return out
}

// The reference is anacrolix/torrent's own Merkle tree, fed with the whole file at once.
func TestHashesAreThoseOfBitTorrentV2(t *testing.T) {
	check := func(t require.TestingT, data []byte) {
		reference := merkle.NewHash()
		_, _ = reference.Write(data)
		pieces := piecesOf(data)
		if len(data) <= wire.PieceBytes {
			require.Equal(t, reference.Sum(nil), pieces[0][:], "%d bytes", len(data))
		}
		root := FileRoot(pieces)
		want := reference.Sum(nil)
		require.Equal(t, want, root[:], "%d bytes", len(data))
	}
	for _, n := range []int{1, 100, 16383, 16384, 16385, 32768, 32769, 49152, 65535, 65536, 65537, 81920, 131072, 196609} {
		check(t, randomBytes(uint64(n), n))
	}
	rapid.Check(t, func(rt *rapid.T) {
		check(rt, randomBytes(rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(1, 600_000).Draw(rt, "bytes")))
	})
}

func TestRootOfSeveralGroupsIsTheRootOfThePlainTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	pad := merkle.Root(make([][32]byte, 4))
	for _, n := range []int{2, 1023, 1024, 1025, 2048, 3000, 5000} {
		pieces := randomPieces(rng, int64(n)*wire.PieceBytes)
		want := merkle.RootWithPadHash(append([][32]byte(nil), pieces...), pad)
		require.Equal(t, Root(want), FileRoot(pieces), "%d pieces", n)
	}
}

func TestPiecesHashedTogetherAreHashedAlike(t *testing.T) {
	const fileBytes = 9 * wire.PieceBytes
	data := make([]byte, fileBytes)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(data)
	short := Piece{Data: data[:20<<10], Index: 0, FileBytes: 20 << 10}
	for n := 1; n <= sha256x16.Lanes/leavesPerPiece; n++ { // without AVX-512, too
		var pieces []Piece
		for i := range n {
			pieces = append(pieces, Piece{Data: data[i*wire.PieceBytes:][:wire.PieceBytes], Index: uint32(i), FileBytes: fileBytes})
		}
		for _, last := range []Piece{pieces[n-1], short} {
			pieces[n-1] = last
			sums := make([]Hash, n)
			PieceHashes(sums, pieces)
			for i, p := range pieces {
				require.Equal(t, PieceHash(p.Data, p.Index, p.FileBytes), sums[i], "piece %d of %d", i, n)
			}
		}
	}
}

func TestHashesOfTheWrongShapeAreRefused(t *testing.T) {
	pieces := randomPieces(rand.New(rand.NewPCG(2, 2)), 3*wire.PieceBytes)
	r := Record{Length: 3 * wire.PieceBytes, Root: FileRoot(pieces)}
	data := appendHashes(nil, pieces)
	_, err := VerifyHashes(r, 0, data)
	require.NoError(t, err)
	for name, try := range map[string]struct {
		r     Record
		group uint32
		data  []byte
	}{
		"short":            {r, 0, data[:64]},
		"ragged":           {r, 0, data[:95]},
		"long":             {r, 0, append(append([]byte(nil), data...), make([]byte, 32)...)},
		"empty":            {r, 0, nil},
		"group beyond end": {r, 1, data},
		"largest group":    {r, 1<<32 - 1, data},
		"no length":        {Record{Root: r.Root}, 0, nil},
		"negative length":  {Record{Length: -1, Root: r.Root}, 0, nil},
		"absurd length":    {Record{Length: 1 << 62, Root: r.Root}, 0, data},
		"other file":       {Record{Length: r.Length}, 0, data},
	} {
		_, err := VerifyHashes(try.r, try.group, try.data)
		require.ErrorIs(t, err, ErrHashes, name)
	}
}

func FuzzVerifyHashes(f *testing.F) {
	pieces := randomPieces(rand.New(rand.NewPCG(2, 2)), 1026*wire.PieceBytes)
	groups := groupHashes(pieces)
	root := FileRoot(pieces)
	proof := appendHashes(appendHashes(nil, pieces[1024:]), groupProof(groups, 1))
	f.Add(int64(1026*wire.PieceBytes), uint32(1), root[:], proof)
	f.Add(int64(1), uint32(0), root[:], root[:])
	f.Fuzz(func(t *testing.T, length int64, group uint32, root, data []byte) {
		r := Record{Length: length}
		copy(r.Root[:], root)
		got, err := VerifyHashes(r, group, data)
		if err == nil && len(got) != groupSize(length, group) {
			t.Fatalf("%d hashes of %d", len(got), groupSize(length, group))
		}
	})
}

func BenchmarkPieceHash(b *testing.B) {
	data := randomBytes(1, wire.PieceBytes)
	b.SetBytes(wire.PieceBytes)
	b.ReportAllocs()
	for b.Loop() {
		PieceHash(data, 1, 1<<30)
	}
}

func BenchmarkPieceHashes(b *testing.B) {
	var pieces []Piece
	for i := range PiecesTogether() {
		pieces = append(pieces, Piece{Data: make([]byte, wire.PieceBytes), Index: uint32(i), FileBytes: 1 << 30})
	}
	sums := make([]Hash, len(pieces))
	b.SetBytes(int64(len(pieces)) * wire.PieceBytes)
	b.ReportAllocs()
	for b.Loop() {
		PieceHashes(sums, pieces)
	}
}
