package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Bounds of control frames, in bytes unless said otherwise.
const (
	// MaxControlBytes bounds a frame's body: the largest honest one is the
	// bitmap of a file of 128 GiB (2²¹ pieces) that does not compress at all.
	MaxControlBytes = 256 << 10

	MaxAgentBytes  = 64
	MaxTicketBytes = 2048 // a JWT of one title with EdDSA is about 400
	MaxReasonBytes = 256
	MaxBitmapBytes = MaxControlBytes - 64
	// MaxHashesBytes holds a group of 1,024 piece hashes (32 KiB) and the
	// upper hashes that prove it (at most 32 levels of 32 bytes).
	MaxHashesBytes = 64 << 10
	// MaxHaveRuns is a count: a delta is sent at least twice a second, and
	// nobody completes 8,192 separate runs (512 MiB) in that time.
	MaxHaveRuns = 8192
)

const (
	controlHeaderBytes = 4
	titleBytes         = 32
	haveRunBytes       = 2 + 1 + 3 + 4
)

// Control frame types.
const (
	typeHello       = 1
	typeJoin        = 2
	typeLeave       = 3
	typeInterest    = 4
	typeHave        = 5
	typeHaveDelta   = 6
	typeHashRequest = 7
	typeHashes      = 8
	typeReady       = 9
	typeStats       = 10
	typeGoodbye     = 11
)

// Control is one control message: Hello, Join, Leave, Interest, Have,
// HaveDelta, HashRequest, Hashes, Ready, Stats, Goodbye, or Unknown for a type
// of a later version. Messages are values, never pointers.
type Control any

// Hello is the first control message both ways: version u16, agent u8-string.
type Hello struct {
	Version uint16
	Agent   string // at most MaxAgentBytes; longer is cut
}

// Join takes part in a title: title, ticket u16-bytes.
type Join struct {
	Title  [32]byte
	Ticket []byte // at most MaxTicketBytes
}

// Leave ends the part in a title: title.
type Leave struct{ Title [32]byte }

// Interest says of which media time we want availability: title, from u32,
// to u32, active u8 (0 or 1).
type Interest struct {
	Title                [32]byte
	FromMillis, ToMillis uint32
	Active               bool
}

// Have gives a file a handle, for use by this peer's leeches on this session,
// and says which pieces are there: handle u16, root, length u64, bitmap
// (portable roaring serialization, opaque here, up to the frame's end).
type Have struct {
	Handle uint16
	Root   [32]byte
	Length uint64
	Bitmap []byte
}

// HaveDelta changes what was said by Have: runs, each handle u16, change u8,
// first u24, count u32.
type HaveDelta struct{ Runs []HaveRun } // 1..MaxHaveRuns

// HaveRun is one run of pieces to which the same happened. First+Count never
// exceeds MaxPiece+1.
type HaveRun struct {
	Handle       uint16
	Change       HaveChange
	First, Count uint32
}

// HaveChange says what happened to the pieces of a run.
type HaveChange uint8

const (
	// Stored pieces may be asked for.
	Stored HaveChange = iota
	// Evicted pieces may not be asked for any more.
	Evicted
	// Coming pieces are being fetched from the CDN: who would do so, too, can
	// wait for them.
	Coming
	haveChanges
)

// HashRequest asks for piece hashes: root, group u32 (of 1,024 pieces).
type HashRequest struct {
	Root  [32]byte
	Group uint32
}

// Hashes answers HashRequest: root, group u32, data up to the frame's end.
// Empty data means that the sender does not have them.
type Hashes struct {
	Root  [32]byte
	Group uint32
	Data  []byte // at most MaxHashesBytes
}

// Ready thaws what BUSY froze: requests are welcome again.
type Ready struct{}

// Stats tells a leech how a seed is doing: queue u64, rate u64.
type Stats struct{ QueueBytes, UpBytesPerSec uint64 }

// Goodbye announces an orderly end: reason u8-string.
type Goodbye struct{ Reason string } // at most MaxReasonBytes; longer is cut

// Unknown is a frame of a type that this version does not know; it is ignored.
type Unknown struct{ Type uint8 }

// AppendControl appends a whole frame. It panics on a message that breaks a
// bound of this package, for that is a mistake of ours and no peer's.
func AppendControl(b []byte, m Control) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	var typ byte
	switch m := m.(type) {
	case Hello:
		typ = typeHello
		b = binary.BigEndian.AppendUint16(b, m.Version)
		b = appendString8(b, m.Agent, MaxAgentBytes)
	case Join:
		typ = typeJoin
		must(len(m.Ticket) <= MaxTicketBytes, "ticket too long")
		b = append(b, m.Title[:]...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(m.Ticket)))
		b = append(b, m.Ticket...)
	case Leave:
		typ = typeLeave
		b = append(b, m.Title[:]...)
	case Interest:
		typ = typeInterest
		b = append(b, m.Title[:]...)
		b = binary.BigEndian.AppendUint32(b, m.FromMillis)
		b = binary.BigEndian.AppendUint32(b, m.ToMillis)
		b = appendBool(b, m.Active)
	case Have:
		typ = typeHave
		must(len(m.Bitmap) <= MaxBitmapBytes, "bitmap too long")
		b = binary.BigEndian.AppendUint16(b, m.Handle)
		b = append(b, m.Root[:]...)
		b = binary.BigEndian.AppendUint64(b, m.Length)
		b = append(b, m.Bitmap...)
	case HaveDelta:
		typ = typeHaveDelta
		b = appendHaveRuns(b, m.Runs)
	case HashRequest:
		typ = typeHashRequest
		b = append(b, m.Root[:]...)
		b = binary.BigEndian.AppendUint32(b, m.Group)
	case Hashes:
		typ = typeHashes
		must(len(m.Data) <= MaxHashesBytes, "hashes too long")
		b = append(b, m.Root[:]...)
		b = binary.BigEndian.AppendUint32(b, m.Group)
		b = append(b, m.Data...)
	case Ready:
		typ = typeReady
	case Stats:
		typ = typeStats
		b = binary.BigEndian.AppendUint64(b, m.QueueBytes)
		b = binary.BigEndian.AppendUint64(b, m.UpBytesPerSec)
	case Goodbye:
		typ = typeGoodbye
		b = appendString8(b, m.Reason, MaxReasonBytes-1)
	default:
		panic(fmt.Sprintf("BUG: not a control message: %T", m))
	}
	n := len(b) - start - controlHeaderBytes
	b[start], b[start+1], b[start+2], b[start+3] = byte(n>>16), byte(n>>8), byte(n), typ
	return b
}

// ReadControl reads one frame. An error wrapping [ErrMalformed] is the peer's
// fault; any other is the stream's.
func ReadControl(r io.Reader) (Control, error) {
	var head [controlHeaderBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("read control header: %w", err)
	}
	n := uint24(head[:3])
	if n > MaxControlBytes {
		return nil, errControlSize
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("read control body: %w", noEOF(err))
	}
	return ParseControl(head[3], body)
}

// noEOF keeps an end inside a frame from looking like an orderly one.
func noEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // io.ReadFull returns it bare
		return io.ErrUnexpectedEOF
	}
	return err
}

func must(ok bool, what string) {
	if !ok {
		panic("BUG: " + what)
	}
}

func appendHaveRuns(b []byte, runs []HaveRun) []byte {
	must(len(runs) > 0 && len(runs) <= MaxHaveRuns, "not 1..8192 runs")
	for _, r := range runs {
		must(r.Count > 0 && uint64(r.First)+uint64(r.Count) <= MaxPiece+1, "run outside of any file")
		b = binary.BigEndian.AppendUint16(b, r.Handle)
		must(r.Change < haveChanges, "no such change")
		b = append(b, byte(r.Change))
		b = appendUint24(b, r.First)
		b = binary.BigEndian.AppendUint32(b, r.Count)
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendString8 cuts what only people read, rather than failing on it.
func appendString8(b []byte, s string, most int) []byte {
	s = s[:min(len(s), most)]
	b = append(b, byte(len(s)))
	return append(b, s...)
}
