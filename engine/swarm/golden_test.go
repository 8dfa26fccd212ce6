package swarm

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden transcripts anew")

// Each transcript is a short story of decisions, to be read by people: a change
// of policy shows as a diff of these files.
func TestTranscripts(t *testing.T) {
	for name, story := range map[string]func(*world){
		"alone": func(w *world) {
			w.add("a").play(0)
			w.run(3 * time.Second)
		},
		"second_viewer": func(w *world) {
			w.add("a").play(0)
			w.run(3 * time.Second)
			w.add("b").play(0)
			w.run(3 * time.Second)
		},
		"first_copies_of_two": func(w *world) {
			a, b := w.add("a"), w.add("b")
			a.play(0)
			b.play(0)
			w.run(20 * time.Second)
		},
		"seed_killed": func(w *world) {
			a := w.add("a")
			a.play(0)
			w.run(3 * time.Second)
			a.upBytesPerSec = 100_000
			w.add("b").play(0)
			w.run(300 * time.Millisecond)
			a.dead = true
			w.run(3 * time.Second)
		},
		"origin_paused": func(w *world) {
			w.add("a").play(0)
			w.run(3 * time.Second)
			w.add("b").play(0)
			w.run(100 * time.Millisecond)
			w.cdnPaused = true
			w.run(4 * time.Second)
		},
		"polluter_banned": func(w *world) {
			a, evil := w.add("a"), w.add("evil")
			a.play(0)
			evil.play(0)
			w.run(20 * time.Second)
			evil.pollute = func(int) bool { return true }
			w.add("b").play(0)
			w.run(4 * time.Second)
		},
		"upload_off": func(w *world) {
			a := w.add("a")
			a.play(0)
			w.run(3 * time.Second)
			a.core.cfg.NoUpload = true // after it has announced what it has
			w.add("b").play(0)
			w.run(2 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.segments, w.segmentBytes = 4, 130_000
			w.log = new(strings.Builder)
			story(w)
			path := filepath.Join("testdata", name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(path, []byte(w.log.String()), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err, "run the test with -update")
			require.Equal(t, string(want), w.log.String(), "a decision changed: look at it, and run the test with -update if it is meant")
		})
	}
}
