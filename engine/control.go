package engine

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"shoal/engine/manifest"
	"shoal/engine/swarm"
	"shoal/internal/wire"
	"shoal/tracker/ticket"
)

const (
	// protocolVersion is what Hello says; a peer with another major protocol has another ALPN.
	protocolVersion = 1
	agent           = "shoal"

	// controlQueue bounds the frames that wait for a peer's stream. Joining a
	// long title announces a file each, so it holds a whole announcement of
	// 4,096 files; a peer that does not read them is closed.
	controlQueue = 4096

	// A peer may send controlBurst messages at once, an announcement like ours
	// with room to spare, and controlPerSec in the long run: batches of deltas
	// come ten times a second, questions for hashes with each file. More is a
	// flood, and its author is closed.
	controlBurst  = 2 * controlQueue
	controlPerSec = 100

	// goodbyeTimeout bounds how long a closing session may take to write what is
	// queued, goodbyeLinger how long it then waits for the peer to have read it
	// and closed: the end of the QUIC connection discards what is under way.
	goodbyeTimeout = time.Second
	goodbyeLinger  = 300 * time.Millisecond
)

// send queues a control message; a peer whose queue is full is closed.
func (l *loop) send(now time.Time, p *peer, m wire.Control) {
	if p.dropped {
		return
	}
	// Encoded here: the core may reuse the message's slices with its next output.
	select {
	case p.out <- wire.AppendControl(nil, m):
	default:
		l.drop(now, p, "does not read its control stream")
	}
}

// sendControl sends a message of the core.
func (l *loop) sendControl(now time.Time, h swarm.Peer, m wire.Control) {
	if p := l.peers[h]; p != nil {
		l.send(now, p, m)
	}
}

// writeControl is a session's writer goroutine. It ends with the session.
func (e *Engine) writeControl(p *peer) {
	stream := p.session.Stream()
	for {
		select {
		case b := <-p.out:
			if _, err := stream.Write(b); err != nil {
				p.session.Close("control stream broken")
				return // the reader tells the loop
			}
			continue
		case <-p.session.Done():
			return
		case <-p.closing:
		}
		break
	}
	stuck := time.AfterFunc(goodbyeTimeout, func() { p.session.Close(p.reason) })
	defer stuck.Stop()
	for {
		select {
		case b := <-p.out:
			if _, err := stream.Write(b); err != nil {
				p.session.Close(p.reason)
				return
			}
			continue
		default:
		}
		break
	}
	// A courtesy: nothing depends on it.
	_, _ = stream.Write(wire.AppendControl(nil, wire.Goodbye{Reason: p.reason}))
	_ = stream.Close()
	linger := time.NewTimer(goodbyeLinger)
	defer linger.Stop()
	select {
	case <-p.session.Done():
	case <-linger.C:
	}
	p.session.Close(p.reason)
}

var (
	errFlood   = errors.New("too many control messages")
	errHello   = errors.New("no hello")
	errVersion = errors.New("unknown protocol version")
	errGoodbye = errors.New("said goodbye")
)

// readControl is a session's reader goroutine. It ends with the session, and
// tells the loop why.
func (e *Engine) readControl(p *peer) {
	err := e.readMessages(p)
	reason := "session ended"
	switch {
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, errFlood), errors.Is(err, errHello),
		errors.Is(err, errVersion), errors.Is(err, errGoodbye), errors.Is(err, errTicket):
		reason = err.Error()
	case err != nil && !errors.Is(err, io.EOF):
		e.log.Debug("control stream ended", slog.String("peer", p.id.String()), slog.Any("error", err))
	}
	e.post(func(now time.Time) { e.loop.drop(now, p, reason) })
}

func (e *Engine) readMessages(p *peer) error {
	stream := p.session.Stream()
	limit := rate.NewLimiter(controlPerSec, controlBurst)
	m, err := wire.ReadControl(stream)
	if err != nil {
		return err
	}
	switch hello, ok := m.(wire.Hello); {
	case !ok:
		return errHello
	case hello.Version != protocolVersion:
		return errVersion
	}
	for {
		m, err := wire.ReadControl(stream)
		if err != nil {
			return err
		}
		if !limit.Allow() {
			return errFlood
		}
		switch m := m.(type) {
		case wire.Goodbye:
			return errGoodbye
		case wire.Join:
			if err := e.verifyJoin(p, m); err != nil {
				return err
			}
		default:
			if !e.post(func(now time.Time) { e.loop.control(now, p, m) }) {
				return nil
			}
		}
	}
}

// control takes a message that is not about the session itself.
func (l *loop) control(now time.Time, p *peer, m wire.Control) {
	if p.dropped || !p.admitted {
		l.garbage["not_joined"]++
		return
	}
	switch m := m.(type) {
	case wire.HashRequest:
		l.hashRequested(now, p, m)
	case wire.Hashes:
		l.hashesAnswered(now, p, m)
	case wire.Hello:
		l.garbage["hello"]++
	case wire.Leave:
		delete(p.joined, m.Title)
		l.core.Control(now, p.handle, m)
	default:
		l.core.Control(now, p.handle, m)
	}
}

var errTicket = errors.New("ticket refused")

// verifyJoin checks a ticket on the session's own goroutine: signatures are too
// dear for the loop. Before our own first join at the tracker its key is not
// known, and the session waits.
func (e *Engine) verifyJoin(p *peer, m wire.Join) error {
	key, err := e.trackerKey(p)
	if err != nil {
		return err
	}
	v := ticket.Verifier{TrackerKey: key}
	if err := v.Verify(m.Ticket, p.id, m.Title, time.Now()); err != nil {
		e.log.Warn("ticket refused", slog.String("peer", p.id.String()), slog.Any("error", err))
		return errTicket
	}
	e.post(func(now time.Time) { e.loop.joinedBy(now, p, manifest.TitleID(m.Title)) })
	return nil
}
