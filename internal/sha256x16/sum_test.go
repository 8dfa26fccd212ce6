package sha256x16

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func messages(size int) *[Lanes][]byte {
	random := rand.NewChaCha8([32]byte{byte(size)})
	var m [Lanes][]byte
	for i := range m {
		m[i] = make([]byte, size)
		_, _ = random.Read(m[i])
	}
	return &m
}

func TestEveryLaneIsSHA256(t *testing.T) {
	for _, size := range []int{64, 128, 16 << 10} {
		m := messages(size)
		var sums [Lanes][32]byte
		if Available {
			Sum(&sums, m)
		} else {
			require.Panics(t, func() { Sum(&sums, m) })
			continue
		}
		for i := range m {
			require.Equal(t, sha256.Sum256(m[i]), sums[i], "lane %d of %d bytes", i, size)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	const size = 16 << 10
	m := messages(size)
	var sums [Lanes][32]byte
	b.SetBytes(Lanes * size)
	b.ReportAllocs()
	for b.Loop() {
		if Available {
			Sum(&sums, m)
			continue
		}
		for i := range m {
			sums[i] = sha256.Sum256(m[i])
		}
	}
}
