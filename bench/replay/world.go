package replay

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"shoal/engine/swarm"
	"shoal/tracker"
	"shoal/tracker/store"
)

// epoch is the wall time of the trace's beginning, for code that wants a
// time.Time. Any would do.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	// expireEvery is how often the tracker looks for the silent.
	expireEvery = 5 * time.Second
	// checkEvery events, a cancelled context is looked for.
	checkEvery = 4096
)

// world is one swarm under one policy.
type world struct {
	cfg     Config
	seed    uint64
	rng     *rand.Rand
	meter   *Meter
	make    func(*peer) policy
	media   *media
	tracker *tracker.State
	events  events
	now     time.Duration
	online  int
	coming  int // sessions that have not arrived
	peers   []*peer
	results []SessionResult
	total   series
	done    outcome
	watched time.Duration // by those who have left
	told    int64         // viewer-seconds, to the meter

	// Of the node whose turn it is.
	due     []inbound // of takeBursts
	letters []mail    // of readMail
	out     swarm.Output
}

// outcome is what a swarm's run leaves behind.
type outcome struct {
	results []SessionResult
	total   series
	jobs    swarmBound
	partial bool
}

// newWorld prepares a swarm: sessions of one title, by rising start.
func newWorld(cfg Config, make_ func(*peer) policy, sw *swarmSessions, meter *Meter) *world {
	h := fnv.New64a()
	_, _ = h.Write([]byte(sw.title))
	seed := cfg.Seed ^ h.Sum64() + uint64(sw.part)
	m, err := newMedia(cfg, sw.title, sw.sessions)
	if err != nil {
		panic("BUG: Run has not looked: " + err.Error())
	}
	w := &world{
		cfg: cfg, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), meter: meter, make: make_,
		media: m, coming: len(sw.sessions),
		peers: make([]*peer, len(sw.sessions)), results: make([]SessionResult, len(sw.sessions)),
	}
	w.tracker = tracker.New(rand.New(rand.NewPCG(seed, 2)), store.NewMemory(), tracker.Config{})
	for i, s := range sw.sessions {
		w.events.push(s.Start, evArrive, nil).n = int64(i)
	}
	w.now = sw.sessions[0].Start
	w.events.push(w.now+expireEvery, evExpire, nil)
	return w
}

func (w *world) clock() time.Time { return epoch.Add(w.now) }

// run plays until everybody has left, or ctx ends.
func (w *world) run(ctx context.Context, sw *swarmSessions) outcome {
	for n := 0; !w.events.empty(); n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			w.done.partial = true
			break
		}
		at, ev := w.events.pop()
		w.now = at
		w.do(&ev, sw)
		if w.online == 0 && w.coming == 0 {
			break
		}
	}
	for _, p := range w.peers {
		if p != nil && p.online {
			w.gone(p) // cut short: what was seen so far counts
		}
	}
	w.tellMeter()
	w.meter.ended(w)
	w.done.results, w.done.total = w.results, w.total
	return w.done
}

// do makes an event happen.
func (w *world) do(ev *event, sw *swarmSessions) {
	p := ev.p
	switch ev.kind {
	case evArrive:
		w.coming--
		p = newPeer(w, int(ev.n), sw.sessions[ev.n])
		p.policy = w.make(p)
		w.arriveAt(p)
		return
	case evExpire:
		_, _ = w.tracker.Expire(w.clock())
		w.tellMeter()
		w.events.push(w.now+expireEvery, evExpire, nil)
		return
	case evClosed:
		w.closed(p, ev.c)
		return
	default:
	}
	if !p.online {
		return
	}
	if p.comesAt <= w.now {
		p.takeBursts()
	}
	switch ev.kind {
	case evPlay, evPlayer, evSeek, evLeave:
		w.doViewer(p, ev)
	case evGone:
		w.gone(p)
	case evCycle:
		if p.wakeAt == w.now {
			p.wakeAt = -1
			p.cycle()
		}
	case evUp:
		if p.upAt == w.now {
			p.upAt = -1
			p.upload()
		}
	case evDown:
		p.soon()
	case evCDN:
		w.cdnSends(p)
	case evStored:
		p.policy.stored(ev.piece)
		p.soon()
	case evDialed:
		w.dialed(p, ev.c)
		p.cycle()
	case evSession:
		w.sessionUp(p, ev.c)
		p.cycle()
	case evAnnounce:
		if p.announceAt == w.now {
			w.announce(p)
		}
	case evAnswer:
		p.policy.candidates(ev.msg.(tracker.Answer))
		p.cycle()
	default:
		panic("BUG: an event of no kind")
	}
}

// doViewer makes what a player or its viewer does happen.
func (w *world) doViewer(p *peer, ev *event) {
	switch ev.kind {
	case evPlay:
		if w.now >= p.arrived+p.s.Watch {
			return // has left before the playlists came
		}
		p.play()
	case evPlayer:
		if p.viewer.loadAt != w.now {
			return // it was planned anew
		}
		p.load()
	case evSeek:
		p.seek(time.Duration(ev.n))
	default:
		p.leave()
	}
	p.cycle()
}

// finish writes down a session and lets its node go.
func (w *world) finish(p *peer) {
	p.advancePlayer()
	if p.viewer.state == stateStalled {
		p.endStall()
		p.viewer.state = stateIdle
	}
	watched := p.watched()
	w.watched += watched
	w.total.watched(p.arrived, p.arrived+watched)
	w.results[p.index] = sessionResult(p)
	w.done.jobs.add(w, p)
	w.peers[p.index] = nil
	w.meter.Sessions.Add(1)
	p.policy, p.shelves, p.mail, p.coming, p.conns = nil, nil, mailbox{}, nil, nil
}
