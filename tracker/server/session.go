package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"shoal/engine/transport"
	"shoal/internal/wire"
	"shoal/tracker"
	"shoal/tracker/ticket"
)

// accept takes in new sessions. Beyond joinsMax they are turned away at once:
// a peer tries again, a queue would only make all of them late.
func (s *Server) accept() {
	for {
		session, err := s.endpoint.Accept(s.ctx)
		if err != nil {
			return // closed
		}
		select {
		case s.joins <- struct{}{}:
			s.waitGroup.Go(func() {
				defer func() { <-s.joins }()
				s.welcome(session)
			})
		default:
			s.metrics.refused.WithLabelValues("busy").Inc()
			session.Close("the tracker is busy")
		}
	}
}

// welcome takes one peer from its handshake to its parked session.
func (s *Server) welcome(session *transport.Session) {
	ctx, cancel := context.WithTimeout(s.ctx, joinTimeout)
	defer cancel()
	// The stream has no deadline of its own: closing the session ends it.
	stop := context.AfterFunc(ctx, func() { session.Close("join timed out") })
	stream := session.Stream()
	frame, err := wire.ReadTrackerFrame(stream)
	join, ok := frame.(*wire.TrackerJoin)
	if err != nil || !ok {
		stop()
		s.metrics.dropped.WithLabelValues("join").Inc()
		session.Close("no join")
		return
	}
	reply, admitted := any(nil), false
	if join.Version == wire.TrackerVersion {
		reply, admitted = s.admit(ctx, session)
	} else {
		reply = s.refusal(errVersion)
	}
	_, err = stream.Write(wire.AppendTrackerFrame(nil, reply))
	if !stop() || err != nil {
		session.Close("join timed out")
		return
	}
	// The peer parks or closes the connection when it has read the answer; doing
	// it from here first could overtake the answer. If the peer's word for that
	// is lost, the session must live on all the same.
	end := func() { session.Close("refused") }
	if admitted {
		end = session.ParkControl
	}
	timer := time.AfterFunc(parkTimeout, end)
	_, _ = io.CopyN(io.Discard, stream, 1)
	timer.Stop()
	end()
}

// admit asks the state, on the owner's goroutine, and registers the session
// before the peer hears of it: its first datagram may come at once.
func (s *Server) admit(ctx context.Context, session *transport.Session) (reply any, admitted bool) {
	answered := s.do(ctx, func(now time.Time) {
		if err := s.state.Join(now, session.ID(), session.RemoteAddr()); err != nil {
			reply = s.refusal(err)
			return
		}
		s.drop(session.ID(), "joined again")
		m := &member{session: session, heapIndex: unset}
		s.byPeer[session.ID()] = m
		s.sessions[session.Channel()] = m
		welcome := &wire.TrackerWelcome{
			Version: wire.TrackerVersion, Interval: s.cfg.Bounds.Interval, Observed: session.RemoteAddr(),
		}
		copy(welcome.TicketKey[:], s.identity.PublicKey())
		reply, admitted = welcome, true
	})
	if !answered {
		return s.refusal(errClosing), false
	}
	return reply, admitted
}

var (
	errVersion = errors.New("unknown version of the tracker protocol; update shoal")
	errClosing = errors.New("the tracker is closing")
)

// codeOf says a refusal on the wire and in metrics.
func codeOf(err error) (code wire.TrackerCode, label string) {
	var tooOften *tracker.TooOftenError
	switch {
	case errors.Is(err, tracker.ErrFull):
		return wire.TrackerFull, "full"
	case errors.Is(err, tracker.ErrPerAddress):
		return wire.TrackerPerIP, "per_address"
	case errors.Is(err, tracker.ErrTitles):
		return wire.TrackerTitles, "titles"
	case errors.As(err, &tooOften):
		return wire.TrackerTooOften, "too_often"
	case errors.Is(err, errVersion):
		return wire.TrackerVersionNo, "version"
	default:
		return wire.TrackerInternal, "internal"
	}
}

func (s *Server) refusal(err error) *wire.TrackerRefused {
	code, label := codeOf(err)
	s.metrics.refused.WithLabelValues(label).Inc()
	text := err.Error()
	if code == wire.TrackerInternal && !errors.Is(err, errClosing) {
		// A store's error may name inner addresses.
		text = "the tracker is in trouble"
		s.cfg.Logger.Error("join failed", slog.String("err", err.Error()))
	}
	return &wire.TrackerRefused{Code: code, Text: text}
}

// receive answers one batch of datagrams. What does not open or parse is
// counted and dropped; senders without a session never get here.
func (s *Server) receive(now time.Time, batch *transport.Batch, scratch []byte) {
	for i, pkt := range batch.Packets {
		m := s.sessions[pkt.Channel]
		if m == nil {
			s.metrics.dropped.WithLabelValues("session").Inc()
			continue
		}
		kind, body, err := pkt.Channel.OpenMessage(now, pkt, scratch)
		if err != nil {
			s.metrics.dropped.WithLabelValues("sealed").Inc()
			continue
		}
		left, err := s.handle(now, m.session, kind, body)
		if err != nil {
			s.metrics.dropped.WithLabelValues("malformed").Inc()
		}
		// Datagrams of one peer come in runs; answer behind the last of a run.
		if !left && (i+1 == len(batch.Packets) || batch.Packets[i+1].Channel != pkt.Channel) {
			s.advance(now, m)
		}
	}
}

// handle does what one message asks. left: the session is over.
func (s *Server) handle(now time.Time, session *transport.Session, kind uint8, body []byte) (left bool, err error) {
	switch kind {
	case wire.KindHeartbeat:
		request, err := wire.ParseRequest(body)
		if err == nil && s.state.Heartbeat(now, session.ID(), session.RemoteAddr()) {
			session.Channel().SendMessage(now, wire.KindAlive, wire.AppendRequest(nil, request))
		}
		return false, err
	case wire.KindAnnounce:
		if err := wire.ParseAnnounce(&s.announce, body); err != nil {
			return false, err
		}
		s.answer(now, session, &s.announce)
		return false, nil
	case wire.KindTrackerLeave:
		if err := wire.ParseTrackerLeave(&s.leave, body); err != nil {
			return false, err
		}
		return s.depart(now, session, &s.leave), nil
	case wire.KindTrackerReport:
		if err := wire.ParseTrackerReport(&s.reported, body); err != nil {
			return false, err
		}
		s.report(now, session)
		return false, nil
	case wire.KindAck, wire.KindPing, wire.KindPong:
		return false, nil // consumed by the channel
	default:
		s.metrics.dropped.WithLabelValues("kind").Inc()
		return false, nil
	}
}

// answer serves one announce. The answer is a few times larger than the
// announce, but its address is proven: the channel holds back what goes to a
// new path until that path has answered.
func (s *Server) answer(now time.Time, session *transport.Session, m *wire.Announce) {
	answer, err := s.state.Announce(now, session.ID(), session.RemoteAddr(), tracker.Announcement{
		Title: m.Title, Position: m.Position, HoldFrom: m.HoldFrom, HoldTo: m.HoldTo,
		HeldPermille: int(m.HeldPermille), UpBytesPerSec: m.UpBytesPerSec, Uploads: m.Uploads,
		Connections: int(m.Connections), ConnectionsMax: int(m.ConnectionsMax), Addrs: m.Addrs,
	})
	if err != nil {
		s.sendError(now, session, m.Request, err)
		return
	}
	out := wire.Candidates{
		Request: m.Request, SwarmSize: uint32(answer.SwarmSize), U: uint64(answer.U*(1<<53)) << 11,
		Candidates: make([]wire.Candidate, len(answer.Candidates)),
	}
	for i, c := range answer.Candidates {
		out.Candidates[i] = wire.Candidate{ID: c.Peer, Grade: byte(c.Grade), HoldFrom: c.HoldFrom, HoldTo: c.HoldTo, Addrs: c.Addrs}
	}
	if m.WantTicket {
		out.Ticket, err = ticket.Sign(s.identity.PrivateKey(), ticket.Claims{
			Peer: session.ID(), Title: m.Title, Issued: now, Expires: now.Add(s.cfg.TicketLifetime),
		})
		if err != nil {
			s.sendError(now, session, m.Request, err)
			return
		}
		s.metrics.tickets.Inc()
	}
	for _, body := range wire.SplitCandidates(&out) {
		session.Channel().SendMessage(now, wire.KindCandidates, body)
	}
}

func (s *Server) depart(now time.Time, session *transport.Session, m *wire.TrackerLeave) (left bool) {
	if len(m.Titles) == 0 {
		if err := s.state.LeaveAll(session.ID()); err != nil {
			s.cfg.Logger.Error("leave failed", slog.String("err", err.Error()))
		}
		s.drop(session.ID(), "left")
		return true
	}
	for _, title := range m.Titles {
		if err := s.state.Leave(now, session.ID(), title); err != nil {
			s.cfg.Logger.Error("leave failed", slog.String("err", err.Error()))
		}
	}
	return false
}

func (s *Server) sendError(now time.Time, session *transport.Session, request uint32, err error) {
	code, label := codeOf(err)
	s.metrics.refused.WithLabelValues(label).Inc()
	m := wire.TrackerError{Request: request, Code: code, Text: err.Error()}
	var tooOften *tracker.TooOftenError
	switch {
	case errors.As(err, &tooOften):
		m.RetryAfter = tooOften.RetryAfter
	case code == wire.TrackerInternal:
		m.Text = "the tracker is in trouble"
		s.cfg.Logger.Error("announce failed", slog.String("err", err.Error()))
	}
	session.Channel().SendMessage(now, wire.KindTrackerError, wire.AppendTrackerError(nil, &m))
}
