package engine

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"shoal/internal/pace"
	"shoal/internal/wire"
)

// The line is what brings bytes that are not here yet: the CDN and the peers,
// over whatever is between. How much it sustains is measured where bytes enter,
// by the loop, and only while some are owed.

const (
	// lineFile in the cache folder keeps the estimate for the next run, whose
	// first reads may be answered from the cache.
	lineFile = "line.json"

	// lineKept is how long it is believed: tomorrow's line at home is today's, but
	// a laptop's is not.
	lineKept = 12 * time.Hour

	// lineSaveEvery is how often it is written.
	lineSaveEvery = time.Minute
)

// line is owned by the loop, but for rate.
type line struct {
	all pace.Meter // everybody together
	cdn pace.Meter // the CDN alone
	// rate is the estimate for others, the bits of a float64.
	rate atomic.Uint64
}

// LineRate is what the line sustains at present for bytes that are not here yet,
// in bytes per second; 0 while nothing was measured. The CDN can always be asked
// instead of slow peers, so that it is never less than what the CDN alone brings.
func (e *Engine) LineRate() float64 { return math.Float64frombits(e.line.rate.Load()) }

// fromCDN and fromPeers count arrivals.
func (l *line) fromCDN(now time.Time, n int) {
	l.cdn.Received(now, n)
	l.all.Received(now, n)
	l.publish()
}

func (l *line) fromPeers(now time.Time, n int) {
	if n == 0 {
		return
	}
	l.all.Received(now, n)
	l.publish()
}

// settle ends busy periods: cdn and peers tell who still owes something.
func (l *line) settle(cdn, peers bool) {
	if !cdn && l.cdn.Busy() {
		l.cdn.End()
		l.publish()
	}
	if !cdn && !peers && l.all.Busy() {
		l.all.End()
		l.publish()
	}
}

func (l *line) publish() {
	l.rate.Store(math.Float64bits(max(l.all.Estimate(), l.cdn.Estimate())))
}

// arrivedBytes is the payload of the chunks that a batch brought.
func arrivedBytes(arrivals []arrival) int {
	n := 0
	for _, x := range arrivals {
		n += bits.OnesCount64(x.mask) * wire.ChunkBytes
	}
	return n
}

// lineRecord is what the file holds.
type lineRecord struct {
	BytesPerSec float64   `json:"bytes_per_sec"`
	Measured    time.Time `json:"measured"`
}

// loadLine takes over the estimate of an earlier run. It is called before the
// loop runs.
func (e *Engine) loadLine(now time.Time) {
	if e.cfg.CacheDir == "" {
		return
	}
	b, err := os.ReadFile(filepath.Join(e.cfg.CacheDir, lineFile))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			e.log.Debug("line estimate not read", slog.Any("error", err))
		}
		return
	}
	var r lineRecord
	age := time.Duration(0)
	if err := json.Unmarshal(b, &r); err == nil {
		age = now.Sub(r.Measured)
	}
	if age <= 0 || age > lineKept || !(r.BytesPerSec > 0) {
		return
	}
	e.line.all.Presume(r.BytesPerSec)
	e.line.publish()
}

// keepLine writes the estimate now and then, and at the end.
func (e *Engine) keepLine() {
	tick := time.NewTicker(lineSaveEvery)
	defer tick.Stop()
	saved := e.LineRate() // presumed: it gets no younger by being kept again
	for open := true; open; {
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			open = false
		}
		rate := e.LineRate()
		if rate == 0 || rate == saved {
			continue
		}
		if err := e.saveLine(lineRecord{BytesPerSec: rate, Measured: time.Now()}); err != nil {
			e.log.Debug("line estimate not kept", slog.Any("error", err))
			continue
		}
		saved = rate
	}
}

// saveLine replaces the file in one step.
func (e *Engine) saveLine(r lineRecord) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file := filepath.Join(e.cfg.CacheDir, lineFile)
	if err := os.WriteFile(file+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
