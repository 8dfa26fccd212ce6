package swarm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// uploader is a core with a file of 16 MiB, and leeches that may ask for it.
type uploader struct {
	*stranger
	t    *testing.T
	file File
	busy map[Peer]time.Duration
}

func newUploader(t *testing.T, leeches int) *uploader {
	u := &uploader{stranger: newStranger(), t: t, busy: make(map[Peer]time.Duration)}
	const length = 256 * wire.PieceBytes
	u.file = u.Grown(u.now, u.title, nil, []Record{{Root: [32]byte{3}, Length: length, Track: 1, Segments: []Segment{{Length: length, Duration: time.Minute}}}})[0]
	for i := range uint32(256) {
		u.Stored(u.now, Piece{u.file, i})
	}
	for i := range leeches {
		p := u.peer
		if i > 0 {
			p, _ = u.PathUp(u.now, wire.PeerID{byte(100 + i)}, 0)
			u.Joined(u.now, p, u.title)
		}
		u.Control(u.now, p, wire.Interest{Title: [32]byte{1}, ToMillis: 60_000, Active: true})
	}
	u.drain()
	return u
}

// asks takes requests for n whole pieces from the first on, all due at once.
func (u *uploader) asks(p Peer, first, n uint32, due time.Duration) {
	for i := range n {
		u.Requested(u.now, p, wire.Request{Handle: u.handle(p), Piece: first + i, Mask: ^uint64(0), DeadlineMillis: uint32(due.Milliseconds())})
	}
	o := u.drain()
	for _, pc := range o.Load {
		u.Readable(u.now, pc, true)
	}
	for _, b := range o.Busies {
		u.busy[b.Peer] = b.RetryAfter
	}
}

func (u *uploader) handle(p Peer) uint16 {
	h, _ := u.Core.files[u.file].handle(p)
	return h
}

// uploads sends for a while at 640 KiB/s, ten pieces a second.
func (u *uploader) uploads(d time.Duration) (sent map[Peer]int) {
	sent = make(map[Peer]int)
	for end := u.now.Add(d); u.now.Before(end); u.now = u.now.Add(25 * time.Millisecond) {
		if s, ok := u.NextServe(u.now, func(Peer) int { return 16 }); ok {
			u.Served(u.now, s)
			sent[s.Peer]++
		}
	}
	return sent
}

func TestDeadlineThatTheQueueCannotMeetIsRefusedAtOnce(t *testing.T) {
	u := newUploader(t, 3)
	const a, b, c = Peer(0), Peer(1), Peer(2)
	u.asks(a, 0, 60, 10*time.Second)
	u.uploads(2 * time.Second) // 20 pieces; 40 are left, four seconds of work
	u.asks(b, 100, 30, 9*time.Second)
	require.Empty(t, u.busy, "seven seconds of work, all in time")
	u.asks(c, 130, 1, 3*time.Second)
	require.Empty(t, u.busy, "it goes before the others")
	u.asks(c, 131, 100, 20*time.Second)
	require.Empty(t, u.busy, "too much, but its first piece is in time")

	u.asks(b, 140, 80, 9*time.Second)
	require.NotContains(t, u.busy, b, "fifteen seconds of work in nine: the rate may rise")
	u.asks(b, 220, 32, 9*time.Second)
	require.Contains(t, u.busy, b)
	require.NotContains(t, u.busy, a)
	require.InDelta(t, 9, u.busy[b].Seconds(), 1, "how long it would be late by")
	require.Zero(t, u.peers[b].queued, "BUSY refuses all")
	u.asks(b, 252, 1, time.Minute)
	require.Zero(t, u.peers[b].queued, "it was sent before BUSY was heard")
	u.now = u.now.Add(u.busy[b])
	u.asks(b, 253, 1, 9*time.Second)
	require.Equal(t, 64, u.peers[b].queued, "welcome again")
}

func TestNothingIsRefusedBeforeTheRateIsKnown(t *testing.T) {
	u := newUploader(t, 1)
	u.asks(0, 0, 200, time.Second)
	require.Empty(t, u.busy)
	require.Equal(t, 200*64, u.peers[0].queued)
}

func TestWhoAsksTooLateTakesWhatComes(t *testing.T) {
	u := newUploader(t, 2)
	u.asks(0, 0, 40, time.Minute)
	u.uploads(2 * time.Second)
	u.asks(1, 100, 4, 0)
	require.Empty(t, u.busy)
	require.Equal(t, 16, u.uploads(400 * time.Millisecond)[1], "and first")
}

func TestTimeWithoutRequestsIsNoneOfTheRate(t *testing.T) {
	u := newUploader(t, 1)
	for range 10 {
		u.asks(0, 0, 2, time.Minute)
		u.uploads(100 * time.Millisecond)
		u.Canceled(u.now, 0, wire.Cancel{Handle: u.handle(0), Piece: 1, Mask: ^uint64(0)})
		u.Advance(u.now)
		u.now = u.now.Add(1500 * time.Millisecond)
	}
	require.InEpsilon(t, 640<<10, u.served.Estimate(), 0.2)
}

func TestWhoHasGoneWaitsForNothing(t *testing.T) {
	u := newUploader(t, 2)
	u.asks(0, 0, 3, time.Minute)
	u.asks(1, 1, 2, time.Minute)
	require.Equal(t, 5*64, u.queued)
	u.PathDown(u.now, 0)
	require.Equal(t, 2*64, u.queued)
	u.uploads(time.Second)
	require.Zero(t, u.queued)
}
