package main

import "time"

// sampleEvery is the grain of a viewer's timeline.
const sampleEvery = 10 * time.Second

// sample is what a viewer had so far, a while after its join.
type sample struct {
	AtS        float64 `json:"at_s"` // since the world's begin
	P2PBytes   int64   `json:"p2p_bytes"`
	CDNBytes   int64   `json:"cdn_bytes"`
	SentBytes  int64   `json:"sent_bytes"`
	Duplicates int64   `json:"duplicate_bytes"`
	PlayedS    float64 `json:"played_s"`
	StalledS   float64 `json:"stalled_s"`
	BufferS    float64 `json:"buffer_s"`
	Peers      int     `json:"peers"`
	RTTMillis  float64 `json:"rtt_ms"` // as the node measures it, mean over the peers
}
