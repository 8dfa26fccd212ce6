// Package pace decides how fast a node hands bytes to a player that adapts:
// Meter measures what the line brings, Rate is what an answer may flow at. Why
// that is needed stands in engine/proxy/pace.go.
//
// The live node and the replay share it. It reads no clock; nothing in it is
// safe for concurrent use.
package pace

import "time"

const (
	// enough times the top rendition's bitrate is a line on which pacing
	// could change no decision: players ask for a margin of at most
	// 1/0.7 (hls.js abrBandWidthUpFactor), and then for twice that when a second
	// player shares the line.
	enough = 4

	// unknownBytesPerSec is what the line is taken for until something was measured, 2
	// Mbit/s. It can only hold for what an earlier run left: fetching measures.
	// Players begin with less (hls.js 0.5, dash.js 1 Mbit/s).
	unknownBytesPerSec = 2e6 / 8

	// lowestGain times the lowest rendition's bitrate is always granted: there is
	// nothing to go down to, and what is in the cache shall not stall. It is less
	// than the step to the next rendition, which is 1.5 to 2.
	lowestGain = 1.5

	// shieldBuffer and shieldGain keep a player from running dry on a rendition
	// that is here but that the line would not sustain, because it was chosen by
	// hand: below 10 s of buffer an answer flows at its own bitrate, up to 1.3
	// times that when the buffer is empty. A player that adapts still goes down:
	// hls.js keeps a rendition at 1/0.95 times its bitrate and dash.js at 1/0.9.
	shieldBuffer = 10 * time.Second
	shieldGain   = 0.3

	// punctual is how late a first byte may be: one first-byte time of a far CDN
	// and the transfer of a piece.
	punctual = 500 * time.Millisecond
)

// Append is kept between a segment's last byte and the moment the buffer runs dry,
// for players that append whole segments: hls.js shows one 30 ms later, on an idle
// machine. A player shares its processor with the node and much else.
const Append = 500 * time.Millisecond

// Ladder is the choice that a player has, in bytes per second.
type Ladder struct{ Lowest, Top, This float64 }

// Rate is how fast an answer may flow, in bytes per second; 0: without a
// limit. The line is shared by the answers that flow at the same time, as it
// would be without the node; buffer is what the player holds now.
func Rate(line float64, l Ladder, buffer time.Duration, sharers int) float64 {
	if line == 0 {
		line = unknownBytesPerSec
	}
	if line >= enough*l.Top {
		return 0
	}
	rate := max(line/float64(max(sharers, 1)), lowestGain*l.Lowest)
	if buffer = max(buffer, 0); buffer < shieldBuffer {
		need := 1 + shieldGain*float64(shieldBuffer-buffer)/float64(shieldBuffer)
		rate = max(rate, need*l.This)
	}
	return rate
}

// HeadStart is how much of an answer's schedule counts as over when its first
// bytes leave, wait after they were asked for. As a rule nothing does: players
// measure from the first byte on. But one that appends whole segments runs dry
// when a node that waited for seeds then takes its time for the body too. So what
// was waited in excess is given back as far as the last byte would come too late
// for the buffer, which was held when it was asked for. From the request on, the
// mean is still the line's.
func HeadStart(wait, held time.Duration, bytes int64, rate float64) time.Duration {
	if held <= Append || rate <= 0 {
		return 0 // what a start looks like decides what is played next
	}
	body := time.Duration(float64(bytes) / rate * float64(time.Second))
	return max(min(wait-punctual, wait+body+Append-held), 0)
}
