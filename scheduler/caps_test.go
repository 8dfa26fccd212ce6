package scheduler

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An access line is a leech's downlink with a queue of any length, in front of which
// seeds send as fast as their uplinks and caps allow, and the CDN a window of
// cdnWindow per round trip.
type accessLine struct {
	*scenario
	rate    float64 // bytes per second
	uplinks []float64
	cdn     CDN
	capped  bool // caps are asked for

	caps    map[Seed]float64
	told    int
	wanted  map[Seed][]parcel // of seeds, and FromCDN
	credit  map[Seed]float64
	room    float64
	queue   []parcel
	flying  int             // of the CDN's, in the queue
	delays  []time.Duration // of the queue, in each step
	done    map[Piece]time.Duration
	started time.Time

	elsewhere time.Duration // what stands on other parts of every path
}

type parcel struct {
	from  Seed
	piece Piece
	mask  uint64
}

const (
	lineStep  = 5 * time.Millisecond
	pathRTT   = 20 * time.Millisecond
	cdnWindow = 48
)

func newAccessLine(t *testing.T, rate float64, uplinks ...float64) *accessLine {
	sc := newScenario(t)
	l := &accessLine{
		scenario: sc, rate: rate, uplinks: uplinks, capped: true, caps: make(map[Seed]float64), wanted: make(map[Seed][]parcel),
		credit: make(map[Seed]float64), done: make(map[Piece]time.Duration), started: sc.now,
		cdn: CDN{BytesPerSec: rate / 10, FirstByte: pathRTT, RoundTrip: pathRTT, Margin: time.Second},
	}
	for i := range uplinks {
		sc.s.SeedUp(Seed(i), pathRTT)
	}
	return l
}

func (l *accessLine) queued() time.Duration {
	return time.Duration(float64(len(l.queue)*ChunkBytes) / l.rate * float64(time.Second))
}

// want queues single chunks, as datagrams travel.
func (l *accessLine) want(from Seed, p Piece, mask uint64) {
	for ; mask != 0; mask &= mask - 1 {
		l.wanted[from] = append(l.wanted[from], parcel{from, p, mask & -mask})
	}
}

func (l *accessLine) fetch(p Piece) {
	l.s.TakenByCDN(l.now, p, whole)
	l.want(FromCDN, p, whole)
}

func (l *accessLine) run(d time.Duration) {
	for end := l.now.Add(d); l.now.Before(end); l.advance(lineStep) {
		l.step()
	}
}

func (l *accessLine) step() {
	for _, a := range l.s.Assign(l.now, nil) {
		l.want(a.Seed, a.Piece, a.Mask)
	}
	for i, up := range l.uplinks {
		id := Seed(i)
		if c := l.caps[id]; c > 0 {
			up = min(up, c)
		}
		l.credit[id] = min(l.credit[id]+up*lineStep.Seconds(), 16*ChunkBytes)
		for ; l.credit[id] >= ChunkBytes && len(l.wanted[id]) > 0; l.credit[id] -= ChunkBytes {
			l.send(id)
		}
	}
	// A full window is on its way for a round trip, of which the queue is a part.
	window := cdnWindow * float64(l.queued()+lineStep) / float64(l.queued()+pathRTT)
	for float64(l.flying) < window && len(l.wanted[FromCDN]) > 0 {
		l.flying++
		l.send(FromCDN)
	}
	l.delays = append(l.delays, l.queued())
	for l.room += l.rate * lineStep.Seconds(); l.room >= ChunkBytes && len(l.queue) > 0; l.room -= ChunkBytes {
		l.arrive(l.queue[0])
		l.queue = l.queue[1:]
	}
	l.room = min(l.room, ChunkBytes)
	for i := range l.uplinks {
		l.s.Measured(Seed(i), pathRTT+l.queued()+l.elsewhere, 0)
	}
	if !l.capped {
		return
	}
	for _, c := range l.s.Caps(l.now, l.cdn, nil) {
		l.caps[c.Seed] = c.BytesPerSec
		l.told++
	}
}

func (l *accessLine) send(from Seed) {
	l.queue = append(l.queue, l.wanted[from][0])
	l.wanted[from] = l.wanted[from][1:]
}

func (l *accessLine) arrive(p parcel) {
	var complete bool
	if p.from == FromCDN {
		l.flying--
		_, complete = l.s.FetchedCDN(l.now, p.piece, p.mask)
	} else {
		_, complete = l.s.Arrived(l.now, p.from, p.piece, p.mask)
	}
	if complete {
		l.s.Forget(l.now, p.piece)
		l.done[p.piece] = l.now.Sub(l.started)
	}
}

// p95 is of the queue since a time.
func (l *accessLine) p95(since time.Duration) time.Duration {
	d := slices.Sorted(slices.Values(l.delays[since/lineStep:]))
	return d[len(d)*95/100]
}

// Two seeds could each fill the line alone; then the CDN is asked for pieces that
// are due soon.
func TestCapsKeepTheQueueShortAndLeaveRoomForARescue(t *testing.T) {
	const rate = 1.25e6 // 10 Mbit/s
	story := func(capped bool) (*accessLine, time.Duration) {
		l := newAccessLine(t, rate, 2*rate, 2*rate)
		l.capped = capped
		l.needs(0, 300, 40*time.Second, 0, 1)
		l.run(4 * time.Second)
		for i := range uint32(12) { // 0.63 s of the line
			l.need(1000+i, 1500*time.Millisecond)
			l.fetch(piece(1000 + i))
		}
		l.run(3 * time.Second)
		last := time.Duration(0)
		for i := range uint32(12) {
			at, ok := l.done[piece(1000+i)]
			if !ok {
				at = 7 * time.Second
			}
			last = max(last, at-4*time.Second)
		}
		return l, last
	}
	free, late := story(false)
	capped, rescue := story(true)
	t.Logf("queue p95: free %v, capped %v; rescue after %v, %v; %d caps told; %d and %d pieces", free.p95(2*time.Second), capped.p95(2*time.Second), late, rescue, capped.told, len(free.done), len(capped.done))
	require.Greater(t, late, 1500*time.Millisecond, "without caps it comes too late")
	require.Less(t, rescue, 1500*time.Millisecond)
	require.Less(t, capped.p95(4500*time.Millisecond), free.p95(4500*time.Millisecond)/4)
	require.Less(t, capped.told, 15, "they are not told all the time")
	require.Greater(t, len(capped.done), len(free.done)*9/10, "the line stays busy")
}

func (l *accessLine) needs(from, to uint32, due time.Duration, holders ...Seed) {
	for i := from; i < to; i++ {
		l.need(i, due, holders...)
	}
}

func TestNobodyIsCappedWhereTheLineIsNotTheLimit(t *testing.T) {
	const rate = 1.25e6
	for name, l := range map[string]*accessLine{
		"the uplinks are":   newAccessLine(t, rate, rate/3, rate/3),
		"one seed is alone": newAccessLine(t, rate, 2*rate),
	} {
		l.needs(0, 300, 40*time.Second, 0, 1)
		l.run(5 * time.Second)
		require.Zero(t, l.told, name)
		require.NotEmpty(t, l.done, name)
	}
	l := newAccessLine(t, rate)
	require.Empty(t, l.s.Caps(l.now, l.cdn, nil), "an unknown line")
}

func TestUrgentSeedGetsMoreOfTheLine(t *testing.T) {
	const rate = 1.25e6
	l := newAccessLine(t, rate, 2*rate, 2*rate)
	for i := range uint32(400) {
		l.need(i, 50*time.Second, Seed(i%2))
	}
	l.run(2 * time.Second)
	require.InEpsilon(t, l.caps[0], l.caps[1], 0.3, "before, nothing tells them apart")
	l.needs(600, 612, 2*time.Second, 1)
	l.run(2 * time.Second)
	require.Greater(t, l.caps[1], 1.3*l.caps[0])
	require.InDelta(t, capsShare*rate, l.caps[0]+l.caps[1], capChange*rate, "all of it is handed out, and no more")
	require.Less(t, l.caps[0]+l.caps[1], rate)
}

// A queue that caps do not shorten is not that of the downlink.
func TestCapsThatDoNotHelpAreTakenBack(t *testing.T) {
	const rate = 1.25e6
	l := newAccessLine(t, rate, rate/2, rate/2)
	l.needs(0, 1000, 2*time.Minute, 0, 1)
	l.run(time.Second)
	l.elsewhere = 200 * time.Millisecond
	l.run(2 * time.Second)
	require.Positive(t, l.caps[0])
	l.run(2 * time.Second)
	require.Zero(t, l.caps[0]+l.caps[1])
	told := l.told
	l.run(20 * time.Second)
	require.Equal(t, told, l.told)
}

func TestCapsAreLiftedNowAndThen(t *testing.T) {
	const rate = 1.25e6
	l := newAccessLine(t, rate, 2*rate, 2*rate)
	l.needs(0, 1000, 2*time.Minute, 0, 1)
	l.run(5 * time.Second)
	l.rate *= 2 // the line has become faster
	l.run(12 * time.Second)
	before := len(l.done)
	l.run(5 * time.Second)
	require.Greater(t, float64((len(l.done)-before)*pieceBytes), 0.75*l.rate*5)
}
