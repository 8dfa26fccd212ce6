package engine

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"shoal/cc"
	"shoal/engine/origin"
	"shoal/engine/store"
	"shoal/engine/transport"
	"shoal/tracker/client"
)

// Engine is one live peer.
type Engine struct {
	// constant after New
	cfg      Config
	base     *url.URL
	log      *slog.Logger
	started  time.Time
	identity transport.Identity
	origin   *origin.Client
	store    *store.Store
	endpoint *transport.Endpoint // nil without a tracker: no peers
	uploads  *cc.UploadGovernor  // the loop's; nil without an endpoint
	tracker  *client.Client      // nil without a tracker
	loop     *loop               // its fields belong to its goroutine

	inbox    chan func(now time.Time)
	loopDone chan struct{}
	ctx      context.Context //nolint:containedctx // ends the engine's own goroutines, for which Close waits
	cancel   context.CancelFunc
	closing  sync.Once

	hashJobs    *queue[hashJob]
	storeJobs   *queue[storeJob]
	loadJobs    *queue[loadJob]
	protectJobs chan protectJob
	recoverJobs *queue[recoverJob]

	openReaders atomic.Int64
	lastViewer  atomic.Uint64
	playedBytes atomic.Int64
	cachedBytes atomic.Int64
	titleCount  atomic.Int64
	line        line

	// guarded by foldersMu
	foldersMu sync.Mutex
	folders   map[string]*folder

	// guarded by evictedMu
	evictedMu sync.Mutex
	evicted   []evictedPiece

	// guarded by eventsMu
	eventsMu    sync.Mutex
	subscribers map[chan Event]bool // nil: closed

	// guarded by workMu
	workMu sync.Mutex
	closed bool
	work   sync.WaitGroup
}

// originRequestsMax bounds the client's concurrent requests beside the core's
// fetches: manifest pages, hashes, and what passes through for the player.
const originRequestsMax = 16

// New starts a peer. The origin is not contacted yet; an unreachable tracker is
// not an error: the peer plays from the CDN and keeps trying.
func New(cfg Config) (*Engine, error) {
	cfg, base, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, base: base, log: cfg.Logger, started: time.Now(),
		inbox:       make(chan func(time.Time), inboxSize),
		loopDone:    make(chan struct{}),
		hashJobs:    newQueue[hashJob](),
		storeJobs:   newQueue[storeJob](),
		loadJobs:    newQueue[loadJob](),
		recoverJobs: newQueue[recoverJob](),
		protectJobs: make(chan protectJob, protectQueue),
		folders:     make(map[string]*folder),
		subscribers: make(map[chan Event]bool),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if err := e.open(); err != nil {
		e.cancel()
		e.closeParts()
		return nil, err
	}
	e.loadLine(time.Now())
	e.startWorkers()
	if e.endpoint != nil {
		if e.tracker, err = e.startTracker(); err != nil {
			_ = e.Close()
			return nil, fmt.Errorf("engine: %w", err)
		}
		e.spawn(e.acceptLoop)
	}
	e.log.Info("peer ready", slog.String("peer", e.identity.ID().String()), slog.String("origin", cfg.Origin),
		slog.String("cache", e.store.Stats().Mode))
	return e, nil
}

// open makes the parts that can fail.
func (e *Engine) open() (err error) {
	e.store, err = store.Open(store.Config{
		Dir: e.cfg.CacheDir, Bytes: e.cfg.CacheBytes,
		Logger: e.log.With(slog.String("part", "store")), OnEvict: e.onEvict,
	})
	if err != nil {
		return fmt.Errorf("engine: open cache: %w", err)
	}
	// After the cache: its lock keeps two peers from sharing one identity.
	if err := e.loadIdentity(); err != nil {
		return err
	}
	if e.cfg.Name == "" {
		e.cfg.Name = e.identity.ID().String()
	}
	if e.cfg.Seed == 0 {
		id := e.identity.ID()
		e.cfg.Seed = binary.BigEndian.Uint64(id[:])
	}
	e.origin = origin.New(origin.Config{
		Base: e.base, MaxConcurrent: e.cfg.MaxFetches + originRequestsMax,
		Logger: e.log.With(slog.String("part", "origin")), Transport: e.cfg.Transport,
	})
	if e.cfg.Tracker == "" {
		return nil
	}
	e.uploads = cc.NewUploadGovernor(e.started, e.cfg.Uploads)
	e.endpoint, err = transport.Listen(transport.Config{
		Uploads: map[string]*cc.UploadGovernor{alpn: e.uploads},
		Listen:  e.cfg.UDP, Identity: e.identity, ALPN: []string{alpn},
		Logger: e.log.With(slog.String("part", "transport")), NewController: e.cfg.NewController,
		DisableOffload: e.cfg.NoOffload,
	})
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	return nil
}

func (e *Engine) loadIdentity() (err error) {
	file := e.cfg.IdentityFile
	if file == "" && e.cfg.CacheDir != "" {
		file = filepath.Join(e.cfg.CacheDir, "identity.key")
	}
	if file != "" {
		if e.identity, err = transport.LoadOrCreateIdentity(file); err != nil {
			return fmt.Errorf("engine: identity: %w", err)
		}
		return nil
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("engine: identity: %w", err)
	}
	if e.identity, err = transport.NewIdentity(key); err != nil {
		return fmt.Errorf("engine: identity: %w", err)
	}
	return nil
}

// startWorkers starts the loop and the goroutines that it hands work to.
func (e *Engine) startWorkers() {
	e.loop = newLoop(e, time.Now())
	go e.loop.run() // ends when ctx does; Close waits for loopDone
	// One core is the loop's: with a hash worker on each it would wait for them, and they
	// would take fewer pieces together.
	for range max(1, runtime.NumCPU()-1) {
		e.spawn(e.hashWorker)
	}
	// Two readers of the store: one piece on its way from a disk must not hold
	// up one that is in the page cache. One writer; see storeWriter.
	for range 2 {
		e.spawn(e.loadWorker)
	}
	e.spawn(e.storeWriter)
	e.spawn(e.recoverWorker)
	e.spawn(e.protectWorker)
	if e.cfg.CacheDir != "" {
		e.spawn(e.keepLine)
	}
}

// spawn starts a goroutine for which Close waits; false when the engine is closing.
func (e *Engine) spawn(f func()) bool {
	e.workMu.Lock()
	defer e.workMu.Unlock()
	if e.closed {
		return false
	}
	e.work.Go(f)
	return true
}

// Close says goodbye to peers and tracker, ends every Reader and waits for the
// engine's goroutines.
func (e *Engine) Close() error {
	e.closing.Do(func() {
		if e.tracker != nil {
			e.tracker.Close() // while the loop still answers it
		}
		e.workMu.Lock()
		e.closed = true
		e.workMu.Unlock()
		e.cancel()
		<-e.loopDone
		e.hashJobs.close()
		e.loadJobs.close()
		e.recoverJobs.close()
		e.storeJobs.finish()
		e.work.Wait()
		e.closeParts()
		e.closeSubscribers()
	})
	return nil
}

func (e *Engine) closeParts() {
	if e.endpoint != nil {
		if err := e.endpoint.Close(); err != nil {
			e.log.Debug("close endpoint", slog.Any("error", err))
		}
	}
	if e.origin != nil {
		e.origin.Close()
	}
	if e.store != nil {
		if err := e.store.Close(); err != nil {
			e.log.Warn("close cache", slog.Any("error", err))
		}
	}
}

// Origin returns the client for what no manifest describes.
func (e *Engine) Origin() *origin.Client { return e.origin }

// OriginPath returns the full path on the origin of a path below its prefix, as
// package origin wants it.
func (e *Engine) OriginPath(path string) string {
	return e.base.Path + "/" + strings.TrimPrefix(path, "/")
}
