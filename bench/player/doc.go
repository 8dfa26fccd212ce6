// Package player models a video player's network behaviour without decoding
// anything: it loads an HLS master playlist, a media playlist, initialization
// and media segments in real time, fills a buffer, plays it back by the clock,
// and measures what a viewer would have seen: time to the first frame, stalls.
//
// The model is hls.js 1.x with its default settings: a segment counts when it
// was appended as a whole, playback starts with the first one, the next one is
// requested while less than 30 s are buffered, the rendition follows two
// exponentially weighted throughput averages, failed loads are retried with a
// growing delay, and every request carries CMCD version 1 in its query. It
// does not abandon a load in progress, seek, or switch audio languages.
//
// A Player runs once. Run blocks; Report may be called at any time from any
// goroutine. The clock is the real one, so tests use testing/synctest.
package player
