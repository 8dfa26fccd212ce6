package emulator

import (
	"math/rand/v2"
	"time"
)

// shaper decides what becomes of each packet of a line, and when. Since a
// drop-tail queue in front of a known rate is predictable, all is decided on
// arrival. Times count from the Network's start. Not safe for concurrent use.
type shaper struct {
	line     Line
	rate     schedule // no steps: unlimited
	loss     *rand.Rand
	jitter   *rand.Rand
	now      time.Duration
	position cursor

	// the queue
	waiting fifo // accepted, not yet sent
	backlog int  // bytes of them
	free    time.Duration

	tokens   float64 // of the policer
	refilled time.Duration

	bad bool // state of Burst

	// the wandering jitter, from one turn to the next
	turn, nextTurn time.Duration
	here, there    time.Duration
	arrived        time.Duration // last arrival at the other end
}

func newShaper(l Line, seed uint64) *shaper {
	if l.Queue == (Queue{}) {
		l.Queue.Time = defaultQueue
	}
	if l.JitterStep == 0 {
		l.JitterStep = defaultJitterStep
	}
	s := &shaper{
		line: l, tokens: float64(l.Policer.Bucket),
		loss: rand.New(rand.NewPCG(seed, 1)), jitter: rand.New(rand.NewPCG(seed, 2)),
	}
	switch {
	case len(l.Steps) > 0:
		s.rate = schedule{steps: l.Steps, period: l.Period}
	case l.BytesPerSec > 0:
		s.rate = schedule{steps: []Step{{BytesPerSec: l.BytesPerSec, Delay: -1}}}
	}
	return s
}

// arrive takes a packet of so many bytes. It returns the packet's fate, when it
// arrives at the other end if that is Delivered, and how long it waits for its
// turn to be sent. A time before the last one counts as the last one.
func (s *shaper) arrive(now time.Duration, bytes int) (fate Fate, at, queued time.Duration) {
	s.now = max(s.now, now)
	if !s.police(bytes) {
		return Policed, 0, 0
	}
	sent, ok := s.enqueue(bytes)
	if !ok {
		return QueueFull, 0, 0
	}
	queued = sent - s.now
	if len(s.rate.steps) > 0 {
		rate := s.rate.steps[s.position.step].BytesPerSec
		queued = max(0, queued-time.Duration(float64(bytes)/rate*float64(time.Second)))
	}
	// Both are drawn for every packet: one that is lost changes no later delay.
	lost, jitter := s.loses(), s.wander(sent)
	if lost {
		return Lost, 0, queued
	}
	at = sent + max(0, s.delay()+jitter)
	if !s.line.Reorder {
		at = max(at, s.arrived)
	}
	s.arrived = at
	return Delivered, at, queued
}

// police takes tokens for a packet.
func (s *shaper) police(bytes int) bool {
	p := s.line.Policer
	if p.BytesPerSec == 0 {
		return true
	}
	s.tokens = min(float64(p.Bucket), s.tokens+p.BytesPerSec*(s.now-s.refilled).Seconds())
	s.refilled = s.now
	if s.tokens < float64(bytes) {
		return false
	}
	s.tokens -= float64(bytes)
	return true
}

// enqueue returns when the packet has been sent.
func (s *shaper) enqueue(bytes int) (sent time.Duration, ok bool) {
	if len(s.rate.steps) == 0 {
		return s.now, true
	}
	for s.waiting.len() > 0 && s.waiting.first().sent <= s.now {
		s.backlog -= s.waiting.pop().bytes
	}
	sent, position := s.rate.carry(s.position, max(s.now, s.free), float64(bytes))
	if q := s.line.Queue; s.backlog+bytes > queueMin {
		if q.Bytes > 0 && s.backlog+bytes > q.Bytes || q.Time > 0 && sent-s.now > q.Time {
			return 0, false
		}
	}
	s.free, s.position = sent, position
	s.backlog += bytes
	s.waiting.push(sending{sent: sent, bytes: bytes})
	return sent, true
}

// delay is the propagation of a packet sent at the present position.
func (s *shaper) delay() time.Duration {
	if len(s.rate.steps) > 0 {
		if d := s.rate.steps[s.position.step].Delay; d >= 0 {
			return d
		}
	}
	return s.line.Delay
}

// loses draws whether a packet is lost on the wire.
func (s *shaper) loses() bool {
	lost := s.line.Loss > 0 && s.loss.Float64() < s.line.Loss
	b := s.line.Burst
	if b.Enter == 0 {
		return lost
	}
	change := b.Enter
	if s.bad {
		change = b.Leave
	}
	if s.loss.Float64() < change {
		s.bad = !s.bad
	}
	return s.bad && s.loss.Float64() < b.Loss || lost
}

// wander returns the jitter of a packet sent at a time; times never fall.
func (s *shaper) wander(sent time.Duration) time.Duration {
	if s.line.Jitter == 0 {
		return 0
	}
	if s.line.Reorder {
		return s.draw()
	}
	if idle := (sent - s.nextTurn) / s.line.JitterStep; idle > 1 {
		// Turns that no packet has seen need no drawing.
		s.nextTurn += (idle - 1) * s.line.JitterStep
	}
	for sent >= s.nextTurn {
		s.turn, s.here = s.nextTurn, s.there
		s.nextTurn += s.line.JitterStep
		s.there = s.draw()
	}
	return s.here + time.Duration(float64(s.there-s.here)*float64(sent-s.turn)/float64(s.nextTurn-s.turn))
}

func (s *shaper) draw() time.Duration {
	return time.Duration((2*s.jitter.Float64() - 1) * float64(s.line.Jitter))
}

// sending is a packet in the queue.
type sending struct {
	sent  time.Duration
	bytes int
}

// fifo is a ring that grows.
type fifo struct {
	ring  []sending // its length is a power of two
	head  int
	count int
}

func (f *fifo) len() int       { return f.count }
func (f *fifo) first() sending { return f.ring[f.head] }

func (f *fifo) pop() sending {
	v := f.ring[f.head]
	f.head = (f.head + 1) & (len(f.ring) - 1)
	f.count--
	return v
}

func (f *fifo) push(v sending) {
	if f.count == len(f.ring) {
		bigger := make([]sending, max(64, 2*len(f.ring)))
		n := copy(bigger, f.ring[f.head:])
		copy(bigger[n:], f.ring[:f.head])
		f.ring, f.head = bigger, 0
	}
	f.ring[(f.head+f.count)&(len(f.ring)-1)] = v
	f.count++
}
