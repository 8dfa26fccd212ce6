package convert

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"shoal/bench/replay/trace"
)

const (
	// rowsMax is what a network trace of ours may have.
	rowsMax = 1 << 20

	// entryBytesMax bounds one line or JSON entry of a public trace; they are
	// 20 to 80 bytes.
	entryBytesMax = 4 << 10

	// jsonBytesMax bounds a Sabre trace: rowsMax entries of 64 bytes. The
	// decoder holds one entry at a time, but would read a huge one.
	jsonBytesMax = 64 << 20

	kbpsMax   = 100_000_000 // as in package trace
	rttMax    = 60 * time.Second
	millisMax = 366 * 86400 * 1000
)

// Direction is the way that a trace measured.
type Direction uint8

// Directions.
const (
	Down Direction = iota
	Up
)

func (d Direction) link(kbps int) trace.Link {
	l := trace.Link{DownKbps: trace.Absent, UpKbps: trace.Absent, RTT: trace.Absent}
	if d == Up {
		l.UpKbps = kbps
	} else {
		l.DownKbps = kbps
	}
	return l
}

// ours tells whether r begins with a header of ours; what was read is put back.
func ours(r io.Reader) (io.Reader, bool) {
	b := bufio.NewReaderSize(r, entryBytesMax)
	head, err := b.Peek(entryBytesMax)
	if err != nil && !errors.Is(err, io.EOF) {
		return b, false // whoever reads next meets the error
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	return b, bytes.Contains(line, []byte("t_ms"))
}

// copyOurs checks a trace that is in our format already.
func copyOurs(r io.Reader, name string, o trace.Options) ([]trace.NetworkRow, int, error) {
	n, err := trace.ReadNetwork(r, name, o)
	if err != nil {
		return nil, 0, err
	}
	rows := make([]trace.NetworkRow, n.Len())
	for i := range rows {
		rows[i] = n.Row(i)
	}
	return rows, n.Skipped(), nil
}

// Sabre reads a JSON list of {duration_ms, bandwidth_kbps, latency_ms}. A
// latency that is the same in every entry is a setting of the simulator that the
// trace was made for, and is dropped. A last row closes the final entry.
func Sabre(r io.Reader, name string, d Direction, o trace.Options) (rows []trace.NetworkRow, skipped int, err error) {
	r, already := ours(r)
	if already {
		return copyOurs(r, name, o)
	}
	decoder := json.NewDecoder(io.LimitReader(r, jsonBytesMax))
	if token, err := decoder.Token(); err != nil || token != json.Delim('[') {
		return nil, 0, &trace.Error{File: name, Line: 1, Why: "is not a JSON list of {duration_ms, bandwidth_kbps, latency_ms}"}
	}
	at, measured := 0.0, false
	for i := 1; decoder.More(); i++ {
		row, duration, err := sabreEntry(decoder, d)
		if bad := (*trace.Error)(nil); errors.As(err, &bad) {
			bad.File = fmt.Sprintf("%s: entry %d", name, i)
			if o.SkipBad {
				skipped++
				continue
			}
			return nil, 0, bad
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%s: entry %d: %w", name, i, err)
		}
		row.At = time.Duration(math.Round(at)) * time.Millisecond
		if n := len(rows); n > 0 && row.RTT != rows[n-1].RTT {
			measured = true
		}
		if rows, err = appendRow(rows, row, name); err != nil {
			return nil, 0, err
		}
		at += duration
	}
	if _, err := decoder.Token(); err != nil {
		return nil, 0, &trace.Error{File: name, Why: fmt.Sprintf("the list does not end, or is longer than %d bytes", jsonBytesMax)}
	}
	if len(rows) == 0 {
		return nil, 0, &trace.Error{File: name, Why: "has no entries"}
	}
	last := rows[len(rows)-1]
	last.At = time.Duration(math.Round(at)) * time.Millisecond
	if rows, err = appendRow(rows, last, name); err != nil {
		return nil, 0, err
	}
	if !measured {
		for i := range rows {
			rows[i].RTT = trace.Absent
		}
	}
	return rows, skipped, nil
}

func sabreEntry(decoder *json.Decoder, d Direction) (row trace.NetworkRow, duration float64, err error) {
	var entry struct {
		Duration  *float64 `json:"duration_ms"`
		Bandwidth *float64 `json:"bandwidth_kbps"`
		Latency   *float64 `json:"latency_ms"`
	}
	if err := decoder.Decode(&entry); err != nil {
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			return row, 0, &trace.Error{Column: wrong.Field, Why: fmt.Sprintf("is a %s, not a number", wrong.Value)}
		}
		return row, 0, err // the rest of the file cannot be read either
	}
	switch {
	case entry.Duration == nil || *entry.Duration < 1 || *entry.Duration > millisMax:
		return row, 0, &trace.Error{Column: "duration_ms", Why: "is missing or out of range"}
	case entry.Bandwidth == nil || *entry.Bandwidth < 0 || *entry.Bandwidth > kbpsMax:
		return row, 0, &trace.Error{Column: "bandwidth_kbps", Why: "is missing or out of range"}
	case entry.Latency != nil && (*entry.Latency < 0 || *entry.Latency > float64(rttMax/time.Millisecond)):
		return row, 0, &trace.Error{Column: "latency_ms", Why: "is out of range"}
	}
	row.Link = d.link(int(math.Round(*entry.Bandwidth)))
	if entry.Latency != nil {
		row.RTT = time.Duration(*entry.Latency * float64(time.Millisecond)).Truncate(time.Microsecond)
	}
	return row, *entry.Duration, nil
}

// appendRow appends a row at a later time than the last.
func appendRow(rows []trace.NetworkRow, row trace.NetworkRow, name string) ([]trace.NetworkRow, error) {
	switch n := len(rows); {
	case n == rowsMax:
		return nil, &trace.Error{File: name, Why: fmt.Sprintf("more rows than the %d that a trace may have", rowsMax)}
	case row.At > millisMax*time.Millisecond:
		return nil, &trace.Error{File: name, Why: "longer than a year"}
	case n > 0 && row.At <= rows[n-1].At:
		return rows, nil // a fraction of a millisecond after the last
	}
	return append(rows, row), nil
}

// lines reads a text file line by line, without those that are empty.
type lines struct {
	scanner *bufio.Scanner
	name    string
	number  int
	text    string
}

func newLines(r io.Reader, name string) *lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, entryBytesMax), entryBytesMax)
	return &lines{scanner: s, name: name}
}

func (l *lines) next() bool {
	for l.scanner.Scan() {
		l.number++
		if l.text = strings.TrimSpace(l.scanner.Text()); l.text != "" {
			return true
		}
	}
	return false
}

func (l *lines) err() error {
	if err := l.scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		return &trace.Error{File: l.name, Line: l.number + 1, Why: fmt.Sprintf("longer than %d bytes", entryBytesMax)}
	} else if err != nil {
		return fmt.Errorf("%s:%d: %w", l.name, l.number+1, err)
	}
	return nil
}

func (l *lines) errorf(format string, args ...any) error {
	return &trace.Error{File: l.name, Line: l.number, Why: fmt.Sprintf(format, args...)}
}

// Pensieve reads lines of "seconds Mbit/s", the format of Pensieve's simulator.
func Pensieve(r io.Reader, name string, d Direction, o trace.Options) (rows []trace.NetworkRow, skipped int, err error) {
	r, already := ours(r)
	if already {
		return copyOurs(r, name, o)
	}
	in, first, last := newLines(r, name), math.NaN(), math.Inf(-1)
	for in.next() {
		at, mbps, err := pensieveLine(in)
		if err == nil && at <= last {
			err = in.errorf("%v s is not after the line before", at)
		}
		if err != nil {
			if o.SkipBad {
				skipped++
				continue
			}
			return nil, 0, err
		}
		if last = at; math.IsNaN(first) {
			first = at
		}
		row := trace.NetworkRow{At: time.Duration(math.Round((at-first)*1000)) * time.Millisecond, Link: d.link(int(math.Round(mbps * 1000)))}
		if rows, err = appendRow(rows, row, name); err != nil {
			return nil, 0, err
		}
	}
	if err := in.err(); err != nil {
		return nil, 0, err
	}
	if len(rows) == 0 {
		return nil, 0, &trace.Error{File: name, Why: "has no lines"}
	}
	return rows, skipped, nil
}

func pensieveLine(in *lines) (at, mbps float64, err error) {
	fields := strings.Fields(in.text)
	if len(fields) != 2 {
		return 0, 0, in.errorf(`not "seconds Mbit/s": %d numbers`, len(fields))
	}
	// Some collections begin with the Unix time.
	const secondsMax = 9e9
	at, err = trace.ParseFloat([]byte(fields[0]))
	if err != nil || at < 0 || at > secondsMax {
		return 0, 0, in.errorf("%.40q is not a number of seconds", fields[0])
	}
	mbps, err = trace.ParseFloat([]byte(fields[1]))
	if err != nil || mbps < 0 || mbps > kbpsMax/1000 {
		return 0, 0, in.errorf("%.40q is not a rate in Mbit/s", fields[1])
	}
	return at, mbps, nil
}

const (
	// mahimahiBin is over how long packets are counted: long enough for a rate,
	// short enough for a fade.
	mahimahiBin = 500 * time.Millisecond

	// mahimahiPacketBits is one delivery opportunity: 1,500 bytes.
	mahimahiPacketBits = 1500 * 8
)

// Mahimahi reads lines with the millisecond of one delivery opportunity each.
// Either direction may be nil; with both, the trace is as long as the shorter.
func Mahimahi(down, up io.Reader, name string, o trace.Options) (rows []trace.NetworkRow, skipped int, err error) {
	if down != nil && up == nil {
		r, already := ours(down)
		if already {
			return copyOurs(r, name, o)
		}
		down = r
	}
	var kbps [2][]int32
	length := math.MaxInt
	for i, r := range []io.Reader{down, up} {
		if r == nil {
			continue
		}
		bad := 0
		if kbps[i], bad, err = opportunities(r, name, o); err != nil {
			return nil, 0, err
		}
		skipped += bad
		length = min(length, len(kbps[i]))
	}
	if length == math.MaxInt {
		return nil, 0, errors.New("mahimahi: neither a downlink nor an uplink")
	}
	for bin := range length {
		row := trace.NetworkRow{At: time.Duration(bin) * mahimahiBin}
		row.Link = trace.Link{DownKbps: trace.Absent, UpKbps: trace.Absent, RTT: trace.Absent}
		if down != nil {
			row.DownKbps = int(kbps[Down][bin])
		}
		if up != nil {
			row.UpKbps = int(kbps[Up][bin])
		}
		rows = append(rows, row)
	}
	return rows, skipped, nil
}

// opportunities returns the rate of each whole bin. A trace that is shorter than
// a bin is one constant: mahimahi repeats it after its last line, so that a file
// that holds just "1" is 12 Mbit/s.
func opportunities(r io.Reader, name string, o trace.Options) (kbps []int32, skipped int, err error) {
	var counts []int32
	in, last := newLines(r, name), 0.0
	for in.next() {
		at, err := trace.ParseFloat([]byte(in.text))
		switch {
		case err != nil || at < 0 || at != math.Trunc(at):
			err = in.errorf("%.40q is not a number of milliseconds", in.text)
		case at < last:
			err = in.errorf("%.0f ms is before the line before", at)
		case at >= rowsMax*float64(mahimahiBin.Milliseconds()):
			return nil, 0, in.errorf("longer than the %v that a trace may have", rowsMax*mahimahiBin)
		}
		if err != nil {
			if o.SkipBad {
				skipped++
				continue
			}
			return nil, 0, err
		}
		last = at
		bin := int(at) / int(mahimahiBin.Milliseconds())
		for len(counts) <= bin {
			counts = append(counts, 0)
		}
		counts[bin] = min(counts[bin]+1, math.MaxInt32-1)
	}
	if err := in.err(); err != nil {
		return nil, 0, err
	}
	millis := float64(mahimahiBin.Milliseconds())
	switch {
	case len(counts) > 1:
		counts = counts[:len(counts)-1] // the last one is not whole
	case last > 0:
		millis = last
	default:
		return nil, 0, &trace.Error{File: name, Why: "has no line after 0 ms"}
	}
	for i, packets := range counts {
		counts[i] = int32(min(float64(packets)*mahimahiPacketBits/millis, kbpsMax))
	}
	return counts, skipped, nil
}
