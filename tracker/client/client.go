// Package client is the tracker client of a peer.
//
// A Client joins the tracker over QUIC on the peer's own socket, parks that
// connection, and from then on sends sealed announces every 20 s and whenever
// it is kicked; answers come back through Config.OnUpdate. It survives the
// tracker: when the tracker is down or restarts, the Client keeps trying with
// jittered back-off, says so once, and says so once when it is back.
//
// The Client does not dial candidates, judge tickets or keep swarms: that is
// the engine's business. Start, Kick, Key, Connected and Close may be called
// from any goroutine; Announce, Report and OnUpdate are called on the Client's
// own goroutine, one at a time, and must not block.
package client

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"shoal/engine/transport"
	"shoal/internal/wire"
	"shoal/tracker"
)

// Config says which tracker, on which socket, and what to tell it.
type Config struct {
	// URL names the tracker: quic://HOST:PORT (certificate of the system roots)
	// or quic://HOST:PORT#FINGERPRINT (pinned key); see tracker.ParseURL. Required.
	URL string

	// Endpoint is the peer's own socket, so that the tracker observes the
	// address by which other peers can reach it. Required.
	Endpoint *transport.Endpoint

	// Logger gets one line when the tracker is lost and one when it is back.
	// Default: discard.
	Logger *slog.Logger

	// Announce returns what to announce, one entry per title. It is called on
	// the Client's goroutine: at once after a join, then every Interval and
	// after each Kick. Required.
	Announce func() []Announcement

	// Report returns what the peer's bytes were so far, for the people who run
	// the swarm; false: nothing now. It is called on the Client's goroutine: at
	// once after a join, then every ReportInterval. What has not changed is sent
	// again only with an announce's Interval. Default: nothing is reported.
	Report func() (Report, bool)

	// OnUpdate receives each answer, on the Client's goroutine. Required.
	OnUpdate func(Update)

	// Interval is the time between announces. Default: what the tracker asks
	// for, 20 s.
	Interval time.Duration

	// ReportInterval is the time between reports while they change, in swarms
	// that are small enough to be looked at; in larger ones it is Interval.
	// Default 5 s.
	ReportInterval time.Duration

	// RequestTimeout is how long the first try of a request waits for its
	// answer; it doubles with each of the three tries. Default 1 s.
	RequestTimeout time.Duration

	// BackoffMin and BackoffMax bound the jittered pause between two attempts to
	// join. Defaults 500 ms and 30 s.
	BackoffMin, BackoffMax time.Duration
}

// Announcement is what the peer tells about its part in one title.
type Announcement struct {
	Title            [32]byte
	Position         time.Duration // playhead, media time
	HoldFrom, HoldTo time.Duration // media range held contiguously around the playhead
	HeldPermille     int           // of the whole title, 0…1000
	UpBytesPerSec    uint64        // upload capacity; 0 = unknown
	Uploads          bool          // the peer serves others
	Connections      int           // seeds and leeches connected now
	ConnectionsMax   int           // beyond which it refuses more; 0 = not said
	Addrs            []netip.AddrPort
}

// Report is what the peer's bytes were since its process began.
type Report struct {
	Title   [32]byte // what was watched since the report before; zero: nothing
	Viewers int      // that watch now
	Totals  wire.ReportTotals
	FedBy   []wire.FedBy // who gave most first; at most wire.ReportFedMax are told
}

// Update is the tracker's answer for one title.
type Update struct {
	Title      [32]byte
	Ticket     []byte  // new ticket; nil: the present one is good for longer
	SwarmSize  int     // viewers of the title including this peer
	U          float64 // stable random position of this peer in the swarm, in [0,1)
	Candidates []Candidate
}

// Candidate is a peer worth connecting to, best first.
type Candidate struct {
	ID               wire.PeerID
	Addrs            []netip.AddrPort
	Grade            byte // 'A' (best) to 'D'
	HoldFrom, HoldTo time.Duration
}

// Client is one peer's membership in a tracker.
type Client struct {
	cfg     Config
	url     tracker.URL
	cancel  context.CancelFunc
	done    chan struct{}
	kick    chan struct{} // holds at most one kick: more would ask for the same
	backoff backoff       // owned by the loop

	connected atomic.Bool
	key       atomic.Pointer[ed25519.PublicKey]
	err       atomic.Pointer[error]
}

// Start begins to join in the background and returns at once. A URL that
// cannot be parsed is an error; a tracker that is down is not.
func Start(cfg Config) (*Client, error) {
	u, err := tracker.ParseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.Endpoint == nil || cfg.Announce == nil || cfg.OnUpdate == nil {
		return nil, errors.New("tracker client: Endpoint, Announce and OnUpdate are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.ReportInterval = cmp.Or(cfg.ReportInterval, reportEvery)
	cfg.RequestTimeout = cmp.Or(cfg.RequestTimeout, time.Second)
	cfg.BackoffMin = cmp.Or(cfg.BackoffMin, 500*time.Millisecond)
	cfg.BackoffMax = max(cmp.Or(cfg.BackoffMax, 30*time.Second), cfg.BackoffMin)
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		cfg: cfg, url: u, cancel: cancel, done: make(chan struct{}), kick: make(chan struct{}, 1),
		backoff: backoff{min: cfg.BackoffMin, max: cfg.BackoffMax},
	}
	go c.run(ctx)
	return c, nil
}

// Kick asks for an announce now, for a title just opened or a seek. Kicks are
// coalesced to two announces per second.
func (c *Client) Kick() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Key is the tracker's public key, by which its tickets are verified; nil until
// the first join.
func (c *Client) Key() ed25519.PublicKey {
	if key := c.key.Load(); key != nil {
		return *key
	}
	return nil
}

// Connected reports whether the tracker answers.
func (c *Client) Connected() bool { return c.connected.Load() }

// Err is why the tracker cannot be joined at present; nil while it answers and
// before the first attempt has failed.
func (c *Client) Err() error {
	if err := c.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Close leaves the tracker and waits for the Client's goroutine to end.
func (c *Client) Close() {
	c.cancel()
	<-c.done
}

// run joins, serves until the tracker is lost, and begins anew. Its goroutine
// owns everything that is not atomic.
func (c *Client) run(ctx context.Context) {
	defer close(c.done)
	defer c.connected.Store(false)
	m := &membership{
		titles:  map[[32]byte]struct{}{},
		swarms:  map[[32]byte]int{},
		tickets: map[[32]byte][]byte{},
	}
	lost := false
	for ctx.Err() == nil {
		err := c.join(ctx, m)
		if err == nil {
			if lost {
				c.cfg.Logger.Info("tracker is back", slog.String("tracker", c.url.String()))
			} else {
				c.cfg.Logger.Info("joined tracker", slog.String("tracker", c.url.String()), slog.String("seen_at", m.observed.String()))
			}
			lost = false
			c.err.Store(nil)
			c.connected.Store(true)
			err = c.serve(ctx, m)
			c.connected.Store(false)
		}
		if ctx.Err() != nil {
			return
		}
		c.err.Store(&err)
		if !lost {
			lost = true
			c.cfg.Logger.Warn("tracker is away, going on without it and trying again",
				slog.String("tracker", c.url.String()), slog.String("err", err.Error()))
		}
		pause(ctx, c.backoff.next())
	}
}

// backoff doubles from min to max. Its pauses are jittered to between half and
// the whole of that, so that a restarted tracker is not met by all its peers at
// once.
type backoff struct {
	min, max, present time.Duration
}

func (b *backoff) next() time.Duration {
	b.present = min(max(2*b.present, b.min), b.max)
	return b.present/2 + rand.N(b.present/2+1)
}

func (b *backoff) reset() { b.present = 0 }

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
