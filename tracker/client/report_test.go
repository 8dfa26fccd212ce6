package client

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

// meter is what a peer has to report; a test turns it.
type meter struct {
	mu    sync.Mutex
	p2p   uint64
	looks int
}

func (m *meter) looked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.looks
}

func (m *meter) turn(p2p uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.p2p = p2p
}

func (m *meter) read() (Report, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks++
	r := Report{Title: film, Viewers: 1 << 20, FedBy: []wire.FedBy{{ID: wire.PeerID{9}, Bytes: m.p2p}}}
	r.Totals[wire.CounterP2P] = m.p2p
	return r, true
}

// with makes a client report the meter every few milliseconds.
func (m *meter) with(c *Config) { c.Report, c.ReportInterval = m.read, 5*time.Millisecond }

func TestReportFollowsTheFirstAnnounce(t *testing.T) {
	s := newScript(t, whole)
	s.play()
	m := &meter{p2p: 7}
	newViewer(t, s.url(), m.with, film)
	s.want(wire.KindAnnounce)
	r := s.want(wire.KindTrackerReport).report
	require.True(t, r.FirstSession)
	require.Equal(t, film, r.Title)
	require.Equal(t, uint16(65535), r.Viewers, "clamped")
	require.Equal(t, uint64(7), r.Totals[wire.CounterP2P])
	require.Equal(t, []wire.FedBy{{ID: wire.PeerID{9}, Bytes: 7}}, r.FedBy)
}

func TestOnlyNewsIsReported(t *testing.T) {
	s := newScript(t, whole)
	s.play()
	m := &meter{}
	v := newViewer(t, s.url(), m.with, film)
	s.want(wire.KindAnnounce)
	first := s.want(wire.KindTrackerReport)
	m.turn(5)
	second := s.want(wire.KindTrackerReport)
	require.Equal(t, uint64(5), second.report.Totals[wire.CounterP2P])
	require.Greater(t, second.number, first.number)
	until := m.looked() + 5
	v.eventually("some more looks", func() bool { return m.looked() >= until })
	require.Empty(t, s.messages, "what has not changed is not said again")

	// The last words are said even if they came a moment ago, before goodbye.
	m.turn(6)
	v.client.Close()
	h := s.want(wire.KindTrackerReport)
	require.Equal(t, uint64(6), h.report.Totals[wire.CounterP2P])
	s.want(wire.KindTrackerLeave)
}

func TestReportThatMayBeLostIsRepeatedWithTheAnnounces(t *testing.T) {
	s := newScript(t, whole)
	s.play()
	m := &meter{}
	newViewer(t, s.url(), func(c *Config) { m.with(c); c.Interval = 50 * time.Millisecond }, film)
	reports := 0
	for reports < 3 {
		select {
		case h := <-s.messages:
			if h.kind == wire.KindTrackerReport {
				reports++
			}
		case <-time.After(patience):
			t.Fatal("no report came")
		}
	}
}

func TestSecondSessionSaysSo(t *testing.T) {
	s := newScript(t, nil) // never answers: the client joins anew
	s.play()
	newViewer(t, s.url(), func(c *Config) { new(meter).with(c); hasty(c) }, film)
	var said []bool // of each report: is this the first session?
	deadline := time.After(patience)
	for len(said) == 0 || said[len(said)-1] {
		select {
		case h := <-s.messages:
			if h.kind == wire.KindTrackerReport {
				said = append(said, h.report.FirstSession)
			}
		case <-deadline:
			t.Fatal("no second session")
		}
	}
	require.Greater(t, len(said), 1, "the first session said so")
}

func TestLargeSwarmsAreReportedWithTheAnnounces(t *testing.T) {
	c := &Client{cfg: Config{ReportInterval: 5 * time.Second}}
	m := &membership{interval: 20 * time.Second, swarms: map[[32]byte]int{film: smallSwarm, series: 3}}
	require.Equal(t, 5*time.Second, c.reportInterval(m))
	m.swarms[series] = smallSwarm + 1
	require.Equal(t, 20*time.Second, c.reportInterval(m))
}
