package proxy

import (
	"time"

	"shoal/internal/pace"
)

const (
	// patienceMin is the shortest time worth planning for: one first-byte time
	// of a far CDN and the transfer of a piece.
	patienceMin = 500 * time.Millisecond

	// patienceMax ends the planning: hls.js gives up on a first byte after
	// 10 s (fragLoadPolicy.maxTimeToFirstByteMs), dash.js after 20 s, and both
	// hold a whole segment to a rate long before. Two seconds are left for the
	// CDN to be asked instead.
	patienceMax = 8 * time.Second
)

// patience is how long the player is content to wait for the last byte of a GET.
//
// Three clocks run. The buffer: after dl (CMCD), or else after the buffered
// time at the present speed, the picture stops. The bandwidth estimate: a player
// that adapts compares a segment's download time with its duration. hls.js
// considers abandoning it after half the duration, and every adaptive player
// switches down when downloads take longer than they play, so half the
// duration keeps it where it is; a player that says how much throughput
// suffices it (rtp) is content with that. The request: it times out.
//
//	patience = max(patienceMin, min(dl − append time, max(d/2, bytes/rtp), patienceMax))
//
// Who plays the top rendition, or the only one, has nothing to go up to: it only
// has to be kept there, and three quarters of the duration do that. hls.js stays
// at 0.95 and dash.js at 0.9 of an estimate that is then 1.33 times the bitrate.
//
// A starting player has no buffer and gets patienceMin. Zero means that no
// deadline can be given: a progressive read is open as long as the film, and
// only the playhead bounds each of its pieces.
func patience(c cmcd, bufferLength, duration time.Duration, bytes int64, progressive, top bool) time.Duration {
	if progressive {
		return 0
	}
	if c.startup || c.starved {
		return patienceMin
	}
	estimate := patienceMax
	if duration > 0 {
		estimate = duration / 2
		if top {
			estimate = duration * 3 / 4
		}
		if c.sufficientKbps > 0 {
			sufficient := float64(bytes) * 8 / (c.sufficientKbps * 1000) // seconds
			estimate = max(estimate, time.Duration(min(sufficient, patienceMax.Seconds())*float64(time.Second)))
		}
	}
	underrun := bufferLength
	if c.deadline >= 0 {
		underrun = c.deadline
	} else if c.playbackRate > 0 {
		underrun = time.Duration(float64(underrun) / c.playbackRate)
	}
	return max(patienceMin, min(underrun-pace.Append, estimate, patienceMax))
}
