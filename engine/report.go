package engine

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"shoal/engine/swarm"
	"shoal/internal/wire"
	"shoal/tracker/client"
)

const (
	// watchingFor is how long a session counts as watching after its last word:
	// players ask for a segment every few seconds, and a tab that was closed says
	// nothing.
	watchingFor = time.Minute

	// sourcesMax bounds the peers whose bytes are remembered after they left;
	// those that gave least are forgotten.
	sourcesMax = 256
)

// reporter sums up what the tracker is told of this peer's bytes. Totals never
// run back within a process: what a peer gave and how often a session stalled is
// remembered when they are gone.
type reporter struct {
	e *Engine

	// owned by the loop
	title      [32]byte // watched latest
	sessions   map[swarm.Viewer]sessionMark
	goneStalls int64
	sources    map[wire.PeerID]*source
}

// sessionMark is what a session had counted when it was looked at last.
type sessionMark struct {
	stalls, played int64
}

// source is a peer's bytes: those of connections that are over, and of the
// present one.
type source struct {
	over, present int64
}

func (s source) bytes() int64 { return s.over + s.present }

func newReporter(e *Engine) *reporter {
	return &reporter{e: e, sessions: make(map[swarm.Viewer]sessionMark), sources: make(map[wire.PeerID]*source)}
}

// report runs on the tracker client's goroutine; the loop answers within a
// cycle.
func (r *reporter) report() (client.Report, bool) {
	answer := make(chan client.Report, 1)
	if !r.e.post(func(now time.Time) { answer <- r.collect(now, r.e.loop) }) {
		return client.Report{}, false
	}
	select {
	case report := <-answer:
		return report, true
	case <-r.e.loopDone:
		return client.Report{}, false
	}
}

// collect runs on the loop's goroutine.
func (r *reporter) collect(now time.Time, l *loop) client.Report {
	core := l.core.Status(now)
	b := core.Bytes
	var out client.Report
	count := func(c wire.Counter, n int64) { out.Totals[c] = uint64(max(n, 0)) }
	count(wire.CounterP2P, b.P2P)
	count(wire.CounterCDN, b.CDN)
	count(wire.CounterCDNStartup, b.CDNByReason[swarm.ReasonStartup])
	count(wire.CounterCDNFirstCopy, b.CDNByReason[swarm.ReasonFirstCopy])
	count(wire.CounterCDNRescue, b.CDNByReason[swarm.ReasonRescue])
	count(wire.CounterCDNHashFailure, b.CDNByReason[swarm.ReasonHashFailure])
	count(wire.CounterCache, l.e.cachedBytes.Load())
	count(wire.CounterServed, b.Served)
	count(wire.CounterPlayed, l.e.playedBytes.Load())
	count(wire.CounterDuplicate, b.Duplicate)
	count(wire.CounterHashFailed, b.HashFailed)
	stalls, viewers := r.watch(now, l)
	count(wire.CounterStalls, stalls)
	out.Viewers, out.Title = viewers, r.title
	out.FedBy = r.fedBy(core.Seeds)
	return out
}

// watch counts stalls and the sessions that watch now, and notes the title that
// most was read of since the report before: the bytes of this report are its.
func (r *reporter) watch(now time.Time, l *loop) (stalls int64, viewers int) {
	seen := make(map[swarm.Viewer]sessionMark, len(r.sessions))
	var most int64
	for _, t := range l.titleList {
		var read int64
		for _, v := range t.viewers {
			mark := sessionMark{stalls: v.stalls.Load(), played: v.playedBytes.Load()}
			read += mark.played - r.sessions[v.handle].played
			stalls += mark.stalls
			seen[v.handle] = mark
			delete(r.sessions, v.handle)
			if now.Sub(time.Unix(0, v.lastUsed.Load())) <= watchingFor {
				viewers++
			}
		}
		// The first bytes are fetched before any is read.
		if read > most || r.title == [32]byte{} {
			most, r.title = read, t.id
		}
	}
	for _, gone := range r.sessions {
		r.goneStalls += gone.stalls
	}
	r.sessions = seen
	return stalls + r.goneStalls, viewers
}

// fedBy returns the peers that gave most.
func (r *reporter) fedBy(seeds []swarm.SeedStatus) []wire.FedBy {
	for _, s := range seeds {
		if s.Received <= 0 {
			continue
		}
		from := r.sources[s.ID]
		if from == nil {
			from = &source{}
			r.sources[s.ID] = from
		}
		if s.Received < from.present {
			from.over += from.present // connected anew
		}
		from.present = s.Received
	}
	out := make([]wire.FedBy, 0, len(r.sources))
	for id, from := range r.sources {
		out = append(out, wire.FedBy{ID: id, Bytes: uint64(from.bytes())})
	}
	slices.SortFunc(out, func(a, b wire.FedBy) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), bytes.Compare(a.ID[:], b.ID[:]))
	})
	for _, least := range out[min(len(out), sourcesMax):] {
		delete(r.sources, least.ID)
	}
	return out[:min(len(out), wire.ReportFedMax)]
}
