package scheduler

import (
	"math/bits"
	"time"
)

// ChunkBytes is the size of a chunk, the unit of a datagram.
const ChunkBytes = 1 << 10

// ChunksPerPiece is the number of chunks in a whole piece: one bit each of a
// uint64.
const ChunksPerPiece = 64

// Piece names a piece: a file, by its number in the owner's table, and the
// piece's index in it.
type Piece struct {
	File  uint32
	Index uint32
}

// Seed is a slot of the owner's peer table.
type Seed uint8

const (
	// MaxSeeds bounds the seeds a Scheduler ranks.
	MaxSeeds = 128
	// FromCDN is the Seed that provenance gives for chunks of the CDN.
	FromCDN Seed = 255
)

// SeedSet is a set of seeds below MaxSeeds.
type SeedSet [MaxSeeds / 64]uint64

// Add puts s into the set.
func (b *SeedSet) Add(s Seed) { b[s>>6] |= 1 << (s & 63) }

// Remove takes s out of the set.
func (b *SeedSet) Remove(s Seed) { b[s>>6] &^= 1 << (s & 63) }

// Has reports whether s is in the set.
func (b SeedSet) Has(s Seed) bool { return b[s>>6]&(1<<(s&63)) != 0 }

// Empty reports whether no seed is in the set.
func (b SeedSet) Empty() bool { return b[0]|b[1] == 0 }

// Len returns the number of seeds in the set.
func (b SeedSet) Len() int { return bits.OnesCount64(b[0]) + bits.OnesCount64(b[1]) }

func (b SeedSet) and(o SeedSet) SeedSet { return SeedSet{b[0] & o[0], b[1] & o[1]} }

// Or returns the seeds that are in either set.
func (b SeedSet) Or(o SeedSet) SeedSet { return SeedSet{b[0] | o[0], b[1] | o[1]} }

// AndNot returns the seeds of b that are not in o.
func (b SeedSet) AndNot(o SeedSet) SeedSet { return SeedSet{b[0] &^ o[0], b[1] &^ o[1]} }

// Pop removes and returns the lowest seed of a set that is not empty.
func (b *SeedSet) Pop() Seed {
	for w := range b {
		if b[w] != 0 {
			i := bits.TrailingZeros64(b[w])
			b[w] &= b[w] - 1
			return Seed(w*64 + i)
		}
	}
	panic("BUG: Pop from an empty SeedSet")
}

// Need describes a piece that some viewer will need.
type Need struct {
	Piece Piece
	// Full has a bit for each chunk that the piece has.
	Full uint64
	// Deadline is when the piece must be readable.
	Deadline time.Time
	// Lot in [0, 1) says how early this peer's turn comes to bring the piece into
	// a swarm of Swarm peers (see FirstCopies).
	Lot   float64
	Swarm int
	// Joined is when this peer came to the swarm.
	Joined time.Time
	// Lead is how long before the deadline the player will ask for the piece: its
	// own buffer. First copies should be there by then, so that an answer is not
	// slower than the player's estimate of its line expects.
	Lead time.Duration
	// Holders are the seeds that have the piece.
	Holders SeedSet
}

type state uint8

const (
	stateReady state = iota
	stateActive
	stateVerifying
	stateGone
)

// ask is a set of chunks asked of one seed and not yet delivered.
type ask struct {
	seed Seed
	mask uint64        // still outstanding
	all  uint64        // as asked: chunks travel in ascending order, which shows gaps
	at   time.Duration // when it was asked
	told time.Duration // the deadline that it was told
	due  time.Duration // when the seed has failed to deliver
}

// Source says which chunks of a piece came from whom.
type Source struct {
	Seed Seed
	Mask uint64
}

// task is a needed piece and all that is known of its download.
type task struct {
	// What every round of scheduling looks at, of every task: a cache line.
	deadline time.Duration // since the scheduler's epoch
	full     uint64
	have     uint64 // arrived
	cdn      uint64 // being fetched from the CDN
	pending  uint64 // outstanding at some seed: the union of asks
	holders  SeedSet
	*room    // the scheduler's empty one before anything is asked or comes

	state  state
	swarm  int32
	piece  Piece
	since  time.Duration // when it was first needed
	lot    float64
	turn   float64 // see FirstCopies
	joined time.Duration
	lead   time.Duration

	coming  time.Duration // until when somebody who fetches it is waited for
	fetched SeedSet       // those who said that they fetch it
}

// room is what is known of a task of which something is asked or has come. Most
// tasks only wait, so they borrow it from the scheduler.
type room struct {
	asks    []ask
	sources []Source
	avoid   SeedSet // suspects, after a failed hash

	firstAsks    [4]ask // the usual number of them
	firstSources [4]Source
}

// furnish gives a task a room of its own.
func (s *Scheduler) furnish(t *task) {
	if t.room != s.empty {
		return
	}
	if n := len(s.rooms); n > 0 {
		t.room, s.rooms = s.rooms[n-1], s.rooms[:n-1]
	} else {
		t.room = new(room)
	}
	t.asks, t.sources = t.firstAsks[:0], t.firstSources[:0]
	t.avoid = SeedSet{}
}

// vacate takes the room of a task that has ended.
func (s *Scheduler) vacate(t *task) {
	if t.room == s.empty {
		return
	}
	if len(s.rooms) < roomsMax {
		s.rooms = append(s.rooms, t.room)
	}
	t.room = s.empty
}

// roomsMax bounds the rooms that are kept for later: about as many pieces as begin
// in a second.
const roomsMax = 16

// asked returns the chunks outstanding at some seed.
func (t *task) asked() uint64 { return t.pending }

// recount restores pending after asks have changed.
func (t *task) recount() {
	t.pending = 0
	for i := range t.asks {
		t.pending |= t.asks[i].mask
	}
}

// open returns the chunks that nobody has been asked for.
func (t *task) open() uint64 { return t.full &^ t.have &^ t.cdn &^ t.asked() }

// missing returns the chunks that have not arrived.
func (t *task) missing() uint64 { return t.full &^ t.have }

// credit records that seed delivered mask.
func (t *task) credit(seed Seed, mask uint64) {
	for i := range t.sources {
		if t.sources[i].Seed == seed {
			t.sources[i].Mask |= mask
			return
		}
	}
	t.sources = append(t.sources, Source{Seed: seed, Mask: mask})
}

// lowest returns the n lowest bits set in mask.
func lowest(mask uint64, n int) uint64 {
	var out uint64
	for ; n > 0 && mask != 0; n-- {
		b := mask & -mask
		out |= b
		mask &^= b
	}
	return out
}

func chunkBytes(mask uint64) int { return bits.OnesCount64(mask) * ChunkBytes }
