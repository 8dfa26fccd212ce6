// Package tracker decides whom a peer should meet.
//
// A State knows who is online and who takes part in which title. An announce is
// answered with candidates: first a filter drops those who cannot serve (the
// viewer itself, expired peers, those that do not upload or are full), then a
// score ranks the rest by online time, upload capacity and above all by whether
// they hold what the viewer needs next. Scores become grades A to D; the best
// grade comes first and the order inside a grade is random, so that the best
// seeds are not stampeded. Some places are kept for peers near the viewer's
// playhead whatever their grade: they need the same pieces at the same time,
// which is how viewers who start together find each other.
//
// A State also keeps, for people to look at, what peers report about their
// bytes and where they are (report.go, view.go). Neither ever chooses a
// candidate.
//
// A State reads no clock, opens no socket, starts no goroutine and takes no
// lock: time comes in as now, randomness as a seeded generator. It is not safe
// for concurrent use; package tracker/server owns one and serializes calls.
// It does not sign tickets and knows no session keys.
package tracker

import (
	"container/list"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
	"unique"

	"shoal/internal/wire"
	"shoal/tracker/store"
)

// Interval is the default time between a peer's heartbeats or announces.
// Mappings of NATs live at least 30 s in practice (RFC 4787 REQ-5 asks for
// minutes, home routers do not obey), so 20 s also keeps the path to the tracker
// open.
const Interval = 20 * time.Second

// missedMax heartbeats in a row end a peer's membership.
const missedMax = 3

// Defaults of Config, with their derivation.
const (
	// PeersMax peers are admitted. Between two announces a peer with its session,
	// keys, channel at rest, entries and a report that names 16 sources takes
	// 3.0 KiB (BenchmarkSilentPeer of tracker/server), 0.5 of them for the report,
	// so 300 MiB when full. What bounds it is the one goroutine
	// that answers: 5,000 announces a second are most of a core in a single swarm
	// of that size (BenchmarkAnnounce).
	PeersMax = 100_000

	// One viewer watches one title and preloads the next few; an embedding
	// application may run several viewers on one peer.
	defaultTitlesPerPeerMax = 16

	// Households and campuses share addresses, carrier NATs put some thousand
	// subscribers behind one; of those a fraction watches the same service.
	defaultPeersPerAddressMax = 1024

	// A peer announces each title every 20 s and may kick twice a second.
	defaultAnnouncesPerSec = 4

	// All titles at once after a rejoin, and as many retries.
	announceBurst = 2 * defaultTitlesPerPeerMax
)

// Why a State refuses. Errors of the store come wrapped beside these.
var (
	ErrFull       = errors.New("the tracker has no room for more peers")
	ErrPerAddress = errors.New("too many peers at this address")
	ErrTitles     = errors.New("too many titles of one peer")
	ErrUnknown    = errors.New("the peer has not joined")
)

// TooOftenError refuses an announce that came too soon after others.
type TooOftenError struct {
	RetryAfter time.Duration
}

func (e *TooOftenError) Error() string {
	return fmt.Sprintf("announced too often, try again in %v", e.RetryAfter)
}

// Config sets bounds. The zero value of each field means its default.
type Config struct {
	PeersMax           int     // default 100,000
	PeersPerAddressMax int     // per IPv4 address or IPv6 /64; default 1,024
	TitlesPerPeerMax   int     // default 16
	AnnouncesPerSec    float64 // per peer, in bursts of 32; default 4

	// Interval is the time between a peer's heartbeats; a peer is gone when it
	// was not seen for three of them. Default 20 s.
	Interval time.Duration

	// Locate says where an address is, for the people who look at the swarm. It
	// is called when a peer joins or moves, and must not wait. Default: unknown.
	Locate func(netip.Addr) Place

	// Secret keys the position u of a peer in a swarm, so that nobody can choose
	// an identity for its position. Keep it: u must survive a restart.
	Secret [32]byte
}

// Announcement is what a peer tells about its part in one title.
type Announcement struct {
	Title            store.TitleID
	Position         time.Duration // playhead, media time
	HoldFrom, HoldTo time.Duration // media range held contiguously
	HeldPermille     int           // of the whole title, 0…1000
	UpBytesPerSec    uint64        // 0 = unknown
	Uploads          bool
	Connections      int
	ConnectionsMax   int // 0 = not said
	Addrs            []netip.AddrPort
}

// Answer is what a peer learns from an announce.
type Answer struct {
	SwarmSize  int     // viewers of the title, the peer included
	U          float64 // the peer's stable random position in the swarm, in [0,1)
	Candidates []Candidate
}

// Candidate is a peer worth connecting to.
type Candidate struct {
	Peer             wire.PeerID
	Grade            Grade
	Addrs            []netip.AddrPort // most promising first
	HoldFrom, HoldTo time.Duration
}

// Stats are the State's own numbers; swarms are counted by the store.
type Stats struct {
	Peers     int    // online
	Joined    uint64 // joins admitted
	Refused   uint64 // joins and announces refused
	Announces uint64 // announces answered
	Expired   uint64 // peers that stayed away
	Handed    uint64 // candidates handed out

	Watching       int               // viewers, as peers report them
	Reports        uint64            // reports taken
	ReportsRefused uint64            // late, too often or implausible ones
	FeedsRefused   uint64            // sources named in reports that are nobody here
	Totals         wire.ReportTotals // sum of what was reported
}

// State is the brain of a tracker.
type State struct {
	cfg   Config
	rng   *rand.Rand
	store store.Store

	peers     map[wire.PeerID]*peer
	seen      *list.List // of *peer, longest unseen first
	addresses map[netip.Prefix]int
	stats     Stats
	titles    titleBook

	// Scratch space of one announce.
	sample []*store.Presence
	graded []graded
}

type peer struct {
	id       wire.PeerID
	joined   time.Time
	seenAt   time.Time
	observed netip.AddrPort
	titles   []store.TitleID
	inSeen   *list.Element

	tokens   float64 // of the announce rate limit
	tokensAt time.Time

	// for people
	place    unique.Handle[Place]
	grade    Grade   // when last handed out; 0: never
	watching int     // its part of Stats.Watching
	report   *report // nil: a peer that does not report
}

// New returns a State that keeps its swarms in s.
func New(rng *rand.Rand, s store.Store, cfg Config) *State {
	if cfg.PeersMax == 0 {
		cfg.PeersMax = PeersMax
	}
	if cfg.PeersPerAddressMax == 0 {
		cfg.PeersPerAddressMax = defaultPeersPerAddressMax
	}
	if cfg.TitlesPerPeerMax == 0 {
		cfg.TitlesPerPeerMax = defaultTitlesPerPeerMax
	}
	if cfg.AnnouncesPerSec == 0 {
		cfg.AnnouncesPerSec = defaultAnnouncesPerSec
	}
	if cfg.Interval == 0 {
		cfg.Interval = Interval
	}
	if cfg.Locate == nil {
		cfg.Locate = func(netip.Addr) Place { return UnknownPlace }
	}
	return &State{
		cfg: cfg, rng: rng, store: s, titles: newTitleBook(),
		peers: map[wire.PeerID]*peer{}, seen: list.New(), addresses: map[netip.Prefix]int{},
	}
}

// Join admits a peer, seen at the given address. A peer that joins again (its
// process or its path changed) keeps its online time and its titles.
func (s *State) Join(now time.Time, id wire.PeerID, observed netip.AddrPort) error {
	if p := s.peers[id]; p != nil {
		if err := s.moveTo(p, observed); err != nil {
			s.stats.Refused++
			return err
		}
		if p.report != nil {
			p.report.newSession = true
		}
		s.touch(p, now)
		s.stats.Joined++
		return nil
	}
	home := homeOf(observed)
	switch {
	case len(s.peers) >= s.cfg.PeersMax:
		s.stats.Refused++
		return ErrFull
	case s.addresses[home] >= s.cfg.PeersPerAddressMax:
		s.stats.Refused++
		return ErrPerAddress
	}
	s.addresses[home]++
	p := &peer{id: id, joined: now, seenAt: now, observed: observed, tokens: announceBurst, tokensAt: now}
	p.place = s.locate(observed)
	p.inSeen = s.seen.PushBack(p)
	s.peers[id] = p
	s.stats.Joined++
	return nil
}

// Heartbeat says that a peer is still there, at the given address. It reports
// false for a peer that has not joined.
func (s *State) Heartbeat(now time.Time, id wire.PeerID, observed netip.AddrPort) bool {
	p := s.peers[id]
	if p == nil {
		return false
	}
	s.touch(p, now)
	// A peer that moved to a crowded address keeps its old entry; its session
	// lives on either way.
	_ = s.moveTo(p, observed)
	return true
}

// Announce records a peer's part in a title and answers with candidates. It
// counts as a heartbeat. The error is ErrUnknown, ErrTitles, a *TooOftenError
// or the store's.
func (s *State) Announce(now time.Time, id wire.PeerID, observed netip.AddrPort, a Announcement) (Answer, error) {
	if !s.Heartbeat(now, id, observed) {
		s.stats.Refused++
		return Answer{}, ErrUnknown
	}
	p := s.peers[id]
	if err := s.spend(p, now); err != nil {
		s.stats.Refused++
		return Answer{}, err
	}
	if !slices.Contains(p.titles, a.Title) {
		if len(p.titles) >= s.cfg.TitlesPerPeerMax {
			s.stats.Refused++
			return Answer{}, ErrTitles
		}
		p.titles = append(p.titles, a.Title)
		s.recount(p)
	}
	me := presenceOf(now, p, a)
	if err := s.store.Put(me); err != nil {
		return Answer{}, fmt.Errorf("announce: %w", err)
	}
	size, err := s.store.Size(a.Title)
	if err != nil {
		return Answer{}, fmt.Errorf("announce: %w", err)
	}
	s.sample, err = s.store.Sample(s.sample[:0], s.rng, a.Title, a.Position, sampleMax)
	if err != nil {
		return Answer{}, fmt.Errorf("announce: %w", err)
	}
	answer := Answer{SwarmSize: size, U: s.position(id, a.Title), Candidates: s.choose(now, me)}
	s.stats.Announces++
	s.stats.Handed += uint64(len(answer.Candidates))
	for _, c := range answer.Candidates {
		if q := s.peers[c.Peer]; q != nil {
			q.grade = c.Grade
		}
	}
	return answer, nil
}

// Leave ends a peer's part in one title.
func (s *State) Leave(now time.Time, id wire.PeerID, title store.TitleID) error {
	p := s.peers[id]
	if p == nil {
		return nil
	}
	s.touch(p, now)
	p.titles = slices.DeleteFunc(p.titles, func(t store.TitleID) bool { return t == title })
	s.recount(p)
	return s.store.Remove(title, id)
}

// LeaveAll ends a peer's membership.
func (s *State) LeaveAll(id wire.PeerID) error {
	p := s.peers[id]
	if p == nil {
		return nil
	}
	return s.forget(p)
}

// Expire forgets the peers that missed three heartbeats and returns them, so
// that their sessions can be closed. It also ends the part of living peers in
// titles that they no longer announce. Call it every few seconds; spurious
// calls are harmless.
func (s *State) Expire(now time.Time) ([]wire.PeerID, error) {
	var gone []wire.PeerID
	var errs []error
	for e := s.seen.Front(); e != nil; e = s.seen.Front() {
		p := e.Value.(*peer)
		if now.Sub(p.seenAt) <= s.Expiry() {
			break
		}
		errs = append(errs, s.forget(p))
		s.stats.Expired++
		gone = append(gone, p.id)
	}
	_, err := s.store.Expire(now.Add(-s.Expiry()))
	return gone, errors.Join(append(errs, err)...)
}

// Expiry is how long a peer lives unseen.
func (s *State) Expiry() time.Duration { return missedMax * s.cfg.Interval }

// Stats returns the numbers so far.
func (s *State) Stats() Stats {
	st := s.stats
	st.Peers = len(s.peers)
	return st
}

func (s *State) touch(p *peer, now time.Time) {
	p.seenAt = now
	s.seen.MoveToBack(p.inSeen)
}

// moveTo follows a peer to another address.
func (s *State) moveTo(p *peer, observed netip.AddrPort) error {
	from, to := homeOf(p.observed), homeOf(observed)
	if from != to {
		if s.addresses[to] >= s.cfg.PeersPerAddressMax {
			return ErrPerAddress
		}
		s.leaveHome(from)
		s.addresses[to]++
		p.place = s.locate(observed)
	}
	p.observed = observed
	return nil
}

func (s *State) leaveHome(home netip.Prefix) {
	if s.addresses[home]--; s.addresses[home] <= 0 {
		delete(s.addresses, home)
	}
}

func (s *State) forget(p *peer) error {
	var errs []error
	for _, title := range p.titles {
		errs = append(errs, s.store.Remove(title, p.id))
	}
	s.stats.Watching -= p.watching
	s.leaveHome(homeOf(p.observed))
	s.seen.Remove(p.inSeen)
	delete(s.peers, p.id)
	return errors.Join(errs...)
}

// spend takes one token of the peer's announce rate, a token bucket.
func (s *State) spend(p *peer, now time.Time) error {
	p.tokens = min(announceBurst, p.tokens+now.Sub(p.tokensAt).Seconds()*s.cfg.AnnouncesPerSec)
	p.tokensAt = now
	if p.tokens < 1 {
		wait := (1 - p.tokens) / s.cfg.AnnouncesPerSec
		return &TooOftenError{RetryAfter: time.Duration(wait*float64(time.Second)).Round(time.Millisecond) + time.Millisecond}
	}
	p.tokens--
	return nil
}

// position is u: uniform over peers, the same for a peer and title for as long
// as the tracker keeps its secret.
func (s *State) position(id wire.PeerID, title store.TitleID) float64 {
	mac := hmac.New(sha256.New, s.cfg.Secret[:])
	mac.Write(title[:])
	mac.Write(id[:])
	var sum [sha256.Size]byte
	return float64(binary.BigEndian.Uint64(mac.Sum(sum[:0]))>>11) / (1 << 53)
}

func presenceOf(now time.Time, p *peer, a Announcement) *store.Presence {
	return &store.Presence{
		Peer: p.id, Title: a.Title,
		Position: max(a.Position, 0), HoldFrom: max(a.HoldFrom, 0), HoldTo: max(a.HoldTo, a.HoldFrom, 0),
		HeldPermille: min(max(a.HeldPermille, 0), 1000), UpBytesPerSec: a.UpBytesPerSec, Uploads: a.Uploads,
		Connections: max(a.Connections, 0), ConnectionsMax: max(a.ConnectionsMax, 0),
		Observed: p.observed, Addrs: usableAddrs(a.Addrs),
		Joined: p.joined, Seen: now,
	}
}
