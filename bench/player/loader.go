package player

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"shoal/bench/player/abr"
)

// loader fills the buffer of one track. It runs on a goroutine of its own.
type loader struct {
	p       *Player
	kind    string // CMCD ot: v, a or av
	track   int
	choices []*rendition

	current int // index of choices
	began   bool
	seq     uint64
	at      time.Duration // media time of the next segment
}

func (l *loader) run(ctx context.Context) error {
	if l.p.cfg.Fixed == 0 {
		l.current = l.choose()
	}
	for {
		if err := l.room(ctx); err != nil {
			return err
		}
		l.adapt()
		r := l.choices[l.current]
		if r.playlist == nil {
			if err := l.p.reload(ctx, r); err != nil {
				return err
			}
		}
		if !l.began {
			l.began, l.seq = true, r.playlist.first()
		}
		s, next := r.playlist.find(l.seq)
		if s == nil {
			if r.playlist.closed {
				break
			}
			// Live: look again after half a target duration, as RFC 8216
			// §6.3.4 wants when nothing has changed.
			if err := wait(ctx, max(r.playlist.target/2, 100*time.Millisecond)); err != nil {
				return err
			}
			r.playlist = nil
			continue
		}
		if err := l.segment(ctx, r, s, next); err != nil {
			return err
		}
		l.seq = s.seq + 1
		l.at += s.duration
		if !r.playlist.closed {
			for _, other := range l.choices {
				if other != r {
					other.playlist = nil // has moved on
				}
			}
		}
	}
	l.p.mu.Lock()
	l.p.finishTrack(time.Now(), l.track)
	l.p.mu.Unlock()
	return nil
}

// room waits until less than the maximum is buffered.
func (l *loader) room(ctx context.Context) error {
	for {
		l.p.mu.Lock()
		l.p.advance(time.Now())
		over := l.p.buffered(l.track) - l.p.cfg.MaxBuffer
		l.p.mu.Unlock()
		if over < 0 {
			return nil
		}
		// The other track may hold playback up: then this one looks again.
		if err := wait(ctx, max(over, 50*time.Millisecond)); err != nil {
			return err
		}
	}
}

func (l *loader) choose() int {
	bandwidths := make([]int, len(l.choices))
	for i, r := range l.choices {
		bandwidths[i] = r.bandwidth
	}
	return abr.Choose(bandwidths, l.current, l.p.estimate.bitsPerSecond())
}

// adapt chooses the rendition of the next segment.
func (l *loader) adapt() {
	target := l.current
	if l.p.cfg.Fixed > 0 {
		target = min(l.p.cfg.Fixed, len(l.choices)) - 1
	} else if l.began {
		target = l.choose()
	}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if target != l.current && l.began {
		l.p.switches++
		l.p.log.Debug("rendition", slog.Int("bandwidth", l.choices[target].bandwidth))
	}
	l.current = target
	if l.track == 0 {
		l.p.bandwidth = l.choices[target].bandwidth
	}
}

// segment loads and appends one segment, with its initialization segment when
// that is another than the last one.
func (l *loader) segment(ctx context.Context, r *rendition, s, next *segment) error {
	if s.init != nil {
		id := fmt.Sprint(s.init.url, s.init.offset, s.init.limit)
		if r.initURL != id {
			c := cmcdFor("i")
			if _, _, err := l.p.load(ctx, request{url: s.init.url, offset: s.init.offset, limit: s.init.limit, cmcd: c}); err != nil {
				return err
			}
			r.initURL = id
		}
	}
	c := cmcdFor(l.kind)
	c.duration = s.duration
	c.bandwidth = r.bandwidth
	c.top = l.choices[len(l.choices)-1].bandwidth
	if next != nil && next.url != s.url {
		c.next = next.url
	}
	l.p.mu.Lock()
	l.p.advance(time.Now())
	c.bufferKnown, c.buffer = true, l.p.buffered(l.track)
	c.startup = l.p.state != Playing
	c.starved, l.p.starved = l.p.starved, false
	l.p.mu.Unlock()

	if _, _, err := l.p.load(ctx, request{url: s.url, offset: s.offset, limit: s.limit, cmcd: c, sample: true}); err != nil {
		return err
	}
	l.p.mu.Lock()
	l.p.appended(time.Now(), l.track, l.at, s.duration)
	l.p.mu.Unlock()
	return nil
}
