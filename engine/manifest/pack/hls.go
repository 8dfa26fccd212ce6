package pack

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mogiioin/hls-m3u8/m3u8"

	"shoal/engine/manifest"
)

// mediaList is what a media playlist says of a track.
type mediaList struct {
	segments []listSegment
}

type listSegment struct {
	byteRange
	uri      string
	duration time.Duration
	init     *listInit // EXT-X-MAP that begins here; nil = as before, or none
}

type listInit struct {
	byteRange
	uri string
}

// byteRange is a part of a file; length 0 = the whole file.
type byteRange struct{ offset, length int64 }

// masterList is what a master playlist says of its media playlists, in the order of their first mention.
type masterList struct {
	entries []masterEntry
}

type masterEntry struct {
	uri    string
	track  manifest.Track // without ID
	iFrame bool
}

// rawTag keeps a tag's line as it is. The library does not tell "@0" from a missing offset in EXT-X-BYTERANGE, and does not
// parse the quoted BYTERANGE of EXT-X-MAP, so both are read from here.
type rawTag struct{ name, line string }

func (t rawTag) TagName() string                            { return t.name }
func (t rawTag) Decode(line string) (m3u8.CustomTag, error) { return rawTag{t.name, line}, nil }
func (t rawTag) SegmentTag() bool                           { return true }
func (t rawTag) Encode() *bytes.Buffer                      { return nil }
func (t rawTag) String() string                             { return t.line }

const (
	tagByteRange = "#EXT-X-BYTERANGE:"
	tagMap       = "#EXT-X-MAP:"
)

// parsePlaylist returns the one or the other.
func parsePlaylist(b []byte) (*masterList, *mediaList, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("#EXTM3U")) {
		return nil, nil, errors.New("not a playlist: #EXTM3U is missing")
	}
	if bytes.Contains(b, []byte("{$")) {
		return nil, nil, errors.New("EXT-X-DEFINE variables are not supported")
	}
	list, err := decodeList(b)
	if err != nil {
		return nil, nil, err
	}
	switch list := list.(type) {
	case *m3u8.MasterPlaylist:
		master, err := fromMaster(list)
		return master, nil, err
	case *m3u8.MediaPlaylist:
		media, err := fromMedia(list, bytes.Count(b, []byte("\n#EXTINF:")))
		return nil, media, err
	default:
		return nil, nil, errors.New("neither a master nor a media playlist")
	}
}

// decodeList calls the library. Version 0.6.1 panics where a URI without EXTINF follows a segment's tag as the first of its list:
// that is the list's fault here.
func decodeList(b []byte) (list m3u8.Playlist, err error) {
	defer func() {
		if r := recover(); r != nil {
			list, err = nil, errors.New("it is malformed: a segment's tags without the segment")
		}
	}()
	// Not strict: the library then also takes lists with tags it finds fault with. What matters here is checked afterwards.
	list, _, err = m3u8.DecodeWith(bytes.NewReader(b), false, []m3u8.CustomDecoder{rawTag{name: tagByteRange}, rawTag{name: tagMap}})
	return list, err
}

func fromMaster(list *m3u8.MasterPlaylist) (*masterList, error) {
	m := &masterList{}
	seen := make(map[string]bool)
	add := func(e masterEntry) {
		if e.uri != "" && !seen[e.uri] {
			seen[e.uri] = true
			m.entries = append(m.entries, e)
		}
	}
	for _, v := range list.Variants {
		if !v.Iframe {
			add(masterEntry{uri: v.URI, track: variantTrack(v)})
		}
	}
	for _, v := range list.Variants {
		for _, alt := range v.Alternatives {
			kind := manifest.KindAudio
			switch alt.Type {
			case "VIDEO":
				kind = manifest.KindVideo
			case "SUBTITLES":
				kind = manifest.KindText
			}
			add(masterEntry{uri: alt.URI, track: manifest.Track{Kind: kind, Name: alt.Name, Language: alt.Language}})
		}
	}
	// Last: most name ranges of files that are known by then.
	for _, v := range list.Variants {
		if v.Iframe {
			t := variantTrack(v)
			t.Kind = manifest.KindVideo
			t.Name = strings.TrimSpace(t.Name + " I-frames")
			add(masterEntry{uri: v.URI, track: t, iFrame: true})
		}
	}
	if len(m.entries) == 0 {
		return nil, errors.New("it names no media playlist")
	}
	return m, nil
}

func variantTrack(v *m3u8.Variant) manifest.Track {
	t := manifest.Track{
		Kind: manifest.KindMuxed, Name: v.Name, BandwidthBitsPerSec: v.Bandwidth, Codecs: v.Codecs,
	}
	if t.Name == "" {
		t.Name = v.Resolution
	}
	separateAudio := false
	for _, alt := range v.Alternatives {
		if alt.Type == "AUDIO" && alt.URI != "" {
			separateAudio = true
		}
	}
	video, audio := codecKinds(v.Codecs)
	switch {
	case audio && !video:
		t.Kind = manifest.KindAudio
	case separateAudio || video && !audio:
		t.Kind = manifest.KindVideo
	}
	return t
}

// codecKinds tells from RFC 6381 names what a track carries.
func codecKinds(codecs string) (video, audio bool) {
	for _, c := range strings.Split(codecs, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(c), ".")
		switch strings.ToLower(name) {
		case "mp4a", "ac-3", "ec-3", "ac-4", "opus", "flac", "fl", "alac", "mp3", "vorbis":
			audio = true
		case "stpp", "wvtt", "":
		default:
			video = true
		}
	}
	return video, audio
}

func fromMedia(list *m3u8.MediaPlaylist, tags int) (*mediaList, error) {
	m := &mediaList{}
	var before listSegment // the segment before, for ranges without an offset
	for _, s := range list.Segments {
		if s == nil {
			break
		}
		// A duration of zero is how the library reports one that it cannot parse.
		if !(s.Duration > 0) || s.Duration > manifest.MaxTime.Seconds() {
			return nil, fmt.Errorf("segment %d (%s): EXTINF is not a duration", len(m.segments), s.URI)
		}
		out := listSegment{uri: s.URI, duration: seconds(s.Duration)}
		if tag := s.Custom[tagByteRange]; tag != nil {
			r, explicit, err := parseRange(strings.TrimPrefix(tag.String(), tagByteRange))
			if err != nil {
				return nil, fmt.Errorf("segment %d (%s): %w", len(m.segments), s.URI, err)
			}
			if !explicit && before.uri == s.URI {
				r.offset = before.offset + before.length // RFC 8216 §4.3.2.2
			}
			out.byteRange = r
		}
		if tag := s.Custom[tagMap]; tag != nil {
			init, err := parseMap(strings.TrimPrefix(tag.String(), tagMap))
			if err != nil {
				return nil, fmt.Errorf("segment %d (%s): %w", len(m.segments), s.URI, err)
			}
			out.init = init
		}
		before = out
		if s.Gap {
			out.uri = "" // nothing is there (RFC 8216bis, EXT-X-GAP), but the time passes
		}
		m.segments = append(m.segments, out)
	}
	if len(m.segments) != tags {
		return nil, fmt.Errorf("%d EXTINF tags, but %d segments", tags, len(m.segments))
	}
	if len(m.segments) == 0 {
		return nil, errors.New("it names no segment")
	}
	return m, nil
}

// seconds rounds to the microsecond, which is what a manifest keeps.
func seconds(s float64) time.Duration {
	return time.Duration(math.Round(s*1e6)) * time.Microsecond
}

// parseRange reads "length[@offset]".
func parseRange(s string) (r byteRange, explicit bool, err error) {
	length, offset, explicit := strings.Cut(strings.TrimSpace(s), "@")
	if r.length, err = strconv.ParseInt(strings.TrimSpace(length), 10, 64); err == nil && explicit {
		r.offset, err = strconv.ParseInt(strings.TrimSpace(offset), 10, 64)
	}
	if err != nil || r.length <= 0 || r.offset < 0 || r.length > manifest.MaxFileBytes || r.offset > manifest.MaxFileBytes {
		return byteRange{}, false, fmt.Errorf("byte range %q: want length[@offset]", s)
	}
	return r, explicit, nil
}

var mapAttribute = regexp.MustCompile(`([A-Z0-9-]+)=("[^"]*"|[^",]*)`)

func parseMap(attributes string) (*listInit, error) {
	m := &listInit{}
	for _, a := range mapAttribute.FindAllStringSubmatch(attributes, -1) {
		value := strings.Trim(a[2], `"`)
		switch a[1] {
		case "URI":
			m.uri = value
		case "BYTERANGE":
			r, _, err := parseRange(value)
			if err != nil {
				return nil, fmt.Errorf("EXT-X-MAP: %w", err)
			}
			m.byteRange = r
		}
	}
	if m.uri == "" {
		return nil, errors.New("EXT-X-MAP: it has no URI")
	}
	return m, nil
}
