package trace

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestNetworkHoldsAValueUntilTheNextRowAndRepeats(t *testing.T) {
	n := network(t, "up_kbps,t_ms,down_kbps,rtt_ms,note\n,1000,5000,20.5,x\n700,2000,0,,\n,4000,300,,\n")
	at := func(ms int) Link { return n.At(time.Duration(ms) * time.Millisecond) }
	first := Link{DownKbps: 5000, UpKbps: Absent, RTT: 20500 * time.Microsecond}
	second := Link{DownKbps: 0, UpKbps: 700, RTT: Absent}
	third := Link{DownKbps: 300, UpKbps: Absent, RTT: Absent}
	// Times count from the first row. The last row lasts as long as the median one: 2 s.
	require.Equal(t, 5*time.Second, n.Period())
	for ms, want := range map[int]Link{-5: first, 0: first, 999: first, 1000: second, 2999: second, 3000: third, 4999: third, 5000: first, 5999: first, 6000: second, 14_999: third, 15_000: first} {
		require.Equal(t, want, at(ms), "at %d ms", ms)
	}
	for ms, want := range map[int]int{0: 1000, 999: 1000, 1000: 3000, 3000: 5000, 5000: 6000, 5999: 6000, 14_000: 15_000} {
		require.Equal(t, time.Duration(want)*time.Millisecond, n.Until(time.Duration(ms)*time.Millisecond), "after %d ms", ms)
	}
}

func TestNetworkOfOneRowIsAConstant(t *testing.T) {
	n := network(t, "t_ms,down_kbps\n7,5\n")
	require.Equal(t, Link{DownKbps: 5, UpKbps: Absent, RTT: Absent}, n.At(time.Hour))
	require.Equal(t, Forever, n.Until(time.Hour))
	require.Zero(t, n.Period())
}

func TestNetworkErrorsSayWhereAndWhy(t *testing.T) {
	for file, want := range map[string]string{
		"":                                  "x.csv: is empty",
		"a,b\n":                             "column t_ms: is missing from the header",
		"t_ms,down_kbps\n":                  "x.csv: has no rows",
		"t_ms,down_kbps\n1,2\n1,2\n":        `x.csv:3: column t_ms: "1" is not after the row before`,
		"t_ms,down_kbps\nx,2\n":             `x.csv:2: column t_ms: "x" is not a number of milliseconds`,
		"t_ms,down_kbps\n,2\n":              `x.csv:2: column t_ms: "" is not a number`,
		"t_ms,down_kbps\n1,-2\n":            `x.csv:2: column down_kbps: "-2" is out of range`,
		"t_ms,rtt_ms\n1,90000\n":            `x.csv:2: column rtt_ms: "90000" is out of range: 0 to 60000 milliseconds`,
		"t_ms,rtt_ms\n1\n":                  "x.csv:2: 1 cells, the header has 2",
		"t_ms,rtt_ms,t_ms\n1\n":             "column t_ms: is there twice",
		"t_ms,up_kbps\n1,2\n2,\"3\n":        "a quoted cell does not end on its line",
		"t_ms,up_kbps\n99999999999999,2\n1": "out of range",
	} {
		_, err := ReadNetwork(strings.NewReader(file), "x.csv", Options{})
		require.ErrorContains(t, err, want)
	}
	n, err := ReadNetwork(strings.NewReader("t_ms,down_kbps\n1,2\nx,3\n1,4\n5,6\n"), "x.csv", Options{SkipBad: true})
	require.NoError(t, err)
	require.Equal(t, 2, n.Skipped())
	require.Equal(t, 2, n.Len())
}

func TestNetworkThatIsTooLongIsRefused(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("t_ms\n")
	for i := range 11 {
		fmt.Fprintln(&b, i)
	}
	_, err := readNetwork(NewTable(&b, "x.csv"), 10, Options{SkipBad: true})
	require.ErrorContains(t, err, "x.csv:12: more rows than the 10 that a trace may have")
}

func TestWrittenNetworksReadTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		w := WriteNetwork(&b)
		require.NoError(t, w.Start())
		at := time.Duration(0)
		var rows []NetworkRow
		for range rapid.IntRange(1, 6).Draw(t, "rows") {
			row := NetworkRow{At: at, Link: Link{
				DownKbps: rapid.IntRange(Absent, kbpsMax).Draw(t, "down"), UpKbps: rapid.IntRange(Absent, kbpsMax).Draw(t, "up"),
				RTT: time.Duration(rapid.IntRange(0, rttMillisMax*1000).Draw(t, "rtt")) * time.Microsecond,
			}}
			if rapid.Bool().Draw(t, "no rtt") {
				row.RTT = Absent
			}
			require.NoError(t, w.Write(row))
			rows = append(rows, row)
			at += time.Duration(rapid.IntRange(1, 5000).Draw(t, "step")) * time.Millisecond
		}
		n, err := ReadNetwork(&b, "x.csv", Options{})
		require.NoError(t, err)
		require.Equal(t, len(rows), n.Len())
		for i, want := range rows {
			require.Equal(t, want, n.Row(i))
			require.Equal(t, want.Link, n.At(want.At), "lookup")
			require.Equal(t, want.Link, n.At(want.At+3*n.Period()), "three repetitions later")
		}
	})
}

func TestNetworkWriterRefusesWhatNoReaderTakes(t *testing.T) {
	w := WriteNetwork(&bytes.Buffer{})
	require.NoError(t, w.Write(NetworkRow{At: time.Second}))
	require.ErrorContains(t, w.Write(NetworkRow{At: time.Second + time.Microsecond}), "is not after")
	require.ErrorContains(t, w.Write(NetworkRow{At: 2 * time.Second, Link: Link{DownKbps: kbpsMax + 1}}), "out of range")
}

func TestFolderOfNetworksIsReadByName(t *testing.T) {
	dir := t.TempDir()
	write := func(name, data string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
	}
	write("b.csv", "t_ms,down_kbps\n0,1\n")
	write("3g/bus.csv", "t_ms,down_kbps\n0,2\nbad,2\n")
	write("README.md", "t_ms is not a trace here")
	write("sessions.csv", "session,start_s,title,watch_s\n")
	var notices []string
	all, err := OpenNetworks(dir, Options{SkipBad: true, Notice: func(s string) { notices = append(notices, s) }})
	require.NoError(t, err)
	require.Equal(t, []string{"3g/bus", "b"}, all.Names())
	require.Equal(t, 1, all.Skipped())
	require.Len(t, notices, 1)
	require.Contains(t, notices[0], "sessions.csv")
	bus, ok := all.Lookup("3g/bus")
	require.True(t, ok)
	require.Equal(t, 2, bus.At(0).DownKbps)
	_, ok = all.Lookup("bus")
	require.False(t, ok)

	one, err := OpenNetworks(filepath.Join(dir, "b.csv"), Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, one.Names())

	_, err = OpenNetworks(filepath.Join(dir, "sessions.csv"), Options{})
	require.ErrorContains(t, err, "t_ms")
	write("b.csv.gz", "t_ms\n0\n")
	_, err = OpenNetworks(dir, Options{SkipBad: true})
	require.ErrorContains(t, err, "another trace named b")
	_, err = OpenNetworks(t.TempDir(), Options{})
	require.ErrorContains(t, err, "no network traces")
	_, err = OpenNetworks(filepath.Join(dir, "missing"), Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestNetworksAreFoundThroughLinks(t *testing.T) {
	real, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(real, "bus.csv"), []byte("t_ms,down_kbps\n0,1\n"), 0o600))
	link := func(to, name string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.Symlink(to, path))
		return path
	}
	for path, names := range map[string][]string{
		link(real, "folder"):                              {"bus"},
		link(filepath.Join(real, "bus.csv"), "ferry.csv"): {"ferry"},
		dir: {"ferry"}, // a link to a folder is not followed: it could lead round in a circle
	} {
		all, err := OpenNetworks(path, Options{})
		require.NoError(t, err, path)
		require.Equal(t, names, all.Names(), path)
	}
	link(filepath.Join(real, "gone.csv"), "nothing.csv")
	_, err := OpenNetworks(dir, Options{})
	require.NoError(t, err, "a link to nothing is no trace")
}

func TestMatrixWithLabels(t *testing.T) {
	m, err := ReadMatrix(strings.NewReader("from,FR,\"Some, ISP\",US\nFR,0,20,90.5\n\"Some, ISP\",,4,0\nUS,,80,\n"), "x.csv", Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"FR", "Some, ISP", "US"}, m.Labels())
	at, ok := m.Place("Some, ISP")
	require.True(t, ok)
	require.Equal(t, 1, at)
	_, ok = m.Place("DE")
	require.False(t, ok)
	ms := func(i, j int) float64 { return float64(m.RTT(i, j)) / 1e6 }
	require.Equal(t, 90.5, ms(0, 2))
	require.Equal(t, 90.5, ms(2, 0), "the other direction")
	require.Equal(t, 80.0, ms(1, 2), "zero off the diagonal is not measured")
	require.Equal(t, 20.0, ms(0, 0), "as far apart as the nearest neighbour")
	require.Equal(t, 4.0, ms(1, 1), "a diagonal that was measured")
}

func TestMatrixWithoutHeader(t *testing.T) {
	m, err := ReadMatrix(strings.NewReader("0,10,0\n20,0,0\n0,0,0\n"), "x.csv", Options{})
	require.NoError(t, err)
	require.Equal(t, 3, m.Len())
	require.Equal(t, 10*time.Millisecond, m.RTT(0, 1))
	require.Equal(t, 20*time.Millisecond, m.RTT(1, 0), "directions may differ")
	require.Equal(t, 20*time.Millisecond, m.RTT(0, 2), "the median")
	require.Equal(t, 20*time.Millisecond, m.RTT(2, 2))
}

func TestMatrixErrorsSayWhereAndWhy(t *testing.T) {
	for file, want := range map[string]string{
		"":                                "x.csv: is empty",
		"from\n":                          "x.csv:1: names no places",
		"from,a,a\n":                      `x.csv:1: label "a" is empty or there twice`,
		"from,a,b\nb,1,2\n":               `x.csv:2: begins with "b", and not with the header's label "a"`,
		"from,a,b\na,0,x\n":               `x.csv:2: column b: "x" is not a number of milliseconds`,
		"from,a,b\na,0\n":                 "x.csv:2: 1 round trips for 2 places",
		"from,a,b\na,0,1\n":               "x.csv: 1 rows for 2 places",
		"0,1\n2,0\n3,4\n":                 "x.csv:3: more rows than the 2 places",
		"0,0\n0,0\n":                      "has no round trip between two places",
		"0,1\n-2,0\n":                     `x.csv:2: column 0: "-2" is out of range: 0 to 60000`,
		strings.Repeat("1,", 2049) + "1":  "more than 2049 columns",
		strings.Repeat("1,", 2048) + "1":  "more than 2048 places",
		strings.Repeat("1,", 40_000) + "": "longer than 65536 bytes",
	} {
		_, err := ReadMatrix(strings.NewReader(file), "x.csv", Options{})
		require.ErrorContains(t, err, want)
	}
}

func TestBadRowsOfAMatrixAreNotMeasured(t *testing.T) {
	for file, skipped := range map[string]int{
		"from,a,b,c\na,0,10,x\nb,20,0,40\nc,,,\n":  1,
		"from,a,b,c\na,0\nb,20,0,40\nc,,,\nd,,,\n": 2,
		"from,a,b,c\nx,1,2,3\nb,20,0,40\nc,,,\n":   1,
		"x,10,10\n20,0,40\n0,0,0\n":                0, // a header of labels
		"1,x,10\n20,0,40\n0,0,0\n":                 1,
	} {
		m, err := ReadMatrix(strings.NewReader(file), "x.csv", Options{SkipBad: true})
		if skipped == 0 {
			require.ErrorContains(t, err, "there twice")
			continue
		}
		require.NoError(t, err, file)
		require.Equal(t, skipped, m.Skipped(), file)
		require.Equal(t, 20*time.Millisecond, m.RTT(0, 1), "the other direction")
		require.Equal(t, 40*time.Millisecond, m.RTT(1, 2), file)
	}
	_, err := ReadMatrix(strings.NewReader("from,a,b\na,0,x\n"), "x.csv", Options{SkipBad: true})
	require.ErrorContains(t, err, "1 rows for 2 places")
}

func TestWrittenMatricesReadTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 5).Draw(t, "places")
		labels := make([]string, n)
		rtt := make([][]time.Duration, n)
		for i := range labels {
			labels[i] = fmt.Sprintf(`place "%d", x`, i)
			for range n {
				rtt[i] = append(rtt[i], time.Duration(rapid.IntRange(1, rttMillisMax*1000).Draw(t, "rtt"))*time.Microsecond)
			}
		}
		var b bytes.Buffer
		require.NoError(t, WriteMatrix(&b, labels, func(i, j int) time.Duration { return rtt[i][j] }))
		m, err := ReadMatrix(&b, "x.csv", Options{})
		require.NoError(t, err)
		require.Equal(t, labels, m.Labels())
		for i := range n {
			for j := range n {
				require.Equal(t, rtt[i][j], m.RTT(i, j))
			}
		}
	})
}

func FuzzReadNetwork(f *testing.F) {
	f.Add([]byte("t_ms,down_kbps,up_kbps,rtt_ms\n0,1,2,3.5\n1000,,,\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := ReadNetwork(bytes.NewReader(data), "x.csv", Options{SkipBad: true})
		if err != nil {
			return
		}
		for _, at := range []time.Duration{0, time.Second, 1 << 60} {
			n.At(at)
			require.Greater(t, n.Until(at), at, "a change is ahead")
		}
	})
}

func FuzzReadMatrix(f *testing.F) {
	f.Add([]byte("from,a,b\na,0,1\nb,2.5,\n"))
	f.Add([]byte("0,1\n2,0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadMatrix(bytes.NewReader(data), "x.csv", Options{})
		if err != nil {
			return
		}
		for i := range m.Len() {
			for j := range m.Len() {
				require.Positive(t, m.RTT(i, j))
			}
		}
	})
}

func network(t *testing.T, file string) *Network {
	t.Helper()
	n, err := ReadNetwork(strings.NewReader(file), "x.csv", Options{})
	require.NoError(t, err)
	return n
}

func BenchmarkNetworkAt(b *testing.B) {
	var file bytes.Buffer
	w := WriteNetwork(&file)
	for i := range 1500 {
		require.NoError(b, w.Write(NetworkRow{At: time.Duration(i) * time.Second, Link: Link{DownKbps: i, UpKbps: Absent, RTT: Absent}}))
	}
	n, err := ReadNetwork(&file, "x.csv", Options{})
	require.NoError(b, err)
	b.ReportAllocs()
	at := time.Duration(0)
	for b.Loop() {
		at += 777 * time.Millisecond
		n.At(at)
	}
}
