package engine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPieceMapSaysWhereBytesCameFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, 128<<10).withTracker()
	dir := t.TempDir()
	first := w.peer("first", func(c *Config) { c.CacheDir = dir })
	_, ok := first.Pieces("", "")
	require.False(t, ok, "nobody watches yet")
	for i := range 4 {
		w.play(first, i)
	}
	w.holds(first, 4*2)
	require.Equal(t, []string{"CC", "CC", "CC", "CC"}, letters(t, first))

	second := w.peer("second", nil)
	w.file(second, 0) // opens the title: they meet before it plays
	w.connected(second, 1)
	w.play(second, 3) // in the middle of a film, with a safe buffer
	require.Equal(t, "PP", letters(t, second)[3])

	require.NoError(t, first.Close())
	again := w.peer("again", func(c *Config) { c.CacheDir = dir })
	w.play(again, 0)
	require.Equal(t, "KK", letters(t, again)[0], "from the run before")
}

// letters returns the states of the segments around the playhead.
func letters(t *testing.T, e *Engine) []string {
	m, ok := e.Pieces("", "")
	require.True(t, ok)
	out := make([]string, 0, len(m.Segments))
	for i, s := range m.Segments {
		require.Equal(t, "video", s.Kind)
		require.InDelta(t, float64(i)*segmentTime.Seconds(), s.StartS, 1e-9)
		require.Empty(t, strings.Trim(s.Pieces, ".wafPCMK"), "unknown letters")
		out = append(out, s.Pieces)
	}
	return out
}
