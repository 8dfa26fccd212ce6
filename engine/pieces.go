package engine

import (
	"slices"
	"time"
)

// PieceMap is the neighbourhood of a playhead, piece by piece.
type PieceMap struct {
	Title     string       `json:"title"`
	Viewer    string       `json:"viewer"`
	PositionS float64      `json:"position_s"`
	FromS     float64      `json:"from_s"`
	ToS       float64      `json:"to_s"`
	Segments  []SegmentMap `json:"segments"` // by track, then in the order of time
}

// SegmentMap is one segment of a PieceMap.
type SegmentMap struct {
	Path      string  `json:"path"`
	Track     uint16  `json:"track"`
	Kind      string  `json:"kind"`
	StartS    float64 `json:"start_s"`
	DurationS float64 `json:"duration_s"`
	// Pieces has one letter per piece that the segment touches: '.' neither here
	// nor needed, 'w' wanted, 'a' asked of seeds, 'f' on its way from the CDN,
	// and here: 'P' from peers, 'C' from the CDN, 'M' from both, 'K' since an
	// earlier run.
	Pieces string `json:"pieces"`
}

const (
	// mapBehind and mapAhead are the media time around the playhead that a
	// PieceMap shows: what is downloaded ahead, and a little of what was played.
	mapBehind = 20 * time.Second
	mapAhead  = 80 * time.Second

	// mapPiecesMax bounds a PieceMap; the rest is left out. 100 s of 40 Mbit/s.
	mapPiecesMax = 8192
)

// Pieces returns the map around a viewer's playhead. Title and viewer are the
// IDs of Status; an empty one means the viewer that reported or read last.
// False: there is no such viewer, or the Engine is closed.
func (e *Engine) Pieces(title, viewer string) (PieceMap, bool) {
	var m PieceMap
	ok := false
	done := make(chan struct{})
	if !e.post(func(now time.Time) { m, ok = e.loop.pieces(now, title, viewer); close(done) }) {
		return PieceMap{}, false
	}
	select {
	case <-done:
		return m, ok
	case <-e.loopDone:
		return PieceMap{}, false
	}
}

func (l *loop) pieces(now time.Time, title, viewer string) (PieceMap, bool) {
	s, v := l.findViewer(title, viewer)
	if v == nil {
		return PieceMap{}, false
	}
	position := v.last.at(now).Position
	from, to := max(position-mapBehind, 0), position+mapAhead
	m := PieceMap{
		Title: s.id.String(), Viewer: v.id, PositionS: position.Seconds(),
		FromS: from.Seconds(), ToS: to.Seconds(), Segments: []SegmentMap{},
	}
	tracks := make([]uint16, 0, len(v.tracks))
	for track := range v.tracks {
		tracks = append(tracks, track)
	}
	slices.Sort(tracks)
	var states []byte
	count := 0
	for _, track := range tracks {
		for _, x := range s.window(track, from, to) {
			states = l.core.PieceStates(x.content.handle, x.offset, x.length, states[:0])
			if count += len(states); count > mapPiecesMax {
				return m, true
			}
			m.Segments = append(m.Segments, SegmentMap{
				Path: x.file.path, Track: track, Kind: kindOf(v.title, track),
				StartS: x.start.Seconds(), DurationS: (x.end - x.start).Seconds(), Pieces: string(states),
			})
		}
	}
	return m, true
}

// findViewer returns the viewer with these IDs; an empty one matches any, and
// of several the one used last.
func (l *loop) findViewer(title, viewer string) (*titleState, *Viewer) {
	var inTitle *titleState
	var found *Viewer
	for _, s := range l.titleList {
		if title != "" && s.id.String() != title {
			continue
		}
		for _, v := range s.viewers {
			if viewer != "" && v.id != viewer {
				continue
			}
			if found == nil || v.lastUsed.Load() > found.lastUsed.Load() {
				inTitle, found = s, v
			}
		}
	}
	return inTitle, found
}

func kindOf(t *Title, track uint16) string {
	for _, tr := range t.Tracks() {
		if tr.ID == track {
			return tr.Kind.String()
		}
	}
	return ""
}
