package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/replay/trace"
)

const film = "3fa2bc9100000000"

// tape is a recording under test, with a clock of its own.
type tape struct {
	t                 *testing.T
	now               time.Time
	sessions, network bytes.Buffer
	r                 *Recorder
	received, sent    int64
}

func newTape(t *testing.T) *tape {
	x := &tape{t: t, now: time.Date(2026, 3, 1, 20, 0, 0, 0, time.FixedZone("", 3600))} // 19:00 UTC
	r, err := New(Config{Sessions: &x.sessions, Network: &x.network, NetworkName: "net", Begin: x.now, Salt: []byte("salt")})
	require.NoError(t, err)
	x.r = r
	return x
}

func (x *tape) observe(change func(*Observation)) {
	o := Observation{
		At: x.now, Uploads: true, CacheBytes: 268_435_456, ReceivedBytes: x.received, SentBytes: x.sent,
		Titles: []Title{{ID: film, Name: "film", Length: time.Hour}},
	}
	if change != nil {
		change(&o)
	}
	x.received, x.sent = o.ReceivedBytes, o.SentBytes
	require.NoError(x.t, x.r.Observe(o))
	x.now = x.now.Add(time.Second)
}

// watch observes a viewer for some seconds.
func (x *tape) watch(session uint64, seconds int) {
	for range seconds {
		x.observe(func(o *Observation) {
			o.Viewers = []Viewer{{Session: session, Title: film, Position: 10 * time.Second, Used: o.At, Track: "720p", BitsPerSec: 2_500_999}}
		})
	}
}

func (x *tape) idle(d time.Duration) {
	for range int(d / time.Second) {
		x.observe(nil)
	}
}

func (x *tape) close() []trace.Session {
	require.NoError(x.t, x.r.Close(x.now))
	return x.written()
}

func (x *tape) written() []trace.Session {
	r := trace.ReadSessions(bytes.NewReader(x.sessions.Bytes()), "sessions.csv", trace.Options{})
	var all []trace.Session
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(x.t, err)
		all = append(all, s)
	}
}

func TestOwnSessionIsRecordedWithWhatWasMeasured(t *testing.T) {
	x := newTape(t)
	x.idle(5 * time.Second)
	for i := range 4 {
		x.observe(func(o *Observation) {
			o.Viewers = []Viewer{{Session: 7, Title: film, Position: time.Duration(10+i) * time.Second, Used: o.At, Track: "720p", BitsPerSec: 2_500_999}}
			o.LineBytesPerSec, o.UplinkBytesPerSec = float64(1_000_000*(i+1)), 250_000
			o.ReceivedBytes, o.SentBytes = int64(i+1)*1000, int64(i)*10
			o.NearestRTT = time.Duration(30-i) * time.Millisecond
		})
	}
	sessions := x.close()
	want := trace.NewSession("self-1", 19*time.Hour+5*time.Second, "film-3fa2bc91", 3*time.Second)
	want.Kind, want.Track, want.BitrateKbps, want.TitleLength, want.Position = trace.VOD, "720p", 2500, time.Hour, 10*time.Second
	want.DownKbps, want.UpKbps, want.RTT, want.Network = 32_000, 2000, 27*time.Millisecond, "net"
	want.Linger, want.CacheMB, want.Uploads = time.Second, 268, trace.UploadsYes
	require.Equal(t, []trace.Session{want}, sessions)

	n, err := trace.ReadNetwork(bytes.NewReader(x.network.Bytes()), "net.csv", trace.Options{})
	require.NoError(t, err)
	require.Equal(t, 4, n.Len(), "it begins with the first session")
	require.Equal(t, trace.NetworkRow{At: 0, Link: trace.Link{DownKbps: 8000, UpKbps: trace.Absent, RTT: 30 * time.Millisecond}}, n.Row(0), "nothing was sent yet")
	require.Equal(t, trace.NetworkRow{At: 3 * time.Second, Link: trace.Link{DownKbps: 32_000, UpKbps: 2000, RTT: 27 * time.Millisecond}}, n.Row(3))
}

func TestJumpsAreRecorded(t *testing.T) {
	x := newTape(t)
	at := func(seconds float64) {
		x.observe(func(o *Observation) {
			o.Viewers = []Viewer{{Session: 7, Title: film, Position: time.Duration(seconds * float64(time.Second)), Used: o.At}}
		})
	}
	for _, seconds := range []float64{10, 11, 11, 13, 15, 600, 601, 20.5, 21, 17} { // stalls, double speed, corrections
		at(seconds)
	}
	require.Equal(t, []trace.Seek{{At: 5 * time.Second, To: 600 * time.Second}, {At: 7 * time.Second, To: 20500 * time.Millisecond}}, x.close()[0].Seeks)

	x = newTape(t)
	for i := range 3 * trace.SeeksMax {
		at(float64(i % 2 * 100))
	}
	require.Len(t, x.close()[0].Seeks, trace.SeeksMax, "and no more")
}

func TestIdleLineIsNotMeasured(t *testing.T) {
	x := newTape(t)
	busy := func(o *Observation) { o.LineBytesPerSec, o.ReceivedBytes = 1e6, o.ReceivedBytes+1 }
	x.watch(1, 1)
	x.observe(busy)
	x.observe(busy)
	for range 30 {
		x.observe(func(o *Observation) { o.LineBytesPerSec = 1e6 }) // still the estimate, and nothing came
	}
	x.observe(busy)
	x.close()
	require.Equal(t, "t_ms,down_kbps,up_kbps,rtt_ms\n0,,,\n1000,8000,,\n3000,,,\n33000,8000,,\n", x.network.String(), "a row only when it says something new")
}

func TestSilentPlayerEndsItsSession(t *testing.T) {
	x := newTape(t)
	x.watch(1, 11)
	used := x.now.Add(-time.Second)
	for range 90 { // the engine keeps the viewer for minutes
		x.observe(func(o *Observation) { o.Viewers = []Viewer{{Session: 1, Title: film, Used: used}} })
	}
	x.watch(1, 6) // and then it is used again
	sessions := x.close()
	require.Len(t, sessions, 2)
	require.Equal(t, 10*time.Second, sessions[0].Watch, "until the last sign of life")
	require.Equal(t, 91*time.Second, sessions[0].Linger, "until the next session of the title")
	require.Equal(t, "self-2", sessions[1].ID)
	require.Equal(t, 5*time.Second, sessions[1].Watch)
}

func TestLingeringIsHeldBackForAnHourAtMost(t *testing.T) {
	x := newTape(t)
	x.watch(1, 2)
	x.idle(59 * time.Minute)
	require.Empty(t, x.written())
	x.idle(2 * time.Minute)
	sessions := x.written()
	require.Len(t, sessions, 1, "a crash would lose no more than an hour")
	require.Equal(t, time.Hour, sessions[0].Linger)
}

func TestTwoViewersOfOneTitleDoNotBothLinger(t *testing.T) {
	x := newTape(t)
	for i := range 20 {
		x.observe(func(o *Observation) {
			o.Viewers = []Viewer{{Session: 1, Title: film, Used: o.At}}
			if i < 10 {
				o.Viewers = append(o.Viewers, Viewer{Session: 2, Title: film, Used: o.At})
			}
		})
	}
	x.idle(2 * time.Minute)
	sessions := x.close()
	require.Len(t, sessions, 2)
	require.Equal(t, []time.Duration{0, 121 * time.Second}, []time.Duration{sessions[0].Linger, sessions[1].Linger})
	require.Equal(t, []time.Duration{9 * time.Second, 19 * time.Second}, []time.Duration{sessions[0].Watch, sessions[1].Watch})
}

func TestPeersAreRecordedUnderSaltedNames(t *testing.T) {
	const id = "aabbccddeeff00112233445566778899"
	record := func(salt string) (trace.Session, string) {
		x := newTape(t)
		x.r.salt = []byte(salt)
		began := x.now.Add(-2 * time.Second)
		there := func(o *Observation) { o.Peers = []Peer{{ID: id, Titles: []string{film, "unknown"}, Began: began}} }
		for range 10 {
			x.observe(there)
		}
		x.idle(30 * time.Second) // a reconnect
		for range 5 {
			x.observe(there)
		}
		x.idle(2 * time.Minute)
		sessions := x.close()
		require.Len(t, sessions, 1)
		return sessions[0], x.sessions.String()
	}
	s, file := record("one")
	require.Equal(t, 18*time.Hour+59*time.Minute+58*time.Second, s.Start)
	require.Equal(t, 46*time.Second, s.Watch)
	require.Equal(t, "film-3fa2bc91", s.Title)
	require.Regexp(t, `^peer-[0-9a-f]{12}-3fa2bc91$`, s.ID)
	require.EqualValues(t, trace.Absent, s.DownKbps, "nobody knows their lines")
	require.Equal(t, trace.UploadsUnknown, s.Uploads)
	require.NotContains(t, file, id)
	require.NotContains(t, file, id[:12])
	other, _ := record("two")
	require.NotEqual(t, s.ID, other.ID, "two recordings cannot be joined by peer")
}

func TestNodeThatDoesNotUploadSaysSo(t *testing.T) {
	x := newTape(t)
	x.observe(func(o *Observation) {
		o.Uploads, o.Viewers = false, []Viewer{{Session: 1, Title: film, Used: o.At}}
	})
	s := x.close()[0]
	require.Equal(t, trace.UploadsNo, s.Uploads)
	require.Zero(t, s.UpKbps)
}

func TestTooManySessionsAreCountedAsLost(t *testing.T) {
	x := newTape(t)
	x.observe(func(o *Observation) {
		for i := range sessionsMax + 3 {
			o.Peers = append(o.Peers, Peer{ID: fmt.Sprint(i), Titles: []string{film}, Began: o.At})
		}
	})
	require.Equal(t, 3, x.r.Lost())
	require.Len(t, x.close(), sessionsMax)
}

func TestRecordingStopsWhenItIsFullOrTheDiskFails(t *testing.T) {
	x := newTape(t)
	x.r.bytes.n = bytesMax + 1
	require.ErrorIs(t, x.r.Observe(Observation{At: x.now}), ErrFull)
	require.ErrorIs(t, x.r.Observe(Observation{At: x.now}), ErrFull)

	broken := errors.New("no space left on device")
	_, err := New(Config{Sessions: failing{broken}, Network: io.Discard})
	require.ErrorIs(t, err, broken)
	x = newTape(t)
	x.watch(1, 2)
	x.r.bytes.w = failing{broken}
	require.ErrorIs(t, x.r.Close(x.now), broken)

	x = newTape(t)
	require.NoError(t, x.r.Close(x.now))
	require.ErrorContains(t, x.r.Observe(Observation{At: x.now}), "closed")
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestWhateverIsObservedCanBeReadAgain(t *testing.T) {
	for seed := range uint64(50) {
		x := newTape(t)
		rng := rand.New(rand.NewPCG(seed, 0))
		for range 300 {
			x.now = x.now.Add(time.Duration(rng.Int64N(int64(40*time.Second))) - 5*time.Second) // clocks are set
			x.observe(func(o *Observation) {
				o.Titles = append(o.Titles, Title{ID: "t2", Name: strings.Repeat("né\n,\"", rng.IntN(80)) + "\xff", Length: time.Duration(rng.Int64())})
				for i := range rng.IntN(4) {
					o.Viewers = append(o.Viewers, Viewer{
						Session: uint64(i + 1), Title: []string{film, "t2"}[rng.IntN(2)], Position: time.Duration(rng.Int64()) - time.Hour,
						Used: o.At.Add(-time.Duration(rng.Int64N(int64(2 * time.Minute)))), Track: "a\x01b", BitsPerSec: rng.Int64(),
					})
				}
				for i := range rng.IntN(5) {
					o.Peers = append(o.Peers, Peer{ID: fmt.Sprint(i), Titles: []string{film}, Began: o.At.Add(-time.Duration(rng.Int64N(int64(time.Hour))))})
				}
				o.LineBytesPerSec, o.UplinkBytesPerSec = rng.ExpFloat64()*1e9, rng.ExpFloat64()*1e12
				o.ReceivedBytes, o.SentBytes = o.ReceivedBytes+rng.Int64N(2), o.SentBytes+rng.Int64N(2)
				o.NearestRTT = time.Duration(rng.Int64N(int64(2 * time.Minute)))
			})
		}
		require.NotEmpty(t, x.close())
		_, err := trace.ReadNetwork(&x.network, "net.csv", trace.Options{})
		require.NoError(t, err)
	}
}
