package server_test

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine/transport"
	"shoal/internal/wire"
	"shoal/tracker"
	"shoal/tracker/server"
)

// attend lets a peer join, park, announce one title and report that it was fed
// by the given ones, and then fall silent: the tracker keeps what it keeps
// between two announces.
func attend(tb testing.TB, s *server.Server, from []wire.FedBy) wire.PeerID {
	tb.Helper()
	identity, err := transport.NewIdentity(nil)
	require.NoError(tb, err)
	endpoint, err := transport.Listen(transport.Config{Listen: "127.0.0.1:0", Identity: identity})
	require.NoError(tb, err)
	session, reply := rawFrom(tb, s, endpoint, wire.AppendTrackerFrame(nil, &wire.TrackerJoin{Version: wire.TrackerVersion}))
	require.IsType(tb, &wire.TrackerWelcome{}, reply)
	session.ParkControl()
	channel, answered := session.Channel(), false
	own := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), endpoint.LocalAddr().Port())
	announce := wire.Announce{Request: 1, Title: film, HoldTo: time.Minute, Uploads: true, Addrs: []netip.AddrPort{own}}
	channel.SendMessage(time.Now(), wire.KindAnnounce, wire.AppendAnnounce(nil, &announce))
	report := wire.TrackerReport{Request: 2, FirstSession: true, Title: film, Viewers: 1, FedBy: from}
	report.Totals[wire.CounterP2P] = 1
	channel.SendMessage(time.Now(), wire.KindTrackerReport, wire.AppendTrackerReport(nil, &report))
	var scratch [2048]byte
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !answered || channel.Stats().InFlightBytes > 0 {
		channel.Advance(time.Now())
		timer := time.NewTimer(time.Until(channel.Next()))
		select {
		case batch := <-endpoint.Inbox(wire.TrackerALPN):
			for _, pkt := range batch.Packets {
				kind, _, err := channel.OpenMessage(time.Now(), pkt, scratch[:])
				require.NoError(tb, err)
				answered = answered || kind == wire.KindCandidates
			}
			batch.Release()
		case <-timer.C:
		case <-deadline.C:
			require.FailNow(tb, "no answer to the announce")
		}
		timer.Stop()
	}
	// What is still to be acknowledged: the answer.
	for next := channel.Next(); time.Until(next) < time.Second; next = channel.Next() {
		<-time.After(time.Until(next))
		channel.Advance(time.Now())
	}
	require.NoError(tb, endpoint.Close()) // says nothing to the tracker
	return identity.ID()
}

func heapBytes() int64 {
	runtime.GC() // twice empties the pools as well
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// settled waits until channels are at rest: the heap shrinks no more.
func settled() int64 {
	for bytes := heapBytes(); ; {
		<-time.After(300 * time.Millisecond)
		less := heapBytes()
		if less > bytes-bytes/200 {
			return less
		}
		bytes = less
	}
}

// bytesPerPeer is what the tracker keeps of each of some peers that announce
// one title and are silent until the next announce.
func bytesPerPeer(tb testing.TB, peers int) float64 {
	s := start(tb, server.Config{Bounds: tracker.Config{Interval: time.Hour}})
	var sources []wire.FedBy // as many as a report names; what is made once is made by them
	for range wire.ReportFedMax {
		sources = append(sources, wire.FedBy{ID: attend(tb, s, sources), Bytes: 1 << 20})
	}
	before := settled()
	for range peers {
		attend(tb, s, sources)
	}
	after := settled()
	stats := statsOf(tb, s)
	require.Equal(tb, peers+len(sources), stats.Peers)
	require.Equal(tb, uint64(stats.Peers), stats.Reports)
	return float64(after-before) / float64(peers)
}

func TestSilentPeerTakesNoConnection(t *testing.T) {
	// 3.0 KiB, and what buffers have grown meanwhile, which is more under the
	// race detector; a QUIC connection alone would be 25 KiB.
	require.Less(t, bytesPerPeer(t, 100), 16384.0)
}

func BenchmarkSilentPeer(b *testing.B) {
	var bytes float64
	for b.Loop() {
		bytes = bytesPerPeer(b, 500)
	}
	b.ReportMetric(bytes, "bytes/peer")
	b.ReportMetric(0, "ns/op")
}
