package tracker

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/internal/wire"
	"shoal/tracker/store"
)

// Whatever peers do, in any order: answers are bounded, sorted, free of the
// viewer itself, of the dead and of those that do not upload; swarms have the
// size that a plain model says; small swarms are handed out whole.
func TestAnyStoryKeepsThePromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type member struct {
			uploads, full bool
			seen          time.Time
		}
		now := time.Date(2026, 1, 2, 20, 15, 0, 0, time.UTC)
		s := New(rand.New(rand.NewPCG(1, 2)), store.NewMemory(), Config{PeersMax: 60, PeersPerAddressMax: 50})
		online := map[wire.PeerID]time.Time{} // last seen
		swarm := map[wire.PeerID]member{}
		drawPeer := rapid.IntRange(0, 79)

		leave := func(id wire.PeerID) { delete(online, id); delete(swarm, id) }
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				i := drawPeer.Draw(t, "peer")
				err := s.Join(now, peerID(i), home(i))
				if _, known := online[peerID(i)]; !known && len(online) >= 60 {
					require.ErrorIs(t, err, ErrFull)
					return
				}
				require.NoError(t, err)
				online[peerID(i)] = now
			},
			"announce": func(t *rapid.T) {
				i := drawPeer.Draw(t, "peer")
				id := peerID(i)
				m := member{uploads: rapid.Bool().Draw(t, "uploads"), full: rapid.Bool().Draw(t, "full"), seen: now}
				a := Announcement{
					Title: film, Uploads: m.uploads, ConnectionsMax: 4,
					Position: time.Duration(rapid.IntRange(0, 600).Draw(t, "position")) * time.Second,
					HoldTo:   time.Duration(rapid.IntRange(0, 600).Draw(t, "held")) * time.Second,
				}
				if m.full {
					a.Connections = 4
				}
				answer, err := s.Announce(now, id, home(i), a)
				if _, known := online[id]; !known {
					require.ErrorIs(t, err, ErrUnknown)
					return
				}
				online[id] = now
				if err != nil {
					require.ErrorAs(t, err, new(*TooOftenError))
					return
				}
				swarm[id] = m
				require.Equal(t, len(swarm), answer.SwarmSize)
				able := 0
				for other, o := range swarm {
					if other != id && o.uploads && !o.full && now.Sub(o.seen) <= s.Expiry() {
						able++
					}
				}
				require.Len(t, answer.Candidates, min(able, CandidatesMax))
				grade, seen := GradeA, map[wire.PeerID]bool{id: true}
				for _, c := range answer.Candidates {
					require.False(t, seen[c.Peer], "itself or twice")
					seen[c.Peer] = true
					require.GreaterOrEqual(t, c.Grade, grade)
					grade = c.Grade
					require.NotEmpty(t, c.Addrs)
				}
			},
			"leave": func(t *rapid.T) {
				id := peerID(drawPeer.Draw(t, "peer"))
				require.NoError(t, s.LeaveAll(id))
				leave(id)
			},
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 40_000).Draw(t, "ms")) * time.Millisecond)
				gone, err := s.Expire(now)
				require.NoError(t, err)
				for _, id := range gone {
					require.Greater(t, now.Sub(online[id]), s.Expiry())
					leave(id)
				}
				for id, m := range swarm {
					if now.Sub(m.seen) > s.Expiry() {
						delete(swarm, id)
					}
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(online), s.Stats().Peers)
				total := 0
				for _, n := range s.addresses {
					total += n
				}
				require.Equal(t, len(online), total)
			},
		})
	})
}

func TestAddressesOfInnerNetworksStayInside(t *testing.T) {
	const public, samePublic, otherPublic = "198.51.100.1:1", "198.51.100.1:2", "192.0.2.9:3"
	const lan, lan2, loop = "192.168.1.10:7", "192.168.1.11:7", "127.0.0.1:7"
	for name, c := range map[string]struct {
		viewer, peer string
		announced    []string
		want         []string
	}{
		"strangers get public addresses":        {otherPublic, public, []string{lan, loop, "[2001:db8::1]:5"}, []string{public, "[2001:db8::1]:5"}},
		"same household gets the inner ones":    {samePublic, public, []string{lan, loop}, []string{public, lan}},
		"same network gets the inner ones":      {lan2, lan, []string{public, loop}, []string{lan, public}},
		"same machine gets loopback":            {"127.0.0.1:9", loop, []string{lan}, []string{loop, lan}},
		"same machine seen from its network":    {"192.168.1.10:9", lan, []string{loop}, []string{lan, loop}},
		"peer beside the tracker, viewer far":   {otherPublic, loop, []string{public, lan}, []string{public}},
		"viewer beside the tracker, peer far":   {"[::1]:9", public, []string{lan, loop}, []string{public, lan}},
		"the observed address is not repeated":  {otherPublic, public, []string{public}, []string{public}},
		"what no socket can have is dropped":    {otherPublic, public, []string{"0.0.0.0:1", "224.0.0.1:1", "192.0.2.1:0", "255.255.255.255:1", "[fe80::1]:1", "[ff02::1]:1"}, []string{public}},
		"mapped addresses are what they map to": {otherPublic, public, []string{"[::ffff:192.0.2.77]:1", "[::ffff:10.0.0.1]:1"}, []string{public, "192.0.2.77:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, Config{})
			a := seed()
			for _, s := range c.announced {
				a.Addrs = append(a.Addrs, netip.MustParseAddrPort(s))
			}
			require.NoError(t, w.state.Join(w.now, peerID(1), netip.MustParseAddrPort(c.peer)))
			_, err := w.state.Announce(w.now, peerID(1), netip.MustParseAddrPort(c.peer), a)
			require.NoError(t, err)
			require.NoError(t, w.state.Join(w.now, peerID(2), netip.MustParseAddrPort(c.viewer)))
			answer, err := w.state.Announce(w.now, peerID(2), netip.MustParseAddrPort(c.viewer), leech(0))
			require.NoError(t, err)
			var got []string
			for _, addr := range answer.Candidates[0].Addrs {
				got = append(got, addr.String())
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestAnnouncedAddressesAreBounded(t *testing.T) {
	a := seed()
	for port := range uint16(100) {
		a.Addrs = append(a.Addrs, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port+1))
	}
	w := newTown(t, Config{})
	w.joinAs(1, a)
	require.Len(t, w.joinAs(2, leech(0)).Candidates[0].Addrs, wire.AddrsMax)
}
