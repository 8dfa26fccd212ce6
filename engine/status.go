package engine

import (
	"slices"
	"strings"
	"time"

	"shoal/engine/swarm"
	"shoal/engine/transport"
)

// Bytes counts payload since the Engine started.
//
// P2P and CDN count bytes at the moment their piece is verified, by the source
// of each chunk. Cache counts bytes handed to players from pieces that were
// already held when the viewing session of the reader began: pieces of an
// earlier run, or of an earlier viewing. Duplicate bytes came twice, HashFailed
// bytes belonged to a piece that failed its hash; both are in no other field.
type Bytes struct {
	P2P        int64 `json:"p2p"`
	CDN        int64 `json:"cdn"`
	Cache      int64 `json:"cache"`
	Served     int64 `json:"served"` // to other peers
	Played     int64 `json:"played"` // handed to players
	Duplicate  int64 `json:"duplicate"`
	HashFailed int64 `json:"hash_failed"`
}

// TrackerStatus is the tracker as this peer sees it.
type TrackerStatus struct {
	URL       string `json:"url"`
	Connected bool   `json:"connected"`
}

// ViewerStatus is one viewing session.
type ViewerStatus struct {
	ID         string  `json:"id"`
	PositionS  float64 `json:"position_s"`
	BufferS    float64 `json:"buffer_s"` // what the player holds beyond the position
	ReadyS     float64 `json:"ready_s"`  // what the peer holds beyond the position
	Rate       float64 `json:"rate"`
	Stalls     int     `json:"stalls"`
	ReadBytes  int64   `json:"read_bytes"`
	CacheBytes int64   `json:"cache_bytes"`
}

// TitleStatus is one open title.
type TitleStatus struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"` // what the publisher calls it
	Path    string         `json:"path"` // its top folder below the origin
	Viewers []ViewerStatus `json:"viewers"`
	N       int            `json:"n"` // size of its swarm
	U       float64        `json:"u"` // our position in it
}

// SeedStatus is one peer as a source.
type SeedStatus struct {
	ID              string  `json:"id"`
	Addr            string  `json:"addr"`
	Score           float64 `json:"score"`
	Grade           string  `json:"grade"`
	RTTMillis       float64 `json:"rtt_ms"`
	RateBytesPerSec float64 `json:"rate_bytes_per_sec"`
	FrozenMillis    int64   `json:"frozen_ms"`
	Loss            float64 `json:"loss"`
	Path            string  `json:"path"` // "direct"
	Outstanding     int     `json:"outstanding_bytes"`
	ReceivedBytes   int64   `json:"received_bytes"`
	SentBytes       int64   `json:"sent_bytes"`
	Pieces          int     `json:"pieces"`
}

// LeechStatus is one peer as a taker.
type LeechStatus struct {
	ID                string  `json:"id"`
	Addr              string  `json:"addr"`
	SentBytes         int64   `json:"sent_bytes"`
	RTTMillis         float64 `json:"rtt_ms"`
	WindowBytes       int     `json:"window_bytes"`
	PacingBytesPerSec float64 `json:"pacing_bytes_per_sec"`
	Tier              string  `json:"tier"` // "fast", "medium" or "slow"
	Mode              string  `json:"mode"` // what its congestion control is doing; "": nothing
}

// CacheStatus is the store.
type CacheStatus struct {
	Bytes  int64  `json:"bytes"`
	Limit  int64  `json:"limit"`
	Pieces int    `json:"pieces"`
	Mode   string `json:"mode"` // "disk" or "memory"
}

// UploadStatus is what this peer is willing to serve.
type UploadStatus struct {
	On               bool  `json:"on"`
	LimitBytesPerSec int64 `json:"limit_bytes_per_sec"` // at present; 0: none
	// CarriedBytesPerSec is the most that the uplink has carried of late.
	CarriedBytesPerSec int64 `json:"carried_bytes_per_sec"`
}

// Status is a snapshot for dashboards, metrics and tests.
type Status struct {
	Name       string           `json:"name"`
	PeerID     string           `json:"peer_id"`
	UptimeS    float64          `json:"uptime_s"`
	UDP        string           `json:"udp"`
	Tracker    TrackerStatus    `json:"tracker"`
	Bytes      Bytes            `json:"bytes"`
	CDNReasons map[string]int64 `json:"cdn_reasons"` // CDN bytes by reason; the four sum up to Bytes.CDN
	Saving     float64          `json:"saving"`      // P2P / (P2P + CDN)
	Titles     []TitleStatus    `json:"titles"`
	Seeds      []SeedStatus     `json:"seeds"`
	Leeches    []LeechStatus    `json:"leeches"`
	Cache      CacheStatus      `json:"cache"`
	Upload     UploadStatus     `json:"upload"`
	Active     int              `json:"active_pieces"`
	Ready      int              `json:"ready_pieces"`
	Fetches    int              `json:"fetches"`
	Readers    int              `json:"readers"`
	Transport  map[string]int64 `json:"transport"` // datagrams by outcome
	Dropped    map[string]int64 `json:"dropped"`   // garbage from peers by kind
}

// Status returns a snapshot. After Close it has only the constant fields.
func (e *Engine) Status() Status {
	st := Status{
		Name: e.cfg.Name, PeerID: e.identity.ID().Hex(), UptimeS: time.Since(e.started).Seconds(),
		Tracker:    TrackerStatus{URL: e.cfg.Tracker, Connected: e.tracker != nil && e.tracker.Connected()},
		Upload:     UploadStatus{On: !e.cfg.NoUpload},
		CDNReasons: make(map[string]int64), Titles: []TitleStatus{}, Seeds: []SeedStatus{}, Leeches: []LeechStatus{},
		Readers: int(e.openReaders.Load()),
	}
	cache := e.store.Stats()
	st.Cache = CacheStatus{Bytes: cache.Bytes, Limit: cache.Limit, Pieces: cache.Pieces, Mode: cache.Mode}
	if e.endpoint != nil {
		st.UDP = e.endpoint.LocalAddr().String()
		st.Transport = transportCounters(e.endpoint.Stats())
	}
	filled := make(chan struct{})
	if e.post(func(now time.Time) { e.loop.fill(now, &st); close(filled) }) {
		select {
		case <-filled:
		case <-e.loopDone:
			// The loop may have ended before it came to the question, but it is
			// not at it any more.
		}
	}
	return st
}

// fill adds what the loop knows.
func (l *loop) fill(now time.Time, st *Status) {
	core := l.core.Status(now)
	b := core.Bytes
	st.Bytes = Bytes{
		P2P: b.P2P, CDN: b.CDN, Served: b.Served, Duplicate: b.Duplicate, HashFailed: b.HashFailed,
		Cache: l.e.cachedBytes.Load(), Played: l.e.playedBytes.Load(),
	}
	for reason, n := range b.CDNByReason {
		st.CDNReasons[swarm.Reason(reason).String()] = n
	}
	if total := b.P2P + b.CDN; total > 0 {
		st.Saving = float64(b.P2P) / float64(total)
	}
	st.Active, st.Ready, st.Fetches = core.Active, core.Ready, core.Fetches
	st.Dropped = core.Dropped
	l.uploadStatus(now, &st.Upload)
	for kind, n := range l.garbage {
		st.Dropped[kind] += n
	}
	for _, s := range l.titleList {
		st.Titles = append(st.Titles, l.titleStatus(now, s, core.Viewers))
	}
	for _, s := range core.Seeds {
		p := l.peers[s.Peer]
		if p == nil {
			continue
		}
		st.Seeds = append(st.Seeds, seedStatus(p, s))
		if s.Leeching {
			c := p.channel.Stats()
			st.Leeches = append(st.Leeches, LeechStatus{
				ID: s.ID.Hex(), Addr: p.session.RemoteAddr().String(), SentBytes: s.Sent,
				RTTMillis: millis(c.RTT), WindowBytes: c.WindowBytes, PacingBytesPerSec: c.PacingBytesPerSec,
				Tier: c.Tier.String(), Mode: c.Mode,
			})
		}
	}
}

func seedStatus(p *peer, s swarm.SeedStatus) SeedStatus {
	return SeedStatus{
		ID: s.ID.Hex(), Addr: p.session.RemoteAddr().String(), Score: s.Score, Grade: string(rune(s.Grade)),
		RTTMillis: millis(s.RTT), RateBytesPerSec: s.RateBytesPerSec, FrozenMillis: s.Frozen.Milliseconds(),
		Loss: s.LossRatio, Path: "direct", Outstanding: s.OutstandingBytes,
		ReceivedBytes: s.Received, SentBytes: s.Sent, Pieces: s.Pieces,
	}
}

func (l *loop) titleStatus(now time.Time, s *titleState, known []swarm.ViewerStatus) TitleStatus {
	out := TitleStatus{ID: s.id.String(), Name: s.titles[0].manifest.Name(), Path: s.titles[0].dir, Viewers: []ViewerStatus{}, N: s.n, U: s.u}
	for _, v := range s.viewers {
		p := v.last.at(now)
		vs := ViewerStatus{
			ID: v.id, Stalls: int(v.stalls.Load()), ReadBytes: v.playedBytes.Load(), CacheBytes: v.cachedBytes.Load(),
			PositionS: p.Position.Seconds(), BufferS: p.Buffer.Seconds(), Rate: p.Rate,
		}
		for _, k := range known {
			if k.Viewer == v.handle {
				vs.ReadyS = k.Ready.Seconds()
			}
		}
		out.Viewers = append(out.Viewers, vs)
	}
	slices.SortFunc(out.Viewers, func(a, b ViewerStatus) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func transportCounters(s transport.Stats) map[string]int64 {
	flag := func(on bool) int64 {
		if on {
			return 1
		}
		return 0
	}
	return map[string]int64{
		"packets_in": int64(s.PacketsIn), "packets_out": int64(s.PacketsOut),
		"bytes_in": int64(s.BytesIn), "bytes_out": int64(s.BytesOut),
		"dropped_garbage": int64(s.DroppedGarbage), "dropped_unknown": int64(s.DroppedUnknown),
		"dropped_forged": int64(s.DroppedForged), "dropped_replayed": int64(s.DroppedReplayed),
		"dropped_oversize": int64(s.DroppedOversize), "dropped_inbox_full": int64(s.DroppedInboxFull),
		"dropped_quic_full": int64(s.DroppedQUICFull), "dropped_kernel": int64(s.DroppedKernel),
		"refused_sessions": int64(s.RefusedSessions), "send_errors": int64(s.SendErrors),
		"paths_moved": int64(s.PathsMoved), "sessions": int64(s.Sessions),
		"offload_send": flag(s.OffloadSend), "offload_receive": flag(s.OffloadReceive),
	}
}
