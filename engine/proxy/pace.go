package proxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"shoal/engine/manifest"
	"shoal/internal/pace"
)

// Pacing
//
// A player that adapts chooses its rendition by how fast answers come. A node
// deceives it twice: what is in the cache comes at the speed of the loopback
// interface, and what is being fetched comes in pieces of 64 KiB, the first of
// which counts as latency. Both look like a line that is faster than it is: the
// player goes up, asks for what nobody has, and falls back.
//
// So the body of an answer to such a player flows no faster than the line
// brings new bytes at present (engine.LineRate). The schedule runs from the first
// byte of the answer, and an answer that was late may catch up with it, so that
// its mean, which is what players measure, is the lesser of line and source. A
// first byte that was late is made up for where the picture would stop otherwise
// (pace.HeadStart). How hls.js and dash.js measure is in docs/decisions.md.

const (
	// paceGrain is the time between two writes. Browsers report progress every
	// 50 ms; players that look into an answer (dash.js's AbandonRequestsRule)
	// look at these reports.
	paceGrain = 20 * time.Millisecond

	// grainMin and grainMax bound a write: a few packets, and a piece.
	grainMin = 4 << 10
	grainMax = 64 << 10
)

// ladderOf returns the bitrates of the renditions that the record's track
// competes with; ok is false when there is no choice.
func ladderOf(tracks []manifest.Track, rec manifest.Record, br byteRange, duration time.Duration) (l pace.Ladder, ok bool) {
	var kind manifest.Kind
	for _, t := range tracks {
		if t.ID == rec.Track {
			kind = t.Kind
			l.This = float64(t.BandwidthBitsPerSec) / 8
		}
	}
	if l.This == 0 && duration > 0 {
		l.This = float64(br.length) / duration.Seconds() // the playlist does not tell
	}
	l.Lowest, l.Top = l.This, l.This
	choices := 0
	for _, t := range tracks {
		if t.Kind != kind {
			continue
		}
		choices++
		if r := float64(t.BandwidthBitsPerSec) / 8; r > 0 {
			l.Lowest, l.Top = min(l.Lowest, r), max(l.Top, r)
		}
	}
	return l, choices > 1 && l.This > 0
}

// schedule says when the next bytes of an answer may leave. The zero value
// starts with the first ones.
type schedule struct{ next time.Time }

// begin starts it before its first bytes leave, at a time that may be over.
func (s *schedule) begin(at time.Time) { s.next = at }

// begun tells whether it has started.
func (s *schedule) begun() bool { return !s.next.IsZero() }

// wait is how long the next bytes have to.
func (s *schedule) wait(now time.Time) time.Duration {
	return max(s.next.Sub(now), 0)
}

// sent books n bytes that leave now, at a rate; 0 costs no time.
func (s *schedule) sent(now time.Time, n int, rate float64) {
	if !s.begun() {
		s.begin(now)
	}
	if rate > 0 {
		s.next = s.next.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	}
}

// grain is how much is written at once at a rate.
func grain(rate float64) int64 {
	if rate == 0 {
		return grainMax
	}
	return int64(min(max(rate*paceGrain.Seconds(), grainMin), grainMax))
}

// pacing is shared by all answers of a Proxy.
type pacing struct {
	off     bool         // constant once requests come
	flowing atomic.Int32 // paced answers that are ready to send more, or wait for bytes
}

// Unpaced makes the node hand over what it has as fast as players take it, so
// that what pacing does can be measured. It is called before the first request.
func (p *Proxy) Unpaced() { p.pacing.off = true }

// paced is one answer. Its methods are for the answer's goroutine; nil is an
// answer that is not paced.
type paced struct {
	p        *Proxy
	ladder   pace.Ladder
	bytes    int64
	buffer   time.Duration // of the player when it asked
	began    time.Time
	schedule schedule
	rate     float64
	timer    *time.Timer
}

// pace decides whether an answer is paced: a segment, for a player that has a
// choice and makes it by measuring.
func (x *exchange) pace(now time.Time, rd *reading, br byteRange, buffer time.Duration) *paced {
	if rd == nil || rd.progressive || x.p.pacing.off || !adapts(x.r.UserAgent()) {
		return nil
	}
	l, choice := ladderOf(x.t.tracks(), x.f.record(), br, rd.span.duration())
	if !choice {
		return nil
	}
	if x.c.bufferLength >= 0 {
		buffer = x.c.bufferLength // what it says is better than what was inferred
	}
	a := &paced{p: x.p, ladder: l, bytes: br.length, buffer: buffer, began: now}
	a.look(now, 1)
	if line := x.p.node.lineRate(); line > 0 {
		announce(x.w.Header(), line)
	}
	return a
}

// notAdaptive are programs that choose a rendition once, at the start: those
// that read HLS with FFmpeg.
var notAdaptive = []string{"Lavf/", "libmpv", "mpv"}

func adapts(userAgent string) bool {
	for _, name := range notAdaptive {
		if strings.HasPrefix(userAgent, name) {
			return false
		}
	}
	return true
}

// announce tells the line's rate to players that would rather know it than
// measure it: etp, kbit/s, of CMSD (CTA-5006). dash.js takes it when
// cmsd.abr.etpWeightRatio is set, hls.js does not know it.
func announce(h http.Header, line float64) {
	h.Set("Cmsd-Dynamic", fmt.Sprintf(`"shoal";etp=%d`, int(line*8/1000)))
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Add("Access-Control-Expose-Headers", "CMSD-Dynamic")
	}
}

func (a *paced) look(now time.Time, sharers int) {
	a.rate = pace.Rate(a.p.node.lineRate(), a.ladder, a.buffer-now.Sub(a.began), sharers)
}

// deadline brings a read's deadline forward to what the line could do. While a
// player waits for a segment on a line that decides what it plays, its bytes are
// fetched as fast as the line brings them: seeds that take all of the player's
// patience would pass for the line. Where the line is far above the renditions,
// seeds have the player's patience.
func (a *paced) deadline(patience time.Time) time.Time {
	if a == nil || a.rate == 0 {
		return patience
	}
	line := a.began.Add(patienceMin + time.Duration(float64(a.bytes)/a.rate*float64(time.Second)))
	if patience.IsZero() || line.Before(patience) {
		return line
	}
	return patience
}

// grain is the most that the next write may hold.
func (a *paced) grain() int64 {
	if a == nil {
		return grainMax
	}
	return grain(a.rate)
}

// enter counts the answer in while it has bytes to send or waits for some; one
// whose player does not read is not counted.
func (a *paced) enter() {
	if a != nil {
		a.p.pacing.flowing.Add(1)
	}
}

// leave waits until n bytes may be sent, or the player has gone, and counts the
// answer out.
func (a *paced) leave(ctx context.Context, n int) error {
	if a == nil {
		return nil
	}
	defer a.p.pacing.flowing.Add(-1)
	now := a.p.now()
	a.look(now, int(a.p.pacing.flowing.Load()))
	if !a.schedule.begun() {
		a.schedule.begin(now.Add(-pace.HeadStart(now.Sub(a.began), a.buffer, a.bytes, a.rate)))
	}
	if a.rate > 0 {
		if err := a.sleep(ctx, a.schedule.wait(now)); err != nil {
			return err
		}
	}
	a.schedule.sent(now, n, a.rate)
	return nil
}

func (a *paced) sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	if a.timer == nil {
		a.timer = time.NewTimer(d)
	} else {
		a.timer.Reset(d)
	}
	select {
	case <-a.timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end gives back what the answer holds.
func (a *paced) end() {
	if a != nil && a.timer != nil {
		a.timer.Stop()
	}
}
