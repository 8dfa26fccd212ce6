// Package store keeps who takes part in which title.
//
// A Store holds one Presence per (peer, title), counts swarms, and hands out
// bounded samples of a swarm for the tracker to filter and score. It takes no
// decision and reads no clock. Memory is the default implementation; a shared
// one serves several trackers with one audience. Package storetest has the
// suite that every implementation passes.
//
// A Store is called by the goroutine that owns the tracker's state, and by no
// other.
package store

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"shoal/internal/wire"
)

// TitleID identifies a title.
type TitleID = [32]byte

// Presence is one peer's part in one title, as of its latest announce. A
// Presence given to or got from a Store is never changed afterwards.
type Presence struct {
	Peer  wire.PeerID
	Title TitleID

	Position         time.Duration // playhead, media time
	HoldFrom, HoldTo time.Duration // media range held contiguously
	HeldPermille     int           // of the whole title
	UpBytesPerSec    uint64        // 0 = unknown
	Uploads          bool
	Connections      int
	ConnectionsMax   int // 0 = not said

	Observed netip.AddrPort   // where the tracker sees the peer
	Addrs    []netip.AddrPort // announced by the peer itself

	Joined time.Time // when the peer came online
	Seen   time.Time // its latest announce
}

// TitleSize is the size of one swarm.
type TitleSize struct {
	Title TitleID
	Peers int
}

// Store is the tracker's memory of swarms. Errors are those of a remote store;
// Memory returns none.
type Store interface {
	// Put inserts a presence or replaces the peer's earlier one in that title.
	// Seen never decreases from one Put to the next.
	Put(p *Presence) error

	// Remove deletes a presence; an unknown one is no error.
	Remove(title TitleID, peer wire.PeerID) error

	// Size returns how many peers take part in title.
	Size(title TitleID) (int, error)

	// Sample appends to dst at most limit presences of title, without
	// duplicates, and returns dst. A swarm of at most limit peers is returned
	// whole. Of a larger one it returns peers near the media time around (at it
	// and ahead of it first) and others drawn at random with rng.
	Sample(dst []*Presence, rng *rand.Rand, title TitleID, around time.Duration, limit int) ([]*Presence, error)

	// Expire removes the presences seen before the given time and returns how
	// many they were.
	Expire(before time.Time) (int, error)

	// Titles returns the largest swarms, largest first, at most limit of them,
	// and the number of all titles and presences.
	Titles(limit int) (largest []TitleSize, titles, presences int, err error)
}
