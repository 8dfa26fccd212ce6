package engine

import (
	"cmp"
	"slices"
	"time"

	"shoal/engine/manifest"
)

// Observation is what a recorder of sessions sees at one moment. It has no
// addresses; whoever writes it down replaces the peers' IDs as well.
type Observation struct {
	At      time.Time
	Titles  []ObservedTitle  // open here, in the order of opening
	Viewers []ObservedViewer // by session
	Peers   []ObservedPeer   // by ID
	Uploads bool             // this node serves others

	LineBytesPerSec   float64 // what the line brings; 0: nothing was measured yet
	UplinkBytesPerSec float64 // best second of the recent past; 0: nothing was sent
	ReceivedBytes     int64   // since the start, of peers and the CDN
	SentBytes         int64   // since the start, to peers
	// NearestRTT is the smallest round trip to any peer; 0: no peers.
	NearestRTT time.Duration
	CacheBytes int64 // limit
}

// ObservedTitle is a title that was opened on this node.
type ObservedTitle struct {
	ID     string // hex
	Name   string // what the publisher calls it
	Length time.Duration
}

// ObservedViewer is one viewing session of this node.
type ObservedViewer struct {
	Session  uint64        // no two sessions of a run have the same
	Title    string        // ID
	Position time.Duration // media time being shown, as far as it is known
	Used     time.Time     // last sign of life
	// Track is the rendition that was read last, BitsPerSec the mean rate of what
	// is known of it and of the audio read with it; 0: not known.
	Track      string
	BitsPerSec int64
}

// ObservedPeer is a connected peer.
type ObservedPeer struct {
	ID     string   // hex
	Titles []string // IDs of the open titles that it may watch as well, sorted
	Began  time.Time
}

// Observe returns what a recorder writes down; false after Close.
func (e *Engine) Observe() (Observation, bool) {
	answer := make(chan Observation, 1)
	if !e.post(func(now time.Time) { answer <- e.loop.observe(now) }) {
		return Observation{}, false
	}
	select {
	case o := <-answer:
		return o, true
	case <-e.loopDone:
		return Observation{}, false
	}
}

func (l *loop) observe(now time.Time) Observation {
	core := l.core.Status(now)
	o := Observation{
		At: now, Uploads: !l.e.cfg.NoUpload,
		LineBytesPerSec: l.e.LineRate(), UplinkBytesPerSec: float64(l.upBytesPerSec),
		ReceivedBytes: core.Bytes.P2P + core.Bytes.CDN + core.Bytes.Duplicate + core.Bytes.HashFailed,
		SentBytes:     core.Bytes.Served,
		CacheBytes:    l.e.store.Stats().Limit,
	}
	for _, s := range l.titleList {
		o.Titles = append(o.Titles, observedTitle(s))
		for _, v := range s.viewers {
			o.Viewers = append(o.Viewers, l.observeViewer(now, s, v))
		}
	}
	slices.SortFunc(o.Viewers, func(a, b ObservedViewer) int { return cmp.Compare(a.Session, b.Session) })
	for _, p := range l.byID {
		if p.dropped || !p.admitted {
			continue
		}
		seen := ObservedPeer{ID: p.id.Hex(), Began: p.began}
		for id := range p.joined {
			if l.titles[id] != nil {
				seen.Titles = append(seen.Titles, id.String())
			}
		}
		slices.Sort(seen.Titles)
		o.Peers = append(o.Peers, seen)
		if rtt := p.rtt(); rtt > 0 && (o.NearestRTT == 0 || rtt < o.NearestRTT) {
			o.NearestRTT = rtt
		}
	}
	slices.SortFunc(o.Peers, func(a, b ObservedPeer) int { return cmp.Compare(a.ID, b.ID) })
	return o
}

func observedTitle(s *titleState) ObservedTitle {
	m := s.titles[0].manifest
	t := ObservedTitle{ID: s.id.String(), Name: m.Name()}
	for i := range m.PageCount() {
		_, to := m.PageSpan(i)
		t.Length = max(t.Length, to)
	}
	return t
}

func (l *loop) observeViewer(now time.Time, s *titleState, v *Viewer) ObservedViewer {
	out := ObservedViewer{
		Session: uint64(v.handle), Title: s.id.String(), Position: v.last.at(now).Position,
		Used: time.Unix(0, v.lastUsed.Load()),
	}
	if l.reading(v) {
		out.Used = now // one long read of a progressive player
	}
	video, audio := latestTracks(s, v)
	for _, track := range []*manifest.Track{audio, video} {
		if track != nil {
			out.Track = track.Name
			out.BitsPerSec += meanBitsPerSec(s.tracks[track.ID])
		}
	}
	return out
}

// latestTracks are the video (or muxed) and the audio rendition that a session
// read last; nil for none.
func latestTracks(s *titleState, v *Viewer) (video, audio *manifest.Track) {
	tracks := s.titles[0].manifest.Tracks()
	for i := range tracks {
		at, read := v.tracks[tracks[i].ID]
		if !read {
			continue
		}
		switch tracks[i].Kind {
		case manifest.KindVideo, manifest.KindMuxed:
			if video == nil || at.After(v.tracks[video.ID]) {
				video = &tracks[i]
			}
		case manifest.KindAudio:
			if audio == nil || at.After(v.tracks[audio.ID]) {
				audio = &tracks[i]
			}
		default: // texts and images weigh next to nothing
		}
	}
	return video, audio
}

// meanBitsPerSec is the rate of the segments known of a track. The bandwidth that
// its playlist states is a peak, and not what it costs.
func meanBitsPerSec(spans []span) int64 {
	var bytes int64
	var length time.Duration
	for _, x := range spans {
		bytes += x.length
		length += x.end - x.start
	}
	if length <= 0 {
		return 0
	}
	return int64(float64(bytes) * 8 / length.Seconds())
}
