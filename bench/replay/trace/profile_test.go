package trace

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestProfilesThatComeWithShoalNameASourceForEverySection(t *testing.T) {
	require.Contains(t, ProfileNames(), "default")
	for _, name := range ProfileNames() {
		p := profile(t, name)
		require.Equal(t, name, p.Name)
		used := map[string]bool{}
		data, err := json.Marshal(p)
		require.NoError(t, err)
		var sections map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(data, &sections))
		for section, raw := range sections {
			var body struct{ Source []string }
			if json.Unmarshal(raw, &body) != nil || section == "sources" {
				continue // name, about, kind
			}
			require.NotEmpty(t, body.Source, "%s: %s", name, section)
			for _, id := range body.Source {
				require.NotEmpty(t, p.Sources[id].Where)
				used[id] = true
			}
		}
		if len(p.Borrowed()) > 0 {
			continue // with sources for more than it borrows
		}
		for id := range p.Sources {
			require.True(t, used[id], "%s: source %s is used", name, id)
		}
	}
}

func TestProfileBorrowsWhatItLeavesOut(t *testing.T) {
	require.Empty(t, profile(t, "default").Borrowed())
	p := profile(t, "live")
	require.Equal(t, []string{"access", "nat", "title_length"}, p.Borrowed())
	require.Equal(t, profile(t, "default").NAT, p.NAT)
	require.Contains(t, p.Sources, "ford-2005", "with its source")
	require.Contains(t, p.Sources["p2p-live-2020"].Note, "1,713", "its own sources stay its own")
}

func TestProfileIsFoundByNameOrFile(t *testing.T) {
	_, err := OpenProfile("nobody")
	require.ErrorContains(t, err, `profile "nobody": neither a file nor one of default, live`)
	path := filepath.Join(t.TempDir(), "mine.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"name":"mine","about":"","sources":{"s":{"title":"t","where":"w"}},"uploads":{"source":["s"],"never_share":1}}`), 0o600))
	p, err := OpenProfile(path)
	require.NoError(t, err)
	require.Equal(t, 1.0, p.Uploads.NeverShare)
	require.NoError(t, os.WriteFile(path, []byte(`{`), 0o600))
	_, err = OpenProfile(path)
	require.ErrorContains(t, err, "mine.json")
}

func TestProfileErrorsSayWhereAndWhy(t *testing.T) {
	const head = `{"name":"p","about":"","sources":{"s":{"title":"t","where":"w"}},`
	for file, want := range map[string]string{
		``:                           "x.json: ends in the middle",
		`{"name":"p"`:                "x.json: ends in the middle",
		"{\n\"name\":\n3}":           "x.json:3: column name: is a number, where a string belongs",
		"{\n\n}}":                    "x.json:3: something follows the profile",
		"{\n\"name\" \"p\"}":         "x.json:2: invalid character",
		`{"titel":"p"}`:              `unknown field "titel"`,
		`{}`:                         "name is missing",
		`{"name":"p","kind":"film"}`: `kind "film" is neither vod nor live`,
		`{"name":"p","sources":{"s":{"title":"t"}}}`:                                                                   `sources "s" needs a title and a where`,
		head + `"uploads":{"never_share":0.3}}`:                                                                        "uploads names no source for its numbers",
		head + `"uploads":{"source":["x"],"never_share":0.3}}`:                                                         `uploads names source "x", which is not among the sources`,
		head + `"uploads":{"source":["s"],"never_share":3}}`:                                                           "never_share 3, not 0 to 1",
		head + `"nat":{"source":["s"],"types":[{"type":"symmetric","share":0.5}]}}`:                                    "nat has shares that sum up to 0.500, not 1",
		head + `"nat":{"source":["s"],"types":[{"type":"cone","share":1}]}}`:                                           `type "cone" is none of open`,
		head + `"nat":{"source":["s"],"types":[]}}`:                                                                    "nat has 0 entries",
		head + `"arrivals":{"source":["s"],"hourly":[1]}}`:                                                             "arrivals has 1 hours, not 24",
		head + `"bitrate":{"source":["s"],"kbps":[[0.5,100],[0.4,200]]}}`:                                              "bitrate: kbps has quantiles that do not ascend at 0.4",
		head + `"bitrate":{"source":["s"],"kbps":[[0.5,0]]}}`:                                                          "has a value 0",
		head + `"popularity":{"source":["s"],"points":[{"rank":2,"weight":1}]}}`:                                       "ranks that do not ascend from 1",
		head + `"popularity":{"source":["s"],"points":[{"rank":1,"weight":1},{"rank":9000000,"weight":1}]}}`:           "a rank above 1000000",
		head + `"homes":{"source":["s"],"lines":[{"down_kbps":0,"up_kbps":1,"rtt_ms":1,"weight":1}]}}`:                 "homes: line 1 has a rate",
		head + `"homes":{"source":["s"],"lines":[{"down_kbps":1,"up_kbps":1,"rtt_ms":1,"weight":0}]}}`:                 "no line with a weight above 0",
		head + `"access":{"source":["s"],"technologies":[{"name":"x","share":1,"up_follows_down":2}]}}`:                "up_follows_down 2",
		head + `"watch":{"source":["s"],"live_seconds":[[0.5,1]],"vod":[{"left":0.1,"source":["s"]}]}}`:                "exactly one of seconds and fraction",
		head + `"watch":{"source":["s"],"live_seconds":[[0.5,1]],"vod":[{"seconds":1,"left":0.1}]}}`:                   "watch: vod names no source",
		head + `"places":{"source":["s"],"rows":[{"isp":"a` + strings.Repeat("a", 300) + `","region":"","share":1}]}}`: "not printable or too long",
	} {
		_, err := ReadProfile(strings.NewReader(file), "x.json")
		require.ErrorContains(t, err, want, file)
	}
	_, err := ReadProfile(repeat(" "), "x.json")
	require.ErrorContains(t, err, "longer than 33554432 bytes")
}

func TestWrittenProfilesReadTheSame(t *testing.T) {
	for _, name := range ProfileNames() {
		p := profile(t, name)
		var b bytes.Buffer
		require.NoError(t, WriteProfile(&b, p))
		got, err := ReadProfile(&b, "x.json")
		require.NoError(t, err)
		p.borrowed = nil // written out with the rest
		require.Equal(t, p, got)
	}
	require.ErrorContains(t, WriteProfile(&bytes.Buffer{}, &Profile{}), "name is missing")
}

func TestDrawFillsWhatIsMissingAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := OpenProfile(rapid.SampledFrom(ProfileNames()).Draw(t, "profile"))
		require.NoError(t, err)
		in := drawSession(t)
		seed := rapid.Uint64().Draw(t, "seed")
		out := p.Draw(rand.New(rand.NewPCG(seed, 0)), in)
		require.Equal(t, out, p.Draw(rand.New(rand.NewPCG(seed, 0)), in), "the same seed gives the same session")
		require.NoError(t, out.Check())

		require.NotZero(t, out.Kind)
		require.NotEmpty(t, out.NAT)
		require.Positive(t, out.DownKbps)
		require.Positive(t, out.BitrateKbps)
		for _, v := range []time.Duration{out.RTT, out.Linger, out.Watch, time.Duration(out.CacheMB), time.Duration(out.UpKbps)} {
			require.GreaterOrEqual(t, v, time.Duration(0))
		}
		if out.Kind == VOD {
			require.NotEqual(t, time.Duration(Absent), out.TitleLength)
			require.NotEqual(t, time.Duration(Absent), out.Position)
		}
		require.NotEqual(t, UploadsUnknown, out.Uploads)
		require.Equal(t, out.Uploads == UploadsNo, out.UpKbps == 0)

		// What was known is as it was.
		if in.Uploads == UploadsNo {
			in.UpKbps = 0
		}
		for column := range columnCount {
			if cell := in.appendTo(nil, column); len(cell) > 0 && column != ColUploads && (column != ColUp || out.UpKbps > 0) {
				require.Equal(t, string(cell), string(out.appendTo(nil, column)), sessionColumns[column])
			}
		}
	})
}

func TestAColumnThatATraceHasChangesNoOtherDraw(t *testing.T) {
	p := profile(t, "default")
	bare := NewSession("a", 0, "t", time.Hour)
	known := bare
	known.NAT, known.DownKbps, known.ISP, known.Region = NATOpen, 5, "x", "y"
	a := p.Draw(rand.New(rand.NewPCG(3, 0)), bare)
	b := p.Draw(rand.New(rand.NewPCG(3, 0)), known)
	a.NAT, a.DownKbps, a.ISP, a.Region = b.NAT, b.DownKbps, b.ISP, b.Region
	require.Equal(t, a, b)
}

func TestSessionsOfOneTitleAgreeOnTheTitle(t *testing.T) {
	p := profile(t, "default")
	rng := rand.New(rand.NewPCG(1, 0))
	a := p.Draw(rng, NewSession("a", 0, "film", time.Hour))
	b := p.Draw(rng, NewSession("b", 0, "film", time.Hour))
	other := p.Draw(rng, NewSession("b", 0, "other", time.Hour))
	require.Equal(t, a.TitleLength, b.TitleLength)
	require.Equal(t, a.BitrateKbps, b.BitrateKbps)
	require.NotEqual(t, a.TitleLength, other.TitleLength)
}

func TestDrawnLinesHaveThePublishedQuantiles(t *testing.T) {
	p := profile(t, "default")
	rng := rand.New(rand.NewPCG(1, 0))
	const n = 20_000
	slow, symmetric, sky := 0, 0, 0
	for range n {
		s := p.Draw(rng, NewSession("a", 0, "t", time.Hour))
		if s.Uploads == UploadsYes && s.UpKbps < 1070 { // ADSL, and the slowest of FTTC
			slow++
		}
		if s.NAT == NATSymmetric {
			symmetric++
		}
		if s.ISP == "Sky" {
			sky++
		}
	}
	require.InDelta(t, 0.68*(0.1221+0.0071+0.5737*0.011), float64(slow)/n, 0.01)
	require.InDelta(t, 0.18, float64(symmetric)/n, 0.01)
	require.InDelta(t, 0.27, float64(sky)/n, 0.05)
}

func TestHomesAreDrawnWholeAndOfTheViewersISP(t *testing.T) {
	p := &Profile{
		Name: "h", Sources: map[string]Source{"s": {Title: "t", Where: "w"}},
		Homes: &Homes{Sourced: Sourced{Source: []string{"s"}}, Lines: []Home{
			{ISP: "a", Region: "A", DownKbps: 1, UpKbps: 11, RTTMs: 1, Weight: 1},
			{ISP: "b", Region: "B", DownKbps: 2, UpKbps: 22, RTTMs: 2, Weight: 3},
			{ISP: "b", Region: "B", DownKbps: 3, UpKbps: 33, RTTMs: 3, Weight: 0},
		}},
		Uploads: &NoUploads{Sourced: Sourced{Source: []string{"s"}}},
	}
	var b bytes.Buffer
	require.NoError(t, WriteProfile(&b, p))
	p, err := ReadProfile(&b, "x.json")
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 0))
	seen := map[int]int{}
	for range 4000 {
		s := p.Draw(rng, NewSession("a", 0, "t", time.Hour))
		require.Equal(t, 11*s.DownKbps, s.UpKbps)
		require.Equal(t, time.Duration(s.DownKbps)*time.Millisecond, s.RTT)
		require.Equal(t, strings.ToUpper(s.ISP), s.Region)
		seen[s.DownKbps]++
		of := NewSession("a", 0, "t", time.Hour)
		of.ISP = "a"
		require.Equal(t, 1, p.Draw(rng, of).DownKbps)
		of.ISP = "unknown"
		require.Equal(t, "unknown", p.Draw(rng, of).ISP)
	}
	require.InDelta(t, 3000, seen[2], 150)
	require.Zero(t, seen[3])
}

func TestQuantilesInterpolateTheLogarithm(t *testing.T) {
	q := Quantiles{{0.1, 1}, {0.5, 100}, {0.9, 100}, {1, 10_000}}
	for u, want := range map[float64]float64{0: 1, 0.1: 1, 0.3: 10, 0.5: 100, 0.7: 100, 0.9: 100, 0.95: 1000, 1: 10_000} {
		require.InDelta(t, want, q.At(u), want/1e9, "at %v", u)
	}
	for v, want := range map[float64]float64{0.5: 0, 10: 0.3, 1000: 0.95, 20_000: 1} {
		require.InDelta(t, want, q.below(v), 1e-9, "below %v", v)
	}
}

func TestViewersLeaveByKindAndPosition(t *testing.T) {
	p := profile(t, "default")
	const title = 100 * time.Minute
	still := func(position, ahead time.Duration) float64 { return p.StillWatching(VOD, title, position, ahead) }
	require.InDelta(t, 0.8, still(0, 10*time.Second), 1e-9)
	require.InDelta(t, 0.56, still(0, time.Minute), 1e-9)
	require.InDelta(t, 0.56/0.8, still(10*time.Second, 50*time.Second), 1e-9)
	require.InDelta(t, 0.2, still(0, title-time.Millisecond), 1e-6)
	require.Zero(t, still(0, title))
	require.Greater(t, still(time.Hour, time.Minute), still(time.Minute, time.Minute), "who has stayed stays")
	require.InDelta(t, 0.5, p.StillWatching(Live, 0, 0, seconds(668.7)), 1e-6)
	require.Zero(t, p.StillWatching(VOD, time.Minute, 2*time.Minute, time.Second), "after the end")

	// The lengths that are drawn are those of the curve, from wherever one starts.
	rng := rand.New(rand.NewPCG(1, 0))
	for _, position := range []time.Duration{0, 30 * time.Second, time.Hour} {
		const n = 10_000
		stayed := 0
		for range n {
			s := NewSession("a", 0, "t", Absent)
			s.Kind, s.TitleLength, s.Position = VOD, title, position
			s = p.Draw(rng, s)
			require.LessOrEqual(t, s.Position+s.Watch, title)
			if s.Watch >= 5*time.Minute {
				stayed++
			}
		}
		require.InDelta(t, still(position, 5*time.Minute), float64(stayed)/n, 0.015, "from %v", position)
	}
	short := NewSession("a", 0, "t", Absent)
	short.Kind, short.TitleLength, short.Position = VOD, 20*time.Second, 0
	require.LessOrEqual(t, p.Draw(rng, short).Watch, 20*time.Second, "a clip shorter than the browsing")
	short.Position = time.Minute
	require.Zero(t, p.Draw(rng, short).Watch, "begins after the end")
}

func TestPopularityIsFlatAtTheHeadAndSteepAtTheTail(t *testing.T) {
	p := profile(t, "default").Popularity
	require.InDelta(t, 164.7, p.weight(1), 1e-9)
	require.InDelta(t, 69.8, p.weight(10), 1e-9)
	require.InDelta(t, math.Sqrt(164.7*69.8), p.weight(3), 3, "half-way in the logarithm")
	require.InDelta(t, 0.3, p.weight(4750), 1e-9)
	w, err := p.titles(0)
	require.NoError(t, err)
	require.Len(t, w.lines, 4750)
	require.Equal(t, 0, w.draw(0))
	require.Equal(t, 4749, w.draw(math.Nextafter(1, 0)))
}

func FuzzReadProfile(f *testing.F) {
	const head = `{"name":"p","about":"","sources":{"s":{"title":"t","where":"w"}},`
	for _, section := range []string{
		`"access":{"source":["s"],"technologies":[{"name":"x","share":1,"down_kbps":[[0.5,9]],"up_kbps":[[0.1,1],[0.9,3]],"rtt_ms":[[0.5,9]],"up_follows_down":0.5}]}`,
		`"homes":{"source":["s"],"lines":[{"isp":"a","region":"b","down_kbps":7,"up_kbps":1,"rtt_ms":1.5,"weight":1}]}`,
		`"watch":{"source":["s"],"live_seconds":[[0.5,1]],"vod":[{"seconds":10,"left":0.1,"source":["s"]},{"fraction":1,"left":0.8,"source":["s"]}]}`,
		`"bitrate":{"source":["s"],"kbps":[[0.5,100]]},"title_length":{"source":["s"],"seconds":[[0,10],[1,20]]}`,
		`"nat":{"source":["s"],"types":[{"type":"symmetric","share":1}]},"uploads":{"source":["s"],"never_share":1}`,
	} {
		f.Add([]byte(head + section + "}"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ReadProfile(bytes.NewReader(data), "x.json")
		if err != nil {
			return
		}
		rng := rand.New(rand.NewPCG(1, 0))
		for _, kind := range []Kind{KindUnknown, VOD, Live} {
			s := NewSession("a", 0, "t", Absent)
			s.Kind = kind
			require.NoError(t, p.Draw(rng, s).Check())
		}
	})
}
