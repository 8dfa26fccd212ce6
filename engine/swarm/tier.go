package swarm

import (
	"time"

	"shoal/internal/wire"
	"shoal/scheduler"
)

const (
	// tierHold is how long a channel keeps its tier after the last request as
	// urgent: requests come in batches, and each switch costs the path a probe.
	tierHold = time.Second

	// fastShare is how much of a track's bitrate is granted in the fastest tier. A
	// viewer who keeps up needs 1; what is above it fills a buffer that ran low.
	fastShare = 1.5

	// fastCredit is how much media may go out in the fastest tier at once: a
	// viewer who starts or seeks has everything below the scheduler's border to
	// fetch, and none of it can wait.
	fastCredit = 10 * time.Second
)

// A channelTier is the tier of the channel to one leech: that of the most urgent
// request outstanding, as far as it is granted.
type channelTier struct {
	tier    scheduler.Tier
	urged   bool
	urgedAt time.Duration // when a request of that tier was last outstanding, if urged

	spent     time.Duration // media sent in the fastest tier, less what was granted since
	settledAt time.Duration
}

// next returns the tier for what is sent now, of asked urgency.
func (t *channelTier) next(at time.Duration, asked scheduler.Tier) scheduler.Tier {
	t.settle(at)
	if asked == scheduler.Fast && t.spent > fastCredit {
		asked = scheduler.Medium
	}
	if asked <= t.tier || !t.urged || at-t.urgedAt >= tierHold {
		t.tier, t.urged, t.urgedAt = asked, true, at
	}
	return t.tier
}

// spend charges media sent in the fastest tier.
func (t *channelTier) spend(media time.Duration) { t.spent += media }

func (t *channelTier) settle(at time.Duration) {
	t.spent = max(t.spent-time.Duration(fastShare*float64(at-t.settledAt)), 0)
	t.settledAt = at
}

// serveTier decides the tier in which a burst for a leech travels.
func (c *Core) serveTier(at time.Duration, p *peer, s serve, chunks int) scheduler.Tier {
	asked := scheduler.Slow
	for i := range p.queue {
		asked = min(asked, p.queue[i].tier)
	}
	tier := p.tier.next(at, asked)
	if tier == scheduler.Fast {
		p.tier.spend(c.files[s.piece.File].mediaTime(chunks * wire.ChunkBytes))
	}
	return tier
}

// mediaTime is how long so many bytes of the file play; zero where it has no place in
// time, and what is asked is what is granted.
func (f *file) mediaTime(bytes int) time.Duration {
	for _, p := range f.places {
		if p.timed && f.length > 0 {
			return time.Duration(float64(p.to-p.from) * float64(bytes) / float64(f.length))
		}
	}
	return 0
}
