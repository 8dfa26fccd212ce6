package trace

import (
	"math"
	"time"
)

// curve is the share of viewers that have left by a position in a title of known
// length: straight from the beginning to the first point, and between points
// straight in the logarithm of the position, as early browsing ends and patience
// grows (the modified Weibull of Huang et al., NOSSDAV 2017, falls so too).
type curve []struct{ at, left float64 } // seconds, ascending

func (d *Departures) curve(title time.Duration) curve {
	end := title.Seconds()
	c := make(curve, 0, len(d.VOD)+2)
	c = append(c, struct{ at, left float64 }{0, 0})
	for _, p := range d.VOD {
		at := p.Seconds
		if p.Fraction > 0 {
			at = p.Fraction * end
		}
		if last := c[len(c)-1]; at <= last.at || at > end {
			continue // a title shorter than the point
		}
		c = append(c, struct{ at, left float64 }{at, p.Left})
	}
	if last := c[len(c)-1]; last.at < end {
		c = append(c, struct{ at, left float64 }{end, last.left})
	}
	return c
}

// leftBy is the share that has left before position at; who is there at the end
// leaves at the end.
func (c curve) leftBy(at float64) float64 {
	if at >= c[len(c)-1].at {
		return 1
	}
	for i := 1; i < len(c); i++ {
		if at < c[i].at {
			return c[i-1].left + (c[i].left-c[i-1].left)*between(c[i-1].at, c[i].at, at)
		}
	}
	return 1
}

// whenLeft is the position by which a share has left.
func (c curve) whenLeft(left float64) float64 {
	for i := 1; i < len(c); i++ {
		if left >= c[i].left {
			continue
		}
		part := (left - c[i-1].left) / (c[i].left - c[i-1].left)
		if c[i-1].at <= 0 {
			return part * c[i].at
		}
		return c[i-1].at * math.Pow(c[i].at/c[i-1].at, part)
	}
	return c[len(c)-1].at
}

// between is how far at is on the way from low to high.
func between(low, high, at float64) float64 {
	if low <= 0 {
		return at / high
	}
	return math.Log(at/low) / math.Log(high/low)
}

// drawWatch is how long a viewer watches who begins at position.
func (p *Profile) drawWatch(u float64, kind Kind, title, position time.Duration) time.Duration {
	if kind == Live {
		return seconds(p.Watch.LiveSeconds.At(u))
	}
	if position >= title {
		return 0
	}
	c := p.Watch.curve(title)
	gone := c.leftBy(position.Seconds())
	until := seconds(c.whenLeft(gone + u*(1-gone)))
	return max(min(until, title)-position, 0)
}

// StillWatching is the probability that a viewer who watches now is still there
// after another ahead. VOD: position is where in a title of length title. Live:
// position is how long the viewer has watched; title is not used.
func (p *Profile) StillWatching(kind Kind, title, position, ahead time.Duration) float64 {
	var now, then float64
	if kind == Live {
		now, then = p.Watch.LiveSeconds.below(position.Seconds()), p.Watch.LiveSeconds.below((position + ahead).Seconds())
	} else {
		c := p.Watch.curve(title)
		now, then = c.leftBy(position.Seconds()), c.leftBy((position + ahead).Seconds())
	}
	if now >= 1 {
		return 0
	}
	return (1 - then) / (1 - now)
}
