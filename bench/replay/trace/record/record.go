// Package record turns what a node observes of itself and its peers into a
// sessions file and a network trace, the formats of package trace.
//
// It opens no files and knows no engine: its owner calls Observe about once a
// second with what there is, and Close at the end. It reads no clock, starts no
// goroutine and is not safe for concurrent use. What it writes has no addresses;
// peers have names that are salted anew in each recording, and viewers have
// numbers.
package record

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"shoal/bench/replay/trace"
)

const (
	// sessionsMax bounds the sessions that are followed at a time: 32 viewers of
	// each of some titles, and each title of each of 128 peers. Those that come
	// while there is no room are counted as lost.
	sessionsMax = 4096

	// silence ends a session of this node's own viewers: players ask for a
	// segment every few seconds, and a tab that was closed says nothing.
	silence = time.Minute

	// absence ends a session of a peer: one that reconnects within it was there
	// all the time.
	absence = time.Minute

	// seekJump beyond its course, a playhead has jumped; fastest is how fast a viewer plays.
	seekJump = 5 * time.Second
	fastest  = 2

	// lingerMax is how long a session that has ended is held back to see how
	// long the node stays online. Longer counts as this long, so that a crash
	// loses no more than the last hour.
	lingerMax = time.Hour

	// bytesMax bounds each file; both are small (100 bytes a session, 25 bytes a
	// second) and a node may run for years.
	bytesMax = 256 << 20

	// networkRowsMax is what readers of network traces accept.
	networkRowsMax = 1 << 20

	// rttMax and kbpsMax are the limits of the format.
	rttMax  = time.Minute
	kbpsMax = 100_000_000

	// titleNameBytes is what is kept of a title's name.
	titleNameBytes = 200
)

// Observation is one moment of a node.
type Observation struct {
	At      time.Time
	Titles  []Title // those that viewers and peers name
	Viewers []Viewer
	Peers   []Peer
	Uploads bool // the node serves others

	LineBytesPerSec   float64 // what the line brings, as far as it was measured
	UplinkBytesPerSec float64 // the most that it sent of late
	ReceivedBytes     int64   // since the start
	SentBytes         int64   // since the start
	NearestRTT        time.Duration
	CacheBytes        int64
}

// Title is a title that is open on this node.
type Title struct {
	ID, Name string
	Length   time.Duration // 0: not known
}

// Viewer is a viewing session of this node.
type Viewer struct {
	Session    uint64
	Title      string // ID
	Position   time.Duration
	Used       time.Time // last sign of life
	Track      string
	BitsPerSec int64
}

// Peer is a connected peer.
type Peer struct {
	ID     string
	Titles []string // IDs
	Began  time.Time
}

// columns are the optional columns of a recording.
var columns = []int{
	trace.ColKind, trace.ColTrack, trace.ColBitrate, trace.ColTitleLength, trace.ColPosition,
	trace.ColDown, trace.ColUp, trace.ColRTT, trace.ColNetwork, trace.ColLinger, trace.ColCache, trace.ColUploads, trace.ColSeeks,
}

// Config says how to record.
type Config struct {
	Sessions, Network io.Writer
	// NetworkName is what the sessions' network column calls the network trace.
	NetworkName string
	// Begin is when the recording starts. Sessions count from midnight UTC of
	// that day, so that recordings of several nodes fit together.
	Begin time.Time
	// Salt makes peers' names of this recording unlike those of any other.
	Salt []byte
}

// Recorder follows sessions and writes them when they are over.
type Recorder struct {
	// constant after New
	salt     []byte
	midnight time.Time
	network  string

	sessions *trace.SessionWriter
	rows     *trace.NetworkWriter
	bytes    *counter
	netBytes *counter

	open     map[key]*session
	ended    map[string]*session // by title: held back to see how long the node lingers
	titles   map[string]Title    // by ID, with the names that are written
	last     Observation
	lastLink trace.Link // written last
	lastRow  time.Duration
	began    time.Time // of the network trace: the first session's start
	netRows  int
	count    int // of own sessions
	lost     int
	failed   error
}

// key tells sessions apart: a viewer's number, or a peer and a title.
type key struct {
	viewer      uint64
	peer, title string
}

type session struct {
	trace.Session
	key   key
	title string    // ID
	end   time.Time // as far as is known
	from  time.Time

	position time.Duration // of this node's viewers, and when it was there
	seen     time.Time
}

// New returns a recorder, and writes the headers.
func New(cfg Config) (*Recorder, error) {
	begin := cfg.Begin.UTC()
	r := &Recorder{
		salt: cfg.Salt, network: cfg.NetworkName,
		midnight: time.Date(begin.Year(), begin.Month(), begin.Day(), 0, 0, 0, 0, time.UTC),
		bytes:    &counter{w: cfg.Sessions}, netBytes: &counter{w: cfg.Network},
		open: make(map[key]*session), ended: make(map[string]*session), titles: make(map[string]Title),
		lastLink: trace.Link{DownKbps: trace.Absent, UpKbps: trace.Absent, RTT: trace.Absent},
	}
	r.sessions, r.rows = trace.WriteSessions(r.bytes, columns...), trace.WriteNetwork(r.netBytes)
	return r, errors.Join(r.sessions.Start(), r.rows.Start())
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// ErrFull says that the files have reached their limit. What was recorded is
// complete up to then.
var ErrFull = fmt.Errorf("the recording has reached its limit of %d MiB", bytesMax>>20)

// Lost counts sessions that were not followed because there were too many at a time.
func (r *Recorder) Lost() int { return r.lost }

// Observe takes one moment. After an error nothing is recorded any more, and the
// same error is returned again.
func (r *Recorder) Observe(o Observation) error {
	if r.failed != nil {
		return r.failed
	}
	for _, t := range o.Titles {
		r.title(t)
	}
	for _, v := range o.Viewers {
		r.viewer(o, v)
	}
	for _, p := range o.Peers {
		for _, title := range p.Titles {
			r.peer(o, p, title)
		}
	}
	err := r.expire(o.At)
	if err == nil {
		err = r.link(o)
	}
	if err == nil && (r.bytes.n > bytesMax || r.netBytes.n > bytesMax) {
		err = ErrFull
	}
	r.last, r.failed = o, err
	return err
}

// Close writes the sessions that are not over, as if they were, and those that
// were held back.
func (r *Recorder) Close(at time.Time) error {
	if r.failed != nil {
		return r.failed
	}
	for _, k := range r.openKeys() {
		r.failed = errors.Join(r.failed, r.finish(r.open[k]))
	}
	for _, title := range sortedKeys(r.ended) {
		r.failed = errors.Join(r.failed, r.release(r.ended[title], at))
	}
	err := r.failed
	if err == nil {
		r.failed = errors.New("the recording is closed")
	}
	return err
}

// openKeys are the open sessions in the order of their starts: maps have none.
func (r *Recorder) openKeys() []key {
	keys := make([]key, 0, len(r.open))
	for k := range r.open {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(r.open[a].from.Compare(r.open[b].from), cmp.Compare(a.viewer, b.viewer), cmp.Compare(a.peer, b.peer), cmp.Compare(a.title, b.title))
	})
	return keys
}

func sortedKeys(m map[string]*session) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// viewer follows a session of this node.
func (r *Recorder) viewer(o Observation, v Viewer) {
	k := key{viewer: v.Session}
	s := r.open[k]
	if s == nil {
		if o.At.Sub(v.Used) > silence {
			return // over, though the engine still keeps it
		}
		from := o.At
		if v.Used.Before(from) {
			from = v.Used
		}
		if s = r.begin(k, from, v.Title); s == nil {
			return
		}
		if r.began.IsZero() {
			r.began = from
		}
		r.count++
		s.ID = fmt.Sprintf("self-%d", r.count)
		s.Position = max(v.Position, 0)
		s.Network = r.network
		s.position, s.seen = v.Position, o.At
	}
	s.moved(o.At, v.Position)
	if v.Used.After(s.end) {
		s.end = v.Used
	}
	if v.Track != "" {
		s.Track = printable(v.Track, titleNameBytes)
	}
	if n := v.BitsPerSec / 1000; n > 0 {
		s.BitrateKbps = int(n)
	}
	if n := kbps(o.LineBytesPerSec); n > 0 {
		s.DownKbps = max(s.DownKbps, n)
	}
	if n := kbps(o.UplinkBytesPerSec); n > 0 {
		s.UpKbps = max(s.UpKbps, n)
	}
	if o.NearestRTT > 0 && (s.RTT < 0 || o.NearestRTT < s.RTT) {
		s.RTT = o.NearestRTT.Round(time.Microsecond)
	}
	s.CacheMB = int(o.CacheBytes / 1e6)
	s.Uploads = trace.UploadsYes
	if !o.Uploads {
		s.Uploads, s.UpKbps = trace.UploadsNo, 0
	}
}

// moved follows the playhead, and notes where it has jumped.
func (s *session) moved(now time.Time, position time.Duration) {
	passed := max(now.Sub(s.seen), 0)
	jumped := position < s.position-seekJump || position > s.position+fastest*passed+seekJump
	if jumped && len(s.Seeks) < trace.SeeksMax {
		at := max(now.Sub(s.from), 0)
		if n := len(s.Seeks); n > 0 {
			at = max(at, s.Seeks[n-1].At) // clocks are set
		}
		s.Seeks = append(s.Seeks, trace.Seek{At: at, To: max(position, 0)})
	}
	s.position, s.seen = position, now
}

// peer follows a peer that may watch a title. It is there at least as long as it
// is connected; what it watches, and over which line, is not known.
func (r *Recorder) peer(o Observation, p Peer, title string) {
	k := key{peer: p.ID, title: title}
	s := r.open[k]
	if s == nil {
		from := p.Began
		if from.After(o.At) || from.Before(r.last.At) {
			// Before: the connection is older than its interest in this title.
			from = o.At
		}
		if s = r.begin(k, from, title); s == nil {
			return
		}
		s.ID = "peer-" + r.salted(p.ID) + "-" + short(title)
	}
	if o.At.After(s.end) {
		s.end = o.At
	}
}

// begin opens a session, if there is room.
func (r *Recorder) begin(k key, from time.Time, title string) *session {
	about, ok := r.titles[title]
	if !ok || len(r.open) == sessionsMax {
		r.lost++
		return nil
	}
	s := &session{key: k, title: title, from: from, end: from}
	s.Session = trace.NewSession("", max(from.Sub(r.midnight), 0).Round(time.Millisecond), about.Name, 0)
	s.Kind = trace.VOD // live titles are not recorded as such: nodes do not play any yet
	if about.Length > 0 {
		s.TitleLength = about.Length
	}
	r.open[k] = s
	if held := r.ended[title]; held != nil && k.viewer != 0 {
		// The node's presence goes on with this session.
		delete(r.ended, title)
		if err := r.release(held, from); err != nil && r.failed == nil {
			r.failed = err
		}
	}
	return s
}

// expire writes the sessions that are over.
func (r *Recorder) expire(now time.Time) error {
	for _, k := range r.openKeys() {
		s, patience := r.open[k], silence
		if k.viewer == 0 {
			patience = absence
		}
		if now.Sub(s.end) > patience {
			if err := r.finish(s); err != nil {
				return err
			}
		}
	}
	for _, title := range sortedKeys(r.ended) {
		if held := r.ended[title]; now.Sub(held.end) >= lingerMax {
			delete(r.ended, title)
			if err := r.release(held, now); err != nil {
				return err
			}
		}
	}
	return r.failed
}

// finish ends a session. A peer's is written: whether it lingered is not to be
// seen from here. One of this node is held back, but for the one before it.
func (r *Recorder) finish(s *session) error {
	delete(r.open, s.key)
	s.Watch = s.end.Sub(s.from).Round(time.Millisecond)
	if s.key.viewer == 0 {
		return r.write(s)
	}
	before := r.ended[s.title]
	r.ended[s.title] = s
	if before == nil {
		return nil
	}
	if before.end.After(s.end) {
		before, r.ended[s.title] = s, before
	}
	return r.release(before, before.end) // the other one's viewer was still there
}

// release writes a session of this node that ended while the node stayed online
// until a moment.
func (r *Recorder) release(s *session, until time.Time) error {
	s.Linger = min(max(until.Sub(s.end), 0), lingerMax).Round(time.Second)
	return r.write(s)
}

// write writes a session within the limits of the format: a clock that is set, or
// a loopback interface, may be beyond them.
func (r *Recorder) write(s *session) error {
	const year = 365 * 24 * time.Hour
	clamp := func(d time.Duration, most time.Duration) time.Duration { return min(d, most).Round(time.Microsecond) }
	out := s.Session
	out.Watch, out.TitleLength, out.Position = clamp(out.Watch, year), clamp(out.TitleLength, year), clamp(out.Position, year)
	out.RTT = clamp(out.RTT, rttMax)
	for i, seek := range out.Seeks {
		out.Seeks[i] = trace.Seek{At: clamp(seek.At, year), To: clamp(seek.To, year)}
	}
	for _, kbps := range []*int{&out.BitrateKbps, &out.DownKbps, &out.UpKbps} {
		*kbps = min(*kbps, kbpsMax)
	}
	return r.sessions.Write(out)
}

// link writes a row of the network trace when it says something new. Only what is
// used is measured: an idle line may carry anything.
func (r *Recorder) link(o Observation) error {
	if r.began.IsZero() || r.netRows == networkRowsMax {
		return nil
	}
	link := trace.Link{DownKbps: trace.Absent, UpKbps: trace.Absent, RTT: trace.Absent}
	if o.ReceivedBytes > r.last.ReceivedBytes && o.LineBytesPerSec > 0 {
		link.DownKbps = kbps(o.LineBytesPerSec)
	}
	if o.SentBytes > r.last.SentBytes && o.UplinkBytesPerSec > 0 {
		link.UpKbps = kbps(o.UplinkBytesPerSec)
	}
	if o.NearestRTT > 0 {
		link.RTT = min(o.NearestRTT, rttMax).Round(100 * time.Microsecond)
	}
	if link == r.lastLink && r.netRows > 0 {
		return nil
	}
	at := o.At.Sub(r.began).Truncate(time.Millisecond)
	switch {
	case r.netRows == 0:
		at = 0
	case at <= r.lastRow:
		return nil // the clock was set back
	}
	r.lastLink, r.lastRow = link, at
	r.netRows++
	return r.rows.Write(trace.NetworkRow{At: at, Link: link})
}

// title remembers what a title is called: its name and enough of its ID to tell
// it from others of that name.
func (r *Recorder) title(t Title) {
	if _, ok := r.titles[t.ID]; ok || len(r.titles) == sessionsMax {
		return
	}
	name := short(t.ID)
	if t.Name != "" {
		name = printable(t.Name, titleNameBytes) + "-" + name
	}
	r.titles[t.ID] = Title{ID: t.ID, Name: name, Length: t.Length}
}

func kbps(bytesPerSec float64) int { return int(min(bytesPerSec*8/1000, kbpsMax)) }

// salted is a peer's name in this recording.
func (r *Recorder) salted(id string) string {
	h := sha256.New()
	h.Write(r.salt)
	h.Write([]byte(id))
	return hex.EncodeToString(h.Sum(nil)[:6])
}

func short(id string) string { return id[:min(len(id), 8)] }

// printable makes a text fit for a cell.
func printable(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		if c == utf8.RuneError || unicode.IsControl(c) {
			return '_'
		}
		return c
	}, s)
	for len(s) > most {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
