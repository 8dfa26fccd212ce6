package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// The tracker protocol. A peer joins on the control stream of a QUIC connection
// (ALPN TrackerALPN), in the frames of the peers' control stream:
//
//	u24 length | u8 type | body
//	0x40 JOIN      u16 version | u8 n | agent[n]
//	0x41 WELCOME   u16 version | ticket key[32] | u32 interval ms | address
//	0x42 REFUSED   u8 code | u8 n | text[n]
//
// The connection is then parked, and the rest travels in sealed datagrams, one
// message each, that begin with the number of the request:
//
//	HEARTBEAT   u32 request                                         peer to tracker
//	ALIVE       u32 request                                         its answer
//	ANNOUNCE    u32 request | title[32] | u32 position ms | u32 hold from ms |
//	            u32 hold to ms | u16 held permille | u64 up bytes/s | u8 flags |
//	            u16 connections | u16 connections max | u8 n | address x n
//	CANDIDATES  u32 request | u8 part | u8 parts | u32 swarm size | u64 u |
//	            u16 n | ticket[n] | u8 m | candidate x m            its answer
//	LEAVE       u32 request | u8 n | title[32] x n                  n = 0: all
//	ERROR       u32 request | u8 code | u32 retry after ms | u8 n | text[n]
//	REPORT      see tracker_report.go                               never answered
//
//	candidate   id[32] | u8 grade | u32 hold from ms | u32 hold to ms | u8 n | address x n
//	address     u8 family (4 or 6) | ip[4 or 16] | u16 port
//
// Integers are big-endian. A message with bytes left over is malformed, but for
// a REPORT. A kind that the receiver does not know is dropped and counted.
const (
	TrackerALPN    = "shoal-tracker/1"
	TrackerVersion = 1

	// Kinds of sealed datagrams between peer and tracker. Those of peers end
	// below 16; the kind has five bits.
	KindHeartbeat    uint8 = 16
	KindAlive        uint8 = 17
	KindAnnounce     uint8 = 18
	KindCandidates   uint8 = 19
	KindTrackerLeave uint8 = 20
	KindTrackerError uint8 = 21

	// TrackerBodyBytesMax keeps a sealed datagram (13 bytes of header, 16 of
	// tag) within 1,200 bytes, what every path that QUIC uses carries
	// (RFC 9000 §14).
	TrackerBodyBytesMax = 1200 - 13 - 16

	// AddrsMax bounds the addresses of one peer: both families on a few
	// interfaces, and the one that the tracker observes.
	AddrsMax = 8

	// CandidatesMax bounds one answer. A peer keeps some tens of connections;
	// more candidates would be stale before they are tried.
	CandidatesMax = 40

	// CandidatePartsMax bounds the datagrams of one answer: 40 candidates with 8
	// IPv6 addresses each (194 bytes) fit 5 to a datagram, and a ticket takes up
	// to two thirds of the first.
	CandidatePartsMax = 10

	// TrackerTicketBytesMax leaves room for a candidate beside the ticket. A
	// ticket of ours has about 400 bytes.
	TrackerTicketBytesMax = 768

	// LeaveTitlesMax bounds one LEAVE.
	LeaveTitlesMax = 16

	// TrackerTextBytesMax bounds agents and error texts.
	TrackerTextBytesMax = 120

	// trackerFrameBytesMax bounds a join frame; the largest is a REFUSED.
	trackerFrameBytesMax = 512
)

// Types of the join frames.
const (
	typeTrackerJoin    uint8 = 0x40
	typeTrackerWelcome uint8 = 0x41
	typeTrackerRefused uint8 = 0x42
)

// TrackerCode says why a tracker refuses a request.
type TrackerCode uint8

// The reasons of ERROR and REFUSED.
const (
	TrackerFull      TrackerCode = 1 // no room for more peers
	TrackerPerIP     TrackerCode = 2 // too many peers at this address
	TrackerTitles    TrackerCode = 3 // too many titles of this peer
	TrackerTooOften  TrackerCode = 4 // announce again after the given time
	TrackerVersionNo TrackerCode = 5 // unknown protocol version
	TrackerInternal  TrackerCode = 6 // the tracker's own trouble, try later
)

// Announce flags.
const (
	announceUploads    = 1 << 0
	announceWantTicket = 1 << 1
)

// ErrTrackerMessage is wrapped by every error of the tracker codecs; it is an
// [ErrMalformed].
var ErrTrackerMessage = malformed("tracker protocol")

// TrackerJoin is a peer's first message to a tracker.
type TrackerJoin struct {
	Version uint16
	Agent   string
}

// TrackerWelcome admits a peer.
type TrackerWelcome struct {
	Version   uint16
	TicketKey [32]byte // Ed25519 public key that signs the tracker's tickets
	Interval  time.Duration
	Observed  netip.AddrPort // where the tracker sees the peer
}

// TrackerRefused turns a peer away.
type TrackerRefused struct {
	Code TrackerCode
	Text string
}

// Announce is what a peer tells about its part in one title. Durations are
// carried in whole milliseconds.
type Announce struct {
	Request                    uint32
	Title                      [32]byte
	Position, HoldFrom, HoldTo time.Duration
	HeldPermille               uint16
	UpBytesPerSec              uint64
	Uploads                    bool
	WantTicket                 bool
	Connections                uint16
	ConnectionsMax             uint16
	Addrs                      []netip.AddrPort
}

// Candidates is one datagram of the answer to an Announce. Each part stands for
// itself, so that a lost part costs only its own candidates.
type Candidates struct {
	Request     uint32
	Part, Parts uint8
	SwarmSize   uint32
	U           uint64 // the peer's position in the swarm as a fraction of 2^64
	Ticket      []byte // in the first part only; aliases the datagram
	Candidates  []Candidate
}

// Candidate is one peer of an answer.
type Candidate struct {
	ID               PeerID
	Grade            byte // 'A' to 'D'
	HoldFrom, HoldTo time.Duration
	Addrs            []netip.AddrPort
}

// TrackerLeave ends a peer's part in some titles, or in all if there are none.
type TrackerLeave struct {
	Request uint32
	Titles  [][32]byte
}

// TrackerError answers a request that cannot be served.
type TrackerError struct {
	Request    uint32
	Code       TrackerCode
	RetryAfter time.Duration
	Text       string
}

// AppendTrackerFrame appends m, a *TrackerJoin, *TrackerWelcome or
// *TrackerRefused, as a frame of the join stream.
func AppendTrackerFrame(b []byte, m any) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	switch m := m.(type) {
	case *TrackerJoin:
		b[start+3] = typeTrackerJoin
		b = binary.BigEndian.AppendUint16(b, m.Version)
		b = appendText(b, m.Agent)
	case *TrackerWelcome:
		b[start+3] = typeTrackerWelcome
		b = binary.BigEndian.AppendUint16(b, m.Version)
		b = append(b, m.TicketKey[:]...)
		b = appendMillis(b, m.Interval)
		b = appendAddr(b, m.Observed)
	case *TrackerRefused:
		b[start+3] = typeTrackerRefused
		b = append(b, byte(m.Code))
		b = appendText(b, m.Text)
	default:
		panic(fmt.Sprintf("BUG: %T is no join frame", m))
	}
	n := len(b) - start - 4
	b[start], b[start+1], b[start+2] = byte(n>>16), byte(n>>8), byte(n)
	return b
}

// ReadTrackerFrame reads one frame of the join stream. It reads no byte beyond
// the frame.
func ReadTrackerFrame(r io.Reader) (any, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if n > trackerFrameBytesMax {
		return nil, fmt.Errorf("%w: frame of %d bytes", ErrTrackerMessage, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return ParseTrackerFrame(head[3], body)
}

// ParseTrackerFrame decodes the body of a join frame.
func ParseTrackerFrame(typ uint8, body []byte) (any, error) {
	d := trackerReader{b: body}
	var m any
	switch typ {
	case typeTrackerJoin:
		m = &TrackerJoin{Version: d.u16(), Agent: d.text()}
	case typeTrackerWelcome:
		w := &TrackerWelcome{Version: d.u16()}
		copy(w.TicketKey[:], d.take(32))
		w.Interval, w.Observed = d.millis(), d.addr()
		m = w
	case typeTrackerRefused:
		m = &TrackerRefused{Code: TrackerCode(d.u8()), Text: d.text()}
	default:
		return nil, fmt.Errorf("%w: frame type %#x", ErrTrackerMessage, typ)
	}
	return m, d.end("join frame")
}

// AppendRequest appends the body of a HEARTBEAT or ALIVE.
func AppendRequest(b []byte, request uint32) []byte {
	return binary.BigEndian.AppendUint32(b, request)
}

// ParseRequest decodes the body of a HEARTBEAT or ALIVE.
func ParseRequest(b []byte) (request uint32, err error) {
	d := trackerReader{b: b}
	request = d.u32()
	return request, d.end("HEARTBEAT")
}

// AppendAnnounce appends the body of an ANNOUNCE. Addresses beyond AddrsMax are
// left out.
func AppendAnnounce(b []byte, m *Announce) []byte {
	b = binary.BigEndian.AppendUint32(b, m.Request)
	b = append(b, m.Title[:]...)
	b = appendMillis(b, m.Position)
	b = appendMillis(b, m.HoldFrom)
	b = appendMillis(b, m.HoldTo)
	b = binary.BigEndian.AppendUint16(b, m.HeldPermille)
	b = binary.BigEndian.AppendUint64(b, m.UpBytesPerSec)
	var flags byte
	if m.Uploads {
		flags |= announceUploads
	}
	if m.WantTicket {
		flags |= announceWantTicket
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint16(b, m.Connections)
	b = binary.BigEndian.AppendUint16(b, m.ConnectionsMax)
	return appendAddrs(b, m.Addrs)
}

// ParseAnnounce decodes the body of an ANNOUNCE into m, whose Addrs are reused.
func ParseAnnounce(m *Announce, b []byte) error {
	d := trackerReader{b: b}
	m.Request = d.u32()
	copy(m.Title[:], d.take(32))
	m.Position, m.HoldFrom, m.HoldTo = d.millis(), d.millis(), d.millis()
	m.HeldPermille, m.UpBytesPerSec = d.u16(), d.u64()
	flags := d.u8()
	m.Uploads, m.WantTicket = flags&announceUploads != 0, flags&announceWantTicket != 0
	m.Connections, m.ConnectionsMax = d.u16(), d.u16()
	m.Addrs = d.addrs(m.Addrs[:0])
	return d.end("ANNOUNCE")
}

// AppendCandidates appends the body of a CANDIDATES datagram.
func AppendCandidates(b []byte, m *Candidates) []byte {
	b = binary.BigEndian.AppendUint32(b, m.Request)
	b = append(b, m.Part, m.Parts)
	b = binary.BigEndian.AppendUint32(b, m.SwarmSize)
	b = binary.BigEndian.AppendUint64(b, m.U)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Ticket)))
	b = append(b, m.Ticket...)
	b = append(b, byte(len(m.Candidates)))
	for i := range m.Candidates {
		c := &m.Candidates[i]
		b = append(b, c.ID[:]...)
		b = append(b, c.Grade)
		b = appendMillis(b, c.HoldFrom)
		b = appendMillis(b, c.HoldTo)
		b = appendAddrs(b, c.Addrs)
	}
	return b
}

// ParseCandidates decodes the body of a CANDIDATES datagram into m. Ticket
// aliases b.
func ParseCandidates(m *Candidates, b []byte) error {
	d := trackerReader{b: b}
	m.Request = d.u32()
	m.Part, m.Parts = d.u8(), d.u8()
	m.SwarmSize, m.U = d.u32(), d.u64()
	ticketBytes := int(d.u16())
	if ticketBytes > TrackerTicketBytesMax {
		return fmt.Errorf("%w: CANDIDATES: ticket of %d bytes", ErrTrackerMessage, ticketBytes)
	}
	m.Ticket = d.take(ticketBytes)
	count := int(d.u8())
	if count > CandidatesMax || m.Parts > CandidatePartsMax || m.Part >= m.Parts {
		return fmt.Errorf("%w: CANDIDATES: %d candidates in part %d of %d", ErrTrackerMessage, count, m.Part, m.Parts)
	}
	m.Candidates = m.Candidates[:0]
	for range count {
		if d.bad {
			break
		}
		var c Candidate
		copy(c.ID[:], d.take(32))
		c.Grade = d.u8()
		c.HoldFrom, c.HoldTo = d.millis(), d.millis()
		c.Addrs = d.addrs(nil)
		if c.Grade < 'A' || c.Grade > 'D' {
			d.bad = true
		}
		m.Candidates = append(m.Candidates, c)
	}
	return d.end("CANDIDATES")
}

// SplitCandidates returns the bodies of as few CANDIDATES datagrams as carry
// the answer m, whose Part and Parts are ignored. A ticket longer than
// TrackerTicketBytesMax and candidates beyond CandidatesMax are left out.
func SplitCandidates(m *Candidates) [][]byte {
	const head = 4 + 2 + 4 + 8 + 2 + 1
	part := Candidates{Request: m.Request, SwarmSize: m.SwarmSize, U: m.U}
	if len(m.Ticket) <= TrackerTicketBytesMax {
		part.Ticket = m.Ticket
	}
	rest := m.Candidates[:min(len(m.Candidates), CandidatesMax)]
	var bodies [][]byte
	for first := true; first || len(rest) > 0; first = false {
		size, n := head+len(part.Ticket), 0
		for n < len(rest) && size+candidateBytes(&rest[n]) <= TrackerBodyBytesMax {
			size += candidateBytes(&rest[n])
			n++
		}
		part.Part, part.Candidates, rest = uint8(len(bodies)), rest[:n], rest[n:]
		bodies = append(bodies, AppendCandidates(make([]byte, 0, size), &part))
		part.Ticket = nil
	}
	for _, b := range bodies {
		b[5] = uint8(len(bodies))
	}
	return bodies
}

// AppendTrackerLeave appends the body of a LEAVE.
func AppendTrackerLeave(b []byte, m *TrackerLeave) []byte {
	b = binary.BigEndian.AppendUint32(b, m.Request)
	titles := m.Titles[:min(len(m.Titles), LeaveTitlesMax)]
	b = append(b, byte(len(titles)))
	for i := range titles {
		b = append(b, titles[i][:]...)
	}
	return b
}

// ParseTrackerLeave decodes the body of a LEAVE into m.
func ParseTrackerLeave(m *TrackerLeave, b []byte) error {
	d := trackerReader{b: b}
	m.Request = d.u32()
	count := int(d.u8())
	if count > LeaveTitlesMax {
		return fmt.Errorf("%w: LEAVE: %d titles", ErrTrackerMessage, count)
	}
	m.Titles = m.Titles[:0]
	for range count {
		var title [32]byte
		copy(title[:], d.take(32))
		m.Titles = append(m.Titles, title)
	}
	return d.end("LEAVE")
}

// AppendTrackerError appends the body of an ERROR.
func AppendTrackerError(b []byte, m *TrackerError) []byte {
	b = binary.BigEndian.AppendUint32(b, m.Request)
	b = append(b, byte(m.Code))
	b = appendMillis(b, m.RetryAfter)
	return appendText(b, m.Text)
}

// ParseTrackerError decodes the body of an ERROR into m.
func ParseTrackerError(m *TrackerError, b []byte) error {
	d := trackerReader{b: b}
	m.Request, m.Code, m.RetryAfter, m.Text = d.u32(), TrackerCode(d.u8()), d.millis(), d.text()
	return d.end("ERROR")
}

func candidateBytes(c *Candidate) int {
	n := 32 + 1 + 4 + 4 + 1
	for _, a := range c.Addrs[:min(len(c.Addrs), AddrsMax)] {
		n += addrBytes(a)
	}
	return n
}

func addrBytes(a netip.AddrPort) int {
	if a.Addr().Unmap().Is4() {
		return 1 + 4 + 2
	}
	return 1 + 16 + 2
}

func appendAddrs(b []byte, addrs []netip.AddrPort) []byte {
	addrs = addrs[:min(len(addrs), AddrsMax)]
	b = append(b, byte(len(addrs)))
	for _, a := range addrs {
		b = appendAddr(b, a)
	}
	return b
}

// appendAddr drops zones, which mean nothing on another machine. An invalid
// address becomes [::]:0.
func appendAddr(b []byte, a netip.AddrPort) []byte {
	if ip := a.Addr().Unmap(); ip.Is4() {
		raw := ip.As4()
		b = append(append(b, 4), raw[:]...)
	} else {
		var raw [16]byte
		if ip.IsValid() {
			raw = ip.As16()
		}
		b = append(append(b, 6), raw[:]...)
	}
	return binary.BigEndian.AppendUint16(b, a.Port())
}

func appendMillis(b []byte, d time.Duration) []byte {
	const most = 1<<32 - 1
	return binary.BigEndian.AppendUint32(b, uint32(min(max(d.Milliseconds(), 0), most)))
}

func appendText(b []byte, s string) []byte {
	s = s[:min(len(s), TrackerTextBytesMax)]
	return append(append(b, byte(len(s))), s...)
}

// trackerReader takes a message apart; after a short read it yields zeros and
// stays bad.
type trackerReader struct {
	b   []byte
	bad bool
}

func (d *trackerReader) take(n int) []byte {
	if d.bad || len(d.b) < n {
		d.bad = true
		return nil
	}
	taken := d.b[:n:n]
	d.b = d.b[n:]
	return taken
}

func (d *trackerReader) u8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *trackerReader) u16() uint16 {
	if b := d.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *trackerReader) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *trackerReader) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *trackerReader) millis() time.Duration {
	return time.Duration(d.u32()) * time.Millisecond
}

// text reads a text for logs; bytes that a terminal might obey are replaced.
func (d *trackerReader) text() string {
	n := int(d.u8())
	if n > TrackerTextBytesMax {
		d.bad = true
	}
	text := append([]byte(nil), d.take(n)...)
	for i, c := range text {
		if c < ' ' || c > '~' {
			text[i] = '?'
		}
	}
	return string(text)
}

func (d *trackerReader) addrs(dst []netip.AddrPort) []netip.AddrPort {
	n := int(d.u8())
	if n > AddrsMax {
		d.bad = true
	}
	for range n {
		if d.bad {
			break
		}
		dst = append(dst, d.addr())
	}
	return dst
}

func (d *trackerReader) addr() netip.AddrPort {
	var ip netip.Addr
	switch d.u8() {
	case 4:
		ip, _ = netip.AddrFromSlice(d.take(4))
	case 6:
		ip, _ = netip.AddrFromSlice(d.take(16))
		ip = ip.Unmap()
	default:
		d.bad = true
	}
	return netip.AddrPortFrom(ip, d.u16())
}

func (d *trackerReader) end(what string) error {
	switch {
	case d.bad:
		return fmt.Errorf("%w: %s is truncated or has a value out of range", ErrTrackerMessage, what)
	case len(d.b) > 0:
		return fmt.Errorf("%w: %s has %d bytes too many", ErrTrackerMessage, what, len(d.b))
	}
	return nil
}
