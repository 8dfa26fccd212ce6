package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"shoal/engine"
)

const (
	// sessionsMax bounds the viewing sessions followed at once: a household's
	// players, each with a few abandoned tabs. When all are reading, further
	// ones share the title's anonymous session.
	sessionsMax = 64

	// sessionIdle ends a session without GETs. A pause of this length costs the
	// viewer nothing but a fresh guess of the playhead.
	sessionIdle = 10 * time.Minute

	// reportEvery is how often a session with an open GET, or one whose state
	// changed by itself (a pause), is reported to the engine.
	reportEvery = time.Second

	// probeBytes must have been delivered before a progressive read that jumps
	// counts as a seek: players look for boxes at the end of an MP4 with reads
	// that they break off.
	probeBytes = 256 << 10
)

// session is one player watching one title.
type session struct {
	// constant
	key  string
	view viewer

	mu       sync.Mutex // guards what follows
	pattern  pattern
	lastSeen time.Time
	gets     int // open GETs, of any kind
	reported time.Time
	last     engine.Playback
	probed   time.Duration // where the last read that was not believed to be a seek ended
}

// sessions is the registry of all sessions. Safe for concurrent use.
type sessions struct {
	log *slog.Logger

	mu    sync.Mutex
	byKey map[string]*session
}

func newSessions(log *slog.Logger) *sessions {
	return &sessions{log: log, byKey: make(map[string]*session)}
}

// sessionKey names the player: by the session that it names itself, or else by
// its address and program. Two equal players on one machine that watch the same
// title without CMCD are taken for one that jumps about.
func sessionKey(r *http.Request, c cmcd) string {
	if c.sessionID != "" {
		return "sid:" + c.sessionID
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	sum := sha256.Sum256([]byte(host + "\x00" + r.UserAgent()))
	return "client:" + hex.EncodeToString(sum[:6])
}

// enter finds or makes the session of a GET and counts it in; leave counts it
// out. Nil: there are too many.
func (ss *sessions) enter(now time.Time, t title, id string) *session {
	key := t.key() + " " + id
	ss.mu.Lock()
	s := ss.byKey[key]
	var evicted *session
	if s == nil {
		if len(ss.byKey) >= sessionsMax {
			if evicted = ss.oldestIdle(); evicted == nil {
				ss.mu.Unlock()
				return nil
			}
			delete(ss.byKey, evicted.key)
		}
		s = &session{key: key, pattern: newPattern(), view: t.viewer(id)}
		ss.byKey[key] = s
	}
	s.mu.Lock() // before ss.mu is given up: an expiry must see the open GET
	s.gets++
	s.lastSeen = now
	s.mu.Unlock()
	ss.mu.Unlock()
	if evicted != nil {
		evicted.view.Close()
	}
	return s
}

// oldestIdle returns the session without open GETs that was silent longest. The
// caller holds ss.mu.
func (ss *sessions) oldestIdle() *session {
	var oldest *session
	var since time.Time
	for _, s := range ss.byKey {
		s.mu.Lock()
		idle, seen := s.gets == 0, s.lastSeen
		s.mu.Unlock()
		if idle && (oldest == nil || seen.Before(since)) {
			oldest, since = s, seen
		}
	}
	return oldest
}

// sweep ends silent sessions and reports the others.
func (ss *sessions) sweep(now time.Time) {
	ss.mu.Lock()
	var gone, alive []*session
	for key, s := range ss.byKey {
		s.mu.Lock()
		expired := s.gets == 0 && now.Sub(s.lastSeen) > sessionIdle
		s.mu.Unlock()
		if expired {
			delete(ss.byKey, key)
			gone = append(gone, s)
		} else {
			alive = append(alive, s)
		}
	}
	ss.mu.Unlock()
	for _, s := range gone {
		s.view.Close()
		ss.log.Debug("viewing session ended", slog.String("session", s.key))
	}
	for _, s := range alive {
		s.tick(now)
	}
}

// count returns the number of sessions.
func (ss *sessions) count() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.byKey)
}

// tick reports when something changed that no GET told of.
func (s *session) tick(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pattern.state == patternIdle || now.Sub(s.reported) < reportEvery {
		return
	}
	p := s.pattern.estimate(now)
	if s.gets > 0 || p.Rate != s.last.Rate || p.Position-s.last.Position > 10*time.Second {
		s.report(now, p)
	}
}

func (s *session) report(now time.Time, p engine.Playback) {
	s.reported, s.last = now, p
	s.view.Report(p)
}

func (s *session) leave(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets--
	s.lastSeen = now
}

// prepare tells that the player asks for what comes before its first media, an
// initialization segment or the boxes of an MP4, which are needed at a media
// time: the likely start. The pattern does not learn from it.
func (s *session) prepare(now time.Time, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pattern.state == patternIdle {
		s.report(now, engine.Playback{Position: at, Rate: 1, At: now})
	}
}

// reading is one GET of media as its session sees it.
type reading struct {
	session     *session
	span        span
	progressive bool
	c           cmcd
	counted     bool // the pattern knows of it
	bytes       int64
}

// begin tells the session of a GET. It returns the player's state then.
func (s *session) begin(now time.Time, sp span, progressive bool, c cmcd) (*reading, engine.Playback) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rd := &reading{session: s, span: sp, progressive: progressive, c: c}
	if progressive && !c.present && s.pattern.jumps(now, sp) && (sp.start-s.probed).Abs() > seekTolerance {
		// A jump is believed once enough bytes were taken, or when a second
		// read goes on where the first one ended.
		return rd, s.pattern.estimate(now)
	}
	rd.tell(now)
	return rd, s.last
}

// tell makes the pattern know the GET; the caller holds the session's mu.
func (rd *reading) tell(now time.Time) {
	s := rd.session
	s.pattern.request(now, rd.span, rd.progressive, rd.c)
	rd.counted = true
	p := s.pattern.estimate(now)
	p.Stalled = rd.c.starved
	s.report(now, p)
}

// delivered tells that n more bytes, up to media time upTo, were handed over.
func (rd *reading) delivered(now time.Time, n int, upTo time.Duration) {
	s := rd.session
	s.mu.Lock()
	defer s.mu.Unlock()
	rd.bytes += int64(n)
	if !rd.counted {
		if rd.bytes < probeBytes {
			s.probed = upTo
			return
		}
		rd.tell(now)
	}
	if !rd.progressive {
		return // a segment is appended as a whole: complete tells
	}
	s.pattern.delivered(now, rd.span.kind, upTo)
	if now.Sub(s.reported) >= reportEvery {
		s.report(now, s.pattern.estimate(now))
	}
}

// end tells that the GET is over; complete: all of it was handed over.
func (rd *reading) end(now time.Time, complete bool) {
	s := rd.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if !rd.counted {
		return
	}
	if complete {
		s.pattern.delivered(now, rd.span.kind, rd.span.end)
	}
	s.pattern.finished(now)
	s.report(now, s.pattern.estimate(now))
}
