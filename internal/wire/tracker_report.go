package wire

import (
	"encoding/binary"
	"fmt"
)

// A REPORT tells the tracker where a peer's bytes came from, for the people who
// run the swarm. It is sent and forgotten: nothing answers it, a later one
// replaces a lost one, and a tracker that does not know the kind drops it.
//
//	REPORT      u32 request | u8 flags | title[32] | u16 viewers |
//	            u8 n | u64 counter x n | u8 m | fed x m | ignored
//	fed         id[32] | u64 bytes
//
// Counters are totals since the peer's process began, in the order of
// [Counter]. A later version appends counters, and fields behind the last
// entry; a parser takes what it knows and skips the rest, and counters that an
// older peer does not send are zero.
const (
	// KindTrackerReport is a sealed datagram from peer to tracker.
	KindTrackerReport uint8 = 22

	// ReportFedMax bounds the peers that one report names, those that gave most.
	// A viewer has requests outstanding at a handful of seeds; the 16 that gave
	// most gave nearly all. The datagram has 777 bytes of body then, and room
	// for 49 more counters.
	ReportFedMax = 16

	// reportCountersMax bounds the counters of later versions.
	reportCountersMax = 64
)

// Report flags.
const reportFirstSession = 1 << 0

// Counter is the index of a counter in [ReportTotals].
type Counter uint8

// The counters of a report, in the order of the wire. CDNStartup to
// CDNHashFailure are parts of CDN.
const (
	CounterP2P            Counter = iota // verified bytes from peers
	CounterCDN                           // verified bytes from the CDN
	CounterCDNStartup                    // of these: the viewer waited for a picture
	CounterCDNFirstCopy                  // of these: nobody in the swarm had the piece
	CounterCDNRescue                     // of these: the deadline would have been missed
	CounterCDNHashFailure                // of these: a peer's copy failed its hash
	CounterCache                         // bytes handed to players from earlier viewings
	CounterServed                        // bytes sent to other peers
	CounterPlayed                        // bytes handed to players
	CounterDuplicate                     // bytes that came twice
	CounterHashFailed                    // bytes of pieces that failed their hash
	CounterStalls                        // times that a player ran dry
	CounterCount          = iota
)

// ReportTotals are a peer's counters, by [Counter].
type ReportTotals [CounterCount]uint64

// FedBy is one peer as a source of another.
type FedBy struct {
	ID    PeerID
	Bytes uint64
}

// TrackerReport is what a peer tells about its bytes.
type TrackerReport struct {
	// Request is the number by which a report that was overtaken is told.
	Request uint32
	// FirstSession: the peer's process has not joined a tracker before, so no
	// part of its totals has been reported in an earlier session.
	FirstSession bool
	// Title is what was watched since the report before; zero: nothing.
	Title   [32]byte
	Viewers uint16 // that watch now
	Totals  ReportTotals
	FedBy   []FedBy // who gave most first
}

// AppendTrackerReport appends the body of a REPORT. Entries beyond ReportFedMax
// are left out.
func AppendTrackerReport(b []byte, m *TrackerReport) []byte {
	b = binary.BigEndian.AppendUint32(b, m.Request)
	var flags byte
	if m.FirstSession {
		flags |= reportFirstSession
	}
	b = append(b, flags)
	b = append(b, m.Title[:]...)
	b = binary.BigEndian.AppendUint16(b, m.Viewers)
	b = append(b, byte(len(m.Totals)))
	for _, n := range m.Totals {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	fed := m.FedBy[:min(len(m.FedBy), ReportFedMax)]
	b = append(b, byte(len(fed)))
	for i := range fed {
		b = append(b, fed[i].ID[:]...)
		b = binary.BigEndian.AppendUint64(b, fed[i].Bytes)
	}
	return b
}

// ParseTrackerReport decodes the body of a REPORT into m, whose FedBy is reused.
func ParseTrackerReport(m *TrackerReport, b []byte) error {
	d := trackerReader{b: b}
	m.Request = d.u32()
	m.FirstSession = d.u8()&reportFirstSession != 0
	copy(m.Title[:], d.take(32))
	m.Viewers = d.u16()
	counters := int(d.u8())
	if counters > reportCountersMax {
		return fmt.Errorf("%w: REPORT: %d counters", ErrTrackerMessage, counters)
	}
	m.Totals = ReportTotals{}
	for i := range counters {
		if n := d.u64(); i < len(m.Totals) {
			m.Totals[i] = n
		}
	}
	fed := int(d.u8())
	if fed > ReportFedMax {
		return fmt.Errorf("%w: REPORT: fed by %d peers", ErrTrackerMessage, fed)
	}
	m.FedBy = m.FedBy[:0]
	for range fed {
		if d.bad {
			break
		}
		var f FedBy
		copy(f.ID[:], d.take(32))
		f.Bytes = d.u64()
		m.FedBy = append(m.FedBy, f)
	}
	d.b = nil // of a later version
	return d.end("REPORT")
}
