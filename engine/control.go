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

	// outboxBytes bounds the frames that wait for a peer's stream: announcements
	// of 65,536 files, the most that the core gives handles to, at 200 bytes
	// each. A peer that does not read them is closed.
	outboxBytes = 16 << 20

	// A peer may send as much at once, and in the long run controlPerSec
	// messages: a fast line completes hundreds of small files a second, and each
	// is announced. More is a flood, and its author is closed.
	controlBurst       = 1 << 17
	controlPerSec      = 1000
	controlBytesPerSec = 1 << 20

	// strangerMax is how many messages but tickets may come before a valid
	// ticket: none is of use.
	strangerMax = 64

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
	if !p.out.add(m) {
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
	var stuck *time.Timer
	for {
		frames, reason, ended := p.out.take()
		if ended && stuck == nil {
			stuck = time.AfterFunc(goodbyeTimeout, func() { p.session.Close(reason) })
			defer stuck.Stop()
		}
		if len(frames) > 0 {
			if _, err := stream.Write(frames); err != nil {
				p.session.Close("control stream broken")
				return // the reader tells the loop
			}
			continue
		}
		if ended {
			_ = stream.Close()
			p.linger()
			p.session.Close(reason)
			return
		}
		select {
		case <-p.out.ready:
		case <-p.session.Done():
			return
		}
	}
}

// linger waits until the peer has closed, or should have.
func (p *peer) linger() {
	t := time.NewTimer(goodbyeLinger)
	defer t.Stop()
	select {
	case <-p.session.Done():
	case <-t.C:
	}
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
	stream := &meteredReader{r: p.session.Stream(), limit: rate.NewLimiter(controlBytesPerSec, outboxBytes)}
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
	stranger := 0 // messages before the first valid ticket
	for joined := false; ; {
		m, err := wire.ReadControl(stream)
		if err != nil {
			return err
		}
		if !limit.Allow() || stranger > strangerMax {
			return errFlood
		}
		switch m := m.(type) {
		case wire.Goodbye:
			return errGoodbye
		case wire.Join:
			if err := e.verifyJoin(p, m); err != nil {
				return err
			}
			joined = true
		default:
			if !joined {
				stranger++
				continue
			}
			if !e.post(func(now time.Time) { e.loop.control(now, p, m) }) {
				return nil
			}
		}
	}
}

// meteredReader ends a stream that brings too many bytes.
type meteredReader struct {
	r     io.Reader
	limit *rate.Limiter
}

func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if n > 0 && !m.limit.AllowN(time.Now(), n) {
		return 0, errFlood
	}
	return n, err
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
