package proxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"shoal/engine"
)

// statusNode is a node whose status the test tells.
type statusNode struct {
	*fakeNode
	told engine.Status
}

func (n *statusNode) status() engine.Status { return n.told }

// scraped is a node's metrics as "name label…=value", without the HTTP ones.
func scraped(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "shoal_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			out[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() // one of them is nil
		}
	}
	return out
}

func newScraped(t *testing.T) (*statusNode, *prometheus.Registry) {
	t.Helper()
	n, registry := &statusNode{fakeNode: newFakeNode(t)}, prometheus.NewPedanticRegistry()
	newMetrics(registry, n, newSessions(nil))
	return n, registry
}

func TestStallsDoNotVanishWithTheirViewer(t *testing.T) {
	n, registry := newScraped(t)
	watch := func(viewers map[string]int) float64 {
		title := engine.TitleStatus{ID: "0123456789"}
		for _, id := range slices.Sorted(maps.Keys(viewers)) {
			title.Viewers = append(title.Viewers, engine.ViewerStatus{ID: id, Stalls: viewers[id]})
		}
		n.told.Titles = []engine.TitleStatus{title}
		return scraped(t, registry)["stalls_total"]
	}
	require.Zero(t, watch(nil))
	require.InDelta(t, 3, watch(map[string]int{"a": 1, "b": 2}), 0)
	require.InDelta(t, 3, watch(map[string]int{"a": 1, "b": 2}), 0, "a scrape changes nothing")
	require.InDelta(t, 5, watch(map[string]int{"a": 3}), 0, "b has left")
	require.InDelta(t, 6, watch(map[string]int{"a": 1}), 0, "a left and came back, and stalled again")
	require.InDelta(t, 6, watch(nil), 0)
	require.InDelta(t, 7, watch(map[string]int{"a": 1}), 0)
}

func TestViewersOfTitlesThatBeginAlikeAreToldApart(t *testing.T) {
	n, registry := newScraped(t)
	for i, id := range []string{"01234567a", "01234567b"} {
		n.told.Titles = append(n.told.Titles, engine.TitleStatus{ID: id, Viewers: []engine.ViewerStatus{{ID: "v", BufferS: float64(i + 1)}}})
	}
	got := scraped(t, registry)
	require.InDelta(t, 1, got["viewer_buffer_seconds 01234567/v"], 0)
	require.InDelta(t, 2, got["viewer_buffer_seconds 01234567b/v"], 0)
	require.InDelta(t, 2, got["viewers"], 0)
}

func TestSeedsAreSummedUpWithoutALabelEach(t *testing.T) {
	n, registry := newScraped(t)
	require.NotContains(t, scraped(t, registry), "seed_rtt_seconds max", "no seed, no time")
	for i, grade := range []string{"A", "A", "D", "?"} {
		n.told.Seeds = append(n.told.Seeds, engine.SeedStatus{
			ID: fmt.Sprint(i), Grade: grade, RTTMillis: float64(10 * i), Loss: float64(i) / 10, FrozenMillis: int64(i / 3),
		})
	}
	got := scraped(t, registry)
	for name, want := range map[string]float64{
		"seeds active": 3, "seeds frozen": 1,
		"seed_grades A": 2, "seed_grades B": 0, "seed_grades D": 1,
		"seed_rtt_seconds median": 0.02, "seed_rtt_seconds max": 0.03, // the first one is not measured
		"seed_loss_ratio median": 0.2, "seed_loss_ratio max": 0.3,
	} {
		require.InDelta(t, want, got[name], 1e-9, name)
	}
	require.NotContains(t, got, "seed_grades ?", "the tracker's word is no label")
}

func TestCountersOfTheSocketHaveOneUnitEach(t *testing.T) {
	n, registry := newScraped(t)
	n.told.Transport = map[string]int64{
		"packets_in": 1, "packets_out": 2, "bytes_in": 3, "bytes_out": 4, "sessions": 5, "offload_send": 1, "offload_receive": 0,
		"dropped_kernel": 6, "paths_moved": 7,
	}
	got := scraped(t, registry)
	for name, want := range map[string]float64{
		"transport_datagrams_total in": 1, "transport_datagrams_total out": 2, "transport_bytes_total in": 3, "transport_bytes_total out": 4,
		"transport_sessions": 5, "transport_offload send": 1, "transport_offload receive": 0,
		"transport_total dropped_kernel": 6, "transport_total paths_moved": 7,
	} {
		require.InDelta(t, want, got[name], 0, name)
	}
	require.NotContains(t, got, "transport_total bytes_in")
}

func TestANodeWithoutATrackerMissesNone(t *testing.T) {
	n, registry := newScraped(t)
	require.NotContains(t, scraped(t, registry), "tracker_connected")
	n.told.Tracker.URL = "quic://tracker.example:7000"
	require.Contains(t, scraped(t, registry), "tracker_connected")
	n.told.Tracker.Connected = true
	require.InDelta(t, 1, scraped(t, registry)["tracker_connected"], 0)
}
