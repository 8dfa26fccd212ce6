package scheduler

import "time"

const (
	// lineWindow is the time over which the line's rate is sampled: long enough
	// that a burst out of a queue on the way does not count as a rate.
	lineWindow = 200 * time.Millisecond
	// lineMemory is how long the highest sample counts, at least: lines change,
	// and most of the time a node does not fill its own.
	lineMemory = 15 * time.Second
	// lineAhead bounds what is outstanding at all seeds together: what the line
	// carries in that time. More of it could only arrive after the patience with
	// it, and be fetched twice: a leech on a thin line that asks thirty seeds for
	// as much as each has room for drowns in its own answers.
	lineAhead = 500 * time.Millisecond
	// lineUnknown is the bound before the first sample, unless the line has already
	// shown more, and lineLeast afterwards.
	lineUnknown = 4 * ChunksPerPiece * ChunkBytes
	lineLeast   = budgetFloor / 2
)

// line estimates what this node's own downlink carries, as the most that has
// arrived in a window, from whomever.
type line struct {
	start        time.Duration
	bytes        int
	best, before float64 // bytes per second: of this period, of the one before
	turned       time.Duration
	last         float64 // the latest sample, and when it ended
	lastAt       time.Duration
}

// add records payload that has arrived.
func (l *line) add(at time.Duration, bytes int) {
	if since := at - l.start; since >= lineWindow {
		if since < 2*lineWindow { // else the line was idle, and says nothing
			l.last, l.lastAt = float64(l.bytes)/since.Seconds(), at
			l.best = max(l.best, l.last)
		}
		l.start, l.bytes = at, 0
	}
	l.bytes += bytes
	if at-l.turned >= lineMemory && l.best > 0 {
		l.before, l.best, l.turned = l.best, 0, at
	}
}

// rate is what the line carries, in bytes per second; 0: unknown.
func (l *line) rate() float64 { return max(l.best, l.before) }

// full tells whether the line carries what it can.
func (l *line) full(at time.Duration) bool {
	return l.rate() > 0 && at-l.lastAt < 2*lineWindow && l.last >= lineFull*l.rate()
}

// time is how long the line is busy with bytes, at its best.
func (l *line) time(bytes int) time.Duration {
	if rate := l.rate(); rate > 0 {
		return seconds(float64(bytes) / rate)
	}
	return 0
}

// most is how many bytes may be outstanding at all seeds together. What has come
// in the present window counts as soon as it is more than a whole one brought:
// a fast line need not wait for its first sample.
func (l *line) most() int {
	least := lineLeast
	best := l.rate()
	if best == 0 {
		least = lineUnknown
	}
	rate := max(best, float64(l.bytes)/lineWindow.Seconds())
	return max(int(rate*lineAhead.Seconds()), least)
}
