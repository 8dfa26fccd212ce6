package wire

import (
	"encoding/binary"
	"time"
)

// Bounds of one datagram: 60 requests of 18 bytes and their sealing are 1,109
// bytes, 64 ack ranges are 546: both fit [MaxDatagramBytes].
const (
	MaxRequests  = 60
	MaxCancels   = 60
	MaxAckRanges = 64
)

const (
	requestBytes   = 2 + 3 + 8 + 1 + 4
	cancelBytes    = 2 + 3 + 8
	ackHeaderBytes = 4 + 8 + 1 + 8 + 4
	ackRangeBytes  = 4 + 4
	ackMarksBytes  = 4
	tokenBytes     = 8
)

// PingBytes is the body of the smallest PING; every PONG has the same size, so
// that an answer is never larger than its question.
const PingBytes = tokenBytes

// MaxAckDelay is the longest delay that an ACK can say.
const MaxAckDelay = time.Duration(1<<32-1) * time.Microsecond

var (
	errRequestSize = malformed("request: not 1..60 whole entries")
	errRequestMask = malformed("request: empty mask")
	errCancelSize  = malformed("cancel: not 1..60 whole entries")
	errCancelMask  = malformed("cancel: empty mask")
	errAckSize     = malformed("ack: size does not match its count")
	errAckCount    = malformed("ack: not 1..64 ranges")
	errAckRange    = malformed("ack: range below packet number zero")
	errAckMarks    = malformed("ack: a count of no congestion marks")
	errBusySize    = malformed("busy: not 8 bytes")
	errPingSize    = malformed("ping: shorter than its token")
	errPongSize    = malformed("pong: not 8 bytes")
)

// Request asks for chunks of a piece. The seed named the file by Handle.
type Request struct {
	Handle         uint16
	Piece          uint32 // at most MaxPiece
	Mask           uint64 // not empty
	Tier           uint8
	DeadlineMillis uint32 // from now; relative, so that clocks need not agree
}

// AppendRequests appends the body of a REQUEST datagram.
func AppendRequests(b []byte, requests []Request) []byte {
	for _, r := range requests {
		b = binary.BigEndian.AppendUint16(b, r.Handle)
		b = appendUint24(b, r.Piece)
		b = binary.BigEndian.AppendUint64(b, r.Mask)
		b = append(b, r.Tier)
		b = binary.BigEndian.AppendUint32(b, r.DeadlineMillis)
	}
	return b
}

// ParseRequests appends the requests of a body to dst.
func ParseRequests(dst []Request, body []byte) ([]Request, error) {
	if !wholeEntries(body, requestBytes, MaxRequests) {
		return dst, errRequestSize
	}
	kept := len(dst)
	for ; len(body) > 0; body = body[requestBytes:] {
		r := Request{
			Handle:         binary.BigEndian.Uint16(body),
			Piece:          uint24(body[2:]),
			Mask:           binary.BigEndian.Uint64(body[5:]),
			Tier:           body[13],
			DeadlineMillis: binary.BigEndian.Uint32(body[14:]),
		}
		if r.Mask == 0 {
			return dst[:kept], errRequestMask
		}
		dst = append(dst, r)
	}
	return dst, nil
}

// Cancel takes back a request for chunks of a piece.
type Cancel struct {
	Handle uint16
	Piece  uint32 // at most MaxPiece
	Mask   uint64 // not empty
}

// AppendCancels appends the body of a CANCEL datagram.
func AppendCancels(b []byte, cancels []Cancel) []byte {
	for _, c := range cancels {
		b = binary.BigEndian.AppendUint16(b, c.Handle)
		b = appendUint24(b, c.Piece)
		b = binary.BigEndian.AppendUint64(b, c.Mask)
	}
	return b
}

// ParseCancels appends the cancels of a body to dst.
func ParseCancels(dst []Cancel, body []byte) ([]Cancel, error) {
	if !wholeEntries(body, cancelBytes, MaxCancels) {
		return dst, errCancelSize
	}
	kept := len(dst)
	for ; len(body) > 0; body = body[cancelBytes:] {
		c := Cancel{
			Handle: binary.BigEndian.Uint16(body),
			Piece:  uint24(body[2:]),
			Mask:   binary.BigEndian.Uint64(body[5:]),
		}
		if c.Mask == 0 {
			return dst[:kept], errCancelMask
		}
		dst = append(dst, c)
	}
	return dst, nil
}

func wholeEntries(body []byte, size, most int) bool {
	return len(body) >= size && len(body) <= size*most && len(body)%size == 0
}

// AckRange is a run of received packet numbers, both ends included.
type AckRange struct{ First, Last uint64 }

// Ack tells the sender which packets arrived.
type Ack struct {
	Ranges             []AckRange    // newest first, 1..MaxAckRanges, separated by gaps
	Delay              time.Duration // since the newest packet arrived; microseconds on the wire
	RateCapBytesPerSec uint64        // what the leech lets this seed send; 0 = no cap
	// CEPackets counts, since the channel began, packets of those that want an ACK
	// that came with a congestion mark (ECN). Nothing is said of none, so that
	// it costs only those whose path marks.
	CEPackets uint32
}

// AppendAck appends the body of an ACK datagram. Ranges must be descending and
// apart; runs and gaps beyond 2³² are cut, which only makes the ACK say less.
func AppendAck(b []byte, a *Ack) []byte {
	micros := min(max(a.Delay, 0), MaxAckDelay) / time.Microsecond
	b = binary.BigEndian.AppendUint32(b, uint32(micros))
	b = binary.BigEndian.AppendUint64(b, a.RateCapBytesPerSec)
	countAt := len(b)
	b = append(b, 0)
	const most = 1<<32 - 1
	for i, r := range a.Ranges {
		if i == MaxAckRanges {
			break
		}
		if i == 0 {
			b = binary.BigEndian.AppendUint64(b, r.Last)
		} else {
			gap := a.Ranges[i-1].First - r.Last - 2 // RFC 9000 §19.3.1: at least one is missing
			if gap > most {
				break
			}
			b = binary.BigEndian.AppendUint32(b, uint32(gap))
		}
		b = binary.BigEndian.AppendUint32(b, uint32(min(r.Last-r.First, most)))
		b[countAt]++
		if r.Last-r.First > most {
			break // what follows would be counted from a wrong place
		}
	}
	if a.CEPackets > 0 {
		b = binary.BigEndian.AppendUint32(b, a.CEPackets)
	}
	return b
}

// ParseAck reads the body of an ACK datagram into a, reusing its Ranges.
func ParseAck(body []byte, a *Ack) error {
	a.Ranges = a.Ranges[:0]
	if len(body) < ackHeaderBytes {
		return errAckSize
	}
	count := int(body[12])
	if count < 1 || count > MaxAckRanges {
		return errAckCount
	}
	a.CEPackets = 0
	switch rangesEnd := ackHeaderBytes + (count-1)*ackRangeBytes; len(body) {
	case rangesEnd:
	case rangesEnd + ackMarksBytes:
		if a.CEPackets = binary.BigEndian.Uint32(body[rangesEnd:]); a.CEPackets == 0 {
			return errAckMarks
		}
		body = body[:rangesEnd]
	default:
		return errAckSize
	}
	a.Delay = time.Duration(binary.BigEndian.Uint32(body)) * time.Microsecond
	a.RateCapBytesPerSec = binary.BigEndian.Uint64(body[4:])
	last := binary.BigEndian.Uint64(body[13:])
	run := uint64(binary.BigEndian.Uint32(body[21:]))
	body = body[ackHeaderBytes:]
	for {
		if run > last {
			a.Ranges = a.Ranges[:0]
			return errAckRange
		}
		first := last - run
		a.Ranges = append(a.Ranges, AckRange{First: first, Last: last})
		if len(body) == 0 {
			return nil
		}
		gap := uint64(binary.BigEndian.Uint32(body)) + 2
		if gap > first {
			a.Ranges = a.Ranges[:0]
			return errAckRange
		}
		last = first - gap
		run = uint64(binary.BigEndian.Uint32(body[4:]))
		body = body[ackRangeBytes:]
	}
}

// busyBytes is as long as a PING's body, although half of it is reserved: no
// message between peers is smaller, so that any of them, coming from a new
// address, pays for the PING that proves it.
const busyBytes = tokenBytes

// Busy refuses every outstanding request of the channel.
type Busy struct{ RetryAfterMillis uint32 }

// AppendBusy appends the body of a BUSY datagram.
func AppendBusy(b []byte, m Busy) []byte {
	b = binary.BigEndian.AppendUint32(b, m.RetryAfterMillis)
	return append(b, 0, 0, 0, 0)
}

// ParseBusy reads the body of a BUSY datagram.
func ParseBusy(body []byte) (Busy, error) {
	if len(body) != busyBytes {
		return Busy{}, errBusySize
	}
	return Busy{RetryAfterMillis: binary.BigEndian.Uint32(body)}, nil
}

// Ping asks for a [Pong] with the same token. Padding may follow the token, so
// that a path's size can be probed; the answer has none.
type Ping struct{ Token uint64 }

// Pong answers a [Ping].
type Pong struct{ Token uint64 }

// AppendPing appends the body of a PING datagram without padding.
func AppendPing(b []byte, m Ping) []byte { return binary.BigEndian.AppendUint64(b, m.Token) }

// ParsePing reads the body of a PING datagram.
func ParsePing(body []byte) (Ping, error) {
	if len(body) < PingBytes {
		return Ping{}, errPingSize
	}
	return Ping{Token: binary.BigEndian.Uint64(body)}, nil
}

// AppendPong appends the body of a PONG datagram.
func AppendPong(b []byte, m Pong) []byte { return binary.BigEndian.AppendUint64(b, m.Token) }

// ParsePong reads the body of a PONG datagram.
func ParsePong(body []byte) (Pong, error) {
	if len(body) != tokenBytes {
		return Pong{}, errPongSize
	}
	return Pong{Token: binary.BigEndian.Uint64(body)}, nil
}
