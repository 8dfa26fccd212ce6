// Package convert turns public trace formats into those of package trace. What
// it takes from each source, what it infers and what it leaves out stands in
// docs/replay.md.
//
// Functions read a whole input and either stream what they make or hold it
// within a named limit. They open no files, start no goroutine and have no
// state; the caller's reader and writer are all they touch.
package convert

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"shoal/bench/replay/trace"
)

// records are the rows of a CSV file with named columns.
type records struct {
	table    *trace.Table
	position []int // of each known column; -1: not in the file
	width    int
	options  trace.Options
	skipped  int
}

func newRecords(r io.Reader, name string, known []string, required int, o trace.Options) (*records, error) {
	rec := &records{table: trace.NewTable(r, name), options: o, position: make([]int, len(known))}
	columns, _, err := rec.table.Header(known, required) // what else is there is theirs, and not news
	if err != nil {
		return nil, err
	}
	for i := range rec.position {
		rec.position[i] = -1
	}
	for at, column := range columns {
		if column >= 0 {
			rec.position[column] = at
		}
	}
	rec.width = len(columns)
	return rec, nil
}

// each calls row for every line. With SkipBad, lines that are bad or for which
// row fails with a *trace.Error are counted.
func (rec *records) each(row func() error) error {
	for {
		err := rec.table.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && len(rec.table.Cells) != rec.width {
			err = rec.table.Errorf("", "%d cells, the header has %d", len(rec.table.Cells), rec.width)
		}
		if err == nil {
			err = row()
		}
		if bad := (*trace.Error)(nil); rec.options.SkipBad && errors.As(err, &bad) {
			rec.skipped++
			continue
		}
		if err != nil {
			return err
		}
	}
}

// text is a cell as text; empty when the file has no such column.
func (rec *records) text(column int) string {
	at := rec.position[column]
	if at < 0 {
		return ""
	}
	return string(rec.table.Cells[at])
}

// number is a cell as a number from least to most.
func (rec *records) number(column int, name string, least, most float64) (float64, error) {
	cell := rec.text(column)
	v, err := trace.ParseFloat([]byte(cell))
	if err != nil || v < least || v > most {
		if len(cell) > 40 {
			cell = cell[:40]
		}
		return 0, rec.table.Errorf(name, "%q is not a number from %s to %s", cell, short(least), short(most))
	}
	return v, nil
}

func short(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.3f", v), ".000") }
