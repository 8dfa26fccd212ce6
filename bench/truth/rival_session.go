package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"shoal/bench/emulator"
)

// rivalReport is what a rival's viewer tells several times a second.
type rivalReport struct {
	StartupMillis float64 `json:"startup_ms"` // −1: no picture yet
	PositionS     float64 `json:"position_s"`
	Stalls        int     `json:"stalls"`
	StalledS      float64 `json:"stalled_s"`

	// All that came or went, of use or not.
	P2PBytes       int64 `json:"p2p_bytes"`
	CDNBytes       int64 `json:"cdn_bytes"`
	SentBytes      int64 `json:"sent_bytes"`
	DuplicateBytes int64 `json:"duplicate_bytes"`

	// Segments that are complete, by name.
	Segments map[string]struct {
		P2P int64 `json:"p2p"`
		CDN int64 `json:"cdn"`
	} `json:"segments"`
	// Notes count what happened.
	Notes map[string]int64 `json:"notes"`
}

// rivalSession is one viewer of one run of a rival, which is player and node in
// one.
type rivalSession struct {
	// constant
	home    home
	host    *emulator.Host
	dir     string
	lab     *lab
	command []string

	viewer  *process
	reading sync.WaitGroup
	report  rivalReport // valid when reading is over
	waits   waits       // for a processor, of the viewer's threads
}

func (s *rivalSession) household() home { return s.home }

func (s *rivalSession) start() (err error) {
	s.viewer, err = start(s.host, s.dir, s.home.Name, s.command[0], s.command[1:]...)
	return err
}

// open starts the viewer's program before the viewer comes.
func (s *rivalSession) open(ctx context.Context) error {
	if err := s.start(); err != nil {
		return err
	}
	_, err := s.viewer.firstLine(ctx)
	return err
}

// watch plays from now until until. Whether it then crashes or stays makes no
// difference to anybody: the run is over for those who stay.
func (s *rivalSession) watch(ctx context.Context, until time.Time) (err error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	viewer := s.viewer
	if viewer == nil {
		if err := s.start(); err != nil {
			return err
		}
		viewer = s.viewer
	} else if err := viewer.cmd.Process.Signal(playSignal); err != nil {
		return err
	}
	s.reading.Go(func() {
		for line := range viewer.lines {
			var r rivalReport
			if json.Unmarshal([]byte(line), &r) == nil { // else cut off by the end
				s.report = r
			}
		}
	})
	select {
	case <-ctx.Done():
	case <-viewer.done:
		err = fmt.Errorf("%s ended: %w; see %s", viewer.name, viewer.err, viewer.log.Name())
	}
	s.waits = sessionWaits(viewer.cmd.Process.Pid)
	viewer.crash()
	s.reading.Wait()
	return err
}

// result sums up what was reported last.
func (s *rivalSession) result(t *title) viewerResult {
	got := s.report
	r := viewerResult{
		Name: s.home.Name, UpKbps: s.home.UpKbps, Crash: s.home.Crash,
		RawP2PBytes: got.P2PBytes, RawCDNBytes: got.CDNBytes, CDNReasons: map[string]int64{"HTTP": got.CDNBytes},
		SentBytes: got.SentBytes, DuplicateBytes: got.DuplicateBytes,
		Stalls: got.Stalls, StalledS: got.StalledS, PlayedS: got.PositionS, StartupMillis: -1, Notes: got.Notes,
	}
	if got.StartupMillis <= 0 {
		return r
	}
	r.StartupMillis = got.StartupMillis
	// A segment whose first picture was shown is played, as in the replay.
	for i := 0; float64(i)*segmentLength.Seconds() <= got.PositionS && i < len(t.bytes); i++ {
		name := segmentName(i)
		if x, ok := got.Segments[name]; ok {
			r.P2PBytes, r.CDNBytes = r.P2PBytes+x.P2P, r.CDNBytes+x.CDN
		} else {
			r.UnseenBytes += t.bytes[name]
		}
	}
	return r
}
