package client

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"shoal/engine/transport"
	"shoal/internal/wire"
	"shoal/tracker/ticket"
)

const (
	// triesMax unanswered tries of one request mean that the tracker is gone:
	// with time-outs of 1, 2 and 4 s that is 7 s after the first.
	triesMax = 3

	// kickEvery limits kicks: a user who drags the seek bar kicks per frame.
	kickEvery = 500 * time.Millisecond

	// tick is the granularity of the channel's timers (RFC 9002 §6.1.2).
	tick = time.Millisecond

	// titlesMax per announce round is what a tracker takes of one peer.
	titlesMax = 16
)

// request is an announce or heartbeat that waits for its answer. Every try has
// a number of its own, because the tracker may choose other candidates, in
// another number of datagrams, for each.
type request struct {
	kind  uint8
	title [32]byte
	body  []byte // begins with the number of the latest try
	begun time.Time
	due   time.Time // when the latest try has waited long enough
	tries []try
}

type try struct {
	number uint32
	parts  uint16 // bit set of the parts that arrived
	update Update
}

// serve announces and hands on answers until the tracker is lost (an error) or
// ctx ends (nil; the tracker is told).
func (c *Client) serve(ctx context.Context, m *membership) error {
	defer m.session.Close("left")
	inbox := c.cfg.Endpoint.Inbox(wire.TrackerALPN)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var scratch [2048]byte
	for {
		now := time.Now()
		if err := c.advance(now, m); err != nil {
			return err
		}
		m.channel.Advance(now)
		m.channel.Flush()
		timer.Reset(max(m.next().Sub(now), tick))
		select {
		case <-ctx.Done():
			now := time.Now()
			if c.cfg.Report != nil {
				c.report(now, m) // what came since the latest
			}
			m.leave(now)
			return nil
		case <-m.session.Done():
			if err := m.session.Err(); err != nil {
				return err
			}
			return errUnanswered
		case batch, ok := <-inbox:
			if !ok {
				return errInboxClosed
			}
			c.receive(time.Now(), m, batch, scratch[:])
			batch.Release()
		case <-c.kick:
			soonest := m.latest.Add(kickEvery)
			if soonest.Before(m.announce) {
				m.announce = soonest
			}
		case <-timer.C:
		}
	}
}

// next is when advance has something to do.
func (m *membership) next() time.Time {
	next := m.announce
	if m.report.Before(next) {
		next = m.report
	}
	for _, r := range m.pending {
		if r.due.Before(next) {
			next = r.due
		}
	}
	if t := m.channel.Next(); !t.IsZero() && t.Before(next) {
		next = t
	}
	return next
}

// advance starts a round of announces when it is time, and repeats or gives up
// the requests that wait too long.
func (c *Client) advance(now time.Time, m *membership) error {
	for _, r := range slices.Clone(m.pending) {
		if r.due.After(now) {
			continue
		}
		if len(r.tries) < triesMax {
			c.send(now, m, r)
			continue
		}
		c.drop(m, r)
		if u, ok := r.partial(); ok {
			c.deliver(m, u)
		} else if m.heard.Before(r.begun) {
			return errUnanswered
		}
	}
	if !m.announce.After(now) {
		c.announce(now, m)
	}
	if !m.report.After(now) {
		m.report = now.Add(c.reportInterval(m))
		if c.cfg.Report != nil {
			c.report(now, m)
		}
	}
	return nil
}

// announce sends what the engine wants to say: one request per title, or a
// heartbeat when there is none. Requests of the round before are superseded.
func (c *Client) announce(now time.Time, m *membership) {
	m.announce = now.Add(m.interval)
	all := c.cfg.Announce()
	if len(all) > 0 {
		// A heartbeat does not count: the first title of a node that has just
		// joined must not wait.
		m.latest = now
	}
	all = all[:min(len(all), titlesMax)]
	present := make(map[[32]byte]struct{}, len(all))
	for _, a := range all {
		present[a.Title] = struct{}{}
	}
	m.pending = slices.DeleteFunc(m.pending, func(r *request) bool {
		_, watched := present[r.title]
		return !m.heard.Before(r.begun) || r.kind == wire.KindAnnounce && !watched
	})
	var left wire.TrackerLeave
	for title := range m.titles {
		if _, ok := present[title]; !ok {
			left.Titles = append(left.Titles, title)
			delete(m.tickets, title)
			delete(m.swarms, title)
		}
	}
	m.titles = present
	if len(left.Titles) > 0 {
		m.request++
		left.Request = m.request
		m.channel.SendMessage(now, wire.KindTrackerLeave, wire.AppendTrackerLeave(nil, &left))
	}
	for _, a := range all {
		c.ask(now, m, wire.KindAnnounce, a.Title, wire.AppendAnnounce(nil, m.announcement(now, a)))
	}
	if len(all) == 0 {
		c.ask(now, m, wire.KindHeartbeat, [32]byte{}, wire.AppendRequest(nil, 0))
	}
}

// ask begins a request, unless one of that kind and title already waits for a
// tracker that has been silent since: then the older one goes on with the
// present words, so that superseding does not hide that nobody answers.
func (c *Client) ask(now time.Time, m *membership, kind uint8, title [32]byte, body []byte) {
	for _, r := range m.pending {
		if r.kind == kind && r.title == title {
			r.body = body
			return
		}
	}
	r := &request{kind: kind, title: title, body: body, begun: now}
	m.pending = append(m.pending, r)
	c.send(now, m, r)
}

func (c *Client) send(now time.Time, m *membership, r *request) {
	m.request++
	binary.BigEndian.PutUint32(r.body, m.request)
	r.due = now.Add(c.cfg.RequestTimeout << len(r.tries))
	r.tries = append(r.tries, try{number: m.request})
	m.channel.SendMessage(now, r.kind, r.body)
}

func (c *Client) drop(m *membership, r *request) {
	m.pending = slices.DeleteFunc(m.pending, func(other *request) bool { return other == r })
}

// receive handles what the tracker sent. Anything else is not ours to answer.
func (c *Client) receive(now time.Time, m *membership, batch *transport.Batch, scratch []byte) {
	for _, pkt := range batch.Packets {
		if pkt.Channel != m.channel {
			continue // of a session that is over
		}
		kind, body, err := m.channel.OpenMessage(now, pkt, scratch)
		if err != nil {
			continue // counted by the endpoint
		}
		if kind < wire.KindHeartbeat {
			continue // acknowledged or pinged, which is not yet answered
		}
		m.heard = now
		c.backoff.reset()
		switch kind {
		case wire.KindAlive:
			if number, err := wire.ParseRequest(body); err == nil {
				if r, _ := m.find(number); r != nil {
					c.drop(m, r)
				}
			}
		case wire.KindTrackerError:
			var refusal wire.TrackerError
			if wire.ParseTrackerError(&refusal, body) == nil {
				c.refused(now, m, refusal)
			}
		case wire.KindCandidates:
			var part wire.Candidates
			if wire.ParseCandidates(&part, body) == nil {
				c.collect(m, &part)
			}
		}
	}
}

// refused ends a request that the tracker will not serve now.
func (c *Client) refused(now time.Time, m *membership, refusal wire.TrackerError) {
	r, _ := m.find(refusal.Request)
	if r == nil {
		return
	}
	c.drop(m, r)
	if refusal.Code == wire.TrackerTooOften {
		again := now.Add(max(refusal.RetryAfter, kickEvery))
		if again.Before(m.announce) {
			m.announce = again
		}
	}
}

// collect adds one datagram of an answer, and delivers the answer when it is
// complete.
func (c *Client) collect(m *membership, part *wire.Candidates) {
	r, t := m.find(part.Request)
	if r == nil || r.kind != wire.KindAnnounce || t.parts&(1<<part.Part) != 0 {
		return
	}
	t.parts |= 1 << part.Part
	u := &t.update
	u.Title = r.title
	u.SwarmSize = int(min(part.SwarmSize, math.MaxInt32))
	u.U = float64(part.U>>11) / (1 << 53)
	if len(part.Ticket) > 0 {
		u.Ticket = slices.Clone(part.Ticket)
	}
	for _, w := range part.Candidates {
		u.Candidates = append(u.Candidates, Candidate{ID: w.ID, Addrs: w.Addrs, Grade: w.Grade, HoldFrom: w.HoldFrom, HoldTo: w.HoldTo})
	}
	if t.parts == 1<<part.Parts-1 {
		c.drop(m, r)
		c.deliver(m, *u)
	}
}

func (c *Client) deliver(m *membership, u Update) {
	if _, ok := m.titles[u.Title]; !ok {
		return // left meanwhile
	}
	if u.Ticket != nil {
		m.tickets[u.Title] = u.Ticket
	}
	m.swarms[u.Title] = u.SwarmSize
	// Datagrams of one answer may overtake each other.
	slices.SortStableFunc(u.Candidates, func(a, b Candidate) int { return int(a.Grade) - int(b.Grade) })
	c.cfg.OnUpdate(u)
}

func (m *membership) find(number uint32) (*request, *try) {
	for _, r := range m.pending {
		for i := range r.tries {
			if r.tries[i].number == number {
				return r, &r.tries[i]
			}
		}
	}
	return nil, nil
}

// partial is the best incomplete answer, for when no try brought a whole one.
func (r *request) partial() (best Update, ok bool) {
	for _, t := range r.tries {
		if t.parts != 0 && (!ok || len(t.update.Candidates) > len(best.Candidates)) {
			best, ok = t.update, true
		}
	}
	return best, ok
}

func (m *membership) announcement(now time.Time, a Announcement) *wire.Announce {
	return &wire.Announce{
		Title: a.Title, Position: a.Position, HoldFrom: a.HoldFrom, HoldTo: a.HoldTo,
		HeldPermille: clamp16(min(a.HeldPermille, 1000)), UpBytesPerSec: a.UpBytesPerSec, Uploads: a.Uploads,
		WantTicket:  !now.Before(ticket.RenewAt(m.tickets[a.Title])),
		Connections: clamp16(a.Connections), ConnectionsMax: clamp16(a.ConnectionsMax),
		Addrs: a.Addrs,
	}
}

// leave says goodbye once; if it is lost, the tracker notices within a minute.
func (m *membership) leave(now time.Time) {
	m.request++
	m.channel.SendMessage(now, wire.KindTrackerLeave, wire.AppendTrackerLeave(nil, &wire.TrackerLeave{Request: m.request}))
	m.channel.Flush()
}

func clamp16(n int) uint16 { return uint16(min(max(n, 0), math.MaxUint16)) }
