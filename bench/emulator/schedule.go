package emulator

import (
	"math"
	"time"
)

const forever = time.Duration(math.MaxInt64)

// schedule is a rate over time.
type schedule struct {
	steps  []Step
	period time.Duration // 0: the last step lasts
}

// cursor is a position in a schedule. It only moves forward.
type cursor struct {
	step  int
	begin time.Duration // of the present repetition
}

// seek moves to time t.
func (s *schedule) seek(c cursor, t time.Duration) cursor {
	if s.period > 0 && t-c.begin >= s.period {
		c.begin, c.step = t-(t-c.begin)%s.period, 0
	}
	for c.step+1 < len(s.steps) && t >= c.begin+s.steps[c.step+1].At {
		c.step++
	}
	return c
}

// until is when the present step ends.
func (s *schedule) until(c cursor) time.Duration {
	switch {
	case c.step+1 < len(s.steps):
		return c.begin + s.steps[c.step+1].At
	case s.period > 0:
		return c.begin + s.period
	default:
		return forever
	}
}

// carry returns when bytes that begin at from have been sent.
func (s *schedule) carry(c cursor, from time.Duration, bytes float64) (time.Duration, cursor) {
	for {
		c = s.seek(c, from)
		rate, until := s.steps[c.step].BytesPerSec, s.until(c)
		if rate > 0 {
			need := time.Duration(math.Ceil(bytes / rate * float64(time.Second)))
			if until == forever || from+need <= until {
				return from + need, c
			}
			bytes -= rate * (until - from).Seconds()
		}
		from = until
	}
}
