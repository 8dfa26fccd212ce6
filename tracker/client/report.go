package client

import (
	"slices"
	"time"

	"shoal/internal/wire"
)

const (
	// reportEvery is the default of Config.ReportInterval. People who look at
	// the swarm see what happened five seconds ago.
	reportEvery = 5 * time.Second

	// smallSwarm is as many peers as the tracker shows of one swarm. Where there
	// are more, only sums can be seen, for which the rhythm of the announces will
	// do: a report costs the tracker about a tenth of an announce.
	smallSwarm = 200
)

// reportInterval follows the largest swarm that the peer is in.
func (c *Client) reportInterval(m *membership) time.Duration {
	for _, size := range m.swarms {
		if size > smallSwarm {
			return max(c.cfg.ReportInterval, m.interval)
		}
	}
	return c.cfg.ReportInterval
}

// report tells the tracker the peer's totals, if there is news or the latest
// report is an announce's interval old and may have been lost. Nobody answers:
// the next one says it all again.
func (c *Client) report(now time.Time, m *membership) {
	r, ok := c.cfg.Report()
	if !ok {
		return
	}
	if !m.reportedAt.IsZero() && now.Sub(m.reportedAt) < m.interval && r.same(&m.reported) {
		return
	}
	m.reportedAt, m.reported = now, r
	m.request++
	m.channel.SendMessage(now, wire.KindTrackerReport, wire.AppendTrackerReport(nil, &wire.TrackerReport{
		Request: m.request, FirstSession: m.sessions == 1,
		Title: r.Title, Viewers: clamp16(r.Viewers), Totals: r.Totals, FedBy: r.FedBy,
	}))
}

func (r *Report) same(other *Report) bool {
	return r.Title == other.Title && r.Viewers == other.Viewers && r.Totals == other.Totals &&
		slices.Equal(r.FedBy, other.FedBy)
}
