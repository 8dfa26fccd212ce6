package client

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine/transport"
	"shoal/internal/wire"
	"shoal/tracker"
	"shoal/tracker/ticket"
)

// whole answers an announce with one candidate.
func whole(h heard) {
	if h.kind == wire.KindAnnounce {
		h.reply(wire.KindCandidates, wire.AppendCandidates(nil, &wire.Candidates{
			Request: h.number, Parts: 1, SwarmSize: 2, U: 1 << 63,
			Candidates: []wire.Candidate{{ID: wire.PeerID{9}, Grade: 'B', HoldTo: time.Minute}},
		}))
	}
	if h.kind == wire.KindHeartbeat {
		h.reply(wire.KindAlive, wire.AppendRequest(nil, h.number))
	}
}

func TestAnnounceFollowsTheJoinAtOnce(t *testing.T) {
	s := newScript(t, whole)
	s.play()
	v := newViewer(t, s.url(), nil, film)
	s.wantJoin()
	h := s.want(wire.KindAnnounce)
	require.Equal(t, film, h.announce.Title)
	require.Equal(t, time.Minute, h.announce.Position)
	require.Equal(t, uint16(1000), h.announce.HeldPermille, "clamped")
	require.Equal(t, uint16(65535), h.announce.Connections, "clamped")
	require.True(t, h.announce.WantTicket)
	u := v.wantUpdate()
	require.Equal(t, Update{
		Title: film, SwarmSize: 2, U: 0.5,
		Candidates: []Candidate{{ID: wire.PeerID{9}, Grade: 'B', HoldTo: time.Minute}},
	}, u)
	require.True(t, v.client.Connected())
	require.NoError(t, v.client.Err())
	require.Equal(t, s.identity.PublicKey(), v.client.Key())
}

func TestWithoutTitlesTheClientSendsHeartbeats(t *testing.T) {
	s := newScript(t, whole)
	s.play()
	newViewer(t, s.url(), func(c *Config) { c.Interval = 20 * time.Millisecond })
	s.wantJoin()
	for range 3 {
		s.want(wire.KindHeartbeat)
	}
	require.Empty(t, s.joins, "answered heartbeats keep the session")
}

func TestKicksAreCoalescedAndLimited(t *testing.T) {
	s := newScript(t, whole)
	s.play()
	v := newViewer(t, s.url(), nil, film)
	first := s.want(wire.KindAnnounce)
	v.wantUpdate()
	for range 50 {
		v.client.Kick()
	}
	second := s.want(wire.KindAnnounce)
	require.Greater(t, second.at.Sub(first.at), kickEvery*8/10)
	v.wantUpdate()
	v.client.Kick()
	s.want(wire.KindAnnounce)
	v.wantUpdate()
	require.Empty(t, s.messages, "50 kicks made one announce")
}

func TestUnansweredAnnounceIsRepeatedUnderANewNumber(t *testing.T) {
	tries := 0
	s := newScript(t, func(h heard) {
		if tries++; tries == 3 {
			whole(h)
		}
	})
	s.play()
	v := newViewer(t, s.url(), hasty, film)
	numbers := map[uint32]bool{}
	for range 3 {
		numbers[s.want(wire.KindAnnounce).number] = true
	}
	require.Len(t, numbers, 3)
	require.Equal(t, 2, v.wantUpdate().SwarmSize)
	require.Len(t, s.joins, 1)
}

func TestLateAnswerOfAnEarlierTryCounts(t *testing.T) {
	var firstTry heard
	s := newScript(t, func(h heard) {
		if firstTry.number == 0 {
			firstTry = h
			return
		}
		h.number = firstTry.number
		whole(h)
	})
	s.play()
	v := newViewer(t, s.url(), hasty, film)
	require.Equal(t, film, v.wantUpdate().Title)
}

func part(h heard, index, parts uint8, grade byte) []byte {
	m := wire.Candidates{Request: h.number, Part: index, Parts: parts, SwarmSize: 7}
	m.Candidates = []wire.Candidate{{ID: wire.PeerID{index}, Grade: grade}}
	if index == 0 {
		m.Ticket = []byte("ticket")
	}
	return wire.AppendCandidates(nil, &m)
}

func TestAnswerInPartsIsDeliveredWholeAndSorted(t *testing.T) {
	s := newScript(t, func(h heard) {
		if h.kind == wire.KindAnnounce {
			for _, body := range [][]byte{part(h, 2, 3, 'C'), part(h, 2, 3, 'C'), part(h, 0, 3, 'A'), part(h, 1, 3, 'B')} {
				h.reply(wire.KindCandidates, body)
			}
		}
	})
	s.play()
	u := newViewer(t, s.url(), nil, film).wantUpdate()
	require.Equal(t, []byte("ticket"), u.Ticket)
	require.Len(t, u.Candidates, 3)
	for i, c := range u.Candidates {
		require.Equal(t, "ABC"[i], c.Grade)
	}
}

func TestAnswerWithAMissingPartIsUsedAfterTheLastTry(t *testing.T) {
	s := newScript(t, func(h heard) {
		if h.kind == wire.KindAnnounce {
			h.reply(wire.KindCandidates, part(h, 1, 2, 'B'))
		}
	})
	s.play()
	v := newViewer(t, s.url(), hasty, film)
	u := v.wantUpdate()
	require.Len(t, u.Candidates, 1)
	require.Equal(t, 7, u.SwarmSize)
	for range triesMax {
		s.want(wire.KindAnnounce)
	}
	require.Len(t, s.joins, 1, "the tracker lives")
}

func TestThreeUnansweredTriesMakeTheClientJoinAnew(t *testing.T) {
	silent := true
	s := newScript(t, func(h heard) {
		if !silent {
			whole(h)
		}
		silent = silent && h.number < triesMax
	})
	s.play()
	v := newViewer(t, s.url(), hasty, film)
	s.wantJoin()
	s.wantJoin()
	require.Equal(t, film, v.wantUpdate().Title)
	v.eventually("connected again", v.client.Connected)
	require.Equal(t, 1, v.log.count("tracker is away"))
	require.Equal(t, 1, v.log.count("tracker is back"))
}

func TestTrackerThatRefusesIsAskedAgain(t *testing.T) {
	s := newScript(t, whole)
	refusals := 3
	s.refuse = func() *wire.TrackerRefused {
		if refusals--; refusals >= 0 {
			return &wire.TrackerRefused{Code: wire.TrackerFull, Text: "no room here"}
		}
		return nil
	}
	s.play()
	v := newViewer(t, s.url(), nil, film)
	v.wantUpdate()
	require.Equal(t, 1, v.log.count("tracker is away"), "said once")
	require.Equal(t, 1, v.log.count("no room here"))
	require.Equal(t, 1, v.log.count("tracker is back"))
}

func TestTooOftenIsObeyed(t *testing.T) {
	refused := false
	s := newScript(t, func(h heard) {
		if !refused {
			refused = true
			h.reply(wire.KindTrackerError, wire.AppendTrackerError(nil, &wire.TrackerError{
				Request: h.number, Code: wire.TrackerTooOften, RetryAfter: 700 * time.Millisecond,
			}))
			return
		}
		whole(h)
	})
	s.play()
	v := newViewer(t, s.url(), nil, film)
	first, second := s.want(wire.KindAnnounce), s.want(wire.KindAnnounce)
	require.GreaterOrEqual(t, second.at.Sub(first.at), 690*time.Millisecond)
	v.wantUpdate()
}

func TestTitlesNoLongerWatchedAreLeft(t *testing.T) {
	s := newScript(t, whole)
	s.play()
	v := newViewer(t, s.url(), nil, film, series)
	s.want(wire.KindAnnounce)
	s.want(wire.KindAnnounce)
	v.wantUpdate()
	v.wantUpdate()
	v.watch(series)
	require.Equal(t, [][32]byte{film}, s.want(wire.KindTrackerLeave).leave.Titles)
	require.Equal(t, series, s.want(wire.KindAnnounce).announce.Title)
	v.wantUpdate()
	v.client.Close()
	require.Empty(t, s.want(wire.KindTrackerLeave).leave.Titles, "all")
	require.False(t, v.client.Connected())
}

func TestTicketIsAskedForAgainInTheMiddleOfItsLife(t *testing.T) {
	life := time.Hour
	s := newScript(t, nil)
	s.answer = func(h heard) {
		if h.kind != wire.KindAnnounce {
			return
		}
		now := time.Now()
		m := wire.Candidates{Request: h.number, Parts: 1}
		if h.announce.WantTicket {
			token, err := ticket.Sign(s.identity.PrivateKey(), ticket.Claims{
				Title: h.announce.Title, Issued: now.Add(-life / 4), Expires: now.Add(life * 3 / 4),
			})
			require.NoError(s, err)
			m.Ticket = token
			life = 0 // the second ticket is past its middle at once
		}
		h.reply(wire.KindCandidates, wire.AppendCandidates(nil, &m))
	}
	s.play()
	v := newViewer(t, s.url(), func(c *Config) { c.Interval = 50 * time.Millisecond }, film, series)
	want := map[[32]byte][]bool{film: {true, false}, series: {true, true}}
	seen := map[[32]byte]int{}
	for range 4 {
		h := s.want(wire.KindAnnounce)
		require.Equal(t, want[h.announce.Title][seen[h.announce.Title]], h.announce.WantTicket)
		seen[h.announce.Title]++
	}
	require.NotEmpty(t, v.wantUpdate().Ticket)
}

func TestGarbageOfTheTrackerIsIgnored(t *testing.T) {
	s := newScript(t, func(h heard) {
		if h.kind != wire.KindAnnounce {
			return
		}
		for kind := range uint8(32) {
			if kind >= wire.KindHeartbeat {
				h.reply(kind, nil)
				h.reply(kind, bytes.Repeat([]byte{0xff}, 1000))
			}
		}
		stranger := h
		stranger.number += 1000
		whole(stranger)
		h.reply(wire.KindAlive, wire.AppendRequest(nil, h.number+1000))
		whole(h)
	})
	s.play()
	v := newViewer(t, s.url(), nil, film)
	require.Equal(t, 2, v.wantUpdate().SwarmSize)
	require.Empty(t, v.updates)
}

func TestWrongFingerprintSaysWhichAndWhatToDo(t *testing.T) {
	s := newScript(t, whole)
	s.play()
	local := s.endpoint.LocalAddr()
	wrong := tracker.URL{Host: local.Addr().String(), Port: local.Port(), Fingerprint: wire.PeerID{1, 2, 3}}
	v := newViewer(t, wrong.String(), nil, film)
	v.eventually("an error", func() bool { return v.client.Err() != nil })
	require.ErrorContains(t, v.client.Err(), s.identity.ID().Hex())
	require.ErrorContains(t, v.client.Err(), "take the URL that the tracker prints")
	require.ErrorAs(t, v.client.Err(), new(*transport.WrongPeerError))
	require.False(t, v.client.Connected())
	require.Nil(t, v.client.Key())
	require.Empty(t, s.joins)
}

func TestPinnedTrackerMustSignWithItsOwnKey(t *testing.T) {
	s := newScript(t, whole)
	copy(s.welcome.TicketKey[:], identityOf(t, 77).PublicKey())
	s.play()
	v := newViewer(t, s.url(), nil, film)
	v.eventually("an error", func() bool { return v.client.Err() != nil })
	require.ErrorContains(t, v.client.Err(), "signs tickets with another key")
	require.Nil(t, v.client.Key())
}

func TestWithoutFingerprintTheSystemRootsDecide(t *testing.T) {
	s := newScript(t, whole)
	s.play()
	local := s.endpoint.LocalAddr()
	v := newViewer(t, tracker.URL{Host: "127.0.0.1", Port: local.Port()}.String(), nil, film)
	v.eventually("an error", func() bool { return v.client.Err() != nil })
	require.ErrorContains(t, v.client.Err(), "x509")
	require.Empty(t, s.joins, "a self-signed tracker is not trusted")
}

func TestStartRefusesAURLThatIsNone(t *testing.T) {
	_, err := Start(Config{URL: "http://h:1"})
	require.ErrorContains(t, err, `the scheme is "http"`)
	_, err = Start(Config{URL: "quic://h:1"})
	require.ErrorContains(t, err, "are required")
}

func TestCloseInTheMiddleOfABackoffIsPrompt(t *testing.T) {
	nobody := endpointOf(t, transport.Config{Identity: identityOf(t, 3), ALPN: []string{"other"}})
	local := nobody.LocalAddr()
	url := tracker.URL{Host: "127.0.0.1", Port: local.Port(), Fingerprint: wire.PeerID{1}}
	v := newViewer(t, url.String(), func(c *Config) { c.BackoffMin, c.BackoffMax = time.Hour, time.Hour }, film)
	v.eventually("an error", func() bool { return v.client.Err() != nil })
	begun := time.Now()
	v.client.Close()
	require.Less(t, time.Since(begun), 5*time.Second)
}

func TestBackoffDoublesWithJitterToItsMaximum(t *testing.T) {
	b := backoff{min: 500 * time.Millisecond, max: 30 * time.Second}
	for _, want := range []float64{0.5, 1, 2, 4, 8, 16, 30, 30} {
		got := b.next().Seconds()
		require.LessOrEqual(t, got, want)
		require.GreaterOrEqual(t, got, want/2)
	}
	b.reset()
	require.LessOrEqual(t, b.next(), 500*time.Millisecond)
}
