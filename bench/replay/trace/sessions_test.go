package trace

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSessionsAreReadWithColumnsInAnyOrder(t *testing.T) {
	const file = "\xef\xbb\xbfWatch_S,nat,session,mood,title,start_s,up_kbps,rtt_ms,kind\r\n" +
		"12.5,Symmetric,a,good,\"film, the\",0.000000001,,20.25,live\r\n" +
		"\r\n" +
		"3,,\"b \"\"x\"\"\",bad,t,86400,0,,\n"
	var notices []string
	sessions := readAll(t, []byte(file), Options{Notice: func(s string) { notices = append(notices, s) }})
	a := NewSession("a", time.Nanosecond, "film, the", 12500*time.Millisecond)
	a.NAT, a.RTT, a.Kind = NATSymmetric, 20250*time.Microsecond, Live
	b := NewSession(`b "x"`, 24*time.Hour, "t", 3*time.Second)
	b.UpKbps = 0
	require.Equal(t, []Session{a, b}, sessions)
	require.Equal(t, []string{`x.csv: columns that are not read: "mood"`}, notices)
}

func TestEmptyCellsAreAbsentAndNotZero(t *testing.T) {
	header := strings.Join(sessionColumns, ",")
	s := readAll(t, []byte(header+"\na,1,t,2"+strings.Repeat(",", columnCount-4)+"\n"), Options{})[0]
	require.Equal(t, NewSession("a", time.Second, "t", 2*time.Second), s)
	for _, v := range []int{s.BitrateKbps, s.DownKbps, s.UpKbps, s.CacheMB, int(s.TitleLength), int(s.Position), int(s.RTT), int(s.Linger)} {
		require.Equal(t, Absent, v)
	}
}

func TestBadRowsSayWhereAndWhy(t *testing.T) {
	const header = "session,start_s,title,watch_s,kind,nat,down_kbps,rtt_ms,uploads,region\n"
	for row, want := range map[string]string{
		"a,x,t,1,,,,,,":          `x.csv:2: column start_s: "x" is not a number of seconds`,
		"a,-1,t,1,,,,,,":         `x.csv:2: column start_s: "-1" is out of range: 0 to 9000000000 seconds`,
		"a,9000000001,t,1,,,,,,": "column start_s: \"9000000001\" is out of range",
		"a,NaN,t,1,,,,,,":        `column start_s: "NaN" is not a number`,
		"a,0x10,t,1,,,,,,":       `column start_s: "0x10" is not a number`,
		",1,t,1,,,,,,":           "column session: is empty",
		"a,1,t,,,,,,,":           "column watch_s: is empty",
		"a,1,t,1,film,,,,,":      `column kind: "film" is neither vod nor live`,
		"a,1,t,1,,cone,,,,":      `column nat: "cone" is none of open, full-cone`,
		"a,1,t,1,,,0,,,":         "column down_kbps: \"0\" is out of range: 1 to 100000000 kbit/s; leave a cell empty where it is not known",
		"a,1,t,1,,,fast,,,":      `column down_kbps: "fast" is not a number of kbit/s`,
		"a,1,t,1,,,,61000,,":     `column rtt_ms: "61000" is out of range: 0 to 60000 milliseconds`,
		"a,1,t,1,,,,,maybe,":     `column uploads: "maybe" is neither yes nor no`,
		"a,1,t,1,,,,,":           "x.csv:2: 9 cells, the header has 10",
		"a,1,t,1,,,,,,,":         "x.csv:2: 11 cells, the header has 10",
		`a,1,"t,1,,,,,,`:         "a quoted cell does not end on its line",
		`a,1,"t"x,1,,,,,,`:       "text after a quoted cell",
		`a,1,t"x",1,,,,,,`:       "a quote inside an unquoted cell",
		"a,1,t\x01,1,,,,,,":      "is a control character in it",
		"a,1,t\xff,1,,,,,,":      "is not UTF-8 text",
		"a,1," + strings.Repeat("t", 257) + ",1,,,,,,": "is longer than 256 bytes",
		strings.Repeat("a", 70_000) + ",1,t,1,,,,,,":   "x.csv:2: longer than 65536 bytes",
		strings.Repeat(",", 300):                       "x.csv:2: more than 256 columns",
	} {
		r := ReadSessions(strings.NewReader(header+row+"\n"), "x.csv", Options{})
		_, err := r.Next()
		require.ErrorContains(t, err, want)
		require.ErrorAs(t, err, new(*Error))
		_, again := r.Next()
		require.Equal(t, err, again, "after an error there is no next session")

		skip := ReadSessions(strings.NewReader(header+row+"\nb,1,t,1,,,,,,\n"), "x.csv", Options{SkipBad: true})
		s, err := skip.Next()
		require.NoError(t, err, "the row after a bad one")
		require.Equal(t, "b", s.ID)
		_, err = skip.Next()
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, 1, skip.Skipped())
	}
}

func TestBadJumpsSayWhy(t *testing.T) {
	for cell, want := range map[string]string{
		"600":                              `column seeks: "600" has a jump without a >: 30>600 is one after 30 s to 600 s of the title`,
		"x>600":                            `column seeks: "x>600" has a jump of which "x" is not a number of seconds`,
		"30>":                              `column seeks: "30>" has a jump of which "" is not a number of seconds`,
		"-1>600":                           `has a jump of which "-1" is out of range: 0 to 31622400 seconds`,
		"30>4e7":                           `has a jump of which "4e7" is out of range: 0 to 31622400 seconds`,
		"30>1 20>5":                        `has a jump that is earlier than the one before it`,
		strings.Repeat("1>2 ", SeeksMax+1): "has more than 64 jumps",
	} {
		_, err := ReadSessions(strings.NewReader("session,start_s,title,watch_s,seeks\na,1,t,1,"+cell+"\n"), "x.csv", Options{}).Next()
		require.ErrorContains(t, err, want)
	}
	s := readAll(t, []byte("session,start_s,title,watch_s,seeks\na,1,t,1, 30>600  45.5>0 \n"), Options{})[0]
	require.Equal(t, []Seek{{30 * time.Second, 10 * time.Minute}, {45500 * time.Millisecond, 0}}, s.Seeks)
}

func TestBadHeadersAreErrorsEvenWhenBadRowsAreSkipped(t *testing.T) {
	for header, want := range map[string]string{
		"":                              "x.csv: is empty: the first line names the columns (session,start_s,title,watch_s",
		"session,start_s,title\n":       "x.csv:1: column watch_s: is missing from the header",
		"session,title,start_s,title\n": "column title: is there twice",
	} {
		_, err := ReadSessions(strings.NewReader(header), "x.csv", Options{SkipBad: true}).Next()
		require.ErrorContains(t, err, want)
	}
}

func TestReadErrorsAreNotBadRows(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("session,start_s,title,watch_s\na,1,t"), failingReader{})
	_, err := ReadSessions(broken, "x.csv", Options{SkipBad: true}).Next()
	require.ErrorIs(t, err, errDisk)
	require.ErrorContains(t, err, "x.csv:2")
}

var errDisk = errors.New("disk on fire")

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errDisk }

func TestAnEndlessFileCostsNoMemory(t *testing.T) {
	// A line of 256 MiB, then a good row.
	long := io.LimitReader(repeat("0123456789abcdef"), 256<<20)
	r := ReadSessions(io.MultiReader(strings.NewReader("session,start_s,title,watch_s\n"), long, strings.NewReader("\nb,1,t,1\n")), "x.csv", Options{SkipBad: true})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := r.Next()
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Equal(t, "b", s.ID)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

type repeat string

func (r repeat) Read(p []byte) (int, error) {
	for n := 0; n < len(p); n += len(r) {
		copy(p[n:], r)
	}
	return len(p), nil
}

func TestOpenUngzipsWhateverTheName(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	dir := t.TempDir()
	for name, data := range map[string][]byte{"plain": []byte("hello"), "zipped.csv": b.Bytes(), "empty.gz": nil, "one": []byte("\x1f")} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		f, err := Open(path)
		require.NoError(t, err)
		got, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		if name == "zipped.csv" {
			data = []byte("hello")
		}
		require.Equal(t, string(data), string(got))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad.gz"), []byte("\x1f\x8bnothing"), 0o600))
	_, err = Open(filepath.Join(dir, "bad.gz"))
	require.ErrorContains(t, err, "bad.gz")
	_, err = Open(filepath.Join(dir, "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestWrittenSessionsReadTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sessions := rapid.SliceOfN(rapid.Custom(drawSession), 0, 5).Draw(t, "sessions")
		var b bytes.Buffer
		w := WriteSessions(&b)
		require.NoError(t, w.Start())
		for _, s := range sessions {
			require.NoError(t, w.Write(s))
		}
		r := ReadSessions(&b, "x.csv", Options{})
		for _, want := range sessions {
			got, err := r.Next()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		_, err := r.Next()
		require.ErrorIs(t, err, io.EOF)
	})
}

func drawSession(t *rapid.T) Session {
	text := rapid.StringMatching(`[ -~é水"]{0,20}`)
	name := rapid.StringMatching(`[ -~é水"]{1,20}`)
	number := func(label string, most int) int { return rapid.IntRange(Absent, most).Draw(t, label) }
	length := func(label string, most time.Duration) time.Duration {
		return time.Duration(rapid.Int64Range(Absent, int64(most)).Draw(t, label))
	}
	const year = watchSecondsMax * time.Second
	s := NewSession(name.Draw(t, "id"), max(length("start", secondsMax*time.Second), 0), name.Draw(t, "title"), max(length("watch", year), 0))
	s.Kind = rapid.SampledFrom([]Kind{KindUnknown, VOD, Live}).Draw(t, "kind")
	s.Uploads = rapid.SampledFrom([]Uploads{UploadsUnknown, UploadsYes, UploadsNo}).Draw(t, "uploads")
	s.NAT = rapid.SampledFrom(append([]string{""}, natTypes...)).Draw(t, "nat")
	s.Track, s.ISP, s.Region = text.Draw(t, "track"), text.Draw(t, "isp"), text.Draw(t, "region")
	s.Platform, s.Network = text.Draw(t, "platform"), text.Draw(t, "network")
	s.BitrateKbps, s.DownKbps = number("bitrate", kbpsMax), number("down", kbpsMax)
	s.BitrateKbps, s.DownKbps = unlessZero(s.BitrateKbps), unlessZero(s.DownKbps)
	s.UpKbps, s.CacheMB = number("up", kbpsMax), number("cache", cacheMBMax)
	s.TitleLength, s.Position, s.Linger = length("length", year), length("position", year), length("linger", year)
	s.RTT = length("rtt", rttMillisMax*time.Millisecond)
	for at := time.Duration(0); len(s.Seeks) < SeeksMax && rapid.Bool().Draw(t, "seek"); {
		at = max(at, length("seek at", year))
		s.Seeks = append(s.Seeks, Seek{at, max(length("seek to", year), 0)})
	}
	return s
}

func unlessZero(n int) int {
	if n == 0 {
		return Absent
	}
	return n
}

func TestWriterRefusesWhatNoReaderTakes(t *testing.T) {
	good := NewSession("a", 0, "t", 0)
	require.NoError(t, good.Check())
	for want, change := range map[string]func(*Session){
		"session is not known": func(s *Session) { s.ID = "" },
		"watch_s is not known": func(s *Session) { s.Watch = Absent },
		"title":                func(s *Session) { s.Title = "a\nb" },
		"isp":                  func(s *Session) { s.ISP = strings.Repeat("x", 257) },
		"nat":                  func(s *Session) { s.NAT = "cone" },
		"down_kbps":            func(s *Session) { s.DownKbps = 0 },
		"rtt_ms":               func(s *Session) { s.RTT = 2 * time.Minute },
		"seeks":                func(s *Session) { s.Seeks = []Seek{{2, 1}, {1, 1}} },
	} {
		s := good
		change(&s)
		require.ErrorContains(t, s.Check(), want)
	}
}

func TestWriterWritesTheColumnsThatAreAskedFor(t *testing.T) {
	var b bytes.Buffer
	w := WriteSessions(&b, ColUp, ColKind)
	s := NewSession("a", 1500*time.Millisecond, "t", time.Minute)
	s.UpKbps, s.Kind, s.ISP = 0, Live, "not asked for"
	require.NoError(t, w.Write(s))
	require.Equal(t, "session,start_s,title,watch_s,kind,up_kbps\na,1.5,t,60,live,0\n", b.String())
}

func FuzzReadSessions(f *testing.F) {
	f.Add([]byte("session,start_s,title,watch_s,kind\na,1,t,2,live\n\"b\",1e3,\"x\"\"y\",.5,\n"))
	f.Add([]byte("\xef\xbb\xbfsession,start_s,title,watch_s,rtt_ms,x\r\na,1,t,2,3,\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := ReadSessions(bytes.NewReader(data), "x.csv", Options{SkipBad: true})
		var b bytes.Buffer
		w := WriteSessions(&b)
		var first []Session
		for {
			s, err := r.Next()
			if err != nil {
				break
			}
			require.NoError(t, w.Write(s), "what was read can be written")
			first = append(first, s)
		}
		if len(first) > 0 {
			require.Equal(t, first, readAll(t, b.Bytes(), Options{}), "and reads the same")
		}
	})
}

func readAll(t *testing.T, data []byte, o Options) []Session {
	t.Helper()
	r := ReadSessions(bytes.NewReader(data), "x.csv", o)
	var all []Session
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, s)
	}
}

func BenchmarkReadSessions(b *testing.B) {
	var file bytes.Buffer
	w := WriteSessions(&file)
	for i := range 1000 {
		s := NewSession(fmt.Sprintf("session-%d", i), time.Duration(i)*time.Second, "title-1", time.Hour)
		s.Kind, s.ISP, s.DownKbps, s.UpKbps, s.RTT = Live, "Some Telecom", 41770, 9300, 11500*time.Microsecond
		require.NoError(b, w.Write(s))
	}
	b.ReportAllocs()
	b.SetBytes(int64(file.Len()))
	for b.Loop() {
		r := ReadSessions(bytes.NewReader(file.Bytes()), "x.csv", Options{})
		for {
			if _, err := r.Next(); errors.Is(err, io.EOF) {
				break
			}
		}
	}
}
