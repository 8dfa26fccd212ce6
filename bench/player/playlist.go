package player

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/mogiioin/hls-m3u8/m3u8"
)

// rendition is one media playlist to choose from.
type rendition struct {
	url       *url.URL
	bandwidth int
	playlist  *mediaPlaylist // nil until loaded
	initURL   string         // the initialization segment appended last
}

// renditions of a title; audio is nil when it is muxed with the video.
type renditions struct {
	video, audio []*rendition
}

// mediaPlaylist is what a loader needs of a playlist.
type mediaPlaylist struct {
	segments []segment
	closed   bool // no more will come
	target   time.Duration
}

type segment struct {
	seq           uint64
	url           string
	offset, limit int64 // limit 0: whole file
	duration      time.Duration
	init          *segment
}

// mapRange is a byte range of an initialization segment.
var mapRange = regexp.MustCompile(`(?m)^(#EXT-X-MAP:.*BYTERANGE=)"(\d+)(@\d+)?"`)

// decode parses a playlist. The library reads the range of EXT-X-MAP only
// without the quotes that RFC 8216 §4.3.2.5 demands, and loses the tag with them.
func decode(body []byte) (m3u8.Playlist, m3u8.ListType, error) {
	body = mapRange.ReplaceAllFunc(body, func(tag []byte) []byte {
		m := mapRange.FindSubmatch(tag)
		offset := string(m[3])
		if offset == "" {
			offset = "@0"
		}
		return []byte(string(m[1]) + string(m[2]) + offset)
	})
	return m3u8.Decode(*bytes.NewBuffer(body), false)
}

// loadMaster loads the first playlist; a media playlist is a title with one
// rendition.
func (p *Player) loadMaster(ctx context.Context) (renditions, error) {
	body, at, err := p.load(ctx, request{url: p.cfg.URL, cmcd: cmcdFor("m")})
	if err != nil {
		return renditions{}, err
	}
	list, _, err := decode(body)
	if err != nil {
		return renditions{}, &LoadError{p.cfg.URL, fmt.Errorf("not a playlist: %w", err)}
	}
	switch list := list.(type) {
	case *m3u8.MediaPlaylist:
		r := &rendition{url: at}
		r.playlist, err = media(list, at)
		return renditions{video: []*rendition{r}}, err
	case *m3u8.MasterPlaylist:
		return master(list, at)
	default:
		return renditions{}, &LoadError{p.cfg.URL, fmt.Errorf("unknown playlist type %T", list)}
	}
}

// master sorts the variants, and finds the audio of the first.
func master(list *m3u8.MasterPlaylist, at *url.URL) (renditions, error) {
	var rs renditions
	for _, v := range list.Variants {
		if v == nil || v.Iframe || v.URI == "" {
			continue
		}
		u, err := at.Parse(v.URI)
		if err != nil {
			return rs, fmt.Errorf("variant %q: %w", v.URI, err)
		}
		rs.video = append(rs.video, &rendition{url: u, bandwidth: int(v.Bandwidth)})
		if rs.audio != nil || v.Audio == "" {
			continue
		}
		if audio := audioOf(v); audio != nil {
			u, err := at.Parse(audio.URI)
			if err != nil {
				return rs, fmt.Errorf("audio %q: %w", audio.URI, err)
			}
			rs.audio = []*rendition{{url: u}}
		}
	}
	if len(rs.video) == 0 {
		return rs, &LoadError{at.String(), fmt.Errorf("the master playlist has no variants")}
	}
	slices.SortStableFunc(rs.video, func(a, b *rendition) int { return a.bandwidth - b.bandwidth })
	// The same playlist with several audio groups is listed once per group.
	rs.video = slices.CompactFunc(rs.video, func(a, b *rendition) bool { return a.url.String() == b.url.String() })
	return rs, nil
}

// audioOf is the default audio of a variant's group that has a playlist of its own.
func audioOf(v *m3u8.Variant) *m3u8.Alternative {
	var found *m3u8.Alternative
	for _, a := range v.Alternatives {
		if a.Type == "AUDIO" && a.GroupId == v.Audio && a.URI != "" && (found == nil || a.Default && !found.Default) {
			found = a
		}
	}
	return found
}

// reload loads a rendition's media playlist.
func (p *Player) reload(ctx context.Context, r *rendition) error {
	body, at, err := p.load(ctx, request{url: r.url.String(), cmcd: cmcdFor("m")})
	if err != nil {
		return err
	}
	list, _, err := decode(body)
	if err != nil {
		return &LoadError{r.url.String(), fmt.Errorf("not a playlist: %w", err)}
	}
	m, ok := list.(*m3u8.MediaPlaylist)
	if !ok {
		return &LoadError{r.url.String(), fmt.Errorf("a media playlist was expected")}
	}
	r.playlist, err = media(m, at)
	return err
}

func media(list *m3u8.MediaPlaylist, at *url.URL) (*mediaPlaylist, error) {
	out := &mediaPlaylist{closed: list.Closed, target: time.Duration(list.TargetDuration) * time.Second}
	current := list.Map
	var previous *segment
	for _, s := range list.GetAllSegments() {
		if s == nil {
			continue
		}
		u, err := at.Parse(s.URI)
		if err != nil {
			return nil, fmt.Errorf("segment %q: %w", s.URI, err)
		}
		seg := segment{
			seq: s.SeqId, url: u.String(), offset: s.Offset, limit: s.Limit,
			duration: time.Duration(s.Duration * float64(time.Second)),
		}
		// Without @offset a range begins where the last one of that file ended
		// (RFC 8216 §4.3.2.2).
		if seg.limit > 0 && seg.offset == 0 && previous != nil && previous.url == seg.url {
			seg.offset = previous.offset + previous.limit
		}
		if s.Map != nil {
			current = s.Map
		}
		if current != nil {
			u, err := at.Parse(current.URI)
			if err != nil {
				return nil, fmt.Errorf("initialization segment %q: %w", current.URI, err)
			}
			seg.init = &segment{url: u.String(), offset: current.Offset, limit: current.Limit}
		}
		out.segments = append(out.segments, seg)
		previous = &out.segments[len(out.segments)-1]
	}
	return out, nil
}

// find returns the segment with this sequence number, or the first later one.
func (m *mediaPlaylist) find(seq uint64) (s, next *segment) {
	i, _ := slices.BinarySearchFunc(m.segments, seq, func(s segment, seq uint64) int {
		switch {
		case s.seq < seq:
			return -1
		case s.seq > seq:
			return 1
		default:
			return 0
		}
	})
	if i == len(m.segments) {
		return nil, nil
	}
	if i+1 < len(m.segments) {
		next = &m.segments[i+1]
	}
	return &m.segments[i], next
}

// liveDelay is how many segments behind the end of a live playlist a player
// begins (RFC 8216 §6.3.3).
const liveDelay = 3

func (m *mediaPlaylist) first() uint64 {
	if len(m.segments) == 0 {
		return 0
	}
	if m.closed {
		return m.segments[0].seq
	}
	return m.segments[max(len(m.segments)-liveDelay, 0)].seq
}
