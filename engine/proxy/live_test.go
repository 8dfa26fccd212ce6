package proxy

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine"
)

// listener is a browser's side of /api/live.
type listener struct {
	mu     sync.Mutex
	header http.Header
	code   int
	text   strings.Builder
	block  chan struct{} // a write waits for it; nil: none does
	leave  func()
	ended  chan struct{}
}

func (l *listener) Header() http.Header { return l.header }
func (l *listener) WriteHeader(code int) {
	l.code = code
}
func (l *listener) Flush() {}

func (l *listener) Write(b []byte) (int, error) {
	if l.block != nil {
		<-l.block
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// listen opens a stream of p.
func listen(t *testing.T, p *Proxy, target string) *listener {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:7070"+target, nil)
	ctx, leave := context.WithCancel(t.Context())
	l := &listener{header: http.Header{}, leave: leave, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		p.ServeHTTP(l, r.WithContext(ctx))
	}()
	return l
}

// heard returns the data of the events with a name.
func (l *listener) heard(name string) (data []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for block := range strings.SplitSeq(l.text.String(), "\n\n") {
		if rest, ok := strings.CutPrefix(block, "event: "+name+"\ndata: "); ok {
			data = append(data, rest)
		}
	}
	return data
}

func (l *listener) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestADashboardIsToldTwiceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		p := newTestProxy(t, n)
		l := listen(t, p, "/api/live")
		synctest.Wait()
		require.Len(t, l.heard("status"), 1, "at once")
		require.Equal(t, "text/event-stream", l.header.Get("Content-Type"))
		require.Equal(t, "no-store", l.header.Get("Cache-Control"))
		require.True(t, strings.HasPrefix(l.said(), "retry: 1000\n\n"))
		<-time.After(3 * time.Second)
		synctest.Wait()
		require.Len(t, l.heard("status"), 7)
		var got liveStatus
		require.NoError(t, json.Unmarshal([]byte(l.heard("status")[6]), &got))
		require.Equal(t, n.status(), got.Status)
		require.Equal(t, time.Now().UnixMilli(), got.AtMillis)
		require.EqualValues(t, 77, got.PassthroughBytes)
		require.NotEmpty(t, got.Says)
		l.leave()
		<-l.ended
	})
}

func TestADashboardHearsEventsAsTheyHappen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.happens = make(chan engine.Event)
		p := newTestProxy(t, n)
		l := listen(t, p, "/api/live")
		n.happens <- engine.Event{Kind: engine.EventRescue, Path: "a.m4s", Reason: "startup"}
		synctest.Wait()
		require.Len(t, l.heard("event"), 1)
		require.Contains(t, l.heard("event")[0], `"kind":"rescue"`)
		close(n.happens) // the engine has closed
		<-l.ended
	})
}

func TestTheMapIsOfTheViewerThatWasAskedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		maps map[string]engine.PieceMap
		want string
	}{
		"the viewer is here":     {map[string]engine.PieceMap{"sid:me": {Viewer: "sid:me"}, "": {Viewer: "sid:other"}}, "sid:me"},
		"it has not begun":       {map[string]engine.PieceMap{"": {Viewer: "sid:other"}}, "sid:other"},
		"nobody watches as well": {map[string]engine.PieceMap{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				n.maps = tc.maps
				l := listen(t, newTestProxy(t, n), "/api/live?viewer=sid:me")
				synctest.Wait()
				require.Len(t, l.heard("status"), 1)
				if tc.want == "" {
					require.Empty(t, l.heard("pieces"))
				} else {
					require.Contains(t, l.heard("pieces")[0], `"viewer":"`+tc.want+`"`)
				}
				l.leave()
				<-l.ended
			})
		})
	}
}

func TestDashboardsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProxy(t, newFakeNode(t))
		var all []*listener
		for range liveSubscribersMax {
			all = append(all, listen(t, p, "/api/live"))
		}
		synctest.Wait()
		w := request(t, p, "GET", "/api/live")
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "5", w.Header().Get("Retry-After"))
		require.Equal(t, 1, strings.Count(w.Body.String(), "\n"), "one sentence")
		all[0].leave()
		<-all[0].ended
		again := listen(t, p, "/api/live")
		synctest.Wait()
		require.NotEmpty(t, again.heard("status"), "a place is free again")
		require.NoError(t, p.Close())
		for _, l := range append(all, again) {
			<-l.ended // Close ends them all
		}
		require.Equal(t, http.StatusServiceUnavailable, request(t, p, "GET", "/api/live").Code)
	})
}

func TestTheNodeIsAskedOnlyWhileSomebodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		var mu sync.Mutex
		asked := 0
		n.present = func() engine.Status {
			mu.Lock()
			defer mu.Unlock()
			asked++
			return engine.Status{}
		}
		count := func() int {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			defer func() { asked = 0 }()
			return asked
		}
		p := newTestProxy(t, n)
		<-time.After(time.Minute)
		require.Zero(t, count())
		a, b := listen(t, p, "/api/live"), listen(t, p, "/api/live")
		<-time.After(10 * time.Second)
		require.LessOrEqual(t, count(), 22, "twice a second for both")
		require.NotEmpty(t, b.heard("status"))
		a.leave()
		b.leave()
		<-a.ended
		<-b.ended
		<-time.After(time.Second)
		count()
		<-time.After(time.Minute)
		require.Zero(t, count())
		c := listen(t, p, "/api/live")
		synctest.Wait()
		require.Len(t, c.heard("status"), 1, "and again for the next one")
		c.leave()
		<-c.ended
	})
}

// A reader that takes nothing holds up nobody else, and gets the present state
// and not a backlog.
func TestASlowDashboardHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProxy(t, newFakeNode(t))
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:7070/api/live", nil)
		ctx, leave := context.WithCancel(t.Context())
		slow := &listener{header: http.Header{}, block: make(chan struct{}), leave: leave, ended: make(chan struct{})}
		go func() {
			defer close(slow.ended)
			p.ServeHTTP(slow, r.WithContext(ctx))
		}()
		synctest.Wait() // the state that the first one is given at once is not for the other
		quick := listen(t, p, "/api/live")
		<-time.After(10 * time.Second)
		synctest.Wait()
		require.Len(t, quick.heard("status"), 21)
		require.Empty(t, slow.heard("status"))
		close(slow.block)
		synctest.Wait()
		require.Len(t, slow.heard("status"), 1)
		leave()
		quick.leave()
		<-slow.ended
		<-quick.ended
	})
}

func TestASilentNodeSendsHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		free := make(chan struct{})
		n.present = func() engine.Status {
			<-free // an engine that is too busy to answer
			return engine.Status{}
		}
		l := listen(t, newTestProxy(t, n), "/api/live")
		<-time.After(3*liveHeartbeat + time.Second)
		synctest.Wait()
		require.Equal(t, 3, strings.Count(l.said(), ": still here\n\n"))
		close(free)
		l.leave()
		<-l.ended
	})
}

func TestHEADOfTheStreamEnds(t *testing.T) {
	w := request(t, newTestProxy(t, newFakeNode(t)), http.MethodHead, "/api/live")
	require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
}

// The server's shutdown does not wait for open dashboards.
func TestOpenDashboardsDoNotHoldUpAShutdown(t *testing.T) {
	p := newTestProxy(t, newFakeNode(t))
	server := httptest.NewUnstartedServer(p)
	server.Config.RegisterOnShutdown(p.EndLive)
	server.Start()
	defer server.Close()
	resp, err := server.Client().Get(server.URL + "/api/live")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	buf := make([]byte, 100)
	_, err = resp.Body.Read(buf)
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, server.Config.Shutdown(t.Context()))
	require.Less(t, time.Since(began), 5*time.Second)
}
