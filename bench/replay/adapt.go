package replay

import (
	"time"

	"shoal/bench/player/abr"
	"shoal/internal/pace"
	"shoal/internal/wire"
)

// adapting is what a player that chooses its rendition measures, and how fast
// its node answers it. Players without a node (cdn-only) measure the CDN itself.
type adapting struct {
	estimate abr.Estimate
	rung     int           // of the ladder
	chosen   bool          // at least once
	asked    time.Duration // when the present segment was
	held     time.Duration // the buffer then
	first    time.Duration // when its first byte came
	began    bool          // that it has
	all, cdn pace.Meter    // of the line: engine.LineRate
	left     uint32        // pieces before it have left the node for the player
	mayLeave time.Duration // when the next one may
}

// choose makes the rendition for the next segment the one to load. What was
// under way of the other one is of no use any more.
func (p *peer) choose() {
	a, m := p.viewer.adapting, p.w.media
	a.rung = abr.Choose(m.ladderKbps, a.rung, a.estimate.BitsPerSecond())
	r := m.ladder[a.rung]
	if r != p.rendition {
		if a.chosen {
			p.acct.switches++
		}
		p.rendition = r
		p.policy.jumped()
	}
	a.chosen = true
}

// asks begins a GET.
func (a *adapting) asks(now, held time.Duration, first uint32) {
	a.asked, a.held, a.began, a.left, a.mayLeave = now, held, false, first, now
}

// firstByte is when an answer begins.
func (v *viewer) firstByte(now time.Duration) {
	if a := v.adapting; a != nil && v.getting && !a.began {
		a.began, a.first, a.mayLeave = true, now, now
	}
}

// lineRate is what the node takes its line for, in bytes per second.
func (a *adapting) lineRate() float64 { return max(a.all.Estimate(), a.cdn.Estimate()) }

// paceRate is how fast the present answer may flow, in bytes per second; 0:
// without a limit.
func (p *peer) paceRate() float64 {
	a, m := p.viewer.adapting, p.w.media
	if a == nil || p.alone || len(m.ladder) < 2 {
		return 0
	}
	p.advancePlayer()
	return pace.Rate(a.lineRate(), pace.Ladder{
		Lowest: float64(m.ladder[0].bitrateKbps) * kbps,
		Top:    float64(m.ladder[len(m.ladder)-1].bitrateKbps) * kbps,
		This:   float64(p.rendition.bitrateKbps) * kbps,
	}, p.viewer.buffer(), 1)
}

// deliver hands the pieces that are here to the player, as engine/proxy does: the
// schedule runs from the first byte, and an answer that was late catches up. It
// reports whether the player has the whole segment.
func (p *peer) deliver() bool {
	v, now := &p.viewer, p.w.now
	a := v.adapting
	if a == nil {
		return v.missing == 0
	}
	for a.left < v.frontier {
		if a.mayLeave > now {
			return p.deliverLater()
		}
		rate := p.paceRate()
		if a.left == v.first {
			a.mayLeave -= pace.HeadStart(now-a.asked, a.held, p.rendition.bytes(v.seg), rate)
		}
		if rate > 0 {
			a.mayLeave += time.Duration(wire.PieceBytes / rate * float64(time.Second))
		}
		a.left++
	}
	if a.left == v.end && a.mayLeave > now {
		return p.deliverLater() // the last piece is not there before its last byte
	}
	return a.left == v.end
}

func (p *peer) deliverLater() bool {
	if v := &p.viewer; v.loadAt != v.adapting.mayLeave {
		p.loadLater(v.adapting.mayLeave)
	}
	return false
}

// loadedAll is the end of a GET, as the player measures it.
func (a *adapting) loadedAll(now time.Duration, bytes int64) {
	a.estimate.Sample(bytes, a.first-a.asked, now-a.asked)
}

// cameOverLine counts bytes that reach the node.
func (p *peer) cameOverLine(at time.Duration, n int64, fromCDN bool) {
	p.cameAt = at
	a := p.viewer.adapting
	if a == nil || p.alone {
		return
	}
	now := epoch.Add(at)
	a.all.Received(now, int(n))
	if fromCDN {
		a.cdn.Received(now, int(n))
	}
}

// owed ends the line's busy periods: what the CDN and the peers still owe.
func (p *peer) owed(cdn, peers bool) {
	a := p.viewer.adapting
	if a == nil {
		return
	}
	if !cdn && a.cdn.Busy() {
		a.cdn.End()
	}
	if !cdn && !peers && a.all.Busy() {
		a.all.End()
	}
}
