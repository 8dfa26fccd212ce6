package engine

import (
	"crypto/ed25519"
	"log/slog"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/swarm"
	"shoal/tracker/client"
)

// trackerKeyPoll is how often a session that waits for the tracker's key looks
// for it.
const trackerKeyPoll = 100 * time.Millisecond

// trackerKey waits for the key by which tickets are verified, as long as a
// session may wait for its admission.
func (e *Engine) trackerKey(p *peer) (ed25519.PublicKey, error) {
	if key := e.tracker.Key(); key != nil {
		return key, nil
	}
	deadline := time.NewTimer(joinTimeout)
	defer deadline.Stop()
	poll := time.NewTicker(trackerKeyPoll)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
			if key := e.tracker.Key(); key != nil {
				return key, nil
			}
		case <-deadline.C:
			return nil, errTicket
		case <-p.session.Done():
			return nil, errTicket
		case <-e.loopDone:
			return nil, ErrClosed
		}
	}
}

// startTracker joins the tracker in the background.
func (e *Engine) startTracker() (*client.Client, error) {
	return client.Start(client.Config{
		URL:      e.cfg.Tracker,
		Endpoint: e.endpoint,
		Logger:   e.log.With(slog.String("part", "tracker")),
		Announce: e.announce,
		Report:   newReporter(e).report,
		OnUpdate: func(u client.Update) {
			e.post(func(now time.Time) { e.loop.trackerUpdate(now, u) })
		},
	})
}

// announce runs on the tracker client's goroutine; the loop answers within a cycle.
func (e *Engine) announce() []client.Announcement {
	answer := make(chan []client.Announcement, 1)
	if !e.post(func(time.Time) { answer <- e.loop.announcements() }) {
		return nil
	}
	select {
	case list := <-answer:
		return list
	case <-e.loopDone:
		return nil
	}
}

// kickTracker asks for an announce now: a title was opened, a viewer began or
// has jumped.
func (l *loop) kickTracker() {
	if l.e.tracker != nil {
		l.e.tracker.Kick()
	}
}

// trackerUpdate takes the tracker's answer for one title.
func (l *loop) trackerUpdate(now time.Time, u client.Update) {
	t := l.titles[manifest.TitleID(u.Title)]
	if t == nil {
		return
	}
	if u.Ticket != nil {
		// Peers admitted us with the old one and ask no more: who is in stays
		// in. Those who come later get this one.
		t.ticket = u.Ticket
		for _, p := range l.byID {
			l.join(now, p, t)
		}
	}
	t.n, t.u = u.SwarmSize, u.U
	candidates := make([]swarm.Candidate, 0, len(u.Candidates))
	for _, c := range u.Candidates {
		if c.ID == l.e.identity.ID() || l.banned.has(c.ID) {
			continue
		}
		candidates = append(candidates, swarm.Candidate{ID: c.ID, Addrs: c.Addrs, Grade: c.Grade})
	}
	l.core.Swarm(now, t.handle, t.n, t.u)
	l.core.Candidates(now, t.handle, candidates)
}
