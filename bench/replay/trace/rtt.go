package trace

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// placesMax bounds a matrix: 16 MiB, and lines that fit lineBytesMax.
const placesMax = 2048

// Matrix is the round-trip time between places, 4 bytes a pair.
type Matrix struct {
	labels  []string
	byName  map[string]int
	micros  []int32 // row by row; Absent: not measured
	median  int32
	skipped int
}

// ReadMatrix reads the CSV in r; name stands for it in errors. With a header,
// the first row has the places' labels after a first cell that may say anything,
// and each other row begins with a label, in the same order. Without one, every
// cell is a number, as the public matrices have it, and labels are the indices.
// An empty cell, and a zero off the diagonal, is "not measured"; so is all of a bad
// row that is skipped.
func ReadMatrix(r io.Reader, name string, o Options) (*Matrix, error) {
	t := NewTable(r, name)
	t.columns = placesMax + 1
	if err := t.Next(); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, &Error{File: name, Why: "is empty"}
		}
		return nil, err
	}
	m := &Matrix{byName: make(map[string]int)}
	_, err := ParseFloat(t.Cells[0])
	labelled := err != nil
	if labelled {
		if err := m.header(t); err != nil {
			return nil, err
		}
	} else {
		if len(t.Cells) > placesMax {
			return nil, t.Errorf("", "more than %d places", placesMax)
		}
		for i := range t.Cells {
			m.addLabel(fmt.Sprint(i))
		}
		if err := m.row(t, false, 0); err != nil && !m.skip(err, o) {
			return nil, err
		}
	}
	for {
		err := t.Next()
		if errors.Is(err, io.EOF) {
			if rows := m.rows(); rows != len(m.labels) {
				return nil, &Error{File: name, Why: fmt.Sprintf("%d rows for %d places", rows, len(m.labels))}
			}
			break
		}
		if err == nil {
			err = m.row(t, labelled, m.rows())
		}
		if err != nil && !m.skip(err, o) {
			return nil, err
		}
	}
	return m, m.finish(name)
}

// rows is how many were read.
func (m *Matrix) rows() int { return len(m.micros) / max(len(m.labels), 1) }

// skip passes over a bad row: what it should have said was not measured.
func (m *Matrix) skip(err error, o Options) bool {
	if bad := (*Error)(nil); !o.SkipBad || !errors.As(err, &bad) {
		return false
	}
	m.skipped++
	if row := m.rows(); row < len(m.labels) {
		m.micros = m.micros[:row*len(m.labels)]
		for range m.labels {
			m.micros = append(m.micros, Absent)
		}
	}
	return true
}

// Skipped counts the bad rows that were passed over.
func (m *Matrix) Skipped() int { return m.skipped }

func (m *Matrix) addLabel(label string) {
	m.byName[label] = len(m.labels)
	m.labels = append(m.labels, label)
}

func (m *Matrix) header(t *Table) error {
	for _, cell := range t.Cells[1:] {
		label := string(cell)
		if why := textProblem(label); why != "" {
			return t.Errorf("", "a label is %s", why)
		}
		if _, twice := m.byName[label]; twice || label == "" {
			return t.Errorf("", "label %s is empty or there twice", shown(cell))
		}
		m.addLabel(label)
	}
	if len(m.labels) == 0 {
		return t.Errorf("", "names no places")
	}
	return nil
}

func (m *Matrix) row(t *Table, labelled bool, row int) error {
	if row >= len(m.labels) {
		return t.Errorf("", "more rows than the %d places", len(m.labels))
	}
	cells := t.Cells
	if labelled {
		if string(cells[0]) != m.labels[row] {
			return t.Errorf("", "begins with %s, and not with the header's label %q", shown(cells[0]), m.labels[row])
		}
		cells = cells[1:]
	}
	if len(cells) != len(m.labels) {
		return t.Errorf("", "%d round trips for %d places", len(cells), len(m.labels))
	}
	for column, cell := range cells {
		micros := int32(Absent)
		if len(cell) > 0 {
			d, err := parseScaled(cell, time.Millisecond, rttMillisMax)
			if err != nil {
				return t.Errorf(m.labels[column], "%s %s", shown(cell), countProblem(err, countField{most: rttMillisMax, unit: "milliseconds"}))
			}
			if d > 0 {
				micros = int32(d / time.Microsecond)
			}
		}
		m.micros = append(m.micros, micros)
	}
	return nil
}

// finish fills what was not measured: from the other direction, then with the
// median. Two viewers in one place are as far apart as the place is from its
// nearest neighbour, unless the diagonal says more.
func (m *Matrix) finish(name string) error {
	n := len(m.labels)
	var measured []int32
	for i := range n {
		for j := range n {
			if v := m.micros[i*n+j]; i != j && v >= 0 {
				measured = append(measured, v)
			}
		}
	}
	if len(measured) == 0 {
		return &Error{File: name, Why: "has no round trip between two places"}
	}
	slices.Sort(measured)
	m.median = measured[len(measured)/2]
	for i := range n {
		for j := range n {
			if i != j && m.micros[i*n+j] < 0 {
				m.micros[i*n+j] = m.micros[j*n+i] // which may be Absent too
			}
		}
	}
	for i := range n {
		nearest := m.median
		for j := range n {
			if v := m.micros[i*n+j]; i != j && v >= 0 {
				nearest = min(nearest, v)
			}
		}
		if m.micros[i*n+i] < 0 {
			m.micros[i*n+i] = nearest
		}
	}
	for i, v := range m.micros {
		if v < 0 {
			m.micros[i] = m.median
		}
	}
	return nil
}

// Len is the number of places.
func (m *Matrix) Len() int { return len(m.labels) }

// Labels are the places' labels. Do not modify them.
func (m *Matrix) Labels() []string { return m.labels }

// Place returns the index of the place with this label (an ISP, region or country).
func (m *Matrix) Place(label string) (int, bool) {
	i, ok := m.byName[label]
	return i, ok
}

// RTT returns the round-trip time from place i to place j. One that was not
// measured is that of the other direction, or the median of the matrix.
func (m *Matrix) RTT(i, j int) time.Duration {
	return time.Duration(m.micros[i*len(m.labels)+j]) * time.Microsecond
}

// WriteMatrix writes labels and round trips so that ReadMatrix reads them; rtt
// is asked for each pair, Absent is "not measured".
func WriteMatrix(w io.Writer, labels []string, rtt func(i, j int) time.Duration) error {
	b := []byte("place")
	for _, label := range labels {
		if why := textProblem(label); why != "" || label == "" || strings.TrimSpace(label) != label {
			return fmt.Errorf("RTT matrix: label %s cannot be written", shown([]byte(label)))
		}
		b = appendCell(append(b, ','), label)
	}
	b = append(b, '\n')
	for i, label := range labels {
		b = appendCell(b, label)
		for j := range labels {
			b = append(b, ',')
			if d := rtt(i, j); d > 0 {
				b = appendScaled(b, d.Truncate(time.Microsecond), time.Millisecond)
			}
		}
		b = append(b, '\n')
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	return nil
}
