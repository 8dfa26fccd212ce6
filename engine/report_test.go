package engine

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine/swarm"
	"shoal/internal/wire"
	"shoal/tracker/server"
)

// The tracker knows what its peers know: the sums are theirs, the title is the
// one that was watched, and the edge is between the two.
func TestTrackerIsToldWhereTheBytesCameFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 7, 500<<10)
	s, err := server.Start(server.Config{Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	w.tracker = s.URL().String()
	live := func() (l server.Live) {
		response, err := http.Get("http://" + s.HTTPAddr() + "/api/swarms")
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(body, &l))
		return l
	}

	a, b := w.peer("a", nil), w.peer("b", nil)
	for i := range 7 {
		w.play(a, i)
	}
	w.holds(a, 7*8)
	w.file(b, 0)
	w.connected(b, 1)
	for i := 3; i < 7; i++ {
		w.play(b, i)
	}
	var l server.Live
	w.eventually("both have reported", func() bool {
		l = live()
		return l.Figures.P2P == 4*500<<10 && l.Figures.CDN == 7*500<<10 && l.Swarm != nil && len(l.Swarm.Feeds) == 1
	})
	require.Equal(t, 2, l.Viewers)
	require.Equal(t, l.Figures, l.Titles[0].Figures)
	feed := l.Swarm.Feeds[0]
	id := func(e *Engine) string { return e.identity.ID().Hex()[:8] }
	require.Equal(t, id(a), l.Swarm.Members[feed[0]].ID)
	require.Equal(t, id(b), l.Swarm.Members[feed[1]].ID)
	require.GreaterOrEqual(t, feed[2], uint64(4*500<<10))

	// What came since the latest report is told with the goodbye.
	served := a.Status().Bytes.Served
	w.play(b, 0)
	st := b.Status()
	require.NoError(t, b.Close())
	w.eventually("the last words", func() bool {
		return live().Figures.Played >= uint64(st.Bytes.Played+7*500<<10)
	})
	require.NoError(t, a.Close())
	w.eventually("an empty swarm", func() bool { l = live(); return l.Swarm == nil })
	require.GreaterOrEqual(t, l.Figures.Served, uint64(served))
}

func TestTotalsNeverRunBackWithinAProcess(t *testing.T) {
	r := newReporter(nil)
	id := func(i int) wire.PeerID { return wire.PeerID{byte(i), byte(i >> 8)} }
	seed := func(i int, bytes int64) swarm.SeedStatus { return swarm.SeedStatus{ID: id(i), Received: bytes} }
	require.Empty(t, r.fedBy([]swarm.SeedStatus{seed(1, 0)}), "gave nothing")
	r.fedBy([]swarm.SeedStatus{seed(1, 100), seed(2, 300)})
	r.fedBy([]swarm.SeedStatus{seed(2, 300)}) // 1 is gone
	got := r.fedBy([]swarm.SeedStatus{seed(2, 310), seed(1, 20)})
	require.Equal(t, []wire.FedBy{{ID: id(2), Bytes: 310}, {ID: id(1), Bytes: 120}}, got)

	for i := range 1000 {
		r.fedBy([]swarm.SeedStatus{seed(10+i, int64(1000+i))})
	}
	got = r.fedBy(nil)
	require.LessOrEqual(t, len(r.sources), sourcesMax)
	require.Len(t, got, wire.ReportFedMax)
	require.Equal(t, uint64(1999), got[0].Bytes)

	// A session that ended keeps its stalls.
	at := time.Now()
	v := &Viewer{handle: 1}
	v.lastUsed.Store(at.UnixNano())
	v.stalls.Add(3)
	s := &titleState{id: [32]byte{1}, viewers: map[swarm.Viewer]*Viewer{1: v}}
	l := &loop{titleList: []*titleState{s}}
	stalls, viewers := r.watch(at, l)
	require.Equal(t, [2]int64{3, 1}, [2]int64{stalls, int64(viewers)})
	require.Equal(t, [32]byte{1}, r.title)
	stalls, viewers = r.watch(at.Add(watchingFor+time.Second), l)
	require.Equal(t, [2]int64{3, 0}, [2]int64{stalls, int64(viewers)}, "silent for a minute")
	clear(s.viewers)
	for range 2 {
		stalls, _ = r.watch(at, l)
		require.Equal(t, int64(3), stalls)
	}

	// Another title is being read.
	u := &Viewer{handle: 2}
	u.playedBytes.Add(1)
	l.titleList = append(l.titleList, &titleState{id: [32]byte{2}, viewers: map[swarm.Viewer]*Viewer{2: u}})
	_, _ = r.watch(at, l)
	require.Equal(t, [32]byte{2}, r.title)
	_, _ = r.watch(at, l)
	require.Equal(t, [32]byte{2}, r.title, "nothing new was read")
}
