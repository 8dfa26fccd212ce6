package store

import (
	"bytes"
	"container/list"
	"math/rand/v2"
	"slices"
	"time"

	"shoal/internal/wire"
)

const (
	// bucketSpan groups a swarm by playhead. Half a minute is about the buffer
	// of a player: peers of one bucket can serve each other at once.
	bucketSpan = 30 * time.Second

	// bucketsAhead bounds how far ahead of a viewer Sample looks for peers that
	// have just watched what it needs next: 8 x 30 s = 4 min.
	bucketsAhead = 8
)

// Memory is the Store of a single tracker. Put, Remove and Sample cost the same
// however large the swarm is.
type Memory struct {
	index  map[memberKey]*member
	swarms map[TitleID]*swarm
	seen   *list.List // of *member, longest unseen first
	epoch  uint64     // of the present Sample
}

type memberKey struct {
	title TitleID
	peer  wire.PeerID
}

// swarm keeps its members twice: all of them for random draws, and by playhead.
// Both are slices with swap-removal, because the order of a map is the
// runtime's choice and the same seed must give the same answers.
type swarm struct {
	all     []*member
	buckets map[int64][]*member
}

type member struct {
	presence *Presence
	bucket   int64
	inAll    int // index in swarm.all
	inBucket int // index in swarm.buckets[bucket]
	inSeen   *list.Element
	epoch    uint64 // of the latest Sample that returned it
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{index: map[memberKey]*member{}, swarms: map[TitleID]*swarm{}, seen: list.New()}
}

// Put implements Store.
func (s *Memory) Put(p *Presence) error {
	key := memberKey{p.Title, p.Peer}
	bucket := bucketOf(p.Position)
	if m := s.index[key]; m != nil {
		m.presence = p
		s.seen.MoveToBack(m.inSeen)
		if m.bucket != bucket {
			w := s.swarms[p.Title]
			w.leaveBucket(m)
			w.enterBucket(m, bucket)
		}
		return nil
	}
	w := s.swarms[p.Title]
	if w == nil {
		w = &swarm{buckets: map[int64][]*member{}}
		s.swarms[p.Title] = w
	}
	m := &member{presence: p, inAll: len(w.all)}
	m.inSeen = s.seen.PushBack(m)
	w.all = append(w.all, m)
	w.enterBucket(m, bucket)
	s.index[key] = m
	return nil
}

// Remove implements Store.
func (s *Memory) Remove(title TitleID, peer wire.PeerID) error {
	if m := s.index[memberKey{title, peer}]; m != nil {
		s.remove(m)
	}
	return nil
}

// Size implements Store.
func (s *Memory) Size(title TitleID) (int, error) {
	if w := s.swarms[title]; w != nil {
		return len(w.all), nil
	}
	return 0, nil
}

// Sample implements Store. Of a large swarm a quarter is drawn from the
// viewer's own bucket, a quarter from those ahead, an eighth from the one
// behind, and the rest from the whole swarm.
func (s *Memory) Sample(dst []*Presence, rng *rand.Rand, title TitleID, around time.Duration, limit int) ([]*Presence, error) {
	w := s.swarms[title]
	if w == nil || limit <= 0 {
		return dst, nil
	}
	if len(w.all) <= limit {
		for _, m := range w.all {
			dst = append(dst, m.presence)
		}
		return dst, nil
	}
	s.epoch++
	end := len(dst) + limit
	here := bucketOf(around)
	dst = s.draw(dst, rng, w.buckets[here], limit/4)
	ahead := len(dst) + limit/4
	for b := here + 1; b <= here+bucketsAhead; b++ {
		dst = s.draw(dst, rng, w.buckets[b], ahead-len(dst))
	}
	dst = s.draw(dst, rng, w.buckets[here-1], limit/8)
	return s.draw(dst, rng, w.all, end-len(dst)), nil
}

// draw appends up to want members of from that this Sample has not returned yet:
// all of a small slice, random ones of a large one.
func (s *Memory) draw(dst []*Presence, rng *rand.Rand, from []*member, want int) []*Presence {
	if len(from) == 0 || want <= 0 {
		return dst
	}
	take := func(m *member) {
		if m.epoch != s.epoch && want > 0 {
			m.epoch = s.epoch
			dst = append(dst, m.presence)
			want--
		}
	}
	// A draw from at least twice as many members hits a fresh one half of the
	// time or more; the bound only matters when most have been returned before.
	if len(from) >= 2*want {
		for range 4 * want {
			take(from[rng.IntN(len(from))])
		}
	}
	for i, start := 0, rng.IntN(len(from)); i < len(from) && want > 0; i++ {
		take(from[(start+i)%len(from)])
	}
	return dst
}

// Expire implements Store.
func (s *Memory) Expire(before time.Time) (int, error) {
	removed := 0
	for e := s.seen.Front(); e != nil; e = s.seen.Front() {
		m := e.Value.(*member)
		if !m.presence.Seen.Before(before) {
			break
		}
		s.remove(m)
		removed++
	}
	return removed, nil
}

// Titles implements Store.
func (s *Memory) Titles(limit int) (largest []TitleSize, titles, presences int, err error) {
	for title, w := range s.swarms {
		largest = append(largest, TitleSize{title, len(w.all)})
	}
	slices.SortFunc(largest, func(a, b TitleSize) int {
		if a.Peers != b.Peers {
			return b.Peers - a.Peers
		}
		return bytes.Compare(a.Title[:], b.Title[:])
	})
	return slices.Clip(largest[:min(limit, len(largest))]), len(s.swarms), len(s.index), nil
}

func (s *Memory) remove(m *member) {
	title := m.presence.Title
	w := s.swarms[title]
	w.leaveBucket(m)
	last := len(w.all) - 1
	w.all[m.inAll] = w.all[last]
	w.all[m.inAll].inAll = m.inAll
	w.all[last] = nil
	w.all = w.all[:last]
	if last == 0 {
		delete(s.swarms, title)
	}
	s.seen.Remove(m.inSeen)
	delete(s.index, memberKey{title, m.presence.Peer})
}

func (w *swarm) enterBucket(m *member, bucket int64) {
	m.bucket, m.inBucket = bucket, len(w.buckets[bucket])
	w.buckets[bucket] = append(w.buckets[bucket], m)
}

func (w *swarm) leaveBucket(m *member) {
	b := w.buckets[m.bucket]
	last := len(b) - 1
	b[m.inBucket] = b[last]
	b[m.inBucket].inBucket = m.inBucket
	b[last] = nil
	if last == 0 {
		delete(w.buckets, m.bucket)
		return
	}
	w.buckets[m.bucket] = b[:last]
}

func bucketOf(position time.Duration) int64 { return int64(position / bucketSpan) }
