package wire

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// controls is one honest message of each type.
func controls() []Control {
	title := [32]byte{1, 2, 3}
	return []Control{
		Hello{Version: 1, Agent: "shoal"},
		Hello{},
		Join{Title: title, Ticket: []byte("a.b.c")},
		Leave{Title: title},
		Interest{Title: title, FromMillis: 4, ToMillis: 1<<32 - 1, Active: true},
		Have{Handle: 5, Root: title, Length: 1 << 40, Bitmap: []byte{1, 2}},
		HaveDelta{Runs: []HaveRun{{Handle: 5, First: 0, Count: MaxPiece + 1}, {Handle: 6, Change: Evicted, First: MaxPiece, Count: 1}, {Handle: 6, Change: Coming, First: 3, Count: 2}}},
		HashRequest{Root: title, Group: 7},
		Hashes{Root: title, Group: 7, Data: bytes.Repeat([]byte{9}, MaxHashesBytes)},
		Ready{},
		Stats{QueueBytes: 1 << 63, UpBytesPerSec: 3},
		Goodbye{Reason: "enough"},
	}
}

func TestControlRoundTrip(t *testing.T) {
	var stream []byte
	for _, m := range controls() {
		stream = AppendControl(stream, m)
	}
	r := bytes.NewReader(stream)
	for _, want := range controls() {
		got, err := ReadControl(r)
		require.NoError(t, err, "%T", want)
		require.Equal(t, want, got)
	}
	_, err := ReadControl(r)
	require.ErrorIs(t, err, io.EOF)
}

func TestControlCutShortIsAnError(t *testing.T) {
	for _, m := range controls() {
		frame := AppendControl(nil, m)
		for _, n := range []int{1, 3, 4, len(frame) - 1} {
			if n >= len(frame) {
				continue
			}
			_, err := ReadControl(bytes.NewReader(frame[:n]))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%T cut at %d", m, n)
		}
	}
}

func TestControlOfWrongSizeIsMalformed(t *testing.T) {
	for _, m := range controls() {
		frame := AppendControl(nil, m)
		typ, body := frame[3], frame[4:]
		if _, ok := m.(Have); ok {
			body = body[:42] // the bitmap may have any size
		}
		if len(body) > 0 {
			_, err := ParseControl(typ, body[:len(body)-1])
			if _, ok := m.(Hashes); !ok {
				require.ErrorIs(t, err, ErrMalformed, "%T one byte short", m)
			}
		}
		if _, ok := m.(Have); !ok {
			_, err := ParseControl(typ, append(bytes.Clone(body), 0))
			require.ErrorIs(t, err, ErrMalformed, "%T one byte long", m)
		}
	}
}

func TestHostileControl(t *testing.T) {
	for name, frame := range map[string][]byte{
		"frame too long":        {0xff, 0xff, 0xff, typeHave},
		"interest ends early":   AppendControl(nil, Interest{FromMillis: 2, ToMillis: 1}),
		"flag of two":           edited(Interest{ToMillis: 1}, -1, 2),
		"no runs":               {0, 0, 0, typeHaveDelta},
		"run of none":           edited(HaveDelta{Runs: []HaveRun{{Count: 1}}}, -1, 0),
		"run beyond any file":   edited(HaveDelta{Runs: []HaveRun{{Count: 1}}}, -4, 0xff),
		"remove flag of three":  edited(HaveDelta{Runs: []HaveRun{{Count: 1}}}, 6, 3),
		"ticket length lies":    edited(Join{Ticket: []byte("x")}, 4+32, 0xff),
		"goodbye length lies":   edited(Goodbye{Reason: "x"}, 4, 9),
		"agent too long":        append([]byte{0, 0, 68, typeHello, 0, 1, 65}, make([]byte, 65)...),
		"ready with a message":  {0, 0, 1, typeReady, 1},
		"leave without a title": {0, 0, 0, typeLeave},
	} {
		_, err := ReadControl(bytes.NewReader(frame))
		require.ErrorIs(t, err, ErrMalformed, name)
	}
}

func edited(m Control, at int, v byte) []byte {
	b := AppendControl(nil, m)
	if at < 0 {
		at += len(b)
	}
	b[at] = v
	return b
}

func TestFramesOfLaterVersionsAreSkipped(t *testing.T) {
	stream := append([]byte{0, 0, 2, 200, 1, 2}, AppendControl(nil, Ready{})...)
	r := bytes.NewReader(stream)
	m, err := ReadControl(r)
	require.NoError(t, err)
	require.Equal(t, Unknown{Type: 200}, m)
	m, err = ReadControl(r)
	require.NoError(t, err)
	require.Equal(t, Ready{}, m)
}

func TestWordsForPeopleAreCut(t *testing.T) {
	long := strings.Repeat("x", 1000)
	m, err := ReadControl(bytes.NewReader(AppendControl(nil, Goodbye{Reason: long})))
	require.NoError(t, err)
	require.Equal(t, Goodbye{Reason: long[:MaxReasonBytes-1]}, m)
	m, err = ReadControl(bytes.NewReader(AppendControl(nil, Hello{Agent: long})))
	require.NoError(t, err)
	require.Equal(t, Hello{Agent: long[:MaxAgentBytes]}, m)
}

func TestOwnMistakesPanic(t *testing.T) {
	for name, m := range map[string]Control{
		"ticket":  Join{Ticket: make([]byte, MaxTicketBytes+1)},
		"bitmap":  Have{Bitmap: make([]byte, MaxBitmapBytes+1)},
		"hashes":  Hashes{Data: make([]byte, MaxHashesBytes+1)},
		"no runs": HaveDelta{},
		"run":     HaveDelta{Runs: []HaveRun{{First: MaxPiece, Count: 2}}},
		"type":    "hello",
	} {
		require.Panics(t, func() { AppendControl(nil, m) }, name)
	}
}

func FuzzReadControl(f *testing.F) {
	for _, m := range controls() {
		f.Add(AppendControl(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadControl(bytes.NewReader(b))
		if err != nil {
			return
		}
		if _, unknown := m.(Unknown); unknown {
			return
		}
		frame := AppendControl(nil, m)
		require.Equal(t, b[:len(frame)], frame)
	})
}
