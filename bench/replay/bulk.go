package replay

import (
	"context"
	"math/rand/v2"
	"time"

	"shoal/bench/replay/trace"
	"shoal/cc"
	"shoal/internal/wire"
)

// Bottleneck is one uplink and the way behind it. bench/link has the same with
// real flows, which is what the model of uplinks and senders is checked against.
type Bottleneck struct {
	UpKbps     int
	QueueBytes int
	RTT        time.Duration // without the queue; at least 10 ms
	LossRatio  float64
	Seed       uint64
}

// Flow is a sender that always has more to send to a leech of its own. Flows know
// nothing of each other: none is in another's cc.Group.
type Flow struct {
	Tier  cc.Tier
	Start time.Duration // when its leech dials
}

const (
	// startWithin is how exactly flows begin.
	startWithin = 5 * time.Millisecond
	// clockWithin is when on the wall clock a run begins: controllers drain their
	// queues in slots of it.
	clockWithin = 3 * time.Second
)

// Delivered is how much distinct payload of a flow had come by a moment.
type Delivered struct {
	At    time.Duration
	Bytes int64
}

// RunFlows lets flows share a bottleneck for so long, and returns what came of
// each, in the order of time.
func RunFlows(b Bottleneck, flows []Flow, length time.Duration) [][]Delivered {
	rng := rand.New(rand.NewPCG(b.Seed, 0))
	within := func(d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }
	begin := within(clockWithin)
	node := func(start time.Duration) *Session {
		s := trace.NewSession("", start, "flows", 0) // nobody watches
		s.Kind, s.BitrateKbps, s.TitleLength, s.NAT = trace.VOD, 1000, time.Minute, trace.NATOpen
		s.DownKbps, s.Linger = 1e6, begin+length-start
		return &Session{Session: s}
	}
	seed := node(0)
	seed.UpKbps = b.UpKbps
	sw := &swarmSessions{title: "flows", sessions: []*Session{seed}}
	for _, f := range flows {
		leech := node(begin + f.Start + within(startWithin))
		leech.UpKbps, leech.RTT = 0, max(b.RTT-regionWay, 0)
		sw.sessions = append(sw.sessions, leech)
	}
	leeches := make([]*bulkLeech, len(flows))
	cfg := Config{Seed: b.Seed, UplinkQueue: b.QueueBytes, LossRatio: b.LossRatio}
	newEnd := func(p *peer) policy {
		p.group = new(cc.Group) // its channels have tiers
		if p.index == 0 {
			return &bulkSeed{policy: newCDNOnly(p), p: p, flows: flows}
		}
		l := &bulkLeech{policy: newCDNOnly(p), p: p, late: p.s.Start - flows[p.index-1].Start}
		leeches[p.index-1] = l
		return l
	}
	newWorld(cfg.withDefaults(), newEnd, sw, new(Meter)).run(context.Background(), sw)
	all := make([][]Delivered, len(flows))
	for i, l := range leeches {
		all[i] = l.delivered
	}
	return all
}

// bulkSeed sends to its leeches in turn.
type bulkSeed struct {
	policy // of a node that has nothing else to do
	p      *peer
	flows  []Flow
	asked  []*conn
	turn   int
}

func (s *bulkSeed) connected(*conn) bool { return true }

func (s *bulkSeed) message(mine *end, c *conn, _ any) {
	_, theirs := c.of(s.p)
	mine.sender = newSender(s.p.w.clock(), s.p.group)
	mine.sender.controller = cc.NewTiered(s.p.w.clock(), s.flows[theirs.p.index-1].Tier)
	s.asked = append(s.asked, c)
}

func (s *bulkSeed) serve() (burst, bool) {
	for range s.asked {
		c := s.asked[s.turn]
		s.turn = (s.turn + 1) % len(s.asked)
		if n := s.p.mayServe(c); n > 0 {
			return burst{c: c, mask: lowestChunks(^uint64(0), n)}, true
		}
	}
	return burst{}, false
}

// bulkLeech asks once, for all there is. What is lost comes later as something else:
// all that comes is new.
type bulkLeech struct {
	policy
	p         *peer
	late      time.Duration
	dialed    bool
	delivered []Delivered
}

func (l *bulkLeech) advance() time.Duration {
	if !l.dialed {
		l.dialed = true
		l.p.dial(l.p.w.peers[0])
	}
	return never
}

func (l *bulkLeech) connected(c *conn) bool {
	l.p.send(c, wire.Request{}, false)
	return true
}

func (l *bulkLeech) burst(a *inbound) {
	d := Delivered{At: a.at - l.late, Bytes: int64(chunkBytes(a.mask))}
	if n := len(l.delivered); n > 0 {
		d.Bytes += l.delivered[n-1].Bytes
	}
	l.delivered = append(l.delivered, d)
}
