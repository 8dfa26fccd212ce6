package player

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"shoal/bench/player/abr"
)

// Config of a Player. Only URL is needed.
type Config struct {
	// URL of a master or media playlist.
	URL string
	// Client makes the requests. Default: one of its own, without a total
	// time-out. It should not follow a proxy setting when URL is loopback.
	Client *http.Client
	// Fixed chooses a rendition by rising bandwidth, 1 being the lowest. Zero:
	// adapt to the throughput.
	Fixed int
	// MaxBuffer is how much is held before loading pauses. Default 30 s.
	MaxBuffer time.Duration
	// NoCMCD leaves the CMCD parameter out.
	NoCMCD bool
	// SessionID is CMCD's sid. Default: random.
	SessionID string
	// UserAgent of the requests. Default: "shoal-player".
	UserAgent string
	// OnBody is called with every complete body, the final URL without CMCD and
	// the requested range ("" = whole). It must not keep body.
	OnBody func(url, byteRange string, body []byte)
	// Logger; default: discard.
	Logger *slog.Logger
}

// State of a playback.
type State string

// The states, in the order in which they may follow each other.
const (
	Loading State = "loading" // no picture yet
	Playing State = "playing"
	Stalled State = "stalled"
	Ended   State = "ended" // the title's end was shown
)

// Report is what the viewer saw and what it cost.
type Report struct {
	State    State
	Startup  time.Duration // first GET to first segment appended; zero while Loading
	Position time.Duration // media time played
	Buffer   time.Duration
	Stalls   int
	Stalled  time.Duration // total, the present stall included
	Bytes    int64         // all bodies
	Requests int
	Errors   int // failed attempts
	Switches int // changes of rendition
	// Bandwidth of the rendition loaded last, bits per second; 0 unknown.
	Bandwidth int
}

const (
	defaultMaxBuffer = 30 * time.Second

	// loadAttempts, retryDelay and retryDelayMax are hls.js's fragLoadPolicy:
	// six retries, 1 s apart, growing to 8 s.
	loadAttempts  = 7
	retryDelay    = time.Second
	retryDelayMax = 8 * time.Second

	// firstByteTimeout and loadTimeout are hls.js's maxTimeToFirstByteMs and
	// maxLoadTimeMs.
	firstByteTimeout = 10 * time.Second
	loadTimeout      = 120 * time.Second
)

// Player is one viewing session.
type Player struct {
	// constant after New
	cfg    Config
	client *http.Client
	log    *slog.Logger

	estimate bandwidth // has its own lock

	mu sync.Mutex // guards what follows
	playback
	left      bool // Run has returned: nothing changes any more
	bytes     int64
	requests  int
	errors    int
	switches  int
	bandwidth int
}

// New returns a Player that has not started.
func New(cfg Config) *Player {
	if cfg.Client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.Proxy = nil
		cfg.Client = &http.Client{Transport: t}
	}
	if cfg.MaxBuffer <= 0 {
		cfg.MaxBuffer = defaultMaxBuffer
	}
	if cfg.SessionID == "" {
		cfg.SessionID = rand.Text()
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "shoal-player"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Player{cfg: cfg, client: cfg.Client, log: cfg.Logger, estimate: bandwidth{estimate: abr.New()}}
}

// Run plays until the end of the title, or until ctx ends: a viewer who leaves
// is no error. It fails when a playlist or a segment cannot be had.
func (p *Player) Run(ctx context.Context) (Report, error) {
	p.mu.Lock()
	p.begin(time.Now())
	p.mu.Unlock()

	err := p.play(ctx)
	p.mu.Lock()
	p.advance(time.Now())
	p.left = true
	p.mu.Unlock()
	if ctx.Err() != nil {
		err = nil
	}
	return p.Report(), err
}

func (p *Player) play(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renditions, err := p.loadMaster(ctx)
	if err != nil {
		return err
	}
	loaders := []*loader{{p: p, kind: "v", track: 0, choices: renditions.video}}
	if renditions.audio != nil {
		loaders[0].kind = "v"
		loaders = append(loaders, &loader{p: p, kind: "a", track: 1, choices: renditions.audio})
	} else {
		loaders[0].kind = "av"
	}
	p.mu.Lock()
	p.tracks = make([]trackBuffer, len(loaders))
	p.mu.Unlock()

	var wg sync.WaitGroup
	for _, l := range loaders {
		wg.Go(func() {
			if err := l.run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return p.drain(ctx)
}

// drain plays what is left in the buffer when everything is loaded.
func (p *Player) drain(ctx context.Context) error {
	for {
		p.mu.Lock()
		p.advance(time.Now())
		left, ended := p.buffered(-1), p.state == Ended
		p.mu.Unlock()
		if ended {
			return nil
		}
		if err := wait(ctx, max(left, time.Millisecond)); err != nil {
			return err
		}
	}
}

// Report returns the state at this moment.
func (p *Player) Report() Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.at // what was seen at the end stays, once Run has returned
	if !p.left {
		now = time.Now()
		p.advance(now)
	}
	r := Report{
		State: p.state, Startup: p.startup, Position: p.position, Buffer: p.buffered(-1),
		Stalls: p.stalls, Stalled: p.stalled,
		Bytes: p.bytes, Requests: p.requests, Errors: p.errors, Switches: p.switches, Bandwidth: p.bandwidth,
	}
	if p.state == Stalled && now.Sub(p.stalledSince) >= visibleStall {
		r.Stalls++
		r.Stalled += now.Sub(p.stalledSince)
	}
	return r
}

// wait sleeps, or returns the cause why it should not.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// LoadError says which request failed for good.
type LoadError struct {
	URL string
	Err error
}

// Error names the request and the cause.
func (e *LoadError) Error() string { return fmt.Sprintf("load %s: %v", e.URL, e.Err) }

// Unwrap returns the cause of the last attempt.
func (e *LoadError) Unwrap() error { return e.Err }

var errStatus = errors.New("unexpected status")
