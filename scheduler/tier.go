package scheduler

import "time"

// Tier says how near the playhead data is, and so how aggressively it travels.
type Tier uint8

// Tiers, as they stand in a REQUEST.
const (
	Fast Tier = iota
	Medium
	Slow
)

// The borders between tiers. Below ten seconds a lost seed can no longer be
// replaced at leisure (stall detection, a new request and a rescue take about
// three seconds in the worst case); beyond thirty, the usual buffer of a web
// player, nothing is urgent.
const (
	fastSlack   = 10 * time.Second
	mediumSlack = 30 * time.Second
)

// TierOf returns the tier of data that is due in slack.
func TierOf(slack time.Duration) Tier {
	switch {
	case slack < fastSlack:
		return Fast
	case slack < mediumSlack:
		return Medium
	default:
		return Slow
	}
}

// String returns the tier's name.
func (t Tier) String() string {
	switch t {
	case Fast:
		return "fast"
	case Medium:
		return "medium"
	default:
		return "slow"
	}
}
