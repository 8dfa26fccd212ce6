package trace

import (
	"bytes"
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/testdata"
)

var update = flag.Bool("update", false, "write the traces under testdata/traces again")

// golden are the traces that come with shoal, and the command that makes each.
var golden = []struct {
	file, command string
	synthetic     Synthetic
}{
	{
		"live-evening.csv",
		"shoal trace generate --profile live --seed 1 --sessions 150 --titles 2 --from 20h --to 21h30m --end 22h -o live-evening.csv",
		Synthetic{Seed: 1, Sessions: 150, Titles: 2, From: 20 * time.Hour, To: 21*time.Hour + 30*time.Minute, End: 22 * time.Hour},
	},
	{
		"vod-evening.csv",
		"shoal trace generate --profile default --seed 1 --sessions 150 --titles 3 --from 20h --to 21h30m --end 22h -o vod-evening.csv",
		Synthetic{Seed: 1, Sessions: 150, Titles: 3, From: 20 * time.Hour, To: 21*time.Hour + 30*time.Minute, End: 22 * time.Hour},
	},
}

func TestTracesThatComeWithShoalAreMadeByTheGenerator(t *testing.T) {
	total := 0
	for _, g := range golden {
		_, name, _ := strings.Cut(g.command, "--profile ")
		name, _, _ = strings.Cut(name, " ")
		g.synthetic.Profile = profile(t, name)
		got := generate(t, g.synthetic)
		total += len(got)
		if *update {
			require.NoError(t, os.WriteFile(filepath.Join("..", "..", "..", "testdata", "traces", g.file), got, 0o644))
			continue
		}
		want, err := fs.ReadFile(testdata.Traces(), g.file)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), "made by: %s", g.command)
	}
	require.Less(t, total, 200_000)
}

func TestGeneratedSessionsFollowTheProfile(t *testing.T) {
	const n = 20_000
	p := profile(t, "live")
	sessions := readAll(t, generate(t, Synthetic{Profile: p, Seed: 7, Sessions: n}), Options{})
	require.Len(t, sessions, n)

	perHour, perTitle, never, short := make([]int, 24), map[string]int{}, 0, 0
	last := time.Duration(0)
	for _, s := range sessions {
		require.GreaterOrEqual(t, s.Start, last, "in the order of their starts")
		last = s.Start
		perHour[int(s.Start/time.Hour)]++
		perTitle[s.Title]++
		if s.UpKbps == 0 {
			never++
		}
		if s.Watch < seconds(668.7) { // the median
			short++
		}
	}
	const all = 5203 // of the profile's hours
	for _, hour := range []int{4, 12, 20} {
		require.InDelta(t, p.Arrivals.Hourly[hour]/all, float64(perHour[hour])/n, 0.01, "arrivals in hour %d", hour)
	}
	require.InDelta(t, 2738.0/4199, float64(perTitle["channel-1"])/n, 0.02, "the most popular channel")
	require.Len(t, perTitle, 7)
	require.InDelta(t, 0.32, float64(never)/n, 0.02, "who never uploads")
	require.InDelta(t, 0.5, float64(short)/n, 0.02, "half stay shorter than the median")
}

func TestGeneratedSessionsAreNotDrawnAgain(t *testing.T) {
	p := profile(t, "default")
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range readAll(t, generate(t, Synthetic{Profile: p, Seed: 7, Sessions: 500}), Options{}) {
		require.Equal(t, s, p.Draw(rng, s))
	}
}

func TestGeneratorRefusesWhatItCannotMake(t *testing.T) {
	p := profile(t, "live")
	for want, g := range map[string]Synthetic{
		"0 sessions":            {Profile: p},
		"20000000 sessions":     {Profile: p, Sessions: 20_000_000},
		"8 titles":              {Profile: p, Sessions: 1, Titles: 8},
		"not a part of a day":   {Profile: p, Sessions: 1, From: 2 * time.Hour, To: time.Hour},
		"is before the last":    {Profile: p, Sessions: 1, To: 2 * time.Hour, End: time.Hour},
		"from 25h0m0s to 26h0m": {Profile: p, Sessions: 1, From: 25 * time.Hour, To: 26 * time.Hour},
	} {
		require.ErrorContains(t, g.Validate(), want)
		require.ErrorContains(t, g.Generate(func(Session) error { return nil }), want)
	}
	quiet := *p
	quiet.Arrivals = &Arrivals{Hourly: make([]float64, 24)}
	quiet.Arrivals.Hourly[3] = 1
	require.ErrorContains(t, Synthetic{Profile: &quiet, Sessions: 1, To: time.Hour}.Validate(), "nobody comes")
}

func generate(t *testing.T, g Synthetic) []byte {
	t.Helper()
	var b bytes.Buffer
	w := WriteSessions(&b, GeneratedColumns...)
	require.NoError(t, g.Generate(w.Write))
	return b.Bytes()
}

func profile(t *testing.T, name string) *Profile {
	t.Helper()
	p, err := OpenProfile(name)
	require.NoError(t, err)
	return p
}
