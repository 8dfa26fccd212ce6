package replay

import (
	"time"

	"shoal/bench/replay/trace"
)

// Session is one viewer watching one title once, with every number known.
type Session struct {
	trace.Session
	// Net varies the access line over time; nil: constant.
	Net *trace.Network
	// Place is the viewer's row of Config.RTT.
	Place int
	// Crash: leaves without a goodbye.
	Crash bool
	// Adapts: the player chooses between the renditions of Config.Ladder, segment
	// by segment, instead of playing Track.
	Adapts bool
}

// Config is the world in which sessions are played. The zero value works.
type Config struct {
	// Seed of all randomness.
	Seed uint64
	// Policies to run, by name. Default: shoal.
	Policies []string
	// Workers is how many swarms run at once. Default 1.
	Workers int

	// StartBuffer is how much media a player wants before it starts and before
	// it goes on after a stall. Default 2 s.
	StartBuffer time.Duration
	// MaxBuffer is how much a player holds before it pauses loading. Default 30 s.
	MaxBuffer time.Duration
	// Segment is the length of a segment. Default 6 s.
	Segment time.Duration
	// Progressive players append byte by byte instead of whole segments.
	Progressive bool

	// Ladder are the bitrates in kbit/s, rising, of the renditions that sessions
	// with Adapts choose from.
	Ladder []int

	// CDNRTT is the way between an access line and the CDN. Default 20 ms.
	CDNRTT time.Duration
	// CDNBytesPerSec is what the CDN gives one client. Default 12.5e6 (100 Mbit/s).
	CDNBytesPerSec float64
	// OpenRoundTrips to the CDN lie between a viewer's arrival and the request for
	// the first segment. Default 4: TCP, TLS 1.3 and two playlists, beside which a
	// node reads its manifest.
	OpenRoundTrips int
	// CDNHTTP1: each request under way takes a connection of its own, without TLS,
	// as to an origin of HTTP/1.1. Otherwise all share one.
	CDNHTTP1 bool
	// RTT is the way between two access lines, by Session.Place. Nil: by region.
	RTT *trace.Matrix
	// UplinkQueue is what a home router buffers in front of the uplink, in bytes;
	// what finds no room is lost. Default 64 KiB, the smallest of the usual sizes
	// (Kreibich et al., "Netalyzr", IMC 2010, §5.2).
	UplinkQueue int
	// LossRatio of datagrams between peers. Default 0.
	LossRatio float64

	// MaxPeers, Ahead and Cache configure the peers. Defaults: 32, 60 s, 2 GiB.
	// A session's own cache size goes before Cache.
	MaxPeers int
	Ahead    time.Duration
	Cache    int64
}

func (c Config) withDefaults() Config {
	if len(c.Policies) == 0 {
		c.Policies = []string{"shoal"}
	}
	c.Workers = max(c.Workers, 1)
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.StartBuffer, 2*time.Second)
	set(&c.MaxBuffer, 30*time.Second)
	set(&c.Segment, 6*time.Second)
	set(&c.CDNRTT, 20*time.Millisecond)
	set(&c.Ahead, time.Minute)
	if c.CDNBytesPerSec <= 0 {
		c.CDNBytesPerSec = 12.5e6
	}
	if c.UplinkQueue <= 0 {
		c.UplinkQueue = 64 << 10
	}
	if c.OpenRoundTrips <= 0 {
		c.OpenRoundTrips = 4
	}
	if c.MaxPeers <= 0 {
		c.MaxPeers = 32
	}
	if c.Cache <= 0 {
		c.Cache = 2 << 30
	}
	return c
}

// online is how long the session's node runs.
func (s *Session) online() time.Duration { return s.Watch + max(s.Linger, 0) }
