package swarm

import (
	"time"

	"shoal/scheduler"
)

// Status returns a snapshot.
func (c *Core) Status(now time.Time) Status {
	st := Status{Bytes: c.bytes, Fetches: len(c.fetches), Dropped: make(map[string]int64, dropKinds)}
	st.Ready, st.Active = c.sched.Pieces()
	for k, name := range dropNames {
		st.Dropped[name] = c.dropped[k]
	}
	for slot, p := range c.peers {
		if p != nil {
			st.Seeds = append(st.Seeds, c.seedStatus(now, Peer(slot), p))
		}
	}
	for _, v := range c.viewers {
		st.Viewers = append(st.Viewers, ViewerStatus{
			Viewer: v.id, Title: v.play.Title, Position: v.position(now), Rate: v.play.Rate,
			Buffer: max(v.play.Position+v.play.Buffer-v.position(now), 0),
			Ready:  c.readyAhead(now, v),
		})
	}
	return st
}

func (c *Core) seedStatus(now time.Time, slot Peer, p *peer) SeedStatus {
	info := c.sched.Info(now, scheduler.Seed(slot))
	pieces := 0
	for _, n := range p.theirs {
		if n.file.handle == n.handle { // and not an older one of the same file
			pieces += n.file.set.Len()
		}
	}
	s := SeedStatus{
		Peer: slot, ID: p.id, Score: info.Score, Grade: 'D', RTT: p.rtt,
		RateBytesPerSec: info.RateBytesPerSec, OutstandingBytes: info.OutstandingBytes,
		Frozen: info.Frozen, LossRatio: p.loss, Received: p.received, Sent: p.sent, Pieces: pieces,
		Leeching: c.at(now)-p.leechedAt < leechingFor,
	}
	if k := c.contact(p.id); k != nil {
		s.Grade = k.grade
	}
	return s
}

// readyAhead is how much media beyond the playhead is here without a gap, on
// every track that the viewer plays.
func (c *Core) readyAhead(now time.Time, v *viewer) time.Duration {
	position := v.position(now)
	least := time.Duration(-1)
	for _, pl := range v.playing {
		ahead := time.Duration(0)
		for _, s := range c.titles[pl.title].track(pl.track).window(position, position+c.cfg.Ahead) {
			if !c.whole(s) {
				break
			}
			ahead = s.start + s.dur - position
		}
		if least < 0 || ahead < least {
			least = ahead
		}
	}
	return max(least, 0)
}

func (c *Core) whole(s segment) bool {
	f := c.files[s.file]
	first, end := f.pieceRange(s.offset, s.length)
	return f.have.HasRange(first, end)
}

// PieceState says where a piece is on its way to the player. Its values are the
// letters that dashboards show.
type PieceState byte

// States of a piece.
const (
	PieceAway    PieceState = '.' // neither here nor needed
	PieceWanted  PieceState = 'w' // needed; nobody has been asked yet
	PieceAsked   PieceState = 'a' // asked of seeds
	PieceFetched PieceState = 'f' // on its way from the CDN
	PiecePeer    PieceState = 'P' // here, from peers
	PieceCDN     PieceState = 'C' // here, from the CDN
	PieceMixed   PieceState = 'M' // here, from both
	PieceCached  PieceState = 'K' // here since an earlier run
)

// PieceStates returns the state of each piece that the bytes [offset,
// offset+length) of the file touch, appended to out.
func (c *Core) PieceStates(id File, offset, length int64, out []byte) []byte {
	first, end := c.files[id].pieceRange(offset, length)
	for i := first; i < end; i++ {
		out = append(out, byte(c.pieceState(Piece{id, i})))
	}
	return out
}

func (c *Core) pieceState(pc Piece) PieceState {
	f := c.files[pc.File]
	if f.have.Has(pc.Index) {
		switch peers, cdn := f.fromPeers.Has(pc.Index), f.fromCDN.Has(pc.Index); {
		case peers && cdn:
			return PieceMixed
		case peers:
			return PiecePeer
		case cdn:
			return PieceCDN
		default: // since an earlier run
			return PieceCached
		}
	}
	if !c.sched.Known(key(pc)) {
		return PieceAway
	}
	// A piece may be asked of both: then the CDN is there because the seeds were
	// too slow.
	switch seeds, cdn := c.sched.Pending(key(pc)); {
	case cdn != 0:
		return PieceFetched
	case seeds != 0 || c.sched.Begun(key(pc)):
		return PieceAsked
	default:
		return PieceWanted
	}
}

// Bytes returns the counts so far: Status without the rest.
func (c *Core) Bytes() Bytes { return c.bytes }
