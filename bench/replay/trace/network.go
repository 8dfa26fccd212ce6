package trace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

const (
	// networkRowsMax bounds one trace: twelve days at a row a second, 24 MiB.
	networkRowsMax = 1 << 20

	// folderRowsMax and folderFilesMax bound a folder of traces: 96 MiB of rows.
	folderRowsMax  = 4 << 20
	folderFilesMax = 4096

	// traceMillisMax is the last time in a trace: a year.
	traceMillisMax = 366 * 86400 * 1000
)

// Forever is the time of a change that never comes.
const Forever = time.Duration(math.MaxInt64)

// Link is what a network trace says of one moment. Absent: not measured.
type Link struct {
	DownKbps, UpKbps int
	RTT              time.Duration
}

// NetworkRow is a Link and when it began.
type NetworkRow struct {
	At time.Duration
	Link
}

var networkColumns = []string{"t_ms", "down_kbps", "up_kbps", "rtt_ms"}

// Network is a recorded access link. Times in it count from its first row; it
// repeats after its last one, which lasts as long as the median row.
type Network struct {
	rows    []networkRow
	period  time.Duration // 0: one row, a constant
	skipped int
}

// networkRow is a row in 24 bytes. rtt is in microseconds; below zero: Absent.
type networkRow struct {
	at            time.Duration
	down, up, rtt int32
}

func (r networkRow) link() Link {
	l := Link{DownKbps: int(r.down), UpKbps: int(r.up), RTT: Absent}
	if r.rtt >= 0 {
		l.RTT = time.Duration(r.rtt) * time.Microsecond
	}
	return l
}

// ReadNetwork reads the CSV in r; name stands for it in errors.
func ReadNetwork(r io.Reader, name string, o Options) (*Network, error) {
	return readNetwork(NewTable(r, name), networkRowsMax, o)
}

// errNotNetwork: the header has no t_ms, so the file is something else.
var errNotNetwork = errors.New("not a network trace")

func readNetwork(t *Table, rowsMax int, o Options) (*Network, error) {
	columns, unknown, err := t.Header(networkColumns, 1)
	if bad := (*Error)(nil); errors.As(err, &bad) && bad.Column == networkColumns[0] {
		return nil, fmt.Errorf("%w: %w", err, errNotNetwork)
	}
	if err != nil {
		return nil, err
	}
	o.noticeUnknown(t.name, unknown)
	n := &Network{}
	for {
		row, err := networkCells(t, columns, n.rows)
		if bad := (*Error)(nil); o.SkipBad && errors.As(err, &bad) {
			n.skipped++
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(n.rows) == rowsMax {
			return nil, &Error{File: t.name, Line: t.line, Why: fmt.Sprintf("more rows than the %d that a trace may have; make its steps longer", rowsMax)}
		}
		n.rows = append(n.rows, row)
	}
	if len(n.rows) == 0 {
		return n, &Error{File: t.name, Why: "has no rows"}
	}
	n.finish()
	return n, nil
}

// finish moves the first row to zero and finds the period.
func (n *Network) finish() {
	n.rows = slices.Clip(n.rows)
	first := n.rows[0].at
	for i := range n.rows {
		n.rows[i].at -= first
	}
	if len(n.rows) == 1 {
		return
	}
	steps := make([]time.Duration, len(n.rows)-1)
	for i := range steps {
		steps[i] = n.rows[i+1].at - n.rows[i].at
	}
	slices.Sort(steps)
	n.period = n.rows[len(n.rows)-1].at + steps[len(steps)/2]
}

func networkCells(t *Table, columns []int, before []networkRow) (networkRow, error) {
	row := networkRow{down: Absent, up: Absent, rtt: Absent}
	if err := t.Next(); err != nil {
		return row, err
	}
	if got, want := len(t.Cells), len(columns); got != want {
		return row, t.Errorf("", "%d cells, the header has %d", got, want)
	}
	for i, cell := range t.Cells {
		column := columns[i]
		if column < 0 || len(cell) == 0 && column > 0 {
			continue
		}
		var err error
		f := countField{least: 0, most: kbpsMax, unit: "kbit/s"}
		switch column {
		case 0:
			f.unit, f.most = "milliseconds", traceMillisMax
			row.at, err = parseScaled(cell, time.Millisecond, f.most)
			if n := len(before); err == nil && n > 0 && row.at <= before[n-1].at {
				return row, t.Errorf(networkColumns[column], "%s is not after the row before", shown(cell))
			}
		case 3:
			f.unit, f.most = "milliseconds", rttMillisMax
			var d time.Duration
			d, err = parseScaled(cell, time.Millisecond, f.most)
			row.rtt = int32(d / time.Microsecond)
		default:
			var n int
			n, err = parseCount(cell, f.least, f.most)
			if column == 1 {
				row.down = int32(n)
			} else {
				row.up = int32(n)
			}
		}
		if err != nil {
			return row, t.Errorf(networkColumns[column], "%s %s", shown(cell), countProblem(err, f))
		}
	}
	return row, nil
}

// At returns the link at time t since the trace's beginning, for any t ≥ 0.
func (n *Network) At(t time.Duration) Link {
	i, _ := n.find(t)
	return n.rows[i].link()
}

// Until returns when the value at t ends: a time after t, or Forever.
func (n *Network) Until(t time.Duration) time.Duration {
	if n.period == 0 {
		return Forever
	}
	i, begin := n.find(t)
	end := n.period
	if i+1 < len(n.rows) {
		end = n.rows[i+1].at
	}
	return begin + end
}

// Period is how long the trace lasts before it repeats; 0 for a constant.
func (n *Network) Period() time.Duration { return n.period }

// Len is the number of rows.
func (n *Network) Len() int { return len(n.rows) }

// Row returns row i.
func (n *Network) Row(i int) NetworkRow { return NetworkRow{At: n.rows[i].at, Link: n.rows[i].link()} }

// Skipped counts the bad rows that were passed over.
func (n *Network) Skipped() int { return n.skipped }

// find returns the row that holds at t, and when its repetition began.
func (n *Network) find(t time.Duration) (i int, begin time.Duration) {
	t = max(t, 0)
	if n.period == 0 {
		return 0, 0
	}
	inside := t % n.period
	i = sort.Search(len(n.rows), func(i int) bool { return n.rows[i].at > inside }) - 1
	return i, t - inside
}

// NetworkWriter writes network traces that ReadNetwork reads. It buffers nothing.
type NetworkWriter struct {
	w       io.Writer
	line    []byte
	last    time.Duration
	started bool
}

// WriteNetwork returns a writer.
func WriteNetwork(w io.Writer) *NetworkWriter { return &NetworkWriter{w: w, last: -1} }

// Write writes one row. Rows come in the order of their times; times have whole
// milliseconds, and round trips whole microseconds.
func (w *NetworkWriter) Write(row NetworkRow) error {
	at := row.At.Truncate(time.Millisecond)
	switch {
	case at <= w.last:
		return fmt.Errorf("network trace: row at %v is not after the one at %v", at, w.last)
	case row.DownKbps > kbpsMax, row.UpKbps > kbpsMax, row.RTT > rttMillisMax*time.Millisecond, at > traceMillisMax*time.Millisecond:
		return fmt.Errorf("network trace: row at %v is out of range", at)
	}
	if err := w.Start(); err != nil {
		return err
	}
	b := appendScaled(w.line[:0], at, time.Millisecond)
	for _, kbps := range []int{row.DownKbps, row.UpKbps} {
		b = append(b, ',')
		if kbps >= 0 {
			b = fmt.Appendf(b, "%d", kbps)
		}
	}
	b = append(b, ',')
	if row.RTT >= 0 {
		b = appendScaled(b, row.RTT.Truncate(time.Microsecond), time.Millisecond)
	}
	w.line, w.last = append(b, '\n'), at
	_, err := w.w.Write(w.line)
	return err
}

// Start writes the header, if it is not written yet.
func (w *NetworkWriter) Start() error {
	if w.started {
		return nil
	}
	w.started = true
	_, err := io.WriteString(w.w, strings.Join(networkColumns, ",")+"\n")
	return err
}

// Networks are the traces of a folder by name.
type Networks struct {
	byName  map[string]*Network
	names   []string // sorted
	skipped int
}

// OpenNetworks reads every .csv and .csv.gz in a folder and the folders in it,
// or the one file that path names. Links to files are followed, and path itself may
// be one. Files without a t_ms column are passed over.
func OpenNetworks(path string, o Options) (*Networks, error) {
	all := &Networks{byName: make(map[string]*Network)}
	rows := 0
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Clean(path) + string(filepath.Separator) // walks the folder behind a link, by the link's name
	}
	err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, isTrace := NetworkName(file)
		if !isTrace && file != path || !isFile(file, entry) {
			return nil
		}
		if rel, err := filepath.Rel(path, name); err == nil && file != path {
			name = filepath.ToSlash(rel)
		} else {
			name = filepath.Base(name)
		}
		n, err := openNetwork(file, min(networkRowsMax, folderRowsMax-rows), o)
		if errors.Is(err, errNotNetwork) && file != path {
			if o.Notice != nil {
				o.Notice(file + ": not a network trace (it has no column t_ms), not read")
			}
			return nil
		}
		if n != nil && len(n.rows) == 0 && n.skipped > 0 && file != path {
			all.skipped += n.skipped
			if o.Notice != nil {
				o.Notice(fmt.Sprintf("%s: none of its %d rows could be read, not used", file, n.skipped))
			}
			return nil
		}
		if err != nil {
			return err
		}
		if all.byName[name] != nil {
			return fmt.Errorf("%s: there is another trace named %s", file, name)
		}
		if len(all.names) == folderFilesMax {
			return fmt.Errorf("%s: more than %d network traces", path, folderFilesMax)
		}
		rows += len(n.rows)
		all.byName[name] = n
		all.names = append(all.names, name)
		all.skipped += n.skipped
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(all.names) == 0 {
		return nil, fmt.Errorf("%s: no network traces (.csv or .csv.gz with a column t_ms)", path)
	}
	slices.Sort(all.names)
	return all, nil
}

// isFile tells whether there is a file to read, perhaps through a link.
func isFile(name string, entry fs.DirEntry) bool {
	if entry.Type()&fs.ModeSymlink == 0 {
		return entry.Type().IsRegular()
	}
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func openNetwork(path string, rowsMax int, o Options) (n *Network, err error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readNetwork(NewTable(f, path), rowsMax, o)
}

// NetworkName is a file's name without .csv or .csv.gz, and whether it had one.
func NetworkName(file string) (name string, ok bool) {
	for _, ext := range []string{".csv.gz", ".csv"} {
		if name, ok := strings.CutSuffix(file, ext); ok {
			return name, true
		}
	}
	return file, false
}

// Lookup returns the trace with the name that a session's network column has.
func (n *Networks) Lookup(name string) (*Network, bool) {
	found, ok := n.byName[name]
	return found, ok
}

// Names are the traces' names, sorted.
func (n *Networks) Names() []string { return n.names }

// Skipped counts the bad rows of all files.
func (n *Networks) Skipped() int { return n.skipped }
