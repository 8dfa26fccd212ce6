package wire

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var (
	v4 = netip.MustParseAddrPort("198.51.100.7:4711")
	v6 = netip.MustParseAddrPort("[2001:db8::7]:65535")
)

func sampleAnnounce() *Announce {
	return &Announce{
		Request: 7, Title: [32]byte{1, 31: 2},
		Position: 90 * time.Second, HoldFrom: time.Minute, HoldTo: 2 * time.Minute,
		HeldPermille: 333, UpBytesPerSec: 1 << 40, Uploads: true, WantTicket: true,
		Connections: 3, ConnectionsMax: 60, Addrs: []netip.AddrPort{v4, v6},
	}
}

func sampleCandidates(n int) *Candidates {
	m := &Candidates{Request: 9, Parts: 1, SwarmSize: 1234, U: 1 << 63, Ticket: []byte("ticket")}
	for i := range n {
		m.Candidates = append(m.Candidates, Candidate{
			ID: PeerID{byte(i)}, Grade: 'A' + byte(i%4), HoldFrom: time.Second, HoldTo: time.Hour,
			Addrs: []netip.AddrPort{v6, v6, v6, v6, v6, v6, v6, v4},
		})
	}
	return m
}

func TestTrackerJoinFramesSurviveTheStream(t *testing.T) {
	sent := []any{
		&TrackerJoin{Version: TrackerVersion, Agent: "shoal/1"},
		&TrackerWelcome{Version: 1, TicketKey: [32]byte{5, 31: 6}, Interval: 20 * time.Second, Observed: v4},
		&TrackerWelcome{Version: 1, Interval: time.Millisecond, Observed: v6},
		&TrackerRefused{Code: TrackerFull, Text: "no room"},
	}
	var stream []byte
	for _, m := range sent {
		stream = AppendTrackerFrame(stream, m)
	}
	r := bytes.NewReader(stream)
	for _, want := range sent {
		got, err := ReadTrackerFrame(r)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := ReadTrackerFrame(r)
	require.ErrorIs(t, err, io.EOF)
}

func TestTrackerFrameThatIsTooLongIsNotRead(t *testing.T) {
	_, err := ReadTrackerFrame(io.MultiReader(
		bytes.NewReader([]byte{0xff, 0xff, 0xff, typeTrackerJoin}),
		readerFunc(func([]byte) (int, error) { t.Fatal("read beyond the head"); return 0, nil }),
	))
	require.ErrorIs(t, err, ErrTrackerMessage)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestTrackerTextsAreBoundedAndPrintable(t *testing.T) {
	frame := AppendTrackerFrame(nil, &TrackerJoin{Agent: "\x1b[2J" + strings.Repeat("x", 500)})
	m, err := ReadTrackerFrame(bytes.NewReader(frame))
	require.NoError(t, err)
	agent := m.(*TrackerJoin).Agent
	require.Len(t, agent, TrackerTextBytesMax)
	require.True(t, strings.HasPrefix(agent, "?[2Jxxx"))
}

func TestTrackerDatagramsSurvive(t *testing.T) {
	var announce Announce
	require.NoError(t, ParseAnnounce(&announce, AppendAnnounce(nil, sampleAnnounce())))
	require.Equal(t, sampleAnnounce(), &announce)

	var candidates Candidates
	require.NoError(t, ParseCandidates(&candidates, AppendCandidates(nil, sampleCandidates(3))))
	require.Equal(t, sampleCandidates(3), &candidates)

	leave := &TrackerLeave{Request: 4, Titles: [][32]byte{{1}, {2}}}
	var gotLeave TrackerLeave
	require.NoError(t, ParseTrackerLeave(&gotLeave, AppendTrackerLeave(nil, leave)))
	require.Equal(t, leave, &gotLeave)

	refusal := &TrackerError{Request: 5, Code: TrackerTooOften, RetryAfter: time.Second, Text: "too often"}
	var gotRefusal TrackerError
	require.NoError(t, ParseTrackerError(&gotRefusal, AppendTrackerError(nil, refusal)))
	require.Equal(t, refusal, &gotRefusal)

	request, err := ParseRequest(AppendRequest(nil, 77))
	require.NoError(t, err)
	require.Equal(t, uint32(77), request)
}

func TestTruncatedTrackerDatagramsAreRefusedAtEveryByte(t *testing.T) {
	for name, c := range map[string]struct {
		body  []byte
		parse func([]byte) error
	}{
		"announce":   {AppendAnnounce(nil, sampleAnnounce()), func(b []byte) error { return ParseAnnounce(new(Announce), b) }},
		"candidates": {AppendCandidates(nil, sampleCandidates(2)), func(b []byte) error { return ParseCandidates(new(Candidates), b) }},
		"leave":      {AppendTrackerLeave(nil, &TrackerLeave{Titles: make([][32]byte, 2)}), func(b []byte) error { return ParseTrackerLeave(new(TrackerLeave), b) }},
		"error":      {AppendTrackerError(nil, &TrackerError{Text: "x"}), func(b []byte) error { return ParseTrackerError(new(TrackerError), b) }},
		"request":    {AppendRequest(nil, 1), func(b []byte) error { _, err := ParseRequest(b); return err }},
	} {
		require.NoError(t, c.parse(c.body), name)
		for n := range c.body {
			require.ErrorIs(t, c.parse(c.body[:n]), ErrTrackerMessage, "%s cut to %d bytes", name, n)
		}
		require.ErrorIs(t, c.parse(append(c.body, 0)), ErrTrackerMessage, "%s with a byte too many", name)
	}
}

func TestTrackerCountsBeyondTheirBoundsAreRefused(t *testing.T) {
	announce := AppendAnnounce(nil, &Announce{})
	announce[len(announce)-1] = AddrsMax + 1
	announce = append(announce, make([]byte, 500)...)
	require.ErrorIs(t, ParseAnnounce(new(Announce), announce), ErrTrackerMessage)

	leave := append(AppendRequest(nil, 1), LeaveTitlesMax+1)
	leave = append(leave, make([]byte, 32*(LeaveTitlesMax+1))...)
	require.ErrorIs(t, ParseTrackerLeave(new(TrackerLeave), leave), ErrTrackerMessage)

	tooManyParts := AppendCandidates(nil, &Candidates{Parts: CandidatePartsMax + 1})
	require.ErrorIs(t, ParseCandidates(new(Candidates), tooManyParts), ErrTrackerMessage)
	partOutOfRange := AppendCandidates(nil, &Candidates{Part: 2, Parts: 2})
	require.ErrorIs(t, ParseCandidates(new(Candidates), partOutOfRange), ErrTrackerMessage)
	grade := sampleCandidates(1)
	grade.Candidates[0].Grade = 'E'
	require.ErrorIs(t, ParseCandidates(new(Candidates), AppendCandidates(nil, grade)), ErrTrackerMessage)
}

func TestEveryAnswerFitsItsDatagrams(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answer := sampleCandidates(rapid.IntRange(0, CandidatesMax).Draw(t, "candidates"))
		for i := range answer.Candidates {
			c := &answer.Candidates[i]
			c.Addrs = c.Addrs[:rapid.IntRange(0, AddrsMax).Draw(t, "addresses")]
		}
		answer.Ticket = make([]byte, rapid.IntRange(0, TrackerTicketBytesMax).Draw(t, "ticket"))
		bodies := SplitCandidates(answer)
		require.LessOrEqual(t, len(bodies), CandidatePartsMax)
		var got []Candidate
		for i, body := range bodies {
			require.LessOrEqual(t, len(body), TrackerBodyBytesMax)
			var part Candidates
			require.NoError(t, ParseCandidates(&part, body))
			require.Equal(t, [2]uint8{uint8(i), uint8(len(bodies))}, [2]uint8{part.Part, part.Parts})
			require.Equal(t, answer.SwarmSize, part.SwarmSize)
			require.Equal(t, answer.U, part.U)
			require.Equal(t, i == 0 && len(answer.Ticket) > 0, len(part.Ticket) > 0)
			got = append(got, part.Candidates...)
		}
		require.Len(t, got, len(answer.Candidates))
		for i := range got {
			require.Equal(t, answer.Candidates[i].ID, got[i].ID)
			require.Len(t, got[i].Addrs, len(answer.Candidates[i].Addrs))
		}
	})
}

func FuzzTrackerFrame(f *testing.F) {
	f.Add(AppendTrackerFrame(nil, &TrackerJoin{Version: 1, Agent: "a"}))
	f.Add(AppendTrackerFrame(nil, &TrackerWelcome{Observed: v6}))
	f.Add(AppendTrackerFrame(nil, &TrackerRefused{Code: 1, Text: "t"}))
	f.Add([]byte{0, 0, 0, 0x40})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadTrackerFrame(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := ReadTrackerFrame(bytes.NewReader(AppendTrackerFrame(nil, m)))
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

// FuzzTrackerDatagram feeds every datagram decoder: what is accepted must mean
// the same after it was encoded again.
func FuzzTrackerDatagram(f *testing.F) {
	f.Add(KindHeartbeat, AppendRequest(nil, 1))
	f.Add(KindAnnounce, AppendAnnounce(nil, sampleAnnounce()))
	f.Add(KindCandidates, AppendCandidates(nil, sampleCandidates(2)))
	f.Add(KindTrackerLeave, AppendTrackerLeave(nil, &TrackerLeave{Titles: make([][32]byte, 2)}))
	f.Add(KindTrackerError, AppendTrackerError(nil, &TrackerError{Text: "x"}))
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		var err error
		var again func() error
		switch kind {
		case KindAnnounce:
			var m, n Announce
			err = ParseAnnounce(&m, b)
			again = func() error {
				defer func() { require.Equal(t, m, n) }()
				return ParseAnnounce(&n, AppendAnnounce(nil, &m))
			}
		case KindCandidates:
			var m, n Candidates
			err = ParseCandidates(&m, b)
			again = func() error {
				defer func() { require.Equal(t, m, n) }()
				return ParseCandidates(&n, AppendCandidates(nil, &m))
			}
		case KindTrackerLeave:
			var m, n TrackerLeave
			err = ParseTrackerLeave(&m, b)
			again = func() error {
				defer func() { require.Equal(t, m, n) }()
				return ParseTrackerLeave(&n, AppendTrackerLeave(nil, &m))
			}
		case KindTrackerError:
			var m, n TrackerError
			err = ParseTrackerError(&m, b)
			again = func() error {
				defer func() { require.Equal(t, m, n) }()
				return ParseTrackerError(&n, AppendTrackerError(nil, &m))
			}
		default:
			_, err = ParseRequest(b)
			again = func() error { return nil }
		}
		if err != nil {
			require.True(t, errors.Is(err, ErrTrackerMessage))
			return
		}
		require.NoError(t, again())
	})
}
