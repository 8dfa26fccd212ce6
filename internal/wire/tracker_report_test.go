package wire

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func sampleReport(fed int) *TrackerReport {
	m := &TrackerReport{Request: 7, FirstSession: true, Title: [32]byte{1, 31: 2}, Viewers: 3}
	for i := range m.Totals {
		m.Totals[i] = uint64(i+1) << 32
	}
	for i := range fed {
		m.FedBy = append(m.FedBy, FedBy{ID: PeerID{byte(i), 31: 9}, Bytes: 1 << 40})
	}
	return m
}

func TestReportSurvives(t *testing.T) {
	for _, fed := range []int{0, 1, ReportFedMax} {
		got := TrackerReport{FedBy: []FedBy{{Bytes: 5}}, Totals: ReportTotals{99}} // of the report before
		body := AppendTrackerReport(nil, sampleReport(fed))
		require.NoError(t, ParseTrackerReport(&got, body))
		require.Empty(t, got.FedBy[fed:])
		got.FedBy = append([]FedBy(nil), got.FedBy...)
		require.Equal(t, sampleReport(fed), &got)
		require.LessOrEqual(t, len(body), TrackerBodyBytesMax)
	}
	require.Equal(t,
		AppendTrackerReport(nil, sampleReport(ReportFedMax)), AppendTrackerReport(nil, sampleReport(ReportFedMax+9)),
		"entries beyond the bound are left out")
}

// The layout is a contract with peers and trackers of other versions.
func TestReportHasTheDocumentedBytes(t *testing.T) {
	m := TrackerReport{Request: 0x01020304, FirstSession: true, Title: [32]byte{0xaa, 31: 0xbb}, Viewers: 2}
	m.Totals[CounterP2P], m.Totals[CounterStalls] = 0x1122, 5
	m.FedBy = []FedBy{{ID: PeerID{0xcc, 31: 0xdd}, Bytes: 0x3344}}
	zeros := func(bytes int) string { return strings.Repeat("00", bytes) }
	require.Equal(t, "01020304"+"01"+"aa"+zeros(30)+"bb"+"0002"+
		"0c"+"0000000000001122"+zeros(10*8)+"0000000000000005"+
		"01"+"cc"+zeros(30)+"dd"+"0000000000003344",
		hex.EncodeToString(AppendTrackerReport(nil, &m)))
}

func TestTruncatedReportIsRefusedAtEveryByte(t *testing.T) {
	body := AppendTrackerReport(nil, sampleReport(2))
	for n := range body {
		require.ErrorIs(t, ParseTrackerReport(new(TrackerReport), body[:n]), ErrTrackerMessage, "cut to %d bytes", n)
	}
}

func TestReportOfAnotherVersionIsUnderstood(t *testing.T) {
	const counters = 4 + 1 + 32 + 2 // where their number stands
	now := AppendTrackerReport(nil, sampleReport(1))
	var got TrackerReport

	// A later one has a counter, a flag and a field more.
	later := append([]byte(nil), now[:counters]...)
	later[4] |= 0x80
	later = append(later, CounterCount+1)
	later = append(later, now[counters+1:counters+1+8*CounterCount]...)
	later = binary.BigEndian.AppendUint64(later, 77)
	later = append(later, now[counters+1+8*CounterCount:]...)
	later = append(later, "and more"...)
	require.NoError(t, ParseTrackerReport(&got, later))
	require.Equal(t, sampleReport(1), &got)

	// An earlier one has only the first two counters.
	earlier := append([]byte(nil), now[:counters]...)
	earlier = append(earlier, 2)
	earlier = append(earlier, now[counters+1:counters+1+16]...)
	earlier = append(earlier, now[counters+1+8*CounterCount:]...)
	require.NoError(t, ParseTrackerReport(&got, earlier))
	want := sampleReport(1)
	clear(want.Totals[2:])
	require.Equal(t, want, &got)
}

func TestReportCountsBeyondTheirBoundsAreRefused(t *testing.T) {
	head := make([]byte, 4+1+32+2)
	require.ErrorIs(t, ParseTrackerReport(new(TrackerReport), append(append(head, reportCountersMax+1), make([]byte, 2000)...)), ErrTrackerMessage)
	require.ErrorIs(t, ParseTrackerReport(new(TrackerReport), append(append(head, 0, ReportFedMax+1), make([]byte, 2000)...)), ErrTrackerMessage)
}

func FuzzTrackerReport(f *testing.F) {
	f.Add(AppendTrackerReport(nil, sampleReport(0)))
	f.Add(AppendTrackerReport(nil, sampleReport(ReportFedMax)))
	f.Add(append(AppendTrackerReport(nil, sampleReport(1)), "a later version"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again TrackerReport
		if err := ParseTrackerReport(&m, b); err != nil {
			require.ErrorIs(t, err, ErrTrackerMessage)
			return
		}
		require.NoError(t, ParseTrackerReport(&again, AppendTrackerReport(nil, &m)))
		require.Equal(t, m, again)
	})
}
