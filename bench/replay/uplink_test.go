package replay

import (
	"math/bits"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/cc"
	"shoal/internal/wire"
)

// pair is two peers with a session and nothing to do: an uplink of 800 kbit/s,
// which is 100 bytes per millisecond, with a queue of 10,000 bytes; 30 ms apart.
func pair(cfg Config) (w *world, a, b *peer, c *conn) {
	cfg.UplinkQueue = 10_000
	sessions := []Session{homely("a", 0, time.Hour), homely("b", 0, time.Hour)}
	for i := range sessions {
		sessions[i].UpKbps = 800
	}
	sw := cut(sessions)[0]
	w = newWorld(cfg.withDefaults(), newCDNOnly, sw, new(Meter))
	w.events = events{}
	var peers []*peer
	for i, s := range sw.sessions {
		p := newPeer(w, i, s)
		p.policy, p.online = newCDNOnly(p), true
		w.peers[i] = p
		peers = append(peers, p)
	}
	a, b = peers[0], peers[1]
	c = &conn{rtt: w.roundTrip(a, b)}
	c.ends = [2]end{{p: a, up: true}, {p: b, up: true}}
	return w, a, b, c
}

const ms = time.Millisecond

func TestUplinkSendsInOrderAndDropsWhatFindsNoRoom(t *testing.T) {
	w, a, _, _ := pair(Config{})
	at, ok := a.sendUp(5000)
	require.True(t, ok)
	require.Equal(t, 50*ms, at)
	require.Equal(t, 50*ms, a.uplinkWait())
	at, ok = a.sendUp(5000)
	require.True(t, ok)
	require.Equal(t, 100*ms, at)
	_, ok = a.sendUp(1000)
	require.False(t, ok, "10,000 bytes wait")
	w.now = 10 * ms
	at, ok = a.sendUp(1000)
	require.True(t, ok, "1,000 have gone")
	require.Equal(t, 110*ms, at)
	w.now = time.Second
	require.Zero(t, a.uplinkWait())
	at, ok = a.sendUp(20_000)
	require.True(t, ok, "an idle line takes anything")
	require.Equal(t, 1200*ms, at)
}

func TestWhoNeverUploadsWaitsForNothing(t *testing.T) {
	_, a, _, _ := pair(Config{})
	a.s.UpKbps, a.line.up = 0, 0
	at, ok := a.sendUp(1 << 30)
	require.True(t, ok)
	require.Zero(t, at)
	require.Zero(t, a.uplinkWait())
}

// A request comes behind 5,000 bytes of the node's own uploads: 50 ms, 0.8 ms
// for itself, half a round trip of 15 ms, and 1 ms for its reader. With the queue
// full it is lost, and a control message is sent again.
func TestMessagesWaitInTheUplinksQueue(t *testing.T) {
	_, a, b, c := pair(Config{})
	_, _ = a.sendUp(5000)
	a.send(c, wire.Request{}, false)
	require.Len(t, b.mail.waiting, 1)
	require.Equal(t, 50*ms+800*time.Microsecond+15*ms+reaction, b.mail.waiting[0].at)

	_, _ = a.sendUp(4910)
	a.send(c, wire.Request{}, false)
	require.Len(t, b.mail.waiting, 1, "10 bytes of room are not enough")
	a.send(c, wire.Ready{}, false)
	require.Len(t, b.mail.waiting, 2)
	require.Equal(t, a.upFree+retransmit+30*ms+15*ms+reaction, b.mail.waiting[1].at)
}

// 1,085.44 bytes are a chunk on the wire, so the queue has room for 9 of 16.
func TestBurstLosesWhatTheQueueHasNoRoomFor(t *testing.T) {
	w, a, b, c := pair(Config{})
	_, _ = a.sendUp(100)
	c.ends[0].sender = newSender(w.clock(), nil)
	a.sendBurst(burst{c: c, mask: 1<<16 - 1})
	require.Len(t, b.coming, 1)
	require.EqualValues(t, 1<<9-1, b.coming[0].mask)
	require.Equal(t, a.upFree+15*ms, b.coming[0].at)
	require.EqualValues(t, 16*wire.ChunkBytes, a.acct.sent, "lost bytes were sent")
	require.EqualValues(t, 7598, c.ends[0].sender.flights[0].lost)
}

// The window of ten packets is open at once; its ACK comes a round trip later,
// and in slow start lets twenty go.
func TestSenderKeepsToTheShippedControllersWindow(t *testing.T) {
	w, a, b, c := pair(Config{})
	require.Equal(t, 10, a.mayServe(c))
	s := c.ends[0].sender
	number := s.sent(w, flight{bytes: 10 * cc.PacketBytes})
	n, again := s.budget(w, chunksPerBurst)
	require.Zero(t, n)
	require.Equal(t, never, again, "only an ACK opens the window")
	require.True(t, s.asked)

	w.now = 20 * ms
	_, _ = b.sendUp(2000)
	b.acknowledge(&inbound{at: w.now, c: c, number: number}, 10)
	// Held back for a sixteenth of 30 ms, behind 20 ms of queue, half a round trip.
	held := 1875 * time.Microsecond
	ack := 20*ms + held + 20*ms + 15*ms
	require.Equal(t, ack, s.flights[0].acked)
	require.Equal(t, ack, a.upAt, "a waits for it")
	w.now = ack
	require.Equal(t, chunksPerBurst, a.mayServe(c))
	require.Empty(t, s.flights)
	require.Zero(t, s.inFlight)
	require.Equal(t, 20*cc.PacketBytes, s.controller.WindowBytes())
	require.Equal(t, ack-held, s.srtt, "less what the receiver says that it held back")
}

func TestSenderBacksOffForWhatWasLost(t *testing.T) {
	w, a, b, c := pair(Config{})
	require.Equal(t, 10, a.mayServe(c))
	s := c.ends[0].sender
	number := s.sent(w, flight{bytes: 10 * cc.PacketBytes, lost: 2 * cc.PacketBytes})
	w.now = 15 * ms
	b.acknowledge(&inbound{at: w.now, c: c, number: number}, 8)
	w.now = time.Second
	require.NotZero(t, a.mayServe(c))
	require.InDelta(t, 7*cc.PacketBytes, s.controller.WindowBytes(), 1, "Cubic's beta")
	require.InDelta(t, 0.2, c.ends[0].lossRatio(), 1e-9)
	require.Zero(t, c.ends[0].lossRatio(), "since the last call")
}

// 300 bytes behind 5,000, at 100 per millisecond; 30 ms to the CDN.
func TestRequestToTheCDNWaitsInTheUplinksQueue(t *testing.T) {
	_, a, _, _ := pair(Config{})
	_, _ = a.sendUp(5000)
	f := a.fetch(0, 16, nil)
	require.Equal(t, 53*ms+30*ms+thinkTime, f.ready)
}

func TestConnectionOfHTTP1IsOpenedAndKept(t *testing.T) {
	_, a, _, _ := pair(Config{CDNHTTP1: true})
	first, second := a.fetch(0, 16, nil), a.fetch(16, 32, nil)
	require.Equal(t, 3*ms+3*ms+2*30*ms+thinkTime, first.ready, "a SYN behind the request's 3 ms")
	require.Len(t, a.cdn.conns, 2)
	a.cdn.release(a.w, first, true)
	a.cancelFetch(second)
	require.Len(t, a.cdn.conns, 1, "the cancelled one's is closed")
	third := a.fetch(32, 48, nil)
	require.Equal(t, 9*ms+30*ms+thinkTime, third.ready, "the kept one's is used")

	_, a, _, _ = pair(Config{})
	a.fetch(0, 16, nil)
	a.fetch(16, 32, nil)
	require.Len(t, a.cdn.conns, 1, "HTTP/2")
}

// 15,000 bytes in a round trip of 30 ms, then 30,000; after three time-outs of
// 230 ms the window is half of a half again, but not below the first one.
func TestConnectionStartsSlowlyAndAgainAfterAPause(t *testing.T) {
	w, a, _, _ := pair(Config{})
	n := connection{window: tcpInitialWindow}
	n.send(w, a, tcpInitialWindow)
	require.Equal(t, 30*ms, n.next)
	w.now = n.next
	n.send(w, a, 2*tcpInitialWindow)
	require.Equal(t, 60*ms, n.next)
	w.now = n.next
	n.send(w, a, 4*tcpInitialWindow)
	require.InDelta(t, 8*tcpInitialWindow, n.window, 1e-9)

	w.now = n.next + 2*230*ms + ms
	n.send(w, a, 1500)
	require.InDelta(t, 2*tcpInitialWindow+1500, n.window, 1e-9)
	w.now += time.Hour
	n.send(w, a, 1500)
	require.InDelta(t, tcpInitialWindow+1500, n.window, 1e-9)
}

// A frame on a stream is answered, in 0.8 ms of the line; a datagram is not.
func TestFrameOnAStreamIsAnswered(t *testing.T) {
	w, a, b, c := pair(Config{})
	b.policy = newShoal(b)
	require.True(t, b.policy.connected(c))
	a.send(c, wire.Cancel{}, false)
	w.now += 100 * ms
	b.readMail()
	require.Zero(t, b.uplinkWait())
	a.send(c, wire.Ready{}, false)
	w.now += 100 * ms
	b.readMail()
	require.Equal(t, 800*time.Microsecond, b.uplinkWait())
}

// One long round trip among short ones in a window is chance.
func TestSlowStartOutlivesADelayThatPasses(t *testing.T) {
	w, a, _, _ := pair(Config{})
	n := connection{window: 48_000, least: 30 * ms}
	n.send(w, a, 12_000)
	w.now = 10 * ms
	_, _ = a.sendUp(5000)
	n.send(w, a, 12_000)
	require.Zero(t, n.threshold, "another burst of this round trip met no queue")
}

// A queue of 50 ms before the acknowledgements: the round trip is 80 ms instead
// of 30, and slow start is over at the window where Linux looks for that.
func TestFullUplinkSlowsDownTheDownload(t *testing.T) {
	w, a, _, _ := pair(Config{})
	n := connection{window: 24_000, least: 30 * ms}
	_, _ = a.sendUp(5000)
	n.send(w, a, 24_000)
	require.Equal(t, 80*ms, n.next)
	require.InDelta(t, 24_000, n.threshold, 1e-9)
	require.InDelta(t, 24_000+0.53*tcpPacket, n.window, 1e-9, "Reno's part of a packet per round trip")

	// After 5 s of sending Cubic's curve stands 0.4 × 125 packets higher.
	n.active = 5 * time.Second
	require.InDelta(t, 0.5, n.avoid(1), 1e-9, "at most half as much again per round trip")
	n.window = 24_000 + 49*tcpPacket
	require.InDelta(t, tcpPacket, n.avoid(n.window), 1e-6)
	n.window = 24_000 + 51*tcpPacket
	require.InDelta(t, 0.53*tcpPacket, n.avoid(n.window), 1e-6)
}

// keepSending lets a send to b as much as it may, for a minute, and returns how
// long the uplink's queue was on average after ten seconds, and what part of
// the line was used.
func keepSending(w *world, a, b *peer, c *conn, tier cc.Tier) (stood time.Duration, used float64) {
	var waits, samples time.Duration
	begun := int64(0)
	for w.now < time.Minute {
		for {
			n := a.mayServe(c)
			if n == 0 {
				break
			}
			c.ends[0].sender.tier(w.clock(), tier)
			a.sendBurst(burst{c: c, mask: 1<<n - 1})
		}
		next := w.now + ms
		for !w.events.empty() {
			at, ev := w.events.pop()
			if at > next {
				*w.events.push(at, ev.kind, ev.p) = ev
				break
			}
			w.now = at
		}
		w.now = next
		for len(b.coming) > 0 && b.coming[0].at <= w.now {
			b.acknowledge(&b.coming[0], bits.OnesCount64(b.coming[0].mask))
			b.coming = b.coming[1:]
		}
		if w.now > 10*time.Second {
			waits, samples = waits+a.uplinkWait(), samples+1
		} else {
			begun = a.acct.sent
		}
	}
	return waits / samples, float64(a.acct.sent-begun) * peerOverhead / (a.line.up * 50)
}

// What cc.Cubic does with a deep queue, in the replay as on an
// emulated line: it stands nearly full as long as there is something to send.
func TestBusyUplinkStandsNearlyFull(t *testing.T) {
	w, a, b, c := pair(Config{})
	a.w.cfg.UplinkQueue = 64 << 10
	stood, _ := keepSending(w, a, b, c, cc.Fast)
	full := float64(64<<10) / (800 * kbps)
	require.InDelta(t, 0.85, stood.Seconds()/full, 0.12)
}

// What cc.Tiered does alone on a line: it fills it, and little waits. The bursts of
// the model must not look like queues to it, nor like jitter.
func TestTieredFillsTheUplinkAlmostWithoutAQueue(t *testing.T) {
	for _, tier := range []cc.Tier{cc.Fast, cc.Medium, cc.Slow} {
		for _, upKbps := range []float64{800, 2000, 10_000, 50_000} {
			w, a, b, c := pair(Config{})
			w.cfg.UplinkQueue = 64 << 10
			a.line.up, a.group = upKbps*kbps, new(cc.Group)
			stood, used := keepSending(w, a, b, c, tier)
			require.Greater(t, used, 0.85, "%v at %v kbit/s", tier, upKbps)
			require.Less(t, stood, 35*ms, "%v at %v kbit/s", tier, upKbps)
		}
	}
}

// narrow is a controller whose window is a part of a packet.
type narrow struct{ cc.Controller }

func (narrow) WindowBytes() int { return cc.PacketBytes / 4 }

func TestWindowBelowAPacketIsAMatterOfThePacer(t *testing.T) {
	w, a, _, c := pair(Config{})
	a.group, a.line.up = new(cc.Group), 1000*kbps
	c.ends[0].sender = newSender(w.clock(), a.group)
	s := c.ends[0].sender
	s.controller = narrow{s.controller}
	require.Equal(t, leastBurst, a.mayServe(c))
	a.sendBurst(burst{c: c, mask: 1<<leastBurst - 1})
	require.Zero(t, a.mayServe(c))
}

// 8 ms of 4 Mbit/s are three chunks, and 27 ms of 1 Mbit/s. A sender without tiers sends
// whole bursts.
func TestBurstsAreShortOnThinUplinks(t *testing.T) {
	_, a, _, _ := pair(Config{})
	require.Equal(t, chunksPerBurst, a.burstChunks())
	a.group = new(cc.Group)
	for upKbps, chunks := range map[float64]int{100: 1, 700: 2, 1000: 3, 4000: 3, 10_000: 9, 20_000: chunksPerBurst} {
		a.line.up = upKbps * kbps
		require.Equal(t, chunks, a.burstChunks(), upKbps)
	}
}

// With a round trip of 80 ms a lone packet's ACK waits for 20 ms, that of two for 5.
func TestReceiverAnswersFewerTimesWhereMoreComes(t *testing.T) {
	e := end{}
	count, held := e.acks(100*ms, 4, 80*ms)
	require.InDelta(t, 4, count, 1e-9, "25 ms apart")
	require.Equal(t, 20*ms, held)
	count, held = e.acks(140*ms, 8, 80*ms)
	require.InDelta(t, 8/3.0, count, 1e-9, "5 ms apart: two, and one that comes meanwhile")
	require.Equal(t, 5*ms, held)
}

// The first 128 packets are answered two by two and at once, but for a lone one.
func TestReceiverAnswersEagerlyAtFirst(t *testing.T) {
	e := end{eager: eagerChunks}
	for range eagerChunks / 4 {
		count, held := e.acks(100*ms, 4, 80*ms)
		require.InDelta(t, 2, count, 1e-9)
		require.Zero(t, held)
	}
	_, held := e.acks(101*ms, 4, 80*ms)
	require.Equal(t, 5*ms, held)
	e = end{eager: eagerChunks}
	_, held = e.acks(100*ms, 1, 80*ms)
	require.Equal(t, 20*ms, held)
}

// Whole bursts would be answered only when their last chunk has come.
func TestBurstsOfAStartAreShort(t *testing.T) {
	w, a, _, c := pair(Config{})
	a.group, a.line.up = new(cc.Group), 10_000*kbps
	require.Equal(t, eagerBurst, a.mayServe(c))
	s := c.ends[0].sender
	for range eagerChunks / eagerBurst {
		require.Equal(t, eagerBurst, s.burstChunks())
		number := s.sent(w, flight{bytes: eagerBurst * cc.PacketBytes})
		w.now += 30 * ms
		s.ackAt(number, w.now, 0)
		s.settle(w)
	}
	require.Equal(t, chunksPerBurst, s.burstChunks())
}

func TestSenderThatUsedLessThanAllowedIsLimitedByTheApplication(t *testing.T) {
	w, a, _, c := pair(Config{})
	require.Equal(t, 10, a.mayServe(c))
	a.sendBurst(burst{c: c, mask: 1})
	w.now = 10 * ms
	require.NotZero(t, a.mayServe(c))
	a.sendBurst(burst{c: c, mask: 1})
	require.False(t, c.ends[0].sender.flights[0].idle)
	require.True(t, c.ends[0].sender.flights[1].idle)
}

func TestSenderRestsAfterALongSilence(t *testing.T) {
	w, a, b, c := pair(Config{})
	require.Equal(t, 10, a.mayServe(c))
	a.sendBurst(burst{c: c, mask: 1})
	s := c.ends[0].sender
	w.now = restAfter + time.Second
	require.False(t, s.atRest(w), "nobody knows what became of it")
	b.acknowledge(&inbound{at: w.now, c: c}, 1)
	w.now += time.Second
	require.True(t, s.atRest(w))
}

func TestLowestChunks(t *testing.T) {
	require.EqualValues(t, 0b0110, lowestChunks(0b1110, 2))
	require.EqualValues(t, 0b1110, lowestChunks(0b1110, 3))
	require.Zero(t, lowestChunks(0b1110, 0))
	require.Equal(t, 5, bits.OnesCount64(lowestChunks(^uint64(0), 5)))
}
