package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"shoal/engine/transport"
)

// An end is one end of one flow: a process of its own in one of the link's
// namespaces. This command starts itself again as "end" with it as JSON.
type end struct {
	Flow      int
	Kind      string
	Channels  int // of a shoal flow
	Sends     bool
	Own, Peer netip.AddrPort
	// Begin is the run's start. All that counts from it is on the monotonic clock
	// of each process; they start within the machine's accuracy.
	BeginUnixNano int64
	Start, Length time.Duration
	Tiers         []tierChange
	SegmentBytes  int
	Paced         bool
}

func (e *end) String() string { return fmt.Sprintf("flow %d (%s)", e.Flow, e.Kind) }

const (
	// portFirst is the first flow's, at both ends: packets are told apart by it.
	portFirst = 9000

	// sampleEvery is how often an end looks at what it has done. A round trip of
	// 40 ms is told from its jitter.
	sampleEvery = 20 * time.Millisecond

	// finishSlack is how far apart both ends of a flow may finish.
	finishSlack = time.Second
)

// A sample is what an end has counted by a moment since the run's start. The
// receiver of a shoal flow knows what was useful, its sender the rest.
type sample struct {
	AtSeconds   float64 `json:"at_s"`
	UsefulBytes int64   `json:"useful_bytes"` // distinct payload that has arrived
	SentBytes   int64   `json:"sent_bytes"`   // payload
	AgainBytes  int64   `json:"again_bytes"`  // of it, sent before
	WindowBytes int     `json:"window_bytes"`
	RTTMillis   float64 `json:"rtt_ms"` // smoothed; 0: not known yet
}

// A report is what an end says when the run is over.
type report struct {
	Samples []sample `json:"samples"`
	Error   string   `json:"error,omitempty"`
}

// A sampler takes samples when they are due.
type sampler struct {
	begin   time.Time
	next    time.Time
	samples []sample
}

func newSampler(begin time.Time) *sampler { return &sampler{begin: begin, next: begin} }

// due tells whether a sample should be taken; the caller then does.
func (s *sampler) due(now time.Time) bool { return !now.Before(s.next) }

func (s *sampler) add(now time.Time, v sample) {
	v.AtSeconds = now.Sub(s.begin).Seconds()
	s.samples = append(s.samples, v)
	for !s.next.After(now) {
		s.next = s.next.Add(sampleEvery)
	}
}

// runEnd is the life of such a process: it gets ready, says so, plays its part
// until the run is over, and reports.
func runEnd(encoded string, out io.Writer) error {
	if err := becomeRealtime(endPriority); err != nil {
		return err
	}
	var e end
	if err := json.Unmarshal([]byte(encoded), &e); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	begin := time.Now().Add(time.Until(time.Unix(0, e.BeginUnixNano)))
	ctx, cancel := context.WithDeadline(context.Background(), begin.Add(e.Length))
	defer cancel()
	play, err := e.prepare()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	s := newSampler(begin)
	err = play(ctx, s)
	r := report{Samples: s.samples}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		r.Error = err.Error()
	}
	return json.NewEncoder(out).Encode(r)
}

// A part is what an end does from then on until ctx ends.
type part func(ctx context.Context, s *sampler) error

func (e *end) prepare() (part, error) {
	control, tcp := flow{Kind: e.Kind}.congestion()
	switch {
	case tcp && e.Sends:
		return e.sendTCP(control), nil
	case tcp:
		return e.receiveTCP()
	case e.Sends:
		return e.seed()
	default:
		return e.leech()
	}
}

// awaitStart waits for the flow's start.
func (e *end) awaitStart(ctx context.Context, s *sampler) error {
	timer := time.NewTimer(time.Until(s.begin.Add(e.Start)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ended tells why a session did: the other end may be a little quicker to finish.
func ended(ctx context.Context, s *transport.Session) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(finishSlack):
		return s.Err()
	}
}
