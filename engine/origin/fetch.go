package origin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	// defaultBudget stands in for a missing deadline.
	defaultBudget = 30 * time.Second
	// minBudget is given to who comes late: bytes that miss their deadline still end a stall.
	minBudget = 2 * time.Second

	// maxFailures in a row without a byte end a fetch whose deadline is far: with the back-off below they take
	// about 40 s, twice the time in which a service restarts.
	maxFailures = 32
	// Back-off is drawn from [0, base·2ⁿ), at most backoffMax: full jitter, so that the peers of a swarm that lost
	// the same CDN node do not come back together.
	backoffBase  = 50 * time.Millisecond
	backoffMax   = 3 * time.Second
	maxDoublings = 8

	// stallFloor is the least patience with a silent connection: a loaded CDN node with an RTT of 100 ms answers
	// well within it.
	stallFloor = 400 * time.Millisecond
	// bodyStallFloor allows for origins that send in bursts, as nginx does with limit_rate.
	bodyStallFloor = time.Second
	stallCeiling   = 10 * time.Second
	// stallShare of the time left may pass in silence, so that two more attempts fit.
	stallShare = 3
	// stallTTFBs: what takes that many times the usual first-byte time is lost.
	stallTTFBs = 4
)

// Request names the bytes of one fetch.
type Request struct {
	// Path is the full path on the origin, decoded, in or below Base: "/vod/a/1.m4s" for Base https://cdn.example/vod.
	Path string
	// Credentials of the player; may be nil.
	Credentials *Credentials
	// Offset and Length of the bytes. Length −1: up to the end.
	Offset, Length int64
	// Validator is that of an earlier Result, empty when there is none.
	Validator string
	// TotalBytes is the expected length of the file, 0 when not known.
	TotalBytes int64
	// Deadline: until then a first byte must have come, and no attempt begins later. A body that flows is not cut;
	// who wants that cancels the context. A deadline that has passed, or will within 2 s, counts as 2 s from now;
	// none as 30 s from now.
	Deadline time.Time
}

// Result tells how a fetch went; with an error, as far as it went.
type Result struct {
	// Bytes were given to onData. They are fewer than Length where the file ends before.
	Bytes int64
	// TTFB is the time from the call to the first byte, with waiting and retries; 0: none came.
	TTFB     time.Duration
	Duration time.Duration
	// Validator is the ETag, else the Last-Modified date.
	Validator string
	// TotalBytes is the length of the file; −1 when the origin did not tell.
	TotalBytes int64
	Attempts   int
}

// fetch is one call of Fetch.
type fetch struct {
	c        *Client
	req      Request
	creds    *Credentials
	onData   func(off int64, p []byte) error
	start    time.Time
	deadline time.Time

	next      int64 // first byte that is missing
	end       int64 // where to stop; −1: unknown
	total     int64 // length of the file; −1: unknown
	validator string
	lastCall  bool // no further attempt: the origin has asked for a longer pause than there is time
	result    Result
}

// failure is how an attempt ended.
type failure struct {
	err   error
	final bool          // no use in trying again
	after time.Duration // the origin asked to wait that long
}

// Fetch streams bytes of a file to onData as they arrive, in order and each once; the slice is reused afterwards.
// Transport errors, silence, 408, 425, 429 and 5xx are tried again until the deadline, any other status is a
// *StatusError at once. An error of onData ends the fetch and is returned.
func (c *Client) Fetch(ctx context.Context, req Request, onData func(off int64, p []byte) error) (Result, error) {
	now := time.Now()
	f := &fetch{
		c: c, req: req, creds: req.Credentials, onData: onData, start: now,
		next: req.Offset, end: -1, total: -1, validator: req.Validator,
		deadline: req.Deadline,
	}
	if f.creds == nil {
		f.creds = &Credentials{}
	}
	if req.Offset < 0 || req.Length < -1 {
		return Result{TotalBytes: -1}, fmt.Errorf("origin: cannot fetch %d bytes at %d", req.Length, req.Offset)
	}
	if req.Length >= 0 {
		f.end = req.Offset + req.Length
	}
	if req.TotalBytes > 0 {
		f.total = req.TotalBytes
	}
	switch {
	case req.Deadline.IsZero():
		f.deadline = now.Add(defaultBudget)
	case req.Deadline.Before(now.Add(minBudget)):
		f.deadline = now.Add(minBudget)
	}
	err := f.run(ctx)
	f.result.Bytes = f.next - req.Offset
	f.result.Duration = time.Since(f.start)
	f.result.Validator = f.validator
	f.result.TotalBytes = f.total
	if err != nil {
		c.errors.Add(1)
	}
	return f.result, err
}

// run makes attempts until all bytes are there.
func (f *fetch) run(ctx context.Context) error {
	failures, last := 0, error(nil)
	for f.end < 0 || f.next < f.end {
		if err := f.turn(ctx, last); err != nil {
			return err
		}
		before := f.next
		f.result.Attempts++
		f.c.requests.Add(1)
		fail := f.attempt(ctx)
		f.c.limiter.release()
		if fail == nil && f.next < f.end && f.next-before < minProgressBytes {
			fail = &failure{err: fmt.Errorf("origin: GET %s: %w: %d bytes at a time", f.req.Path, errRange, f.next-before)}
		} else if fail == nil {
			continue // done, or a shorter range than asked for, which is the origin's right
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if fail.final {
			return fail.err
		}
		last = fail.err
		if failures++; f.next-before >= minProgressBytes {
			failures = 0
		}
		if failures >= maxFailures {
			return fmt.Errorf("origin: GET %s failed %d times: %w", f.req.Path, failures, last)
		}
		f.c.retries.Add(1)
		if err := f.wait(ctx, failures, fail); err != nil {
			return err
		}
	}
	return nil
}

// turn waits for a slot.
func (f *fetch) turn(ctx context.Context, last error) error {
	waitCtx, cancel := context.WithDeadlineCause(ctx, f.deadline, ErrDeadline)
	defer cancel()
	if !time.Now().Before(f.deadline) {
		return f.late(last)
	}
	err := f.c.limiter.acquire(waitCtx, f.deadline)
	if errors.Is(err, ErrDeadline) && ctx.Err() == nil {
		if last == nil {
			last = errors.New("all connections were busy")
		}
		return f.late(last)
	}
	return err
}

func (f *fetch) late(last error) error {
	if last == nil {
		last = errors.New("no answer")
	}
	return fmt.Errorf("origin: GET %s, %d attempts in %v: %w: %w",
		f.req.Path, f.result.Attempts, time.Since(f.start).Round(time.Millisecond), ErrDeadline, last)
}

// wait pauses between attempts.
func (f *fetch) wait(ctx context.Context, failures int, fail *failure) error {
	left := time.Until(f.deadline)
	if f.lastCall {
		return f.late(fail.err)
	}
	pause := backoff(failures)
	if fail.after > pause {
		// Honoured as far as the deadline allows: an origin that asks for more gets one last request while there
		// is still time for an answer.
		pause = fail.after + backoff(0)
		reserve := max(left/4, min(left/2, stallTTFBs*time.Duration(f.c.ttfb.Load())))
		if pause > left-reserve {
			pause, f.lastCall = left-reserve, true
		}
	}
	if pause >= left {
		return f.late(fail.err)
	}
	f.c.logger.Debug("origin request is tried again",
		slog.String("path", f.req.Path), slog.Int64("missing_from", f.next),
		slog.Duration("pause", pause), slog.String("error", fail.err.Error()))
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// backoff is the pause before the next attempt after a number of failures in a row.
func backoff(failures int) time.Duration {
	return rand.N(min(backoffBase<<min(failures, maxDoublings), backoffMax))
}

// patience is how long a connection may be silent before its first byte.
func (f *fetch) patience() time.Duration {
	left := time.Until(f.deadline)
	floor := max(stallFloor, stallTTFBs*time.Duration(f.c.ttfb.Load()))
	return min(max(left/stallShare, floor), stallCeiling, max(left, 0))
}

// bodyPatience is how long a body may be silent. It outlasts the deadline: bytes that come late are of use, and
// fetching them anew would take longer.
func (f *fetch) bodyPatience() time.Duration {
	left := time.Until(f.deadline)
	return max(min(left/stallShare, stallCeiling), bodyStallFloor)
}
