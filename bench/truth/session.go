package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"shoal/bench/emulator"
	"shoal/bench/player"
	"shoal/engine"
)

// session is one viewer of one run, and the node.
type session struct {
	// constant after newSession
	home home
	host *emulator.Host
	dir  string
	lab  *lab

	node, player *process
	observing    sync.WaitGroup

	mu       sync.Mutex // guards what follows
	status   engine.Status
	report   player.Report
	segments map[string]segment
	samples  []sample
}

// segment is where a segment's pieces came from.
type segment struct {
	pieces string // as engine.SegmentMap has them
	here   bool   // all of them
}

func newSession(l *lab, h home, host *emulator.Host, dir string) *session {
	return &session{home: h, host: host, dir: dir, lab: l, segments: make(map[string]segment)}
}

func (s *session) household() home { return s.home }

// startNode starts the household's node; as beside a real player, it runs before
// anybody presses play.
func (s *session) startNode(ctx context.Context, origin, tracker string) error {
	node, err := start(s.host, s.dir, s.home.Name+"-node", s.lab.shoal, "peer",
		"--listen", fmt.Sprintf("127.0.0.1:%d", peerPort), "--udp", s.host.Addr.String()+":0",
		"--origin", origin, "--tracker", tracker, "--name", s.home.Name)
	if err != nil {
		return err
	}
	s.node = node
	if _, err := node.firstLine(ctx); err != nil {
		return err
	}
	node.drain()
	return nil
}

// watch plays from now until until, and then crashes or stays as it is: the run
// is over. It returns when both processes are gone or the run is.
func (s *session) watch(ctx context.Context, until time.Time) (err error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	url := fmt.Sprintf("http://127.0.0.1:%d/%s", peerPort, playlist)
	s.player, err = start(s.host, s.dir, s.home.Name+"-player", s.lab.self, "--play", url, "--name", s.home.Name)
	if err != nil {
		return err
	}
	s.observing.Go(s.readReports)
	s.observing.Go(func() { s.followNode(ctx) })
	s.observing.Go(func() { s.sample(ctx, until) })
	select {
	case <-ctx.Done():
	case <-s.player.done:
		err = fmt.Errorf("%s ended: %w; see %s", s.player.name, s.player.err, s.player.log.Name())
	case <-s.node.done:
		err = fmt.Errorf("%s ended: %w; see %s", s.node.name, s.node.err, s.node.log.Name())
	}
	if s.home.Crash {
		s.node.crash()
	}
	// A viewer who stays to the end of the run is looked at just then.
	s.player.crash()
	s.observing.Wait()
	return err
}

// sample takes the timeline.
func (s *session) sample(ctx context.Context, until time.Time) {
	begin := until.Add(-s.home.Start - s.home.Watch)
	for at := s.home.Start + sampleEvery; ; at += sampleEvery {
		next := time.NewTimer(time.Until(begin.Add(at)))
		defer next.Stop()
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		s.mu.Lock()
		x := sample{
			AtS: at.Seconds(), P2PBytes: s.status.Bytes.P2P, CDNBytes: s.status.Bytes.CDN, SentBytes: s.status.Bytes.Served,
			PlayedS: s.report.Position.Seconds(), StalledS: s.report.Stalled.Seconds(), BufferS: s.report.Buffer.Seconds(),
			Peers: len(s.status.Seeds), Duplicates: s.status.Bytes.Duplicate,
		}
		for _, p := range s.status.Seeds {
			x.RTTMillis += p.RTTMillis / float64(len(s.status.Seeds))
		}
		s.samples = append(s.samples, x)
		s.mu.Unlock()
	}
}

// readReports keeps the player's last report.
func (s *session) readReports() {
	for line := range s.player.lines {
		var r player.Report
		if json.Unmarshal([]byte(line), &r) != nil {
			continue // cut off by a crash
		}
		s.mu.Lock()
		s.report = r
		s.mu.Unlock()
	}
}

// eventBytesMax bounds one event of a node's stream.
const eventBytesMax = 4 << 20

// followNode keeps the node's last status, and where segments came from, until
// ctx ends. The connection is the host's own: it passes no access line.
func (s *session) followNode(ctx context.Context) {
	client := &http.Client{Transport: &http.Transport{DialContext: s.host.Dial}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/api/live", peerPort), nil)
	if err != nil {
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		return // the node's end is noticed by watch
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, eventBytesMax)
	kind := ""
	for lines.Scan() {
		if name, ok := bytes.CutPrefix(lines.Bytes(), []byte("event: ")); ok {
			kind = string(name)
		} else if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); ok {
			s.event(kind, data)
		}
	}
}

func (s *session) event(kind string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kind {
	case "status":
		var e struct {
			Status engine.Status `json:"status"`
		}
		if json.Unmarshal(data, &e) == nil {
			s.status = e.Status
		}
	case "pieces":
		var m engine.PieceMap
		if json.Unmarshal(data, &m) != nil {
			return
		}
		for _, x := range m.Segments {
			// Once a segment is here its sources stay, though its pieces may be
			// evicted and come again.
			name := path.Base(x.Path)
			if s.segments[name].here {
				continue
			}
			s.segments[name] = segment{pieces: x.Pieces, here: strings.Trim(x.Pieces, "PCMK") == ""}
		}
	}
}

// result sums up what was seen.
func (s *session) result(t *title) viewerResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := viewerResult{
		Name: s.home.Name, UpKbps: s.home.UpKbps, Crash: s.home.Crash,
		RawP2PBytes: s.status.Bytes.P2P, RawCDNBytes: s.status.Bytes.CDN, CDNReasons: s.status.CDNReasons,
		SentBytes: s.status.Bytes.Served, DuplicateBytes: s.status.Bytes.Duplicate,
		Stalls: s.report.Stalls, StalledS: s.report.Stalled.Seconds(), PlayedS: s.report.Position.Seconds(),
		StartupMillis: -1, Timeline: s.samples,
	}
	if s.report.State == player.Loading || s.report.State == "" {
		return r
	}
	r.StartupMillis = float64(s.report.Startup) / float64(time.Millisecond)
	mixed := s.mixedShare(t)
	// A segment whose first picture was shown is played, as in the replay.
	for i := 0; time.Duration(i)*segmentLength <= s.report.Position && i < len(t.bytes); i++ {
		name := segmentName(i)
		if x := s.segments[name]; x.here {
			r.played(countPieces(x.pieces, t.bytes[name]), mixed)
		} else {
			r.UnseenBytes += t.bytes[name]
		}
	}
	return r
}

// mixedShare is the peers' part of the bytes of pieces that came from both
// sources: of one piece the node does not tell, of all it does, for what else
// came is known. The caller holds mu.
func (s *session) mixedShare(t *title) float64 {
	var all sources
	for name, x := range s.segments {
		c := countPieces(x.pieces, t.bytes[name])
		all.p2p += c.p2p
		all.cdn += c.cdn
	}
	p2p, cdn := max(s.status.Bytes.P2P-all.p2p, 0), max(s.status.Bytes.CDN-all.cdn, 0)
	return share(p2p, p2p+cdn)
}
