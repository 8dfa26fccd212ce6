//go:build !race

// Under the race detector sync.Pool forgets a quarter of what it is given, on
// purpose (sync.Pool.Put), so what these tests count is only true without it.

package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

func TestGetDoesNotAllocate(t *testing.T) {
	eachMode(t, func(t *testing.T, cfg Config) {
		w := open(t, cfg)
		w.put(rootOf(1), 20*wire.PieceBytes, 0, 16)
		require.Zero(t, testing.AllocsPerRun(50, func() {
			for _, p := range []uint32{0, 16} {
				piece, err := w.Store.Get(rootOf(1), p)
				if err != nil {
					t.Fatal(err)
				}
				piece.Release()
			}
		}))
	})
}
