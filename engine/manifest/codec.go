package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"
	"unicode/utf8"

	"shoal/internal/wire"
)

// Limits of the format. Each bounds what a hostile manifest can make a reader hold.
const (
	// MaxFileBytes is 2^40: a piece number has 24 bits on the wire, a piece 16.
	MaxFileBytes = 1 << 40
	// MaxTime is what 32 bits of milliseconds, the wire's media time, can say: 49 days.
	MaxTime = (1 << 32) * time.Millisecond
	// MaxSegments holds 36 hours of 2 s segments in one file.
	MaxSegments = 1 << 16
	// MaxTracks is far beyond any ladder times any list of languages.
	MaxTracks = 256

	// GroupPieces is the number of piece hashes that are read and exchanged together.
	GroupPieces = 1024

	maxPathBytes      = 1024
	maxNameBytes      = 255
	maxPages          = 16384     // 10 days of pages of 56 s
	maxPageRecords    = 4096      // pages aim at 12 KiB, some 250 records
	maxBuckets        = 4096      // × 512 paths: two million files before buckets grow
	maxHeaderPayload  = 512 << 10 // maxPages × 17 bytes and maxTracks × 780
	maxFramePayload   = 1 << 20   // one record of MaxSegments whose times are all irregular
	pieceBytes        = wire.PieceBytes
	firstPageBytes    = 4 << 10 // with its header it fits into Open's one read
	pageBytes         = 12 << 10
	bucketPaths       = 512
	openReadBytes     = 8 << 10
	hashReadAhead     = 8 << 10 // a dozen 2 s segments: a viewer who goes on needs them anyway
	maxTimeMicros     = int64(MaxTime / time.Microsecond)
	hashBytes         = 32
	groupHashesBytes  = GroupPieces * hashBytes
	minRecordBytes    = 1 + 1 + 2 + 1 + 32 + 1 + 1 + 1
	minPageEntryBytes = 5
	minTrackBytes     = 6
)

// FormatError says which part of a manifest is wrong. Whatever else Open and the reading methods return is the Source's
// error, and may be retried.
type FormatError struct {
	Where string // frame and field
	What  string
}

// Error names the file and the field.
func (e *FormatError) Error() string { return FileName + ": " + e.Where + ": " + e.What }

// errShort is what a decoder returns when the bytes end inside a field.
var errShort = errors.New("ends early")

// decoder walks a payload. The first failure sticks; where tells what was being read.
type decoder struct {
	b     []byte
	where string
	err   *FormatError
}

func (d *decoder) fail(field, format string, args ...any) {
	if d.err == nil {
		d.err = &FormatError{Where: d.where + ": " + field, What: fmt.Sprintf(format, args...)}
		d.b = nil
	}
}

func (d *decoder) bytes(field string, n int) []byte {
	if d.err != nil || n > len(d.b) {
		d.fail(field, "%v", errShort)
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u8(field string) byte {
	if p := d.bytes(field, 1); p != nil {
		return p[0]
	}
	return 0
}

// uvarint reads a number of at most limit.
func (d *decoder) uvarint(field string, limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail(field, "%v", errShort)
		return 0
	}
	if v > limit {
		d.fail(field, "%d is more than %d", v, limit)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number of elements of which each takes at least elementBytes, so that nothing is allocated for elements
// that cannot be there.
func (d *decoder) count(field string, limit, elementBytes int) int {
	n := int(d.uvarint(field, uint64(limit)))
	if n*elementBytes > len(d.b) {
		d.fail(field, "%d do not fit into the %d bytes left", n, len(d.b))
		return 0
	}
	return n
}

// zigzag reads a signed number of magnitude at most limit.
func (d *decoder) zigzag(field string, limit int64) int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail(field, "%v", errShort)
		return 0
	}
	if v > limit || v < -limit {
		d.fail(field, "%d is out of range", v)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// str reads a name.
func (d *decoder) str(field string) string {
	n := int(d.uvarint(field, maxNameBytes))
	s := string(d.bytes(field, n))
	if d.err == nil && !isText(s) {
		d.fail(field, "is not plain UTF-8")
		return ""
	}
	return s
}

func (d *decoder) end() error {
	if len(d.b) > 0 {
		d.fail("end", "%d bytes too many", len(d.b))
	}
	if d.err != nil {
		return d.err
	}
	return nil
}

func appendStr(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// isText refuses control characters: names and paths end up in logs and terminals.
func isText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	return true
}

// CheckPath refuses what is not a plain slash path below the title's top folder.
func CheckPath(path string) error {
	switch {
	case len(path) > maxPathBytes:
		return fmt.Errorf("path of %d bytes: more than %d", len(path), maxPathBytes)
	case !fs.ValidPath(path) || path == "." || !isText(path):
		return fmt.Errorf("path %q: not a plain path below the title's folder", path)
	}
	return nil
}

func micros(d time.Duration) int64 { return int64((d + time.Microsecond/2) / time.Microsecond) }

func fromMicros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

// roundSpan rounds both ends of a span, not its duration, so that neighbours stay neighbours.
func roundSpan(start, duration time.Duration) (startMicros, durationMicros int64) {
	startMicros = micros(start)
	return startMicros, micros(start+duration) - startMicros
}

// The largest time must survive the way to nanoseconds and back.
const _ = uint64(math.MaxInt64 - int64(MaxTime)*2)
