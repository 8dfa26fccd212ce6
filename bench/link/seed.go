package main

import (
	"context"
	"crypto/ed25519"
	"math/rand/v2"
	"slices"
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
func (e *end) listen(newController func(time.Time) cc.Controller, uploads *cc.UploadGovernor) (*transport.Endpoint, error) {
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
		Uploads: map[string]*cc.UploadGovernor{alpn: uploads},
	})
}

// A seed answers requests for pieces from memory, the first ones first, as fast
// as its channels allow.
type seed struct {
	uploads []*upload // in the order in which they are served next
	tiers   []tierChange
	counted sample
	piece   []byte // what every piece contains
}

// An upload is what one leech is sent.
type upload struct {
	channel *transport.Channel
	wanted  wanted
	sentOf  map[uint32]uint64 // chunks that were sent at least once
}

// seed prepares the sending end of a shoal flow.
func (e *end) seed() (part, error) {
	s := &seed{tiers: e.Tiers, piece: make([]byte, wire.PieceBytes)}
	_, _ = rand.NewChaCha8([32]byte{}).Read(s.piece)
	var governor *cc.UploadGovernor
	if e.Kind == shoalUpload {
		governor = cc.NewUploadGovernor(time.Now(), cc.Uploads{Yield: true})
	}
	endpoint, err := e.listen(controllers(e.Kind), governor)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, samples *sampler) error {
		defer func() { _ = endpoint.Close() }()
		for range e.Channels {
			session, err := endpoint.Accept(ctx)
			if err != nil {
				return err
			}
			s.uploads = append(s.uploads, &upload{channel: session.Channel(), sentOf: make(map[uint32]uint64)})
		}
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
		for _, u := range s.uploads {
			if session := u.channel.Session(); session.Err() != nil {
				return ended(ctx, session)
			}
			u.channel.Advance(now)
		}
		if samples.due(now) {
			samples.add(now, s.sample())
		}
		timer.Reset(time.Until(s.wake(now, samples.next)))
		select {
		case b := <-inbox:
			if b == nil {
				return transport.ErrClosed
			}
			s.receive(time.Now(), b)
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// wake is when there is something to do even if nothing arrives.
func (s *seed) wake(now, sampleAt time.Time) time.Time {
	wake := sampleAt
	sooner := func(at time.Time) {
		if !at.IsZero() && at.Before(wake) {
			wake = at
		}
	}
	for _, u := range s.uploads {
		sooner(u.channel.Next())
		if len(u.wanted) > 0 {
			sooner(u.channel.NextSend(now))
		}
	}
	return wake
}

func (s *seed) receive(now time.Time, b *transport.Batch) {
	defer b.Release()
	for _, pkt := range b.Packets {
		i := slices.IndexFunc(s.uploads, func(u *upload) bool { return u.channel == pkt.Channel })
		if i < 0 {
			continue // not accepted yet
		}
		kind, body, err := pkt.Channel.OpenMessage(now, pkt, nil)
		if err != nil || kind != wire.KindRequest {
			continue
		}
		requests, err := wire.ParseRequests(nil, body)
		if err != nil {
			continue
		}
		for _, r := range requests {
			s.uploads[i].wanted.add(r)
		}
	}
}

// send serves the channels in turns, a burst each: what the governor allows is
// for all of them.
func (s *seed) send(now time.Time) {
	for idle := 0; idle < len(s.uploads); {
		u := s.uploads[0]
		s.uploads = append(s.uploads[1:], u)
		idle++
		for budget := u.channel.SendBudget(now); budget > 0 && len(u.wanted) > 0; budget-- {
			s.sendChunk(now, u)
			idle = 0
		}
	}
}

// sendChunk sends the first chunk wanted.
func (s *seed) sendChunk(now time.Time, u *upload) {
	piece, chunk := u.wanted.take()
	u.channel.SendData(now, transport.Chunk{Handle: handle, Piece: piece, Chunk: chunk}, s.piece[int(chunk)*wire.ChunkBytes:][:wire.ChunkBytes])
	s.counted.SentBytes += wire.ChunkBytes
	if u.sentOf[piece]&(1<<chunk) != 0 {
		s.counted.AgainBytes += wire.ChunkBytes
	}
	u.sentOf[piece] |= 1 << chunk
}

// sample adds the channels' windows up, and takes the mean of their round trips.
func (s *seed) sample() sample {
	v := s.counted
	for _, u := range s.uploads {
		st := u.channel.Stats()
		v.WindowBytes += st.WindowBytes
		v.RTTMillis += st.RTT.Seconds() * 1000 / float64(len(s.uploads))
	}
	return v
}

// changeTier tells the channels of the changes that are due.
func (s *seed) changeTier(now, begin time.Time) {
	for len(s.tiers) > 0 && now.Sub(begin) >= s.tiers[0].At {
		for _, u := range s.uploads {
			u.channel.SetTier(now, tiers[s.tiers[0].Tier])
		}
		s.tiers = s.tiers[1:]
	}
}
