package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine/store"
	"shoal/engine/swarm"
	"shoal/engine/transport"
	"shoal/internal/wire"
)

func TestSecondViewerIsServedByTheFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 7, 500<<10).withTracker()
	a, b := w.peer("a", nil), w.peer("b", nil)
	for i := range 7 {
		w.play(a, i)
	}
	w.holds(a, 7*8)
	w.file(b, 0)
	w.connected(b, 1)
	before := w.origin.mediaBytes()
	for i := 3; i < 7; i++ { // in the middle of a film, with a safe buffer
		w.play(b, i)
	}
	st := b.Status()
	require.Equal(t, before, w.origin.mediaBytes(), "the origin is left alone")
	require.EqualValues(t, 4*500<<10, st.Bytes.P2P)
	require.InDelta(t, 1, st.Saving, 0)
	require.Less(t, st.Bytes.Duplicate, int64(4*500<<10)/10)
	w.eventually("the seed counts what it served", func() bool { return a.Status().Bytes.Served >= 4*500<<10 })
	require.Len(t, st.Seeds, 1)
	require.Equal(t, "direct", st.Seeds[0].Path)
	require.Equal(t, 2, st.Titles[0].N)
}

func TestPausedOriginIsNotMissedWhilePeersHaveTheData(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 500<<10).withTracker()
	a, b := w.peer("a", nil), w.peer("b", nil)
	for i := range 3 {
		w.play(a, i)
	}
	w.holds(a, 3*8)
	w.file(b, 0)
	w.connected(b, 1)
	w.origin.pause() // b has the records, but not the hashes: a has
	for i := range 3 {
		w.play(b, i)
	}
	require.EqualValues(t, 3*500<<10, b.Status().Bytes.P2P)
}

func TestUnreachableTrackerLeavesTheCDN(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 200<<10)
	w.tracker = "quic://127.0.0.1:1#" + fmt.Sprintf("%064x", 1)
	e := w.peer("lonely", nil)
	w.play(e, 0)
	w.play(e, 1)
	st := e.Status()
	require.False(t, st.Tracker.Connected)
	require.EqualValues(t, 2*200<<10, st.Bytes.CDN)
}

func TestNodeThatDoesNotUploadIsServedAndServesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 300<<10).withTracker()
	a := w.peer("a", func(c *Config) { c.NoUpload = true })
	b := w.peer("b", nil)
	w.play(a, 0)
	w.file(b, 0)
	w.play(b, 0)
	require.Zero(t, a.Status().Bytes.Served)
	require.Zero(t, b.Status().Bytes.P2P)
}

func TestPolluterIsBannedAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 1<<20).withTracker()
	bad, good, viewer := w.peer("bad", nil), w.peer("good", nil), w.peer("viewer", nil)
	for i := range 3 {
		w.play(bad, i)
		w.play(good, i)
	}
	w.holds(bad, 3*16)
	w.holds(good, 3*16)
	pollute(bad)
	events := viewer.Events(t.Context())
	w.file(viewer, 0)
	w.connected(viewer, 2)
	for i := range 3 {
		w.play(viewer, i)
	}
	polluter := bad.Status().PeerID
	w.eventually("the polluter is banned", func() bool {
		for {
			select {
			case ev := <-events:
				if ev.Kind == EventPeerBanned {
					require.Equal(t, polluter, ev.Peer, "no innocent is banned")
					return true
				}
			default:
				return false
			}
		}
	})
	require.Positive(t, viewer.Status().Bytes.HashFailed)
	w.eventually("its session is closed", func() bool {
		for _, s := range viewer.Status().Seeds {
			if s.ID == polluter {
				return false
			}
		}
		return true
	})
}

// pollute makes an engine serve garbage: every piece that it holds is pinned in
// memory with one byte of each chunk changed.
func pollute(e *Engine) {
	done := make(chan struct{})
	e.post(func(now time.Time) {
		l := e.loop
		for _, c := range l.contents {
			for p := range c.pieceCount() {
				pc := swarm.Piece{File: c.handle, Index: p}
				held, err := e.store.Get(c.root, p)
				if err != nil {
					panic(err)
				}
				buf := store.NewBuffer(len(held.Bytes())) // the store's own may be this one
				copy(buf.Bytes(), held.Bytes())
				held.Release()
				for at := 0; at < len(buf.Bytes()); at += wire.ChunkBytes {
					buf.Bytes()[at] ^= 0x55
				}
				l.residents.remove(pc)
				l.residents.add(now, pc, buf, true)
			}
		}
		close(done)
	})
	<-done
}

// TestPeerProcess is not a test: with the variable set it is the process that
// TestKilledSeedDoesNotStopPlayback kills.
func TestPeerProcess(t *testing.T) {
	raw := os.Getenv("SHOAL_TEST_PEER")
	if raw == "" {
		return
	}
	var cfg Config
	require.NoError(t, json.Unmarshal([]byte(raw), &cfg))
	cfg.Logger = slog.New(slog.DiscardHandler)
	e, err := New(cfg)
	require.NoError(t, err)
	w := &world{t: t}
	for i := range 4 {
		f := w.file(e, i)
		v := f.Title().Viewer("player")
		v.Report(Playback{Position: time.Duration(i) * segmentTime, Rate: 1}) // as after a seek: at once
		_, err := readAll(f, OpenOptions{Viewer: v})
		require.NoError(t, err)
	}
	fmt.Println("ready " + e.Status().PeerID)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent goes or kills us
	_ = e.Close()
}

// Not in parallel: it is about time.
func TestKilledSeedDoesNotStopPlayback(t *testing.T) {
	w := newWorld(t, 4, 3<<20).withTracker()
	cfg, err := json.Marshal(map[string]any{"Origin": w.url, "Tracker": w.tracker, "UDP": "127.0.0.1:0"})
	require.NoError(t, err)
	seed := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPeerProcess$")
	seed.Env = append(os.Environ(), "SHOAL_TEST_PEER="+string(cfg))
	in, err := seed.StdinPipe()
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	out, err := seed.StdoutPipe()
	require.NoError(t, err)
	seed.Stderr = os.Stderr
	require.NoError(t, seed.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "ready")

	e := w.peer("viewer", nil)
	w.file(e, 2)
	w.connected(e, 1)
	r, rest := w.start(e, 2)
	head := make([]byte, 100<<10)
	_, err = io.ReadFull(r, head)
	require.NoError(t, err)
	require.Positive(t, e.Status().Bytes.P2P, "the seed serves")
	require.NoError(t, seed.Process.Kill()) // mid-transfer, no goodbye
	_ = seed.Wait()
	rest(head)
	// Should the transfer have been faster than the kill, this one asks the dead.
	_, rest = w.start(e, 3)
	rest(nil)
	w.eventually("the dead session is closed", func() bool { return len(e.Status().Seeds) == 0 })
}

// start begins to read segment i, which the player needs 4 s from now; rest
// reads what follows head and checks bytes and deadline.
func (w *world) start(e *Engine, i int) (r io.Reader, rest func(head []byte)) {
	const left = 4 * time.Second
	f := w.file(e, i)
	v := f.Title().Viewer("player")
	v.Report(Playback{Position: time.Duration(i)*segmentTime - left, Buffer: left, Rate: 1})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	begin := time.Now()
	reader, err := f.Open(ctx, OpenOptions{Viewer: v, Deadline: begin.Add(left)})
	require.NoError(w.t, err)
	return reader, func(head []byte) {
		defer cancel()
		defer func() { _ = reader.Close() }()
		tail, err := io.ReadAll(reader)
		require.NoError(w.t, err)
		require.True(w.t, bytes.Equal(w.media(i), append(head, tail...)))
		require.Less(w.t, time.Since(begin), left, "the deadline holds")
	}
}

func TestStrangerWithoutTicketGetsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 100<<10).withTracker()
	a := w.peer("a", nil)
	w.play(a, 0)
	stranger := w.stranger()
	tests := []struct {
		name string
		send []wire.Control
		want string
	}{
		{"forged ticket", []wire.Control{
			wire.Hello{Version: protocolVersion},
			wire.Join{Title: w.file(a, 0).title.id, Ticket: []byte("eyJhbGciOiJub25lIn0.e30.")},
		}, errTicket.Error()},
		{"no hello", []wire.Control{wire.Ready{}}, errHello.Error()},
		{"another version", []wire.Control{wire.Hello{Version: 999}}, errVersion.Error()},
		{"questions before the ticket, without end", append([]wire.Control{wire.Hello{Version: protocolVersion}},
			flood(strangerMax+10)...), errFlood.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := w.dial(stranger, a)
			for _, m := range tt.send {
				if _, err := s.Stream().Write(wire.AppendControl(nil, m)); err != nil {
					break // closed while we were at it
				}
			}
			said := ""
			for {
				m, err := wire.ReadControl(s.Stream())
				if err != nil {
					break
				}
				switch m := m.(type) {
				case wire.Goodbye:
					said = m.Reason
				case wire.Hello, wire.Join:
				default:
					t.Fatalf("told a stranger %T", m)
				}
			}
			require.Equal(t, tt.want, said)
			s.Close("test over")
		})
	}
	require.Empty(t, a.Status().Seeds)
	w.play(a, 0)
}

func flood(n int) []wire.Control {
	out := make([]wire.Control, n)
	for i := range out {
		out[i] = wire.HashRequest{Group: uint32(i)}
	}
	return out
}

// stranger is an endpoint that has the protocol, and no ticket.
func (w *world) stranger() *transport.Endpoint {
	identity, err := transport.LoadOrCreateIdentity(w.t.TempDir() + "/key")
	require.NoError(w.t, err)
	ep, err := transport.Listen(transport.Config{Listen: "127.0.0.1:0", Identity: identity, ALPN: []string{alpn}})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = ep.Close() })
	return ep
}

func (w *world) dial(from *transport.Endpoint, to *Engine) *transport.Session {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := from.Dial(ctx, transport.DialConfig{
		ALPN: alpn, Addrs: []netip.AddrPort{to.endpoint.LocalAddr()}, Verify: transport.Verify{ID: to.identity.ID()},
	})
	require.NoError(w.t, err)
	return s
}
