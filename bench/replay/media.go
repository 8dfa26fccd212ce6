package replay

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"

	"shoal/bench/replay/trace"
	"shoal/engine/swarm"
	"shoal/internal/wire"
)

const (
	// chapterLength is the media time of one file.
	chapterLength = 10 * time.Minute
	// liveHistory is how much of a live title has been published when its first
	// viewer comes.
	liveHistory = chapterLength
	// liveDistance is how far behind the live edge a player starts that does not
	// say: three segments, as RFC 8216 §6.3.3 asks for.
	liveDistance = 3
	// chunksPerBurst makes the 16 KiB of a burst.
	chunksPerBurst = 16
)

// media is a title: renditions cut into segments of the same times.
type media struct {
	id         [32]byte
	live       bool
	begin      time.Duration // live: when media time zero was recorded
	segment    time.Duration
	segments   int
	renditions []*rendition
}

// rendition is one track. Its pieces are numbered through.
type rendition struct {
	id          uint16
	name        string
	bitrateKbps int
	perSegment  float64 // pieces
	chapters    []chapter
}

// chapter is one file of a rendition.
type chapter struct {
	root             [32]byte
	firstSeg, endSeg int
	first, end       uint32 // pieces
}

// newMedia derives a title from the sessions that watch it.
func newMedia(cfg Config, title string, sessions []*Session) *media {
	m := &media{id: sha256.Sum256([]byte(title)), segment: cfg.Segment}
	first, last := sessions[0].Start, time.Duration(0)
	length := time.Duration(0)
	for _, s := range sessions {
		first, last = min(first, s.Start), max(last, s.Start+s.online())
		if length = max(length, s.TitleLength); s.TitleLength <= 0 {
			length = max(length, max(s.Position, 0)+s.Watch)
		}
		m.live = m.live || s.Kind == trace.Live
		m.rendition(s)
	}
	if m.live {
		m.begin = first - liveHistory
		length = last - m.begin
	}
	m.segments = max(int(math.Ceil(length.Seconds()/m.segment.Seconds())), 1)
	for _, r := range m.renditions {
		r.cut(m)
	}
	return m
}

// rendition returns the one that a session watches.
func (m *media) rendition(s *Session) *rendition {
	for _, r := range m.renditions {
		if r.name == s.Track && r.bitrateKbps == s.BitrateKbps {
			return r
		}
	}
	r := &rendition{id: uint16(len(m.renditions)), name: s.Track, bitrateKbps: s.BitrateKbps}
	m.renditions = append(m.renditions, r)
	return r
}

func (r *rendition) cut(m *media) {
	r.perSegment = max(float64(r.bitrateKbps)*125*m.segment.Seconds()/wire.PieceBytes, 1)
	step := max(int(chapterLength/m.segment), 1)
	for seg := 0; seg < m.segments; seg += step {
		end := min(seg+step, m.segments)
		var name [10]byte
		binary.BigEndian.PutUint16(name[:], r.id)
		binary.BigEndian.PutUint64(name[2:], uint64(seg))
		r.chapters = append(r.chapters, chapter{
			root: sha256.Sum256(append(m.id[:], name[:]...)), firstSeg: seg, endSeg: end, first: r.firstPiece(seg), end: r.firstPiece(end),
		})
	}
}

// firstPiece of a segment. Segments begin at piece borders and have the
// bitrate's size on average.
func (r *rendition) firstPiece(seg int) uint32 {
	return uint32(math.Round(float64(seg) * r.perSegment))
}

// segmentOf returns the segment of a piece.
func (r *rendition) segmentOf(piece uint32) int {
	seg := int(float64(piece) / r.perSegment)
	for seg > 0 && r.firstPiece(seg) > piece {
		seg--
	}
	for r.firstPiece(seg+1) <= piece {
		seg++
	}
	return seg
}

// bytes of a segment.
func (r *rendition) bytes(seg int) int64 {
	return int64(r.firstPiece(seg+1)-r.firstPiece(seg)) * wire.PieceBytes
}

// chapterOf returns the index of a piece's file.
func (r *rendition) chapterOf(piece uint32) int {
	step := r.chapters[0].endSeg
	c := min(int(float64(piece)/(r.perSegment*float64(step))), len(r.chapters)-1)
	for c > 0 && r.chapters[c].first > piece {
		c--
	}
	for c+1 < len(r.chapters) && r.chapters[c].end <= piece {
		c++
	}
	return c
}

// record describes the segments [from, to) of a file to a core.
func (m *media) record(r *rendition, c *chapter, from, to int) swarm.Record {
	rec := swarm.Record{Root: c.root, Length: int64(c.end-c.first) * wire.PieceBytes, Track: r.id}
	rec.Segments = make([]swarm.Segment, 0, to-from)
	for seg := from; seg < to; seg++ {
		rec.Segments = append(rec.Segments, swarm.Segment{
			Offset: int64(r.firstPiece(seg)-c.first) * wire.PieceBytes, Length: r.bytes(seg),
			Start: m.start(seg), Duration: m.segment,
		})
	}
	return rec
}

func (m *media) start(seg int) time.Duration { return time.Duration(seg) * m.segment }

// published returns how many segments exist at now.
func (m *media) published(now time.Duration) int {
	if !m.live {
		return m.segments
	}
	return min(int((now-m.begin)/m.segment), m.segments)
}

// publishedAt returns when a segment began to exist.
func (m *media) publishedAt(seg int) time.Duration {
	if !m.live {
		return 0
	}
	return m.begin + m.start(seg+1)
}
