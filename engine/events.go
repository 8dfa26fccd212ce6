package engine

import (
	"context"
	"log/slog"
	"time"

	"shoal/engine/swarm"
)

// EventKind names what happened.
type EventKind string

// Kinds of events.
const (
	EventTitleOpened    EventKind = "title_opened"
	EventPeerConnected  EventKind = "peer_connected"
	EventPeerLost       EventKind = "peer_lost"
	EventPeerBanned     EventKind = "peer_banned"
	EventSeedFrozen     EventKind = "seed_frozen"
	EventHashFailed     EventKind = "hash_failed"
	EventRescue         EventKind = "rescue"
	EventFirstPeerBytes EventKind = "first_peer_bytes"
	EventOriginMismatch EventKind = "origin_mismatch"
	EventStalled        EventKind = "stalled"
)

// Event is something worth a line on a dashboard.
type Event struct {
	At       time.Time     `json:"at"`
	Kind     EventKind     `json:"kind"`
	Peer     string        `json:"peer,omitempty"`   // peer ID
	Title    string        `json:"title,omitempty"`  // title ID
	Path     string        `json:"path,omitempty"`   // file
	Piece    uint32        `json:"piece,omitempty"`  // piece index inside the file
	Reason   string        `json:"reason,omitempty"` // why the CDN was asked, why a peer went away
	Duration time.Duration `json:"duration,omitempty"`
}

// eventBacklog bounds what a slow subscriber may leave unread: a busy peer
// makes a few events a second, so 256 cover a minute's pause.
const eventBacklog = 256

// Events returns what happens from now on, until ctx ends or the Engine closes;
// then the channel is closed. A subscriber that falls 256 events behind loses
// the newest ones: events inform, they carry no state.
func (e *Engine) Events(ctx context.Context) <-chan Event {
	ch := make(chan Event, eventBacklog)
	e.eventsMu.Lock()
	defer e.eventsMu.Unlock()
	if e.subscribers == nil {
		close(ch)
		return ch
	}
	e.subscribers[ch] = true
	context.AfterFunc(ctx, func() {
		e.eventsMu.Lock()
		defer e.eventsMu.Unlock()
		if e.subscribers[ch] {
			delete(e.subscribers, ch)
			close(ch)
		}
	})
	return ch
}

func (e *Engine) closeSubscribers() {
	e.eventsMu.Lock()
	defer e.eventsMu.Unlock()
	for ch := range e.subscribers {
		close(ch)
	}
	e.subscribers = nil
}

// emit tells the subscribers, and never waits for one.
func (l *loop) emit(ev Event) {
	e := l.e
	e.eventsMu.Lock()
	defer e.eventsMu.Unlock()
	for ch := range e.subscribers {
		select {
		case ch <- ev:
		default:
		}
	}
}

// coreEvent translates what the core says.
func (l *loop) coreEvent(now time.Time, in swarm.Event) {
	out := Event{At: now, Duration: in.Duration}
	if !in.Peer.IsZero() {
		out.Peer = in.Peer.Hex()
	}
	switch in.Kind {
	case swarm.EventPeerBanned:
		out.Kind = EventPeerBanned
		l.banned.add(in.Peer) // also one that has gone meanwhile
		l.e.log.Warn("peer banned: its data failed the hash", slog.String("peer", in.Peer.String()))
	case swarm.EventSeedFrozen:
		out.Kind = EventSeedFrozen
	case swarm.EventHashFailed:
		out.Kind = EventHashFailed
	case swarm.EventRescue:
		out.Kind, out.Reason = EventRescue, in.Reason.String()
	case swarm.EventFirstPeerBytes:
		out.Kind = EventFirstPeerBytes
	case swarm.EventOriginMismatch:
		out.Kind = EventOriginMismatch
	default:
		return
	}
	if in.Kind != swarm.EventSeedFrozen { // which is about no piece
		if c := l.contents[in.Piece.File]; c != nil {
			f := c.file()
			out.Path, out.Piece, out.Title = f.path, in.Piece.Index, f.title.id.String()
			if in.Kind == swarm.EventOriginMismatch && !c.mismatched {
				c.mismatched = true
				l.e.log.Error("the origin's file is not what the manifest describes: pack the title again", slog.String("path", f.path))
			}
		}
	}
	l.emit(out)
}
