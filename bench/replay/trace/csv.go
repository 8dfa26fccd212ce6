package trace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	// lineBytesMax bounds a line of CSV: every column at its longest, quoted,
	// is half of it.
	lineBytesMax = 64 << 10

	// fieldBytesMax bounds a text cell. Names of titles and of network traces
	// are paths; 256 bytes is what file systems allow for a name.
	fieldBytesMax = 256

	// columnsMax bounds the columns of a table; ours has 20, and the widest
	// public table that we import 103.
	columnsMax = 256

	// shownMax bounds how much of a bad cell an error repeats.
	shownMax = 40
)

// Error says where an input is bad, and why.
type Error struct {
	File   string
	Line   int    // from 1; 0: the file as a whole
	Column string // empty: the line as a whole
	Why    string
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Column != "" {
		fmt.Fprintf(&b, ": column %s", e.Column)
	}
	return b.String() + ": " + e.Why
}

// Options are what readers have in common. The zero value reports the first bad
// row as an error and keeps notices to itself.
type Options struct {
	SkipBad bool         // count rows that cannot be read and go on
	Notice  func(string) // told at most once per file, about what is ignored
}

// Table reads CSV line by line (RFC 4180, with two restrictions: a quoted cell
// ends on its line, so that after a bad line the next one is found for sure, and
// lines have a limit). A byte order mark and empty lines are passed over.
type Table struct {
	r       *bufio.Reader
	name    string
	line    int
	columns int    // bound
	quote   []byte // of unquoted cells

	// Cells are those of the last line; they share its memory, and are valid
	// until the next one is read.
	Cells [][]byte
}

// NewTable returns a Table of the CSV in r; name stands for it in errors.
func NewTable(r io.Reader, name string) *Table {
	return &Table{r: bufio.NewReaderSize(r, lineBytesMax), name: name, columns: columnsMax}
}

// Errorf is an error in the last line; column may be empty.
func (t *Table) Errorf(column, format string, args ...any) *Error {
	return &Error{File: t.name, Line: t.line, Column: column, Why: fmt.Sprintf(format, args...)}
}

// Next reads the next line that is not empty. It returns io.EOF at the end, an
// *Error for a line that is bad (the one after it may be good), and any other
// error when nothing more can be read.
func (t *Table) Next() error {
	for {
		line, err := t.r.ReadSlice('\n')
		if len(line) == 0 && err == io.EOF {
			return io.EOF
		}
		t.line++
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if err := t.skipLine(); err != nil {
				return err
			}
			return t.Errorf("", "longer than %d bytes", lineBytesMax)
		case err != nil && err != io.EOF:
			return fmt.Errorf("%s:%d: %w", t.name, t.line, err)
		}
		if t.line == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) > 0 {
			return t.split(line)
		}
	}
}

// skipLine discards the rest of a line.
func (t *Table) skipLine() error {
	for {
		_, err := t.r.ReadSlice('\n')
		switch {
		case err == nil, err == io.EOF:
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("%s:%d: %w", t.name, t.line, err)
		}
	}
}

// split cuts a line into cells.
func (t *Table) split(line []byte) error {
	t.Cells, t.quote = t.Cells[:0], t.quote[:0]
	for {
		if len(t.Cells) == t.columns {
			return t.Errorf("", "more than %d columns", t.columns)
		}
		if len(line) == 0 || line[0] != '"' {
			cell, rest, more := bytes.Cut(line, []byte{','})
			if bytes.IndexByte(cell, '"') >= 0 {
				return t.Errorf("", `a quote inside an unquoted cell: %s`, shown(cell))
			}
			t.Cells = append(t.Cells, bytes.TrimSpace(cell))
			if !more {
				return nil
			}
			line = rest
			continue
		}
		cell, rest, ok := t.unquote(line[1:])
		if !ok {
			return t.Errorf("", "a quoted cell does not end on its line: %s", shown(line))
		}
		t.Cells = append(t.Cells, cell)
		if len(rest) == 0 {
			return nil
		}
		if rest[0] != ',' {
			return t.Errorf("", "text after a quoted cell: %s", shown(rest))
		}
		line = rest[1:]
	}
}

// unquote returns the cell up to its closing quote, and what follows that.
func (t *Table) unquote(in []byte) (cell, rest []byte, ok bool) {
	from := len(t.quote)
	for {
		i := bytes.IndexByte(in, '"')
		if i < 0 {
			return nil, nil, false
		}
		t.quote = append(t.quote, in[:i]...)
		in = in[i+1:]
		if len(in) == 0 || in[0] != '"' {
			// Growing t.quote later leaves this cell's memory as it is.
			return t.quote[from:len(t.quote):len(t.quote)], in, true
		}
		t.quote = append(t.quote, '"')
		in = in[1:]
	}
}

// Header reads the first line and returns, for each of its columns, the index
// in known of its name, or -1. Names are compared without regard to case.
func (t *Table) Header(known []string, required int) (columns []int, unknown []string, err error) {
	if err := t.Next(); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil, &Error{File: t.name, Why: "is empty: the first line names the columns (" + strings.Join(known[:required], ",") + " …)"}
		}
		return nil, nil, err
	}
	seen := make([]bool, len(known))
	for _, cell := range t.Cells {
		at := -1
		for i, name := range known {
			if strings.EqualFold(string(cell), name) {
				at = i
			}
		}
		switch {
		case at < 0:
			unknown = append(unknown, shown(cell))
		case seen[at]:
			return nil, nil, t.Errorf(known[at], "is there twice")
		default:
			seen[at] = true
		}
		columns = append(columns, at)
	}
	for i := range required {
		if !seen[i] {
			return nil, nil, t.Errorf(known[i], "is missing from the header")
		}
	}
	return columns, unknown, nil
}

// noticeUnknown says once which columns are not read.
func (o Options) noticeUnknown(name string, unknown []string) {
	if len(unknown) == 0 || o.Notice == nil {
		return
	}
	const most = 8
	tail := ""
	if len(unknown) > most {
		tail = fmt.Sprintf(" and %d more", len(unknown)-most)
		unknown = unknown[:most]
	}
	o.Notice(fmt.Sprintf("%s: columns that are not read: %s%s", name, strings.Join(unknown, ", "), tail))
}

// shown is a bad cell as an error repeats it.
func shown(cell []byte) string {
	tail := ""
	if len(cell) > shownMax {
		cell = cell[:shownMax]
		for len(cell) > 0 && !utf8.Valid(cell) { // cut inside a character, or never text
			cell = cell[:len(cell)-1]
		}
		tail = "…"
	}
	return fmt.Sprintf("%q%s", cell, tail)
}

// textProblem says why a cell cannot stand as text, or nothing.
func textProblem(s string) string {
	switch {
	case len(s) > fieldBytesMax:
		return fmt.Sprintf("longer than %d bytes", fieldBytesMax)
	case !utf8.ValidString(s):
		return "not UTF-8 text"
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return "a control character in it"
		}
	}
	return ""
}

// appendCell appends a text cell, quoted where it must be.
func appendCell(b []byte, s string) []byte {
	if !strings.ContainsAny(s, `",`) && s == strings.TrimSpace(s) {
		return append(b, s...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(s, `"`, `""`)...)
	return append(b, '"')
}
