package pieces

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSetIsLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.Uint32Range(1, 300).Draw(t, "count")
		piece := rapid.Uint32Range(0, count-1)
		var s Set
		want := make(map[uint32]bool)
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			i := piece.Draw(t, "piece")
			to := rapid.Uint32Range(i, count).Draw(t, "to")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				require.Equal(t, !want[i], s.Add(i, count))
				want[i] = true
			case 1:
				require.Equal(t, want[i], s.Remove(i))
				delete(want, i)
			case 2:
				s.AddRange(i, to, count)
				for ; i < to; i++ {
					want[i] = true
				}
			case 3:
				s.RemoveRange(i, to)
				for ; i < to; i++ {
					delete(want, i)
				}
			}
			require.Equal(t, len(want), s.Len())
			require.Equal(t, len(want) == 0, s.Empty())
		}
		last := -1
		s.All(func(i uint32) {
			require.Greater(t, int(i), last)
			require.True(t, want[i])
			last = int(i)
		})
		from := piece.Draw(t, "from")
		to := rapid.Uint32Range(from, count).Draw(t, "end")
		all, some := true, false
		for i := from; i < to; i++ {
			require.Equal(t, want[i], s.Has(i))
			all, some = all && want[i], some || want[i]
		}
		require.Equal(t, all, s.HasRange(from, to))
		require.Equal(t, some, s.HasAny(from, to))
		require.False(t, s.HasAny(count+1000, count+2000))
		require.False(t, s.Has(count+1000))
	})
}

func TestTableIsLikeAMap(t *testing.T) {
	type key struct{ file, index uint32 }
	rapid.Check(t, func(t *rapid.T) {
		var table Table[int]
		want := make(map[key]*int)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			k := key{rapid.Uint32Range(0, 3).Draw(t, "file"), rapid.Uint32Range(0, 200).Draw(t, "index")}
			if rapid.Bool().Draw(t, "put") {
				v := new(int)
				table.Put(k.file, k.index, v)
				want[k] = v
			} else {
				table.Delete(k.file, k.index)
				delete(want, k)
			}
			require.Same(t, want[k], table.Get(k.file, k.index))
			require.Equal(t, len(want), table.Len())
			any := false
			for w, v := range want {
				any = any || w.file == k.file && v != nil
			}
			require.Equal(t, any, table.Any(k.file))
		}
		seen := 0
		table.All(func(v *int) { seen++ })
		require.Equal(t, len(want), seen)
	})
}

func TestListsThatShrinkGiveMemoryBack(t *testing.T) {
	list := make([]int, 0, 1000)
	for i := range 250 {
		list = append(list, i)
	}
	less := Trimmed(list)
	require.Equal(t, list, less)
	require.Equal(t, 500, cap(less))
	require.Equal(t, 500, cap(Trimmed(less)), "not again and again")
	require.Equal(t, trimAbove, cap(Trimmed(make([]int, 0, trimAbove))), "not what is small")
}
