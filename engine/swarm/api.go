package swarm

import (
	"net/netip"
	"time"

	"shoal/internal/wire"
	"shoal/scheduler"
)

// Handles that the core gives out. They are small, dense and local to one
// Core; on the wire files travel as roots and per-channel handles.
type (
	// Peer is a slot of the peer table. A slot is reused after PathDown.
	Peer uint8
	// Title is one joined title.
	Title uint32
	// File is one file of some title, keyed by its Merkle root: the same root
	// in two titles is one File.
	File uint32
	// Viewer names a viewing session; the shell chooses it.
	Viewer uint64
	// WantID names an open read; the shell chooses it.
	WantID uint64
	// FetchID names a CDN fetch; the core chooses it.
	FetchID uint64
)

// Piece names a piece of a file.
type Piece struct {
	File  File
	Index uint32
}

// Reason says why bytes were taken from the CDN.
type Reason uint8

// Reasons, in the order of Status and of the metrics' labels.
const (
	// ReasonStartup: the viewer waits for its first picture, or for the first
	// one after a seek, and the buffer is not safe yet.
	ReasonStartup Reason = iota
	// ReasonFirstCopy: nobody in the swarm has the piece and it is this peer's
	// turn to bring it in.
	ReasonFirstCopy
	// ReasonRescue: the deadline would otherwise be missed.
	ReasonRescue
	// ReasonHashFailure: a copy from a peer failed its hash.
	ReasonHashFailure
	reasonCount
)

// String returns the reason's label.
func (r Reason) String() string {
	switch r {
	case ReasonStartup:
		return "startup"
	case ReasonFirstCopy:
		return "first_copy"
	case ReasonRescue:
		return "rescue"
	case ReasonHashFailure:
		return "hash_failure"
	default:
		return "unknown"
	}
}

// Config bounds and tunes a Core. The zero value works.
type Config struct {
	// Ahead is how far beyond the playhead the core downloads. Default 60 s.
	Ahead time.Duration
	// MaxPeers bounds the peer table. Default 32, at most 128.
	MaxPeers int
	// MaxFetches bounds concurrent CDN fetches. Default 4.
	MaxFetches int
	// CacheBytes is what the shell's store has room for: the core says what is to
	// be given up when it is nearly full. Default 0: the shell decides that alone.
	CacheBytes int64
	// NoUpload refuses every request of others.
	NoUpload bool
	// Seed makes tie-breaking and exploration reproducible.
	Seed uint64
}

// Track describes one rendition of a title.
type Track struct {
	ID                  uint16
	Kind                string // "video", "audio", "muxed", "text"; one track per kind plays at a time
	BandwidthBitsPerSec uint32
}

// Segment is a byte range of a file with its place in media time.
type Segment struct {
	Offset, Length  int64
	Start, Duration time.Duration // zero Duration: no place in time (an init segment)
}

// Record tells the core about one file of a title.
type Record struct {
	Root     [32]byte
	Length   int64
	Track    uint16
	Segments []Segment // ascending offsets; at least one
}

// Playhead is what is known of a viewer's player.
type Playhead struct {
	Title    Title
	Position time.Duration // media time being shown
	Buffer   time.Duration // media time the player holds beyond Position
	Rate     float64       // 1 playing, 0 paused, 2 double speed; clamped to [0, 16]
	// Progressive players (mpv, VLC, MP4 in <video>) read byte by byte: every
	// piece has a deadline of its own. Others append whole segments.
	Progressive bool
	// Append is how long the player takes to make a picture of what it got: bytes
	// that come when the buffer runs dry come too late by that.
	Append time.Duration
}

// Want is an open read of a player.
type Want struct {
	ID             WantID
	Viewer         Viewer
	File           File
	Offset, Length int64
	// Deadline is when the read's last byte must be readable at the latest: the
	// player's own patience. Zero: only the playhead bounds it.
	Deadline time.Time
}

// Candidate is a peer that the tracker proposes.
type Candidate struct {
	ID    wire.PeerID
	Addrs []netip.AddrPort
	Grade byte // 'A' best … 'D'
}

// FetchResult says how a CDN fetch ended.
type FetchResult struct {
	Err error // nil: complete
	// Gone: the origin says that the file does not exist or must not be read
	// (404, 403, 410), or that it changed: no retry can help.
	Gone     bool
	Bytes    int64
	TTFB     time.Duration // zero: no byte came
	Duration time.Duration
}

// Request asks a seed for chunks; the shell sends it as a REQUEST datagram.
type Request struct {
	Peer    Peer
	Request wire.Request
}

// CancelRequest withdraws chunks asked of a seed.
type CancelRequest struct {
	Peer   Peer
	Cancel wire.Cancel
}

// Busy refuses all that a leech has asked and not yet got.
type Busy struct {
	Peer       Peer
	RetryAfter time.Duration
}

// RateCap tells a seed how fast it may send.
type RateCap struct {
	Peer        Peer
	BytesPerSec float64 // of payload; 0: as it likes
}

// ControlMessage is to be sent on a peer's control stream.
type ControlMessage struct {
	Peer    Peer
	Message wire.Control
}

// Fetch is a CDN range request. Offset and Length are multiples of the chunk
// size except at the end of the file.
type Fetch struct {
	ID             FetchID
	File           File
	Offset, Length int64
	Reason         Reason
	Deadline       time.Time
}

// Connect asks the shell to dial a candidate.
type Connect struct {
	Title Title
	ID    wire.PeerID
	Addrs []netip.AddrPort
}

// Disconnect asks the shell to close a peer's session.
type Disconnect struct {
	Peer   Peer
	Reason string
	Banned bool // remember the ID: never again
}

// WantFailed says that an open read can't be satisfied: neither a peer nor the
// CDN will give the bytes in time.
type WantFailed struct {
	ID  WantID
	Err error // the CDN's last error
}

// Output is what a Core wants done. Drain fills it; slices are reused by the
// next Drain, so the shell finishes with one Output before it drains again.
type Output struct {
	Requests    []Request
	Cancels     []CancelRequest
	Busies      []Busy
	Caps        []RateCap
	Control     []ControlMessage
	Fetches     []Fetch
	FetchCancel []FetchID
	// Verify: all chunks of these pieces are in their buffers; hash them and
	// answer with Verified.
	Verify []Piece
	// Load: a leech asked for these pieces; read them and answer with Readable.
	Load []Piece
	// Release: the buffers of these unfinished pieces are no longer needed.
	Release []Piece
	// Drops: the store is to give these pieces up, unless it has a reason to keep
	// them. The core forgets those of which it hears Evicted.
	Drops       []Drop
	Connect     []Connect
	Disconnect  []Disconnect
	WantsFailed []WantFailed
	Events      []Event
}

// EventKind says what an Event is about.
type EventKind uint8

// Events worth a line in a log or on a dashboard.
const (
	EventPeerBanned     EventKind = iota // Peer polluted Piece
	EventSeedFrozen                      // Peer said BUSY; Duration says for how long
	EventHashFailed                      // Piece failed its hash
	EventRescue                          // CDN fetch started; Reason says why
	EventFirstPeerBytes                  // first verified piece from a peer
	EventOriginMismatch                  // the CDN's own copy of Piece fails its hash
)

// Event is a notable thing that the core did or saw.
type Event struct {
	Kind     EventKind
	Peer     wire.PeerID
	Piece    Piece
	Reason   Reason
	Duration time.Duration
}

// Serve is a burst of chunks to send to a leech now.
type Serve struct {
	Peer   Peer
	Piece  Piece
	Handle uint16 // ours, as announced to that leech
	Mask   uint64
	Tier   scheduler.Tier // in which the channel is to carry it
}

// Bytes counts verified payload by source. Duplicate and HashFailed bytes are
// waste and in no other field.
type Bytes struct {
	P2P, CDN, Served      int64
	Duplicate, HashFailed int64
	CDNByReason           [reasonCount]int64
}

// SeedStatus is one peer as the core sees it.
type SeedStatus struct {
	Peer             Peer
	ID               wire.PeerID
	Score            float64 // 0 … 1
	Grade            byte
	RTT              time.Duration
	RateBytesPerSec  float64
	OutstandingBytes int
	Frozen           time.Duration // 0: not frozen
	LossRatio        float64
	Received, Sent   int64 // payload bytes from and to this peer
	Pieces           int   // pieces that it announced and that we know of
	Leeching         bool  // it asked us for something within the last 10 s
}

// ViewerStatus is one viewer as the core sees it.
type ViewerStatus struct {
	Viewer   Viewer
	Title    Title
	Position time.Duration
	Buffer   time.Duration // what the player holds
	Ready    time.Duration // what the node holds beyond the playhead, contiguous
	Rate     float64
}

// Status is a snapshot for dashboards and metrics.
type Status struct {
	Bytes   Bytes
	Seeds   []SeedStatus
	Viewers []ViewerStatus
	Ready   int // pieces waiting for a seed
	Active  int // pieces in progress
	Fetches int // CDN fetches in progress
	// Dropped counts inputs from peers that were garbage, by kind.
	Dropped map[string]int64
}
