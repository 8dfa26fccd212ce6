package proxy

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"shoal/engine"
)

const (
	// recent is how long bytes count as "now": the 10 s over which dashboards
	// show the present saving, and longer than a full player pauses its GETs.
	recent = 10 * time.Second

	// observedLately is the oldest snapshot that growth may be dated by.
	observedLately = 5 * time.Second

	// passthroughPlaying is the growth that is media and not playlists.
	passthroughPlaying = 64 << 10

	// passthroughRecent is how long such growth tells that somebody plays: a
	// player whose buffer is full asks for nothing meanwhile.
	passthroughRecent = time.Minute

	// dryS of media are nothing: a frame or two.
	dryS = 0.2

	// seekS: a playhead that moved by so much more or less than time did was moved.
	seekS = 2.0

	// stallTold is how long a stall that a player told of afterwards is news.
	stallTold = 5 * time.Second
)

// snapshot is the node's state at one moment, with the dates that cannot be seen
// in a single one: when each source gave bytes for the last time. Zero dates
// are before the first snapshot.
type snapshot struct {
	at, since   time.Time // since: of the first snapshot
	status      engine.Status
	passthrough uint64

	cdn, p2p, cache, pass, served, stalled time.Time
	reason                                 string               // of the latest CDN bytes
	seeds                                  map[string]time.Time // when each gave bytes; those of status
	begun                                  map[string]bool      // viewers that have had a picture where they are
}

// observe makes a snapshot of the one before and the present state.
func observe(prev snapshot, st engine.Status, passthrough uint64, now time.Time) snapshot {
	if prev.at.IsZero() || now.Sub(prev.at) > observedLately || st.Bytes.CDN < prev.status.Bytes.CDN {
		prev = snapshot{since: now, at: now, status: st, passthrough: passthrough}
	}
	s := prev
	s.at, s.status, s.passthrough = now, st, passthrough
	s.seeds, s.begun = make(map[string]time.Time), make(map[string]bool)
	date := func(at *time.Time, before, after int64) {
		if after > before {
			*at = now
		}
	}
	was := prev.status.Bytes
	date(&s.cdn, was.CDN, st.Bytes.CDN)
	date(&s.p2p, was.P2P, st.Bytes.P2P)
	date(&s.cache, was.Cache, st.Bytes.Cache)
	date(&s.served, was.Served, st.Bytes.Served)
	date(&s.pass, int64(prev.passthrough)+passthroughPlaying, int64(passthrough))
	most := int64(0)
	for _, reason := range []string{"startup", "first_copy", "rescue", "hash_failure"} {
		if grown := st.CDNReasons[reason] - prev.status.CDNReasons[reason]; grown > most {
			most, s.reason = grown, reason
		}
	}
	received := make(map[string]int64, len(prev.status.Seeds))
	for _, seed := range prev.status.Seeds {
		received[seed.ID] = seed.ReceivedBytes
	}
	for _, seed := range st.Seeds {
		at := prev.seeds[seed.ID]
		if before, known := received[seed.ID]; known && seed.ReceivedBytes > before {
			at = now
		}
		s.seeds[seed.ID] = at
	}
	before := viewersOf(prev.status)
	for key, v := range viewersOf(st) {
		old, known := before[key]
		elapsed := now.Sub(prev.at).Seconds()
		moved := known && math.Abs(v.PositionS-old.PositionS-elapsed*v.Rate) > seekS
		s.begun[key] = v.BufferS > dryS || !moved && prev.begun[key]
		if known && v.Stalls > old.Stalls {
			s.stalled = now
		}
	}
	return s
}

// viewersOf returns the sessions by title and ID.
func viewersOf(st engine.Status) map[string]engine.ViewerStatus {
	out := make(map[string]engine.ViewerStatus)
	for _, t := range st.Titles {
		for _, v := range t.Viewers {
			out[t.ID+" "+v.ID] = v
		}
	}
	return out
}

func (s snapshot) lately(at time.Time) bool { return !at.IsZero() && s.at.Sub(at) < recent }

// giving counts the seeds that gave bytes lately.
func (s snapshot) giving() (n int) {
	for _, at := range s.seeds {
		if s.lately(at) {
			n++
		}
	}
	return n
}

// says tells in words what is going on, from two successive snapshots.
func says(prev, s snapshot) string {
	var playing []string // keys of the sessions that play
	paused := engine.ViewerStatus{Rate: -1}
	viewers := viewersOf(s.status)
	for _, key := range slices.Sorted(maps.Keys(viewers)) {
		v := viewers[key]
		switch {
		case v.Rate > 0:
			playing = append(playing, key)
		case paused.Rate < 0 || v.ReadyS > paused.ReadyS:
			paused = v
		}
	}
	for _, key := range playing {
		if v := viewers[key]; v.BufferS <= dryS && v.ReadyS <= dryS && s.status.Readers > 0 {
			if s.begun[key] && prev.begun[key] {
				return "The picture stopped: " + whyDry(s.status) + "."
			}
			return "Starting: " + whatComes(s.status)
		}
	}
	switch {
	case len(playing) > 0:
		return playingWords(s, viewers, playing) + trackerWords(s.status)
	case !s.pass.IsZero() && s.at.Sub(s.pass) < passthroughRecent:
		return "Playing what no title.shoal describes: it comes from the CDN alone."
	case paused.Rate >= 0:
		return fmt.Sprintf("Paused at %s; the next %.0f s are here.", clock(paused.PositionS), paused.ReadyS) + servingWords(s)
	default:
		return "No player asks for anything." + servingWords(s) + trackerWords(s.status)
	}
}

// playingWords is about where the bytes of the last seconds came from.
func playingWords(s snapshot, viewers map[string]engine.ViewerStatus, playing []string) string {
	verb := "Playing"
	if n := len(playing); n > 1 {
		verb = fmt.Sprintf("%d players play", n)
	}
	n := s.giving()
	fromPeers, fromCDN := s.lately(s.p2p), s.lately(s.cdn)
	switch {
	case !s.stalled.IsZero() && s.at.Sub(s.stalled) < stallTold:
		return "The picture stopped a moment ago and goes on."
	case fromPeers && fromCDN:
		return fmt.Sprintf("%s from %s and the CDN%s.", verb, peers(n), reasonWords[s.reason])
	case fromPeers:
		return fmt.Sprintf("%s from %s%s.", verb, peers(n), s.cdnWords())
	case fromCDN && len(s.status.Seeds) == 0:
		return fmt.Sprintf("%s from the CDN: %s.", verb, whyAlone(s.status))
	case fromCDN:
		return fmt.Sprintf("%s from the CDN%s; %s connected.", verb, reasonWords[s.reason], are(len(s.status.Seeds)))
	case s.lately(s.cache):
		return verb + " from this node's cache."
	}
	ready := math.Inf(1)
	for _, key := range playing {
		v := viewers[key]
		ready = min(ready, max(v.ReadyS, v.BufferS))
	}
	return fmt.Sprintf("%s; the next %.0f s are here already.", verb, ready)
}

// cdnWords dates the last CDN bytes.
func (s snapshot) cdnWords() string {
	switch {
	case !s.cdn.IsZero():
		return "; the last CDN bytes were " + length(s.at.Sub(s.cdn)) + " ago"
	case s.status.Bytes.CDN == 0:
		return "; not one byte came from the CDN"
	case s.at.Sub(s.since) >= recent:
		return "; no CDN bytes for " + length(s.at.Sub(s.since)) + " at least"
	default:
		return "" // not looked for long enough
	}
}

// reasonWords go on after "and the CDN" and "from the CDN".
var reasonWords = map[string]string{
	"startup":      ", which lets the picture start at once",
	"first_copy":   ", which brings new pieces into the swarm",
	"rescue":       ", because peers would have been too late",
	"hash_failure": ", because a peer's copy was broken",
	"":             "",
}

// whyDry names what the next picture waits for.
func whyDry(st engine.Status) string {
	frozen := 0
	for _, seed := range st.Seeds {
		if seed.FrozenMillis > 0 {
			frozen++
		}
	}
	why := "the peers are too slow for the next piece"
	switch {
	case len(st.Seeds) == 0:
		why = "no peer has the next piece"
	case frozen == len(st.Seeds):
		why = "every peer is busy"
	}
	if st.Fetches > 0 {
		return why + " and the CDN answers slowly"
	}
	return why + " and nothing is on its way from the CDN"
}

// whyAlone says why no peer is there.
func whyAlone(st engine.Status) string {
	others := 0
	for _, t := range st.Titles {
		others = max(others, t.N-1)
	}
	switch {
	case st.Tracker.URL == "":
		return "without a tracker this node finds no peers"
	case !st.Tracker.Connected:
		return "no peer is known yet"
	case others == 0:
		return "nobody else watches this title now"
	default:
		return "no peer is connected yet"
	}
}

func whatComes(st engine.Status) string {
	switch {
	case st.Fetches > 0 && len(st.Seeds) > 0:
		return fmt.Sprintf("the first bytes come from the CDN and %s.", peers(len(st.Seeds)))
	case st.Fetches > 0:
		return "the first bytes come from the CDN."
	case len(st.Seeds) > 0:
		return fmt.Sprintf("asking %s.", peers(len(st.Seeds)))
	default:
		return "looking for the first bytes."
	}
}

func servingWords(s snapshot) string {
	if !s.lately(s.served) {
		return ""
	}
	return fmt.Sprintf(" This node serves %s.", viewersWord(len(s.status.Leeches)))
}

func trackerWords(st engine.Status) string {
	if st.Tracker.URL == "" || st.Tracker.Connected {
		return ""
	}
	if len(st.Seeds) > 0 {
		return " The tracker does not answer; the peers that are connected stay."
	}
	return " The tracker does not answer."
}

func peers(n int) string {
	switch n {
	case 0:
		return "peers" // one that has left meanwhile
	case 1:
		return "1 peer"
	default:
		return fmt.Sprintf("%d peers", n)
	}
}

func are(n int) string {
	if n == 1 {
		return "1 peer is"
	}
	return fmt.Sprintf("%d peers are", n)
}

func viewersWord(n int) string {
	switch n {
	case 0:
		return "other viewers"
	case 1:
		return "1 other viewer"
	default:
		return fmt.Sprintf("%d other viewers", n)
	}
}

func length(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%.0f s", math.Floor(d.Seconds()))
	}
	return fmt.Sprintf("%.0f min", math.Floor(d.Minutes()))
}

func clock(seconds float64) string {
	s := int(max(seconds, 0))
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
