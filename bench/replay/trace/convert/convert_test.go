package convert

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/bench/replay/trace"
)

const liveHeader = "peer,first_ms,last_ms,swarm,country_fips,region,city_id,isp,rx_bytes,rx_ms,tx_bytes,tx_ms,partners\n"

func TestPeersOfALiveDayBecomeSessions(t *testing.T) {
	const file = liveHeader +
		"0,24,11332312,0,FR,Western Europe,0,\"Free, SAS\",18,56,46,84,11\n" +
		"1,67,67,3,MO,Northern Africa,1,Maroc Telecom,9,4,0,0,1\n"
	sessions, skipped := readLive(t, file, trace.Options{})
	require.Zero(t, skipped)
	a := trace.NewSession("peer-0", 24*time.Millisecond, "swarm-0", 11332288*time.Millisecond)
	a.ISP, a.Region, a.Uploads = "Free, SAS", "FR", trace.UploadsYes
	b := trace.NewSession("peer-1", 67*time.Millisecond, "swarm-3", 0)
	b.ISP, b.Region, b.Uploads = "Maroc Telecom", "MO", trace.UploadsNo
	for _, s := range []*trace.Session{&a, &b} {
		s.Kind, s.BitrateKbps, s.Linger = trace.Live, 1713, 0
	}
	require.Equal(t, []trace.Session{a, b}, sessions)
}

func TestBadPeersOfALiveDaySayWhereAndWhy(t *testing.T) {
	good := "5,1,2,0,FR,x,0,y,1,1,1,1,1\n"
	for row, want := range map[string]string{
		"0,x,2,0,FR,x,0,y,1,1,1,1,1\n":         `x.csv:2: column first_ms: "x" is not a number from 0 to 90000000`,
		"0,5,2,0,FR,x,0,y,1,1,1,1,1\n":         `x.csv:2: column last_ms: "2" is not a number from 5 to 90000000`,
		"0,1,90000001,0,FR,x,0,y,1,1,1,1,1\n":  "column last_ms",
		"0,1,2,0,FR,x,0,y,1,1,-1,1,1\n":        "column tx_bytes",
		",1,2,0,FR,x,0,y,1,1,1,1,1\n":          "column peer: is empty",
		"0,1,2,,FR,x,0,y,1,1,1,1,1\n":          "column swarm: is empty",
		"0,1,2,0,FR,x,0,y\n":                   "x.csv:2: 8 cells, the header has 13",
		"0,1,2,0,FR,x,0,\x02,1,1,1,1,1\n":      "isp",
		strings.Repeat("9", 70_000) + ",1,2\n": "longer than",
	} {
		_, err := P2PLive(strings.NewReader(liveHeader+row), "x.csv", trace.Options{}, func(trace.Session) error { return nil })
		require.ErrorContains(t, err, want)
		sessions, skipped := readLive(t, liveHeader+row+good, trace.Options{SkipBad: true})
		require.Equal(t, 1, skipped)
		require.Len(t, sessions, 1)
	}
	_, err := P2PLive(strings.NewReader("peer,first_ms\n"), "x.csv", trace.Options{SkipBad: true}, nil)
	require.ErrorContains(t, err, "column last_ms: is missing from the header")
}

func readLive(t *testing.T, file string, o trace.Options) (sessions []trace.Session, skipped int) {
	t.Helper()
	skipped, err := P2PLive(strings.NewReader(file), "x.csv", o, func(s trace.Session) error {
		sessions = append(sessions, s)
		return s.Check()
	})
	require.NoError(t, err)
	return sessions, skipped
}

// Both tables say the same of two weighted lines and one without a weight.
var panels = map[string]string{
	"short names": "peer,isp,technology,pkg_down_mbps,region,down_avg,up_avg,rtt_ms,loss,weight\n" +
		"0,Zen,FTTC,76,South East,68.87,15.21,9.86,0.1,\n" +
		"1,Plusnet,FTTC,38,Yorkshire & Humberside,36.93,9.26,9.19,0.1,1.5\n" +
		"2,Sky,ADSL1,8,,0.74,0.37,9.33,0.1,0.5\n",
	"as published": "unit_id,ISP,Technology,\"PACKAGE (download by upload)\",Region,Download - 24 (ave),Download - 24 min(ave),Upload - 24 (ave),Latency - 24h,Latency24h,national_weight,rural_weight\n" +
		"0,Zen,FTTC,76,South East,68.87,1,15.21,9.86,99,,\n" +
		"1,Plusnet,FTTC,38,Yorkshire & Humberside,36.93,1,9.26,9.19,99,1.5,\n" +
		"2,Sky,ADSL1,8,,0.74,1,0.37,9.33,99,0.5,7\n",
}

func TestOfcomsPanelBecomesAProfileOfHomes(t *testing.T) {
	for name, file := range panels {
		p, skipped, unweighted, err := Ofcom(strings.NewReader(file), "x.csv", trace.Options{})
		require.NoError(t, err, name)
		require.Zero(t, skipped)
		require.Equal(t, 1, unweighted)
		require.Equal(t, []trace.Home{
			{ISP: "Plusnet", Region: "GB/Yorkshire & Humberside", Technology: "FTTC", DownKbps: 36930, UpKbps: 9260, RTTMs: 9.19, Weight: 1.5},
			{ISP: "Sky", Region: "GB", Technology: "ADSL1", DownKbps: 740, UpKbps: 370, RTTMs: 9.33, Weight: 0.5},
		}, p.Homes.Lines, name)

		var b bytes.Buffer
		require.NoError(t, trace.WriteProfile(&b, p))
		read, err := trace.ReadProfile(&b, "homes.json")
		require.NoError(t, err)
		require.Contains(t, read.Sources["ofcom"].Licence, "Contains information licensed by the Office of Communications.")
		require.NotContains(t, read.Borrowed(), "access")
		s := read.Draw(rand.New(rand.NewPCG(1, 0)), trace.NewSession("a", 0, "t", time.Hour))
		require.Contains(t, []int{36930, 740}, s.DownKbps)
		require.Equal(t, "GB", s.Country())
	}
}

func TestPanelWithoutWeightsCountsEveryLineOnce(t *testing.T) {
	p, _, unweighted, err := Ofcom(strings.NewReader("isp,technology,region,down_avg,up_avg,rtt_ms,weight\nA,x,y,1,1,1,\nB,x,y,1,1,1,\n"), "x.csv", trace.Options{})
	require.NoError(t, err)
	require.Zero(t, unweighted)
	require.Equal(t, []float64{1, 1}, []float64{p.Homes.Lines[0].Weight, p.Homes.Lines[1].Weight})
}

func TestBadPanelsSayWhereAndWhy(t *testing.T) {
	for file, want := range map[string]string{
		"isp,technology,region\n": `x.csv:1: column down_avg: is missing from the header, and so is "Download - 24 (ave)"`,
		"isp,technology\n":        "column region: is missing",
		"isp,technology,region,down_avg,up_avg,rtt_ms,weight\n":                  "x.csv: has no lines",
		"isp,technology,region,down_avg,up_avg,rtt_ms,weight\nA,,,0,1,1,1\n":     `x.csv:2: column down_avg: "0" is not a number from 0.001 to 100000`,
		"isp,technology,region,down_avg,up_avg,rtt_ms,weight\nA\x01,,,1,1,1,1\n": "x.csv:2: a name in it cannot be used",
		"isp,technology,region,down_avg,up_avg,rtt_ms,weight\nA,,,1,,1,1\n":      `column up_avg: "" is not a number`,
		"isp,technology,region,down_avg,up_avg,rtt_ms,weight\nA,,,1,1,1,-1\n":    `column weight: "-1"`,
	} {
		_, _, _, err := Ofcom(strings.NewReader(file), "x.csv", trace.Options{})
		require.ErrorContains(t, err, want)
	}
}

func TestSabreTraceBecomesANetwork(t *testing.T) {
	// report_train_0001.json of Sabre begins so.
	const file = `[
    {"duration_ms": 734, "bandwidth_kbps": 5544, "latency_ms": 20},
    {"duration_ms": 1000, "bandwidth_kbps": 9665, "latency_ms": 20},
    {"duration_ms": 1001.4, "bandwidth_kbps": 0, "latency_ms": 20}
]`
	rows, skipped, err := Sabre(strings.NewReader(file), "x.json", Down, trace.Options{})
	require.NoError(t, err)
	require.Zero(t, skipped)
	require.Equal(t, "t_ms,down_kbps,up_kbps,rtt_ms\n0,5544,,\n734,9665,,\n1734,0,,\n2735,0,,\n", written(t, rows))

	varying := strings.Replace(file, `"latency_ms": 20`, `"latency_ms": 35.5`, 1)
	rows, _, err = Sabre(strings.NewReader(varying), "x.json", Up, trace.Options{})
	require.NoError(t, err)
	require.Equal(t, "t_ms,down_kbps,up_kbps,rtt_ms\n0,,5544,35.5\n734,,9665,20\n1734,,0,20\n2735,,0,20\n", written(t, rows))
}

func TestBadSabreTracesSayWhereAndWhy(t *testing.T) {
	for file, want := range map[string]string{
		``:   "x.json:1: is not a JSON list",
		`{}`: "x.json:1: is not a JSON list",
		`[]`: "x.json: has no entries",
		`[{"duration_ms":1000,"bandwidth_kbps":1},{"duration_ms":0,"bandwidth_kbps":1}]`:                  "x.json: entry 2: column duration_ms: is missing or out of range",
		`[{"duration_ms":1000,"bandwidth_kbps":-1}]`:                                                      "x.json: entry 1: column bandwidth_kbps",
		`[{"duration_ms":1000,"bandwidth_kbps":"9"}]`:                                                     "x.json: entry 1: column bandwidth_kbps: is a string, not a number",
		`[{"duration_ms":1000,"bandwidth_kbps":1,"latency_ms":1e9}]`:                                      "column latency_ms: is out of range",
		`[{"duration_ms":1000,"bandwidth_kbps":1}`:                                                        "x.json: the list does not end",
		`[{"duration_ms":1000,"bandwidth_kbps":1} x`:                                                      "x.json",
		`[{"duration_ms":30000000000,"bandwidth_kbps":1},{"duration_ms":30000000000,"bandwidth_kbps":1}]`: "longer than a year",
	} {
		_, _, err := Sabre(strings.NewReader(file), "x.json", Down, trace.Options{})
		require.ErrorContains(t, err, want, file)
	}
	rows, skipped, err := Sabre(strings.NewReader(`[{"duration_ms":5,"bandwidth_kbps":1},{"x":1},{"duration_ms":5,"bandwidth_kbps":2}]`), "x.json", Down, trace.Options{SkipBad: true})
	require.NoError(t, err)
	require.Equal(t, 1, skipped)
	require.Len(t, rows, 3)
}

func TestMahimahiCountsOpportunitiesIntoRates(t *testing.T) {
	down := "0\n0\n499\n500\n1100\n1600\n" // three, one, one, and a bin that is not whole
	up := "250\n750\n\n900\n1300\n1400\n1999\n2400\n"
	rows, skipped, err := Mahimahi(strings.NewReader(down), strings.NewReader(up), "x", trace.Options{})
	require.NoError(t, err)
	require.Zero(t, skipped)
	require.Equal(t, "t_ms,down_kbps,up_kbps,rtt_ms\n0,72,24,\n500,24,48,\n1000,24,48,\n", written(t, rows))

	rows, _, err = Mahimahi(nil, strings.NewReader(up), "x", trace.Options{})
	require.NoError(t, err)
	require.Equal(t, "t_ms,down_kbps,up_kbps,rtt_ms\n0,,24,\n500,,48,\n1000,,48,\n1500,,24,\n", written(t, rows))
}

func TestMahimahiRateIsRepeatedAfterItsLastLine(t *testing.T) {
	rows, _, err := Mahimahi(strings.NewReader("1\n"), nil, "x", trace.Options{})
	require.NoError(t, err)
	require.Equal(t, "t_ms,down_kbps,up_kbps,rtt_ms\n0,12000,,\n", written(t, rows), "a packet a millisecond")
}

func TestBadMahimahiTracesSayWhereAndWhy(t *testing.T) {
	for file, want := range map[string]string{
		"":                                       "x: has no line",
		"0\n0\n":                                 "x: has no line after 0 ms",
		"5\n4\n":                                 "x:2: 4 ms is before the line before",
		"1.5\n":                                  `x:1: "1.5" is not a number of milliseconds`,
		"-1\n":                                   `"-1" is not a number of milliseconds`,
		"999999999999\n":                         "longer than the",
		"1\n" + strings.Repeat("1", 5000) + "\n": "x:2: longer than 4096 bytes",
	} {
		_, _, err := Mahimahi(strings.NewReader(file), nil, "x", trace.Options{})
		require.ErrorContains(t, err, want)
	}
	_, skipped, err := Mahimahi(strings.NewReader("5\nx\n4\n6\n"), nil, "x", trace.Options{SkipBad: true})
	require.NoError(t, err)
	require.Equal(t, 2, skipped)
	_, _, err = Mahimahi(nil, nil, "x", trace.Options{})
	require.ErrorContains(t, err, "neither a downlink nor an uplink")
}

func TestPensieveLinesBecomeANetwork(t *testing.T) {
	rows, skipped, err := Pensieve(strings.NewReader("1500000000.0 0.816\n1500000005.0\t0.82\r\n\n1500000010.5   783e-3\n"), "x", Down, trace.Options{})
	require.NoError(t, err)
	require.Zero(t, skipped)
	require.Equal(t, "t_ms,down_kbps,up_kbps,rtt_ms\n0,816,,\n5000,820,,\n10500,783,,\n", written(t, rows))
	rows, _, err = Pensieve(strings.NewReader("0\t23.2\n1\t7.97\n"), "x", Up, trace.Options{})
	require.NoError(t, err)
	require.Equal(t, "t_ms,down_kbps,up_kbps,rtt_ms\n0,,23200,\n1000,,7970,\n", written(t, rows))
}

func TestBadPensieveTracesSayWhereAndWhy(t *testing.T) {
	for file, want := range map[string]string{
		"":             "x: has no lines",
		"1\n":          `x:1: not "seconds Mbit/s": 1 numbers`,
		"1 2 3\n":      `not "seconds Mbit/s": 3 numbers`,
		"a 2\n":        `"a" is not a number of seconds`,
		"1 b\n":        `x:1: "b" is not a rate in Mbit/s`,
		"1 -1\n":       `"-1" is not a rate`,
		"1 1\n1 1\n":   "x:2: 1 s is not after the line before",
		"0 1\n5e8 1\n": "x: longer than a year",
	} {
		_, _, err := Pensieve(strings.NewReader(file), "x", Down, trace.Options{})
		require.ErrorContains(t, err, want)
	}
}

func TestTracesThatAreOursAlreadyAreChecked(t *testing.T) {
	const file = "t_ms,down_kbps,up_kbps,rtt_ms\n0,1427,,\n1004,980,,20.5\n"
	for name, read := range map[string]func(io.Reader, trace.Options) ([]trace.NetworkRow, int, error){
		"sabre":    func(r io.Reader, o trace.Options) ([]trace.NetworkRow, int, error) { return Sabre(r, "x", Down, o) },
		"pensieve": func(r io.Reader, o trace.Options) ([]trace.NetworkRow, int, error) { return Pensieve(r, "x", Up, o) },
		"mahimahi": func(r io.Reader, o trace.Options) ([]trace.NetworkRow, int, error) { return Mahimahi(r, nil, "x", o) },
	} {
		rows, _, err := read(strings.NewReader(file), trace.Options{})
		require.NoError(t, err, name)
		require.Equal(t, file, written(t, rows))
		_, skipped, err := read(strings.NewReader(file+"bad,,,\n"), trace.Options{SkipBad: true})
		require.NoError(t, err)
		require.Equal(t, 1, skipped)
		_, _, err = read(strings.NewReader(file+"bad,,,\n"), trace.Options{})
		require.ErrorContains(t, err, "x:4: column t_ms")
	}
}

func TestRatesSurviveEachFormat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rates := rapid.SliceOfN(rapid.IntRange(0, 1_000_000), 1, 20).Draw(t, "kbit/s")
		var sabre, pensieve bytes.Buffer
		for i, kbps := range rates {
			fmt.Fprintf(&sabre, "%c{\"duration_ms\":1000,\"bandwidth_kbps\":%d}", "[,"[min(i, 1)], kbps)
			fmt.Fprintf(&pensieve, "%d %v\n", i, float64(kbps)/1000)
		}
		sabre.WriteByte(']')
		a, _, err := Sabre(&sabre, "x", Down, trace.Options{})
		require.NoError(t, err)
		b, _, err := Pensieve(&pensieve, "x", Down, trace.Options{})
		require.NoError(t, err)
		require.Equal(t, a[:len(rates)], b)
		for i, kbps := range rates {
			require.Equal(t, kbps, a[i].DownKbps)
		}
	})
}

func FuzzImporters(f *testing.F) {
	f.Add([]byte("1\n2\n600\n"))
	f.Add([]byte("0 1.5\n1 2\n"))
	f.Add([]byte(`[{"duration_ms":734,"bandwidth_kbps":5544,"latency_ms":20}]`))
	f.Add([]byte("t_ms,down_kbps\n0,1\n"))
	f.Add([]byte(liveHeader + "0,24,113,0,FR,x,0,y,1,1,1,1,1\n"))
	for _, file := range panels {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := trace.Options{SkipBad: true}
		if rows, _, err := Sabre(bytes.NewReader(data), "x", Down, o); err == nil {
			written(t, rows)
		}
		if rows, _, err := Pensieve(bytes.NewReader(data), "x", Up, o); err == nil {
			written(t, rows)
		}
		if rows, _, err := Mahimahi(bytes.NewReader(data), bytes.NewReader(data), "x", o); err == nil {
			written(t, rows[:min(len(rows), 1000)]) // a late line makes a long trace
		}
		_, _ = P2PLive(bytes.NewReader(data), "x", o, func(s trace.Session) error {
			require.NoError(t, s.Check())
			return nil
		})
		if p, _, _, err := Ofcom(bytes.NewReader(data), "x", o); err == nil {
			require.NoError(t, trace.WriteProfile(io.Discard, p))
		}
	})
}

// written is what a network trace of these rows looks like; readers take it.
func written(t *testing.T, rows []trace.NetworkRow) string {
	t.Helper()
	var b bytes.Buffer
	w := trace.WriteNetwork(&b)
	for _, row := range rows {
		require.NoError(t, w.Write(row))
	}
	_, err := trace.ReadNetwork(bytes.NewReader(b.Bytes()), "x", trace.Options{})
	require.NoError(t, err)
	return b.String()
}
