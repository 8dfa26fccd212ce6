package engine

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"shoal/engine/manifest"
	"shoal/internal/wire"
)

// Piece hashes are asked for before the pieces are there: when a file enters
// the window before a playhead, and when a read begins. They come from the
// manifest at the origin. If that does not answer within a second, the peers
// in the same title are asked as well, one after the other: what they send is
// checked against the file's root, so it does not matter who answers.

const (
	// hashGroupPieces is the unit in which the manifest gives hashes: 64 MiB of file.
	hashGroupPieces = 1024

	// hashesMax bounds the hashes kept: 128 Ki of them are 4 MiB, and cover
	// 8 GiB of files.
	hashesMax = 128 << 10

	// hashFetchesMax bounds concurrent reads of hashes from the origin, which
	// also has the media to send.
	hashFetchesMax = 6

	hashTimeout   = 8 * time.Second        // of one read, the client's retries included
	hashPatience  = time.Second            // before peers are asked, too
	hashPeerRetry = 500 * time.Millisecond // before the next peer is asked
	hashRetry     = time.Second            // after a failed read

	// hashGiveUp is how long readers wait for hashes that nobody has.
	hashGiveUp = 10 * time.Second

	// hashDamaged is how long they wait when those in the manifest are wrong:
	// peers have been asked by then, and the origin has nothing better to say.
	hashDamaged = hashPatience + 2*hashPeerRetry
)

type hashKey struct {
	root  manifest.Root
	group uint32
}

// hashGroup is the hashes of a run of pieces of one file.
type hashGroup struct {
	key     hashKey
	content *content
	hashes  []manifest.Hash // nil: not there yet
	used    uint64

	fetching bool
	waiting  []*assembly
	recovery []func()  // checks of an earlier run's pieces; bounded by recoveriesMax
	since    time.Time // when somebody first wanted it
	retryAt  time.Time
	err      error // of the last read

	asked   map[wire.PeerID]bool
	askedAt time.Time
}

// size is the number of pieces that the group covers.
func (g *hashGroup) size() int {
	return int(min(hashGroupPieces, int64(g.content.pieceCount())-int64(g.key.group)*hashGroupPieces))
}

// giveUp is how long readers wait for the group.
func (g *hashGroup) giveUp() time.Duration {
	if damaged(g.err) {
		return hashDamaged
	}
	return hashGiveUp
}

// hashTable keeps the groups in use. Owned by the loop.
type hashTable struct {
	groups   map[hashKey]*hashGroup
	count    int // hashes held
	fetching int
	backlog  []*hashGroup // wait for one of hashFetchesMax
	clock    uint64
}

// get returns the hash of a piece. A file of one piece is its own proof: its
// root is the hash (BEP 52).
func (t *hashTable) get(c *content, piece uint32) (manifest.Hash, bool) {
	if c.pieceCount() == 1 {
		return c.root, true
	}
	g := t.groups[hashKey{c.root, piece / hashGroupPieces}]
	if g == nil || g.hashes == nil {
		return manifest.Hash{}, false
	}
	t.clock++
	g.used = t.clock
	return g.hashes[piece%hashGroupPieces], true
}

// prefetchHashes asks for the hashes of a range of pieces.
func (l *loop) prefetchHashes(now time.Time, c *content, first, last uint32) {
	if c.pieceCount() <= 1 {
		return
	}
	for group := first / hashGroupPieces; group <= last/hashGroupPieces; group++ {
		l.wantHashes(now, c, group)
	}
}

// wantHashes returns the group, and begins to fetch it when it is neither there
// nor on its way.
func (l *loop) wantHashes(now time.Time, c *content, group uint32) *hashGroup {
	key := hashKey{c.root, group}
	g := l.hashes.groups[key]
	if g == nil {
		g = &hashGroup{key: key, content: c, since: now}
		l.hashes.groups[key] = g
	}
	if g.hashes == nil && !g.fetching && !now.Before(g.retryAt) {
		l.fetchHashes(g)
	}
	return g
}

func (l *loop) fetchHashes(g *hashGroup) {
	g.fetching = true
	if l.hashes.fetching >= hashFetchesMax {
		l.hashes.backlog = append(l.hashes.backlog, g)
		return
	}
	l.hashes.fetching++
	e, f := l.e, g.content.file()
	started := e.spawn(func() {
		ctx, cancel := context.WithTimeout(e.ctx, hashTimeout)
		defer cancel()
		hashes, err := f.title.manifest.Hashes(ctx, f.record, g.key.group)
		e.post(func(now time.Time) { e.loop.hashesFetched(now, g, hashes, err) })
	})
	if !started {
		l.hashes.fetching--
	}
}

func (l *loop) hashesFetched(now time.Time, g *hashGroup, hashes []manifest.Hash, err error) {
	g.fetching = false
	l.hashes.fetching--
	if n := len(l.hashes.backlog); n > 0 {
		next := l.hashes.backlog[n-1] // the newest: a seek makes the oldest useless
		l.hashes.backlog = l.hashes.backlog[:n-1]
		next.fetching = false
		if next.hashes == nil {
			l.fetchHashes(next)
		}
	}
	if g.hashes != nil {
		return // a peer was faster
	}
	if err == nil && len(hashes) != g.size() {
		err = fmt.Errorf("engine: %d hashes instead of %d", len(hashes), g.size())
	}
	if err != nil {
		g.err, g.retryAt = err, now.Add(hashRetry)
		l.askPeersForHashes(now, g)
		return
	}
	l.hashesCame(now, g, hashes)
}

// hashesCame judges what has waited for the group.
func (l *loop) hashesCame(now time.Time, g *hashGroup, hashes []manifest.Hash) {
	l.hashes.clock++
	g.hashes, g.used, g.err, g.asked = hashes, l.hashes.clock, nil, nil
	l.hashes.count += len(hashes)
	waiting, recovery := g.waiting, g.recovery
	g.waiting, g.recovery = nil, nil
	for _, a := range waiting {
		l.judge(now, a)
	}
	for _, f := range recovery {
		f()
	}
	for l.hashes.count > hashesMax {
		l.hashes.dropOldest()
	}
}

func (t *hashTable) dropOldest() {
	var oldest *hashGroup
	for _, g := range t.groups {
		if g.hashes != nil && (oldest == nil || g.used < oldest.used) {
			oldest = g
		}
	}
	if oldest == nil {
		return
	}
	t.count -= len(oldest.hashes)
	delete(t.groups, oldest.key)
}

// retryHashes runs at every upkeep for the groups that something waits for.
func (l *loop) retryHashes(now time.Time) {
	for key, g := range l.hashes.groups {
		if g.hashes != nil {
			continue
		}
		if len(g.waiting) == 0 && len(g.recovery) == 0 && !g.fetching && now.Sub(g.since) > hashGiveUp {
			delete(l.hashes.groups, key)
			continue
		}
		if !g.fetching && !now.Before(g.retryAt) {
			l.fetchHashes(g)
		}
		if now.Sub(g.since) >= hashPatience {
			l.askPeersForHashes(now, g)
		}
		if len(g.waiting) > 0 && now.Sub(g.since) >= g.giveUp() {
			l.failWaiting(now, g)
		}
	}
}

// failWaiting ends the reads that have waited for pieces whose hashes nobody
// gives. The pieces stay: the hashes may come yet.
func (l *loop) failWaiting(now time.Time, g *hashGroup) {
	for _, a := range g.waiting {
		for _, r := range l.waiting[a.piece] {
			if now.Sub(r.since) >= g.giveUp() {
				l.e.log.Warn("no hashes for a piece", slog.String("path", r.file.path), slog.Any("error", g.err))
				l.failReader(r, originError(g.err))
				break // the list has changed; the others fail at the next upkeep
			}
		}
	}
}

// askPeersForHashes asks the next peer that is in one of the file's titles.
func (l *loop) askPeersForHashes(now time.Time, g *hashGroup) {
	if now.Sub(g.askedAt) < hashPeerRetry {
		return
	}
	for _, p := range l.byID {
		if !p.admitted || g.asked[p.id] || !p.sharesTitle(g.content) {
			continue
		}
		if g.asked == nil {
			g.asked = make(map[wire.PeerID]bool)
		}
		g.asked[p.id] = true
		g.askedAt = now
		l.send(now, p, wire.HashRequest{Root: g.key.root, Group: g.key.group})
		return
	}
	if now.Sub(g.askedAt) >= hashGiveUp {
		g.asked = nil // everybody has been asked: start again
	}
}

// hashRequested answers a peer from what is in memory: a stranger's question
// never costs a read of the origin.
func (l *loop) hashRequested(now time.Time, p *peer, m wire.HashRequest) {
	answer := wire.Hashes{Root: m.Root, Group: m.Group}
	if c := l.byRoot[m.Root]; c != nil && p.sharesTitle(c) {
		f := c.file()
		if data, ok := f.title.manifest.HashBytes(f.record, m.Group); ok && len(data) <= wire.MaxHashesBytes {
			answer.Data = data
		}
	}
	l.send(now, p, answer)
}

// hashesAnswered takes a peer's answer, if it was asked.
func (l *loop) hashesAnswered(now time.Time, p *peer, m wire.Hashes) {
	g := l.hashes.groups[hashKey{m.Root, m.Group}]
	if g == nil || g.hashes != nil || !g.asked[p.id] {
		return
	}
	g.askedAt = time.Time{} // the next peer may be asked at once
	if len(m.Data) == 0 {
		l.askPeersForHashes(now, g)
		return
	}
	f := g.content.file()
	hashes, err := f.title.manifest.AddHashes(f.record, m.Group, m.Data)
	if err != nil || len(hashes) != g.size() {
		l.garbage["hashes"]++
		l.askPeersForHashes(now, g)
		return
	}
	l.hashesCame(now, g, hashes)
}
