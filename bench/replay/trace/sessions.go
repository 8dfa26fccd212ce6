package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Columns of a sessions file, in the order in which they are written.
const (
	ColSession = iota
	ColStart
	ColTitle
	ColWatch
	ColKind
	ColTrack
	ColBitrate
	ColTitleLength
	ColPosition
	ColISP
	ColRegion
	ColNAT
	ColPlatform
	ColDown
	ColUp
	ColRTT
	ColNetwork
	ColLinger
	ColCache
	ColUploads
	ColSeeks
	columnCount

	requiredColumns = ColWatch + 1
)

var sessionColumns = []string{
	"session", "start_s", "title", "watch_s", "kind", "track", "bitrate_kbps", "title_s", "position_s", "isp",
	"region", "nat", "platform", "down_kbps", "up_kbps", "rtt_ms", "network", "linger_s", "cache_mb", "uploads",
	"seeks",
}

// SessionReader reads sessions one by one, in the order of the file. It holds
// one row at a time.
type SessionReader struct {
	table   *Table
	options Options
	columns []int // of the file, as indices of sessionColumns; -1: not ours
	skipped int
	failed  error
}

// ReadSessions returns a reader of the CSV in r; name stands for it in errors.
func ReadSessions(r io.Reader, name string, o Options) *SessionReader {
	return &SessionReader{table: NewTable(r, name), options: o}
}

// Skipped counts the bad rows that were passed over.
func (r *SessionReader) Skipped() int { return r.skipped }

// Next returns the next session, or io.EOF after the last one. A bad row is an
// *Error; after it, and after any other error, there is no next session.
func (r *SessionReader) Next() (Session, error) {
	if r.failed != nil {
		return Session{}, r.failed
	}
	if r.columns == nil {
		columns, unknown, err := r.table.Header(sessionColumns, requiredColumns)
		if err != nil {
			r.failed = err
			return Session{}, err
		}
		r.columns = columns
		r.options.noticeUnknown(r.table.name, unknown)
	}
	for {
		s, err := r.row()
		if err == nil {
			return s, nil
		}
		if bad := (*Error)(nil); r.options.SkipBad && errors.As(err, &bad) {
			r.skipped++
			continue
		}
		r.failed = err
		return Session{}, err
	}
}

func (r *SessionReader) row() (Session, error) {
	if err := r.table.Next(); err != nil {
		return Session{}, err
	}
	if got, want := len(r.table.Cells), len(r.columns); got != want {
		return Session{}, r.table.Errorf("", "%d cells, the header has %d", got, want)
	}
	s := NewSession("", 0, "", 0)
	for i, cell := range r.table.Cells {
		column := r.columns[i]
		if column < 0 {
			continue
		}
		if len(cell) == 0 {
			if column < requiredColumns {
				return s, r.table.Errorf(sessionColumns[column], "is empty")
			}
			continue
		}
		if why := s.set(column, cell); why != "" {
			return s, r.table.Errorf(sessionColumns[column], "%s %s", shown(cell), why)
		}
	}
	return s, nil
}

// set takes a cell and says what is wrong with it, or nothing.
func (s *Session) set(column int, cell []byte) string {
	switch column {
	case ColSession, ColTitle, ColTrack, ColISP, ColRegion, ColPlatform, ColNetwork:
		text := string(cell)
		if why := textProblem(text); why != "" {
			return "is " + why
		}
		*s.text(column) = text
	case ColKind:
		return s.setKind(string(cell))
	case ColNAT:
		return s.setNAT(string(cell))
	case ColUploads:
		return s.setUploads(string(cell))
	case ColSeeks:
		return s.setSeeks(cell)
	case ColStart, ColWatch, ColTitleLength, ColPosition, ColLinger, ColRTT:
		f := s.duration(column)
		d, err := parseScaled(cell, f.unit, f.most)
		if err != nil {
			return durationProblem(err, f)
		}
		*f.value = d
	case ColBitrate, ColDown, ColUp, ColCache:
		f := s.count(column)
		n, err := parseCount(cell, f.least, f.most)
		if err != nil {
			return countProblem(err, f)
		}
		*f.value = n
	}
	return ""
}

func (s *Session) text(column int) *string {
	switch column {
	case ColSession:
		return &s.ID
	case ColTitle:
		return &s.Title
	case ColTrack:
		return &s.Track
	case ColISP:
		return &s.ISP
	case ColRegion:
		return &s.Region
	case ColPlatform:
		return &s.Platform
	case ColNetwork:
		return &s.Network
	default:
		panic(fmt.Sprintf("BUG: column %d is not text", column))
	}
}

// durationField is a column that becomes a time.Duration.
type durationField struct {
	value *time.Duration
	unit  time.Duration
	most  int64 // in units
}

func (s *Session) duration(column int) durationField {
	switch column {
	case ColStart:
		return durationField{&s.Start, time.Second, secondsMax}
	case ColWatch:
		return durationField{&s.Watch, time.Second, watchSecondsMax}
	case ColTitleLength:
		return durationField{&s.TitleLength, time.Second, watchSecondsMax}
	case ColPosition:
		return durationField{&s.Position, time.Second, watchSecondsMax}
	case ColLinger:
		return durationField{&s.Linger, time.Second, watchSecondsMax}
	case ColRTT:
		return durationField{&s.RTT, time.Millisecond, rttMillisMax}
	default:
		panic(fmt.Sprintf("BUG: column %d is not a time", column))
	}
}

func durationProblem(err error, f durationField) string {
	unit := "seconds"
	if f.unit == time.Millisecond {
		unit = "milliseconds"
	}
	if errors.Is(err, errRange) {
		return fmt.Sprintf("is out of range: 0 to %d %s", f.most, unit)
	}
	return "is not a number of " + unit
}

// countField is a column that becomes a whole number.
type countField struct {
	value       *int
	least, most int64
	unit        string
}

func (s *Session) count(column int) countField {
	switch column {
	case ColBitrate:
		return countField{&s.BitrateKbps, 1, kbpsMax, "kbit/s"}
	case ColDown:
		return countField{&s.DownKbps, 1, kbpsMax, "kbit/s"}
	case ColUp:
		return countField{&s.UpKbps, 0, kbpsMax, "kbit/s"}
	case ColCache:
		return countField{&s.CacheMB, 0, cacheMBMax, "MB"}
	default:
		panic(fmt.Sprintf("BUG: column %d is not a count", column))
	}
}

func countProblem(err error, f countField) string {
	if errors.Is(err, errRange) {
		return fmt.Sprintf("is out of range: %d to %d %s; leave a cell empty where it is not known", f.least, f.most, f.unit)
	}
	return "is not a number of " + f.unit
}

func (s *Session) setKind(cell string) string {
	switch strings.ToLower(cell) {
	case "vod":
		s.Kind = VOD
	case "live":
		s.Kind = Live
	default:
		return "is neither vod nor live"
	}
	return ""
}

func (s *Session) setUploads(cell string) string {
	switch strings.ToLower(cell) {
	case "yes":
		s.Uploads = UploadsYes
	case "no":
		s.Uploads = UploadsNo
	default:
		return "is neither yes nor no"
	}
	return ""
}

func (s *Session) setNAT(cell string) string {
	s.NAT = strings.ToLower(cell)
	if !slices.Contains(natTypes, s.NAT) {
		return "is none of " + strings.Join(natTypes, ", ")
	}
	return ""
}

// SeeksMax bounds the jumps of a session.
const SeeksMax = 64

// setSeeks takes jumps as they are written: 30>600 45.5>20 is one after 30 s of the
// session to 600 s of the title, and another to 20 s.
func (s *Session) setSeeks(cell []byte) string {
	s.Seeks = nil
	for _, jump := range bytes.Fields(cell) {
		at, to, ok := bytes.Cut(jump, []byte(">"))
		if !ok {
			return "has a jump without a >: 30>600 is one after 30 s to 600 s of the title"
		}
		if len(s.Seeks) == SeeksMax {
			return fmt.Sprintf("has more than %d jumps", SeeksMax)
		}
		var seek Seek
		for _, f := range []struct {
			cell []byte
			durationField
		}{{at, durationField{&seek.At, time.Second, watchSecondsMax}}, {to, durationField{&seek.To, time.Second, watchSecondsMax}}} {
			d, err := parseScaled(f.cell, f.unit, f.most)
			if err != nil {
				return "has a jump of which " + shown(f.cell) + " " + durationProblem(err, f.durationField)
			}
			*f.value = d
		}
		if n := len(s.Seeks); n > 0 && seek.At < s.Seeks[n-1].At {
			return "has a jump that is earlier than the one before it"
		}
		s.Seeks = append(s.Seeks, seek)
	}
	return ""
}

func (s *Session) appendSeeks(b []byte) []byte {
	for i, seek := range s.Seeks {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendScaled(b, seek.At, time.Second)
		b = append(b, '>')
		b = appendScaled(b, seek.To, time.Second)
	}
	return b
}

// SessionWriter writes sessions that ReadSessions reads. It buffers nothing.
type SessionWriter struct {
	w       io.Writer
	columns []int
	line    []byte
	started bool
}

// WriteSessions returns a writer of the given columns beside the required ones;
// of all columns where none are given.
func WriteSessions(w io.Writer, columns ...int) *SessionWriter {
	out := &SessionWriter{w: w}
	for column := range columnCount {
		if column < requiredColumns || len(columns) == 0 || slices.Contains(columns, column) {
			out.columns = append(out.columns, column)
		}
	}
	return out
}

// Write writes one session, and the header before the first one. A session that
// no reader would take is an error and is not written.
func (w *SessionWriter) Write(s Session) error {
	if err := w.Start(); err != nil {
		return err
	}
	w.line = w.line[:0]
	for i, column := range w.columns {
		if i > 0 {
			w.line = append(w.line, ',')
		}
		from := len(w.line)
		w.line = s.appendTo(w.line, column)
		cell := w.line[from:]
		if len(cell) == 0 {
			if column < requiredColumns {
				return fmt.Errorf("session %q: %s is not known", s.ID, sessionColumns[column])
			}
			continue
		}
		if why := s.problem(column, cell); why != "" {
			return fmt.Errorf("session %q: %s: %s %s", s.ID, sessionColumns[column], shown(cell), why)
		}
	}
	w.line = append(w.line, '\n')
	_, err := w.w.Write(w.line)
	return err
}

// problem checks what is about to be written as a reader would.
func (s *Session) problem(column int, cell []byte) string {
	var scratch Session
	switch column {
	case ColSession, ColTitle, ColTrack, ColISP, ColRegion, ColPlatform, ColNetwork:
		cell = []byte(*s.text(column)) // as it is without its quotes
	}
	return scratch.set(column, cell)
}

// Start writes the header, if it is not written yet: a file without sessions
// has one too.
func (w *SessionWriter) Start() error {
	if w.started {
		return nil
	}
	names := make([]string, len(w.columns))
	for i, column := range w.columns {
		names[i] = sessionColumns[column]
	}
	w.started = true
	_, err := io.WriteString(w.w, strings.Join(names, ",")+"\n")
	return err
}

func (s *Session) appendTo(b []byte, column int) []byte {
	switch column {
	case ColSession, ColTitle, ColTrack, ColISP, ColRegion, ColPlatform, ColNetwork:
		return appendCell(b, *s.text(column))
	case ColKind:
		return append(b, s.Kind.String()...)
	case ColNAT:
		return append(b, s.NAT...)
	case ColUploads:
		return append(b, s.Uploads.String()...)
	case ColSeeks:
		return s.appendSeeks(b)
	case ColStart, ColWatch, ColTitleLength, ColPosition, ColLinger, ColRTT:
		f := s.duration(column)
		if *f.value < 0 {
			return b
		}
		return appendScaled(b, *f.value, f.unit)
	default:
		n := *s.count(column).value
		if n < 0 {
			return b
		}
		return fmt.Appendf(b, "%d", n)
	}
}

// Check says what a reader would not accept in a session, whatever its columns.
func (s Session) Check() error { return WriteSessions(io.Discard).Write(s) }
