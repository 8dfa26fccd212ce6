package pack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/manifest/mp4"
)

// plan is what a title consists of before anything is hashed.
type plan struct {
	src       source
	tracks    []manifest.Track
	files     map[string]*planned
	order     []*planned      // in the order of their first mention
	playlists []*hashed       // in the order in which they were read
	lists     map[string]bool // paths of playlists read
}

// planned is a file with the uses that playlists make of it.
type planned struct {
	hashed
	track    uint16
	whole    bool // used as a whole: start and duration hold
	start    time.Duration
	duration time.Duration
	ranges   []manifest.Segment
}

// makePlan finds everything that belongs to the title.
func makePlan(ctx context.Context, src source) (*plan, error) {
	p := &plan{src: src, files: make(map[string]*planned), lists: make(map[string]bool)}
	playlists, movies, err := src.find(ctx)
	if err != nil {
		return nil, err
	}
	if len(playlists)+len(movies) == 0 {
		return nil, errors.New("there is no HLS playlist (.m3u8) and no MP4 in it; other formats, such as DASH, cannot be packed yet")
	}
	masters, media := make(map[string]*masterList), make(map[string]*mediaList)
	for _, r := range playlists {
		if err := p.read(ctx, r, masters, media); err != nil {
			return nil, err
		}
	}
	for _, r := range playlists {
		if master := masters[r.path]; master != nil {
			if err := p.addMaster(ctx, r, master, masters, media); err != nil {
				return nil, err
			}
		}
	}
	for _, r := range playlists {
		if list := media[r.path]; list != nil && !p.lists[r.path] {
			t := manifest.Track{Kind: manifest.KindMuxed, Name: r.path}
			if err := p.addMedia(r, list, t, false); err != nil {
				return nil, err
			}
		}
	}
	for _, r := range movies {
		if p.files[r.path] == nil {
			if err := p.addMovie(ctx, r, len(playlists)+len(movies) > 1); err != nil {
				return nil, err
			}
		}
	}
	if len(p.order) == 0 {
		return nil, errors.New("no playlist names a segment, and no MP4 has samples")
	}
	return p, nil
}

// read reads and parses a playlist once.
func (p *plan) read(ctx context.Context, r resource, masters map[string]*masterList, media map[string]*mediaList) error {
	if masters[r.path] != nil || media[r.path] != nil {
		return nil
	}
	b, err := p.src.playlist(ctx, r)
	if err != nil {
		return err
	}
	master, list, err := parsePlaylist(b)
	if err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	if master != nil {
		masters[r.path] = master
	} else {
		media[r.path] = list
	}
	h := &hashed{resource: r, size: int64(len(b))}
	hasher := new(pieceHasher)
	_, _ = hasher.Write(b)
	hasher.finish()
	h.pieces = hasher.pieces
	p.playlists = append(p.playlists, h)
	return nil
}

func (p *plan) addMaster(ctx context.Context, r resource, m *masterList, masters map[string]*masterList, media map[string]*mediaList) error {
	for _, e := range m.entries {
		list, err := p.src.resolve(r, e.uri)
		if err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		if p.lists[list.path] {
			continue
		}
		if err := p.read(ctx, list, masters, media); err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		if media[list.path] == nil {
			return fmt.Errorf("%s: %s is a master playlist again", r.path, list.path)
		}
		if e.track.Name == "" {
			e.track.Name = list.path
		}
		if err := p.addMedia(list, media[list.path], e.track, e.iFrame); err != nil {
			return err
		}
	}
	return nil
}

// addMedia adds a track. onlyNew skips what is known already: the ranges of an I-frame playlist lie inside of segments.
func (p *plan) addMedia(r resource, list *mediaList, t manifest.Track, onlyNew bool) error {
	p.lists[r.path] = true
	known := make(map[string]bool)
	if onlyNew {
		for name := range p.files {
			known[name] = true
		}
	}
	id, err := p.nextTrack()
	if err != nil {
		return err
	}
	t.ID = id
	before := len(p.order)
	var at time.Duration
	for i, s := range list.segments {
		if s.init != nil {
			if err := p.use(r, s.init.uri, s.init.byteRange, id, at, 0, known); err != nil {
				return fmt.Errorf("%s: EXT-X-MAP of segment %d: %w", r.path, i, err)
			}
		}
		if s.uri != "" {
			if err := p.use(r, s.uri, s.byteRange, id, at, s.duration, known); err != nil {
				return fmt.Errorf("%s: segment %d: %w", r.path, i, err)
			}
		}
		if at += s.duration; at > manifest.MaxTime {
			return fmt.Errorf("%s: segment %d: the title is longer than 49 days", r.path, i)
		}
	}
	if len(p.order) > before || !onlyNew {
		p.tracks = append(p.tracks, t)
	}
	return nil
}

func (p *plan) nextTrack() (uint16, error) {
	if len(p.tracks) >= manifest.MaxTracks {
		return 0, fmt.Errorf("more than %d tracks", manifest.MaxTracks)
	}
	return uint16(len(p.tracks)), nil
}

// use notes that a playlist needs a file, or a range of it, at a time. The first use of the same bytes counts.
func (p *plan) use(list resource, uri string, r byteRange, track uint16, start, duration time.Duration, known map[string]bool) error {
	file, err := p.src.resolve(list, uri)
	if err != nil {
		return err
	}
	if known[file.path] {
		return nil
	}
	f := p.files[file.path]
	if f == nil {
		f = &planned{hashed: hashed{resource: file}, track: track}
		p.files[file.path] = f
		p.order = append(p.order, f)
	}
	switch {
	case r.length > 0:
		f.ranges = append(f.ranges, manifest.Segment{Offset: r.offset, Length: r.length, Start: start, Duration: duration})
	case !f.whole:
		f.whole, f.start, f.duration = true, start, duration
	}
	return nil
}

func (p *plan) addMovie(ctx context.Context, r resource, skipEmpty bool) error {
	file, size, err := p.src.random(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := mp4.Parse(file, size)
	if errors.Is(err, mp4.ErrNoMedia) && skipEmpty {
		return nil // an initialization segment of something that is not packed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	t := manifest.Track{Kind: manifest.KindMuxed, Name: r.path, Codecs: info.Codecs}
	switch {
	case info.HasVideo && !info.HasAudio:
		t.Kind = manifest.KindVideo
	case info.HasAudio && !info.HasVideo:
		t.Kind = manifest.KindAudio
	}
	if t.ID, err = p.nextTrack(); err != nil {
		return err
	}
	f := &planned{hashed: hashed{resource: r}, track: t.ID}
	for _, s := range info.Segments {
		f.ranges = append(f.ranges, manifest.Segment(s))
	}
	p.files[r.path] = f
	p.order = append(p.order, f)
	p.tracks = append(p.tracks, t)
	return nil
}

// content makes records of the plan once its files are hashed. A file without a byte needs no record.
func (p *plan) content(name string) (manifest.Content, error) {
	c := manifest.Content{Name: name, Tracks: slices.Clone(p.tracks)}
	bytes, ends := make(map[uint16]int64), make(map[uint16]time.Duration)
	for _, f := range p.order {
		if f.size == 0 {
			continue
		}
		r := manifest.Record{Path: f.path, Length: f.size, Track: f.track, Start: f.start, Duration: f.duration}
		if !f.whole {
			var err error
			if r.Segments, err = tidyRanges(f.ranges, f.size); err != nil {
				return c, fmt.Errorf("%s: %w", f.path, err)
			}
		}
		bytes[f.track] += f.size
		ends[f.track] = max(ends[f.track], r.Start+r.Duration)
		for _, s := range r.Segments {
			ends[f.track] = max(ends[f.track], s.Start+s.Duration)
		}
		c.Files = append(c.Files, manifest.File{Record: r, Pieces: f.pieces})
	}
	for i := range c.Tracks {
		t := &c.Tracks[i]
		if end := ends[t.ID]; t.BandwidthBitsPerSec == 0 && end > 0 {
			t.BandwidthBitsPerSec = uint32(min(float64(bytes[t.ID])*8/end.Seconds(), 1<<32-1))
		}
		t.Name, t.Codecs, t.Language = clip(t.Name), clip(t.Codecs), clip(t.Language)
	}
	return c, nil
}

// tidyRanges orders the ranges of a file. Of bytes named twice the first use in time counts.
func tidyRanges(ranges []manifest.Segment, fileBytes int64) ([]manifest.Segment, error) {
	slices.SortStableFunc(ranges, func(a, b manifest.Segment) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Start, b.Start))
	})
	var out []manifest.Segment
	var end int64
	for _, s := range ranges {
		if s.Offset+s.Length > fileBytes {
			return nil, fmt.Errorf("a playlist names bytes %d to %d, but the file has %d", s.Offset, s.Offset+s.Length-1, fileBytes)
		}
		if over := end - s.Offset; over > 0 {
			s.Offset, s.Length = end, s.Length-over
		}
		if s.Length <= 0 {
			continue
		}
		out = append(out, s)
		end = s.Offset + s.Length
	}
	return out, nil
}

// clip makes a playlist's words fit for a manifest.
func clip(s string) string {
	out := make([]rune, 0, len(s))
	bytes := 0
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == '\uFFFD' {
			continue
		}
		if bytes += len(string(r)); bytes > 255 {
			break
		}
		out = append(out, r)
	}
	return string(out)
}
