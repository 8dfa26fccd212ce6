package manifest

import (
	"crypto/ed25519"
	"encoding/binary"
	"math"
	"time"
)

const flagLive = 1

// extent locates a frame.
type extent struct {
	offset       int64
	payloadBytes uint32
	areaBytes    int64 // hash area behind it (pages)
}

func (e extent) frameBytes() int64 { return frameOverhead + int64(e.payloadBytes) }
func (e extent) end() int64        { return e.offset + e.frameBytes() + e.areaBytes }

// pageEntry is a page as the header lists it.
type pageEntry struct {
	extent
	from, to time.Duration
}

// header is the decoded payload of the header frame.
type header struct {
	publisher ed25519.PublicKey
	edition   [16]byte
	live      bool
	name      string
	tracks    []Track
	pages     []pageEntry
	buckets   []extent
}

func (h *header) seal() seal {
	return seal{title: TitleIDOf(h.publisher, h.name), edition: h.edition}
}

func appendTracks(b []byte, tracks []Track) []byte {
	b = binary.AppendUvarint(b, uint64(len(tracks)))
	for _, t := range tracks {
		b = binary.AppendUvarint(b, uint64(t.ID))
		b = append(b, byte(t.Kind))
		b = binary.AppendUvarint(b, uint64(t.BandwidthBitsPerSec))
		b = appendStr(b, t.Name)
		b = appendStr(b, t.Codecs)
		b = appendStr(b, t.Language)
	}
	return b
}

// appendHeader encodes h. The offsets in h.pages and h.buckets are ignored: frames follow each other without gaps.
func appendHeader(b []byte, h *header) []byte {
	b = append(b, h.publisher...)
	b = append(b, h.edition[:]...)
	var flags byte
	if h.live {
		flags |= flagLive
	}
	b = append(b, flags)
	b = appendStr(b, h.name)
	b = appendTracks(b, h.tracks)
	b = binary.AppendUvarint(b, uint64(len(h.pages)))
	var before int64
	for _, p := range h.pages {
		from, span := roundSpan(p.from, p.to-p.from)
		b = binary.AppendUvarint(b, 0)
		b = binary.AppendUvarint(b, uint64(p.payloadBytes))
		b = binary.AppendUvarint(b, uint64(p.areaBytes))
		b = binary.AppendUvarint(b, uint64(from-before))
		b = binary.AppendUvarint(b, uint64(span))
		before = from
	}
	b = binary.AppendUvarint(b, uint64(len(h.buckets)))
	if len(h.buckets) > 0 {
		b = binary.AppendUvarint(b, 0)
	}
	for _, x := range h.buckets {
		b = binary.AppendUvarint(b, uint64(x.payloadBytes))
	}
	return b
}

// parseHeader decodes a header payload; end is where the header's frame ends in the file.
func parseHeader(payload []byte, end int64) (*header, error) {
	d := &decoder{b: payload, where: "header"}
	h := &header{}
	h.publisher = append(h.publisher, d.bytes("publisher", ed25519.PublicKeySize)...)
	copy(h.edition[:], d.bytes("edition", len(h.edition)))
	flags := d.u8("flags")
	if flags&^flagLive != 0 {
		d.fail("flags", "unknown flags 0x%02x", flags)
	}
	h.live = flags&flagLive != 0
	h.name = d.str("name")
	if h.name == "" {
		d.fail("name", "is empty")
	}
	h.tracks = parseTracks(d)
	h.pages, end = parsePageEntries(d, end)
	n := d.count("path index", maxBuckets, 1)
	if n > 0 {
		end += int64(d.uvarint("path index gap", MaxFileBytes))
		h.buckets = make([]extent, n)
	}
	for i := range h.buckets {
		h.buckets[i] = extent{offset: end, payloadBytes: uint32(d.uvarint("path index bytes", maxFramePayload))}
		end = h.buckets[i].end()
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	return h, nil
}

func parseTracks(d *decoder) []Track {
	n := d.count("tracks", MaxTracks, minTrackBytes)
	if n == 0 {
		d.fail("tracks", "there are none")
	}
	tracks := make([]Track, n)
	seen := make(map[uint16]bool, n)
	for i := range tracks {
		t := Track{
			ID:                  uint16(d.uvarint("track ID", math.MaxUint16)),
			Kind:                Kind(d.u8("track kind")),
			BandwidthBitsPerSec: uint32(d.uvarint("track bandwidth", math.MaxUint32)),
			Name:                d.str("track name"),
			Codecs:              d.str("track codecs"),
			Language:            d.str("track language"),
		}
		if t.Kind < KindVideo || t.Kind > KindImage {
			d.fail("track kind", "unknown kind %d", t.Kind)
		}
		if seen[t.ID] {
			d.fail("track ID", "%d twice", t.ID)
		}
		seen[t.ID] = true
		tracks[i] = t
	}
	return tracks
}

func parsePageEntries(d *decoder, end int64) ([]pageEntry, int64) {
	pages := make([]pageEntry, d.count("pages", maxPages, minPageEntryBytes))
	var from int64
	for i := range pages {
		end += int64(d.uvarint("page gap", MaxFileBytes))
		p := &pages[i]
		p.offset = end
		p.payloadBytes = uint32(d.uvarint("page bytes", maxFramePayload))
		p.areaBytes = int64(d.uvarint("page hash area", MaxFileBytes))
		from += int64(d.uvarint("page start", uint64(maxTimeMicros)))
		span := int64(d.uvarint("page span", uint64(maxTimeMicros)))
		if from+span > maxTimeMicros {
			d.fail("page span", "page %d ends after 49 days", i)
			return nil, end
		}
		p.from, p.to = fromMicros(from), fromMicros(from+span)
		end = p.end()
	}
	return pages, end
}
