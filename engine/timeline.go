package engine

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/swarm"
	"shoal/tracker/client"
)

// titleState is what the loop knows of a title: one swarm. The same title
// under two folders is one titleState. Owned by the loop.
type titleState struct {
	handle  swarm.Title
	id      manifest.TitleID
	titles  []*Title
	tracks  map[uint16][]span // in the order of time
	viewers map[swarm.Viewer]*Viewer

	position time.Duration // last known of any viewer
	ticket   []byte
	n        int     // by the tracker; 1 until it answers
	u        float64 // by the tracker
	held     int64   // bytes
	size     int64   // bytes of the files known
	kicked   bool    // the tracker was told at once of the first seconds held
}

// span is a segment at its place in time.
type span struct {
	start, end     time.Duration
	content        *content
	file           *File
	offset, length int64
}

const (
	// pagesAhead is how far ahead of the playhead the manifest is read: twice
	// the longest outage of an origin that nobody should notice.
	pagesAhead = 3 * time.Minute

	// hashesAhead is how far ahead piece hashes are fetched: all that the core
	// may download, so that a paused origin does not keep verified peers' bytes
	// from the player.
	hashesAhead = 2 * time.Minute

	// behind is how much before the playhead is protected in the cache, for a
	// short step back.
	behind = swarm.KeptBehind

	// upkeepEvery is how often windows before the playheads slide.
	upkeepEvery = time.Second

	// protectFor outlives the interval of renewal several times.
	protectFor = 30 * time.Second
)

// addTitle makes a title known to the core and to the peers we already have.
func (l *loop) addTitle(now time.Time, t *Title) {
	handle := l.core.AddTitle(now, t.id)
	s := l.titles[t.id]
	if s == nil {
		s = &titleState{
			handle: handle, id: t.id,
			tracks:  make(map[uint16][]span),
			viewers: make(map[swarm.Viewer]*Viewer),
			n:       1,
		}
		l.titles[t.id] = s
		l.titleList = append(l.titleList, s)
	}
	s.titles = append(s.titles, t)
	l.emit(Event{At: now, Kind: EventTitleOpened, Title: t.id.String(), Path: t.dir})
	l.e.log.Info("title opened", slog.String("title", t.id.String()), slog.String("path", t.dir),
		slog.Int("pages", t.manifest.PageCount()))
	l.kickTracker()
}

func (l *loop) titleOf(t *Title) *titleState { return l.titles[t.id] }

// grown gives the core the records of a page, and each file its content.
func (l *loop) grown(now time.Time, t *Title, files []*File) {
	s := l.titleOf(t)
	tracks := make([]swarm.Track, 0, len(t.Tracks()))
	for _, tr := range t.Tracks() {
		tracks = append(tracks, swarm.Track{
			ID: tr.ID, Kind: tr.Kind.String(), BandwidthBitsPerSec: tr.BandwidthBitsPerSec,
		})
	}
	records := make([]swarm.Record, len(files))
	for i, f := range files {
		records[i] = swarm.Record{
			Root: f.record.Root, Length: f.record.Length, Track: f.record.Track, Segments: segmentsOf(f.record),
		}
	}
	touched := make(map[uint16]bool)
	for i, handle := range l.core.Grown(now, s.handle, tracks, records) {
		f := files[i]
		c := l.contents[handle]
		known := c != nil
		if !known {
			c = &content{handle: handle, root: f.record.Root, length: f.record.Length}
			l.contents[handle] = c
			l.byRoot[c.root] = c
			s.size += c.length
		}
		f.content = c
		c.addFile(f)
		if known && slices.ContainsFunc(s.tracks[f.record.Track], func(x span) bool { return x.content == c }) {
			continue // the same title under another folder
		}
		for _, seg := range records[i].Segments {
			if seg.Duration <= 0 {
				continue
			}
			s.tracks[f.record.Track] = append(s.tracks[f.record.Track], span{
				start: seg.Start, end: seg.Start + seg.Duration, content: c, file: f, offset: seg.Offset, length: seg.Length,
			})
			touched[f.record.Track] = true
		}
	}
	for track := range touched {
		slices.SortStableFunc(s.tracks[track], func(a, b span) int { return cmp.Compare(a.start, b.start) })
	}
	l.nextUpkeep = now
}

// segmentsOf returns the record's segments; a file without any is one.
func segmentsOf(r manifest.Record) []swarm.Segment {
	if len(r.Segments) == 0 {
		return []swarm.Segment{{Length: r.Length, Start: r.Start, Duration: r.Duration}}
	}
	out := make([]swarm.Segment, len(r.Segments))
	for i, s := range r.Segments {
		out[i] = swarm.Segment{Offset: s.Offset, Length: s.Length, Start: s.Start, Duration: s.Duration}
	}
	return out
}

// window returns the spans of a track that overlap [from, to).
func (s *titleState) window(track uint16, from, to time.Duration) []span {
	spans := s.tracks[track]
	first, _ := slices.BinarySearchFunc(spans, from, func(x span, at time.Duration) int {
		return cmp.Compare(x.end, at+1)
	})
	last := first
	for last < len(spans) && spans[last].start < to {
		last++
	}
	return spans[first:last]
}

// upkeep slides the windows before all playheads.
func (l *loop) upkeep(now time.Time) {
	for _, s := range l.titleList {
		l.expireViewers(now, s)
		l.upkeepTitle(now, s)
	}
	l.expireReaders(now)
	l.residents.expire(now)
	l.retryHashes(now)
	l.upkeepPeers(now)
	l.measureUpload(now)
	l.nextUpkeep = now.Add(upkeepEvery)
}

// upkeepTitle reads the manifest and the hashes ahead of each playhead, and
// protects what is about to be played from eviction.
func (l *loop) upkeepTitle(now time.Time, s *titleState) {
	protect := make([]pieceRange, 0, 16)
	for _, v := range s.viewers {
		if !v.known {
			continue
		}
		position := v.last.at(now).Position
		s.position = position
		t := v.title
		for i := range t.manifest.PageCount() {
			if from, to := t.manifest.PageSpan(i); from < position+pagesAhead && to > position-behind {
				t.startPage(i)
			}
		}
		for track := range v.tracks {
			for _, x := range s.window(track, position-behind, position+hashesAhead) {
				if x.length <= 0 {
					continue
				}
				first, last := pieceOf(x.offset), pieceOf(x.offset+x.length-1)
				protect = append(protect, pieceRange{root: x.content.root, first: first, last: last})
				if x.end > position && !x.content.hasAll(x.offset, x.length) {
					l.prefetchHashes(now, x.content, first, last)
				}
			}
		}
	}
	if len(protect) > 0 {
		l.protect(protect, now.Add(protectFor))
	}
	if s.kicked || s.held == 0 {
		return
	}
	if from, to := s.holds(); to-from >= behind {
		s.kicked = true
		l.kickTracker() // others may already look for what we have
	}
}

// pieceRange is a range of pieces of a file.
type pieceRange struct {
	root        manifest.Root
	first, last uint32
}

// holds returns the media range around the playhead that is held without a gap
// on some rendition: the longest one counts.
func (s *titleState) holds() (from, to time.Duration) {
	for _, spans := range s.tracks {
		i, _ := slices.BinarySearchFunc(spans, s.position, func(x span, at time.Duration) int {
			return cmp.Compare(x.end, at+1)
		})
		// A pure seed has no playhead: what it holds may begin later.
		for i < len(spans) && !spans[i].held() {
			i++
		}
		if i == len(spans) {
			continue
		}
		first, last := i, i
		for first > 0 && spans[first-1].held() {
			first--
		}
		for last+1 < len(spans) && spans[last+1].held() {
			last++
		}
		if f, t := spans[first].start, spans[last].end; t-f > to-from {
			from, to = f, t
		}
	}
	return from, to
}

func (x span) held() bool { return x.content.hasAll(x.offset, x.length) }

// announcements is what the tracker is told.
func (l *loop) announcements() []client.Announcement {
	out := make([]client.Announcement, 0, len(l.titleList))
	for _, s := range l.titleList {
		from, to := s.holds()
		permille := 0
		if s.size > 0 {
			permille = int(min(1000, s.held*1000/s.size))
		}
		out = append(out, client.Announcement{
			Title: s.id, Position: s.position, HoldFrom: from, HoldTo: to, HeldPermille: permille,
			UpBytesPerSec: l.upBytesPerSec, Uploads: !l.e.cfg.NoUpload,
			Connections: len(l.byID), ConnectionsMax: l.e.cfg.MaxPeers,
			Addrs: l.e.endpoint.Addrs(),
		})
	}
	return out
}
