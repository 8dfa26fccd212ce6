package wire

import "encoding/binary"

var (
	errControlSize  = malformed("control: frame too long")
	errHello        = malformed("hello: wrong size")
	errJoin         = malformed("join: wrong size")
	errLeave        = malformed("leave: wrong size")
	errInterest     = malformed("interest: wrong size or flag")
	errInterestSpan = malformed("interest: ends before it starts")
	errHave         = malformed("have: wrong size")
	errHaveDelta    = malformed("have delta: wrong size or flag")
	errHaveRun      = malformed("have delta: run outside of any file")
	errHashRequest  = malformed("hash request: wrong size")
	errHashes       = malformed("hashes: wrong size")
	errReady        = malformed("ready: not empty")
	errStats        = malformed("stats: wrong size")
	errGoodbye      = malformed("goodbye: wrong size")
)

// ParseControl reads the body of a frame. Byte fields of the result alias body.
func ParseControl(typ byte, body []byte) (Control, error) {
	if len(body) > MaxControlBytes {
		return nil, errControlSize
	}
	switch typ {
	case typeHello:
		return parseHello(body)
	case typeJoin:
		return parseJoin(body)
	case typeLeave:
		if len(body) != titleBytes {
			return nil, errLeave
		}
		return Leave{Title: [32]byte(body)}, nil
	case typeInterest:
		return parseInterest(body)
	case typeHave:
		return parseHave(body)
	case typeHaveDelta:
		return parseHaveDelta(body)
	case typeHashRequest:
		if len(body) != 36 {
			return nil, errHashRequest
		}
		return HashRequest{Root: [32]byte(body), Group: binary.BigEndian.Uint32(body[32:])}, nil
	case typeHashes:
		if len(body) < 36 || len(body) > 36+MaxHashesBytes {
			return nil, errHashes
		}
		return Hashes{Root: [32]byte(body), Group: binary.BigEndian.Uint32(body[32:]), Data: body[36:]}, nil
	case typeReady:
		if len(body) != 0 {
			return nil, errReady
		}
		return Ready{}, nil
	case typeStats:
		if len(body) != 16 {
			return nil, errStats
		}
		return Stats{QueueBytes: binary.BigEndian.Uint64(body), UpBytesPerSec: binary.BigEndian.Uint64(body[8:])}, nil
	case typeGoodbye:
		reason, ok := parseString8(body)
		if !ok || len(reason) >= MaxReasonBytes {
			return nil, errGoodbye
		}
		return Goodbye{Reason: reason}, nil
	default:
		return Unknown{Type: typ}, nil
	}
}

func parseHello(body []byte) (Control, error) {
	if len(body) < 3 {
		return nil, errHello
	}
	agent, ok := parseString8(body[2:])
	if !ok || len(agent) > MaxAgentBytes {
		return nil, errHello
	}
	return Hello{Version: binary.BigEndian.Uint16(body), Agent: agent}, nil
}

func parseJoin(body []byte) (Control, error) {
	if len(body) < titleBytes+2 {
		return nil, errJoin
	}
	n := int(binary.BigEndian.Uint16(body[titleBytes:]))
	ticket := body[titleBytes+2:]
	if n > MaxTicketBytes || len(ticket) != n {
		return nil, errJoin
	}
	return Join{Title: [32]byte(body), Ticket: ticket}, nil
}

func parseInterest(body []byte) (Control, error) {
	if len(body) != titleBytes+9 || body[titleBytes+8] > 1 {
		return nil, errInterest
	}
	m := Interest{
		Title:      [32]byte(body),
		FromMillis: binary.BigEndian.Uint32(body[titleBytes:]),
		ToMillis:   binary.BigEndian.Uint32(body[titleBytes+4:]),
		Active:     body[titleBytes+8] == 1,
	}
	if m.ToMillis < m.FromMillis {
		return nil, errInterestSpan
	}
	return m, nil
}

func parseHave(body []byte) (Control, error) {
	const fixed = 2 + 32 + 8
	if len(body) < fixed || len(body) > fixed+MaxBitmapBytes {
		return nil, errHave
	}
	return Have{
		Handle: binary.BigEndian.Uint16(body),
		Root:   [32]byte(body[2:]),
		Length: binary.BigEndian.Uint64(body[34:]),
		Bitmap: body[fixed:],
	}, nil
}

func parseHaveDelta(body []byte) (Control, error) {
	if !wholeEntries(body, haveRunBytes, MaxHaveRuns) {
		return nil, errHaveDelta
	}
	runs := make([]HaveRun, 0, len(body)/haveRunBytes)
	for ; len(body) > 0; body = body[haveRunBytes:] {
		if body[2] >= byte(haveChanges) {
			return nil, errHaveDelta
		}
		r := HaveRun{
			Handle: binary.BigEndian.Uint16(body),
			Change: HaveChange(body[2]),
			First:  uint24(body[3:]),
			Count:  binary.BigEndian.Uint32(body[6:]),
		}
		if r.Count == 0 || uint64(r.First)+uint64(r.Count) > MaxPiece+1 {
			return nil, errHaveRun
		}
		runs = append(runs, r)
	}
	return HaveDelta{Runs: runs}, nil
}

func parseString8(b []byte) (string, bool) {
	if len(b) == 0 || len(b) != 1+int(b[0]) {
		return "", false
	}
	return string(b[1:]), true
}
