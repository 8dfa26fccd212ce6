package replay

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"time"

	"shoal/bench/replay/trace"
	"shoal/engine/swarm"
	"shoal/internal/wire"
)

const (
	// chapterLength is the media time of one file of a film. A live title has a
	// file for each segment, as a file's identity is that of all its bytes.
	chapterLength = 10 * time.Minute
	// liveHistory is how much of a live title has been published when its first
	// viewer comes.
	liveHistory = 10 * time.Minute
	// liveDistance is how far behind the live edge a player starts that does not
	// say: three segments, as RFC 8216 §6.3.3 asks for.
	liveDistance = 3
	// chunksPerBurst makes the 16 KiB of a burst.
	chunksPerBurst = 16
)

// media is a title: renditions cut into segments of the same times. The pieces of
// all renditions are numbered through.
type media struct {
	id         [32]byte
	live       bool
	begin      time.Duration // live: when media time zero was recorded
	segment    time.Duration
	segments   int
	perFile    int // segments of a file
	renditions []*rendition
	byTrack    map[track]*rendition
	ladder     []*rendition // of those whose players adapt, by rising bitrate
	ladderKbps []int        // their bitrates in bit/s, for the choice between them
}

// track is what tells renditions apart.
type track struct {
	name        string
	bitrateKbps int
}

// rendition is one track.
type rendition struct {
	m           *media
	id          uint16
	bitrateKbps int
	perSegment  float64 // pieces
	base, end   uint32  // its pieces are [base, end)
}

// chapter is one file of a rendition.
type chapter struct {
	firstSeg, endSeg int
	first, end       uint32 // pieces
}

const (
	// piecesMax bounds a title with all its renditions: 281 TB.
	piecesMax = 1<<32 - 1
	// renditionsMax bounds the renditions of a title: what its sessions' tracks
	// and bitrates make of it.
	renditionsMax = 1 << 16
)

// newMedia derives a title from the sessions that watch it.
func newMedia(cfg Config, title string, sessions []*Session) (*media, error) {
	m := &media{id: sha256.Sum256([]byte(title)), segment: cfg.Segment, byTrack: make(map[track]*rendition)}
	first, last := sessions[0].Start, time.Duration(0)
	length := time.Duration(0)
	for _, s := range sessions {
		first, last = min(first, s.Start), max(last, s.Start+s.online())
		if length = max(length, s.TitleLength); s.TitleLength <= 0 {
			length = max(length, max(s.Position, 0)+s.Watch)
		}
		m.live = m.live || s.Kind == trace.Live
		switch {
		case !s.Adapts:
			m.add(track{s.Track, s.BitrateKbps})
		case m.ladder == nil:
			for _, kbps := range cfg.Ladder {
				m.ladder = append(m.ladder, m.add(track{"", kbps}))
				m.ladderKbps = append(m.ladderKbps, kbps*1000)
			}
		}
	}
	m.perFile = max(int(chapterLength/m.segment), 1)
	if m.live {
		m.begin = first - liveHistory
		length = last - m.begin
		m.perFile = 1
	}
	m.segments = max(int(math.Ceil(length.Seconds()/m.segment.Seconds())), 1)
	base := 0.0
	for _, r := range m.renditions {
		r.perSegment = max(float64(r.bitrateKbps)*125*m.segment.Seconds()/wire.PieceBytes, 1)
		end := base + math.Round(float64(m.segments)*r.perSegment)
		if end > piecesMax || len(m.renditions) > renditionsMax {
			return nil, fmt.Errorf("title %s: %d renditions, the first of %d kbit/s, of %v each are more than can be replayed (%.0f TB and %d renditions): shorten its sessions, or correct the bitrates",
				title, len(m.renditions), m.renditions[0].bitrateKbps, length.Round(time.Second), piecesMax*float64(wire.PieceBytes)/1e12, renditionsMax)
		}
		r.base, r.end = uint32(base), uint32(end)
		base = end
	}
	return m, nil
}

// add returns the rendition of a track.
func (m *media) add(t track) *rendition {
	r := m.byTrack[t]
	if r == nil {
		r = &rendition{m: m, id: uint16(len(m.renditions)), bitrateKbps: t.bitrateKbps}
		m.byTrack[t] = r
		m.renditions = append(m.renditions, r)
	}
	return r
}

// rendition returns the one that a session begins with.
func (m *media) rendition(s *Session) *rendition {
	if s.Adapts {
		return m.ladder[0]
	}
	return m.byTrack[track{s.Track, s.BitrateKbps}]
}

// of returns the rendition of a piece.
func (m *media) of(piece uint32) *rendition {
	if len(m.renditions) == 1 {
		return m.renditions[0]
	}
	i := sort.Search(len(m.renditions), func(i int) bool { return piece < m.renditions[i].end })
	return m.renditions[i]
}

// files is how many files a rendition has.
func (m *media) files() int { return (m.segments + m.perFile - 1) / m.perFile }

// chapter returns a file.
func (r *rendition) chapter(c int) chapter {
	from := c * r.m.perFile
	to := min(from+r.m.perFile, r.m.segments)
	return chapter{firstSeg: from, endSeg: to, first: r.firstPiece(from), end: r.firstPiece(to)}
}

// root is a file's identity.
func (r *rendition) root(c int) [32]byte {
	name := binary.BigEndian.AppendUint16(r.m.id[:], r.id)
	return sha256.Sum256(binary.BigEndian.AppendUint64(name, uint64(c*r.m.perFile)))
}

// firstPiece of a segment. Segments begin at piece borders and have the
// bitrate's size on average.
func (r *rendition) firstPiece(seg int) uint32 {
	return r.base + uint32(math.Round(float64(seg)*r.perSegment))
}

// segmentOf returns the segment of a piece.
func (r *rendition) segmentOf(piece uint32) int {
	seg := int(float64(piece-r.base) / r.perSegment)
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
func (r *rendition) chapterOf(piece uint32) int { return r.segmentOf(piece) / r.m.perFile }

// record describes the segments [from, to) of a file to a core.
func (m *media) record(r *rendition, file int, from, to int) swarm.Record {
	c := r.chapter(file)
	rec := swarm.Record{Root: r.root(file), Length: int64(c.end-c.first) * wire.PieceBytes, Track: r.id}
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
