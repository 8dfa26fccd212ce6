package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"shoal/bench/player"
)

// demoReport is what --json prints.
type demoReport struct {
	Saving           float64      `json:"saving"` // P2P bytes / (P2P bytes + CDN bytes), of all viewers
	Stalls           int          `json:"stalls"`
	DurationS        float64      `json:"duration_s"`
	CDNStartupMillis int64        `json:"cdn_startup_ms"` // of a player without shoal
	OriginBytes      int64        `json:"origin_bytes"`   // all that the origin sent to peers, playlists and manifest included
	Peers            []peerReport `json:"peers"`
	You              *guestReport `json:"you,omitempty"` // the person who watched with them, in none of the figures above but the origin's
	ViewerURL        string       `json:"viewer_url"`    // of the person's page, while the demo ran
	SwarmURL         string       `json:"swarm_url"`     // of the tracker's view, while the demo ran
}

// guestReport is the peer of the person who watched with the models.
type guestReport struct {
	JoinedS     float64 `json:"joined_s"`
	P2PBytes    int64   `json:"p2p_bytes"`
	CDNBytes    int64   `json:"cdn_bytes"`
	ServedBytes int64   `json:"served_bytes"`
	Saving      float64 `json:"saving"`
}

// peerReport is one viewer and its peer.
type peerReport struct {
	Name           string           `json:"name"`
	JoinedS        float64          `json:"joined_s"`
	P2PBytes       int64            `json:"p2p_bytes"`
	CDNBytes       int64            `json:"cdn_bytes"`
	CDNReasons     map[string]int64 `json:"cdn_reasons"`
	CacheBytes     int64            `json:"cache_bytes"`
	DuplicateBytes int64            `json:"duplicate_bytes"`
	ServedBytes    int64            `json:"served_bytes"`
	Saving         float64          `json:"saving"`
	Stalls         int              `json:"stalls"`
	StalledS       float64          `json:"stalled_s"`
	StartupMillis  int64            `json:"startup_ms"` // −1: no picture before the demo ended
	PlayedS        float64          `json:"played_s"`
	Ended          bool             `json:"ended"` // the title's end was reached
}

// add takes the viewers' last state into the report.
func (r *demoReport) add(viewers []*viewer) {
	var p2p, cdn int64
	for _, v := range viewers {
		v.mu.Lock()
		p := v.peerReport()
		v.mu.Unlock()
		p2p += p.P2PBytes
		cdn += p.CDNBytes
		r.Stalls += p.Stalls
		r.Peers = append(r.Peers, p)
	}
	r.Saving = round(saving(p2p, cdn), 4)
}

// peerReport describes one viewer; the caller holds its mu.
func (v *viewer) peerReport() peerReport {
	b := v.status.Bytes
	p := peerReport{
		Name: v.name, JoinedS: round(v.at.Seconds(), 2),
		P2PBytes: b.P2P, CDNBytes: b.CDN, CDNReasons: v.status.CDNReasons, CacheBytes: b.Cache,
		DuplicateBytes: b.Duplicate, ServedBytes: b.Served,
		Saving: round(saving(b.P2P, b.CDN), 4), StartupMillis: -1,
	}
	if p.CDNReasons == nil {
		p.CDNReasons = map[string]int64{}
	}
	if v.player == nil {
		return p
	}
	seen := v.player.Report()
	p.JoinedS = round(v.joined.Seconds(), 2)
	p.Stalls, p.StalledS = seen.Stalls, round(seen.Stalled.Seconds(), 3)
	p.PlayedS, p.Ended = round(seen.Position.Seconds(), 1), seen.State == player.Ended
	if seen.State != player.Loading {
		p.StartupMillis = millis(seen.Startup)
	}
	return p
}

// verdict is the demo's exit: a picture that stopped, or never came, is a failure.
func (r demoReport) verdict() error {
	var bad []string
	for _, p := range r.Peers {
		switch {
		case p.Stalls > 0:
			bad = append(bad, fmt.Sprintf("%s stalled %d× for %.1f s", p.Name, p.Stalls, p.StalledS))
		case p.StartupMillis < 0:
			bad = append(bad, p.Name+" saw no picture")
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%s", strings.Join(bad, ", "))
	}
	return nil
}

func saving(p2p, cdn int64) float64 {
	if p2p+cdn == 0 {
		return 0
	}
	return float64(p2p) / float64(p2p+cdn)
}

func round(v float64, digits int) float64 {
	unit := math.Pow10(digits)
	return math.Round(v*unit) / unit
}

func millis(d time.Duration) int64 { return d.Round(time.Millisecond).Milliseconds() }
