package main

import (
	"context"
	"crypto/ed25519"
	"math/rand/v2"
	"time"

	"shoal/cc"
	"shoal/engine/transport"
	"shoal/internal/wire"
)

const (
	alpn = "shoal-bench-link"

	// handle of the one title there is, which has no end.
	handle = 1
)

// listen opens an end's transport endpoint, as a peer does.
func (e *end) listen(newController func(time.Time) cc.Controller) (*transport.Endpoint, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	identity, err := transport.NewIdentity(key)
	if err != nil {
		return nil, err
	}
	return transport.Listen(transport.Config{
		Listen: e.Own.String(), Identity: identity, ALPN: []string{alpn}, NewController: newController,
	})
}

// A seed answers requests for pieces from memory, the first ones first, as fast
// as its channel allows.
type seed struct {
	channel    *transport.Channel
	controller cc.Controller
	tiers      []tierChange

	wanted  wanted
	sentOf  map[uint32]uint64 // chunks that were sent at least once
	counted sample
	piece   []byte // what every piece contains
}

// seed prepares the sending end of a shoal flow.
func (e *end) seed() (part, error) {
	s := &seed{tiers: e.Tiers, sentOf: make(map[uint32]uint64), piece: make([]byte, wire.PieceBytes)}
	_, _ = rand.NewChaCha8([32]byte{}).Read(s.piece)
	endpoint, err := e.listen(func(now time.Time) cc.Controller {
		s.controller = newController(e.Kind, now)
		return s.controller
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, samples *sampler) error {
		defer func() { _ = endpoint.Close() }()
		session, err := endpoint.Accept(ctx)
		if err != nil {
			return err
		}
		s.channel = session.Channel()
		return s.serve(ctx, endpoint.Inbox(alpn), samples)
	}, nil
}

// serve is the loop of the seed's one goroutine.
func (s *seed) serve(ctx context.Context, inbox <-chan *transport.Batch, samples *sampler) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		s.changeTier(now, samples.begin)
		s.send(now)
		s.channel.Advance(now)
		if samples.due(now) {
			samples.add(now, s.sample())
		}
		timer.Reset(time.Until(s.wake(now, samples.next)))
		select {
		case b := <-inbox:
			if b == nil {
				return s.channel.Session().Err()
			}
			s.receive(time.Now(), b)
		case <-timer.C:
		case <-s.channel.Session().Done():
			return ended(ctx, s.channel.Session())
		case <-ctx.Done():
			return nil
		}
	}
}

// wake is when there is something to do even if nothing arrives.
func (s *seed) wake(now, sampleAt time.Time) time.Time {
	wake := sampleAt
	if at := s.channel.Next(); !at.IsZero() && at.Before(wake) {
		wake = at
	}
	if len(s.wanted) > 0 {
		if at := s.channel.NextSend(now); !at.IsZero() && at.Before(wake) {
			wake = at
		}
	}
	return wake
}

func (s *seed) receive(now time.Time, b *transport.Batch) {
	defer b.Release()
	for _, pkt := range b.Packets {
		kind, body, err := s.channel.OpenMessage(now, pkt, nil)
		if err != nil || kind != wire.KindRequest {
			continue
		}
		requests, err := wire.ParseRequests(nil, body)
		if err != nil {
			continue
		}
		for _, r := range requests {
			s.wanted.add(r)
		}
	}
}

func (s *seed) send(now time.Time) {
	for budget := s.channel.SendBudget(now); budget > 0 && len(s.wanted) > 0; budget = s.channel.SendBudget(now) {
		for ; budget > 0 && len(s.wanted) > 0; budget-- {
			s.sendChunk(now)
		}
	}
}

// sendChunk sends the first chunk wanted.
func (s *seed) sendChunk(now time.Time) {
	piece, chunk := s.wanted.take()
	s.channel.SendData(now, transport.Chunk{Handle: handle, Piece: piece, Chunk: chunk}, s.piece[int(chunk)*wire.ChunkBytes:][:wire.ChunkBytes])
	s.counted.SentBytes += wire.ChunkBytes
	if s.sentOf[piece]&(1<<chunk) != 0 {
		s.counted.AgainBytes += wire.ChunkBytes
	}
	s.sentOf[piece] |= 1 << chunk
}

func (s *seed) sample() sample {
	st := s.channel.Stats()
	v := s.counted
	v.WindowBytes, v.RTTMillis = st.WindowBytes, st.RTT.Seconds()*1000
	return v
}

// changeTier tells the controller of the changes that are due.
func (s *seed) changeTier(now, begin time.Time) {
	for len(s.tiers) > 0 && now.Sub(begin) >= s.tiers[0].At {
		s.controller.(cc.TierController).SetTier(now, tiers[s.tiers[0].Tier])
		s.tiers = s.tiers[1:]
	}
}
