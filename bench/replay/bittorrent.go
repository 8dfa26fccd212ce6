package replay

import (
	"cmp"
	"slices"
	"time"
)

// Habits of BitTorrent clients that stream beside a web seed.
const (
	// torrentWindow is how far ahead of the playhead pieces are chosen: as far
	// as shoal looks.
	torrentWindow = 60 * time.Second
	// webSeedBelow is the buffer under which the web seed is asked.
	webSeedBelow = 12 * time.Second
	// webSeedPieces are asked of it at once.
	webSeedPieces = 16
	// pipeline is how many pieces are asked of a neighbour at once.
	pipeline = 4
	// regularSlots and one optimistic slot are served; they are chosen anew every
	// rechokeEvery and optimisticEvery seconds. libtorrent 2.0's defaults:
	// unchoke_slots_limit 8, of which a fifth is optimistic, unchoke_interval and
	// optimistic_unchoke_interval.
	regularSlots    = 7
	rechokeEvery    = 15
	optimisticEvery = 30
	// snubbed is how long a neighbour may be silent that owes something:
	// libtorrent's piece_timeout.
	snubbed = 20 * time.Second
)

// torrent is the model of a BitTorrent client with a web seed: pieces of 64 KiB,
// tit for tat, and a picker that is either sequential or rarest first.
type torrent struct {
	rarest     bool
	seconds    int
	optimistic *neighbour
}

func newRarestFirst(p *peer) policy { return newRival(p, &torrent{rarest: true}) }
func newSequential(p *peer) policy  { return newRival(p, &torrent{}) }

// choke and unchoke, as a neighbour hears them.
type choke bool

func (t *torrent) ask(r *rival) time.Duration {
	m, v := r.p.w.media, &r.p.viewer
	from := r.p.rendition.firstPiece(int(v.position / m.segment))
	last := min(int((v.position+torrentWindow)/m.segment)+1, r.p.told, m.segments)
	end := r.p.rendition.firstPiece(last)
	for from < end && r.p.holds(from) {
		from++
	}
	t.webSeed(r, from, end)
	var open []uint32
	for i := from; i < end; i++ {
		if x := r.partial[i]; !r.p.holds(i) && (x == nil || x.from == nil && !x.web) {
			open = append(open, i)
		}
	}
	if t.rarest {
		t.byRarity(r, open)
	}
	for _, n := range r.neighbours {
		for at := 0; !n.choked && n.owed < pipeline && at < len(open); {
			if !r.has(n, open[at]) {
				at++
				continue
			}
			r.askFor(n, open[at])
			open = slices.Delete(open, at, at+1)
		}
	}
	return never
}

// webSeed fetches from the first missing piece on while the buffer is low.
func (t *torrent) webSeed(r *rival, from, end uint32) {
	m, v := r.p.w.media, &r.p.viewer
	if len(r.fetches) > 0 || from == end || m.start(r.p.rendition.segmentOf(from))-v.position >= webSeedBelow {
		return
	}
	to := from + 1
	for to < end && to-from < webSeedPieces && !r.p.holds(to) {
		to++
	}
	r.fromWeb(from, to)
}

// byRarity sorts by the number of neighbours that have a piece, those that none
// has last. Equals stay in a random order of this peer's own.
func (t *torrent) byRarity(r *rival, open []uint32) {
	copies := make(map[uint32]int, len(open))
	for _, i := range open {
		for _, n := range r.neighbours {
			if r.has(n, i) {
				copies[i]++
			}
		}
	}
	salt := uint32(r.p.index)*2654435761 + 1
	slices.SortFunc(open, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(copies[a], copies[b]), cmp.Compare(a*salt, b*salt), cmp.Compare(a, b))
	})
}

func (t *torrent) everySecond(r *rival, _ bool) {
	for _, n := range r.neighbours {
		if n.owed > 0 && r.p.w.now-n.heard >= snubbed {
			for _, piece := range sortedKeys(r.partial) {
				if r.partial[piece].from == n {
					r.takeBack(piece)
				}
			}
		}
	}
	t.rechoke(r)
}

// rechoke chooses whom to serve.
func (t *torrent) rechoke(r *rival) {
	served := 0
	for _, n := range r.neighbours {
		if n.serves {
			served++
		}
	}
	free := served < min(regularSlots+1, len(r.neighbours))
	if t.seconds++; r.p.s.UpKbps <= 0 || t.seconds%rechokeEvery != 1 && !free {
		return
	}
	order := slices.Clone(r.neighbours)
	r.p.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	slices.SortStableFunc(order, func(a, b *neighbour) int { return cmp.Compare(b.received, a.received) })
	chosen := order[:min(regularSlots, len(order))]
	if rest := order[len(chosen):]; t.seconds%optimisticEvery == 1 || !slices.Contains(rest, t.optimistic) {
		t.optimistic = nil
		if len(rest) > 0 {
			t.optimistic = rest[r.p.rng.IntN(len(rest))]
		}
	}
	for _, n := range r.neighbours {
		n.received = 0
		if serves := n == t.optimistic || slices.Contains(chosen, n); serves != n.serves {
			n.serves = serves
			if !serves {
				n.queue, n.sent = n.queue[:0], 0
			}
			r.p.send(n.c, choke(!serves), false)
		}
	}
}

func (t *torrent) mayServe(_ *rival, n *neighbour) bool { return n.serves }

func (t *torrent) told(r *rival, n *neighbour, word any) {
	if n.choked = bool(word.(choke)); n.choked {
		r.reopen(n)
	}
	r.changed = true
}

func (t *torrent) forget() {}
