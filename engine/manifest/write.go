package manifest

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"shoal/internal/wire"
)

// Content is what a manifest says of a title.
type Content struct {
	Name   string // see TitleIDOf
	Tracks []Track
	Files  []File
}

// File is a record with its piece hashes. Write computes Record.Root.
type File struct {
	Record
	Pieces []Hash
}

// Write encodes and signs a complete manifest. The same content and key give the same bytes, whatever the order of
// c.Files. Times are rounded to microseconds; a file with segments covers exactly their times.
func Write(w io.Writer, key ed25519.PrivateKey, c Content) error {
	files, err := prepare(c)
	if err != nil {
		return err
	}
	h := &header{publisher: key.Public().(ed25519.PublicKey), name: c.Name, tracks: c.Tracks}
	pages := paginate(files)
	sum := sha256.New()
	_, _ = sum.Write(appendTracks(nil, c.Tracks))
	for _, p := range pages {
		_, _ = sum.Write(p.payload)
		h.pages = append(h.pages, p.entry)
	}
	copy(h.edition[:], sum.Sum(nil))
	buckets, err := indexPaths(pages)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		h.buckets = append(h.buckets, extent{payloadBytes: uint32(len(b))})
	}
	if err := checkLimits(h, pages); err != nil {
		return err
	}
	return writeFrames(w, key, h, pages, buckets)
}

func writeFrames(w io.Writer, key ed25519.PrivateKey, h *header, pages []page, buckets [][]byte) error {
	b := append([]byte(magic), formatVersion>>8, formatVersion)
	b = appendFrame(b, key, seal{}, kindHeader, 0, appendHeader(nil, h), 0)
	if _, err := w.Write(b); err != nil {
		return err
	}
	s := h.seal()
	for i, p := range pages {
		b = appendFrame(b[:0], key, s, kindPage, i, p.payload, p.entry.areaBytes)
		for _, j := range areaOrder(p.records) {
			if pieces := p.files[j].Pieces; len(pieces) > 1 {
				if len(pieces) > GroupPieces {
					b = appendHashes(b, groupHashes(pieces))
				}
				b = appendHashes(b, pieces)
			}
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	for i, bucket := range buckets {
		b = appendFrame(b[:0], key, s, kindIndex, i, bucket, 0)
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// prepare checks the content and returns the files in page order.
func prepare(c Content) ([]File, error) {
	if c.Name == "" || len(c.Name) > maxNameBytes || !isText(c.Name) {
		return nil, fmt.Errorf("title name %q: must be 1 to %d bytes of plain text", c.Name, maxNameBytes)
	}
	if len(c.Tracks) == 0 || len(c.Tracks) > MaxTracks {
		return nil, fmt.Errorf("%d tracks: must be 1 to %d", len(c.Tracks), MaxTracks)
	}
	if len(c.Files) == 0 {
		return nil, errors.New("the title has no files")
	}
	tracks := make(map[uint16]bool)
	for _, t := range c.Tracks {
		for _, s := range []string{t.Name, t.Codecs, t.Language} {
			if len(s) > maxNameBytes || !isText(s) {
				return nil, fmt.Errorf("track %d: %q: must be plain text of at most %d bytes", t.ID, s, maxNameBytes)
			}
		}
		if tracks[t.ID] {
			return nil, fmt.Errorf("track %d twice", t.ID)
		}
		tracks[t.ID] = true
	}
	files := slices.Clone(c.Files)
	seen := make(map[string]bool, len(files))
	for i := range files {
		f := &files[i]
		if err := prepareFile(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		if !tracks[f.Track] {
			return nil, fmt.Errorf("%s: unknown track %d", f.Path, f.Track)
		}
		if seen[f.Path] {
			return nil, fmt.Errorf("%s: recorded twice", f.Path)
		}
		seen[f.Path] = true
	}
	slices.SortFunc(files, func(a, b File) int {
		return cmp.Or(
			cmp.Compare(micros(a.Start), micros(b.Start)),
			// Initialization segments come before what needs them.
			cmp.Compare(min(a.Duration, 1), min(b.Duration, 1)),
			cmp.Compare(a.Track, b.Track),
			cmp.Compare(a.Path, b.Path))
	})
	return files, nil
}

func prepareFile(f *File) error {
	if err := CheckPath(f.Path); err != nil {
		return err
	}
	if f.Length <= 0 || f.Length > MaxFileBytes {
		return fmt.Errorf("length %d: must be 1 to %d", f.Length, int64(MaxFileBytes))
	}
	if want := wire.PieceCount(f.Length); len(f.Pieces) != int(want) {
		return fmt.Errorf("%d piece hashes, want %d", len(f.Pieces), want)
	}
	if len(f.Segments) > MaxSegments {
		return fmt.Errorf("%d segments: more than %d", len(f.Segments), MaxSegments)
	}
	end := int64(0)
	for i, s := range f.Segments {
		if s.Length <= 0 || s.Offset < end || s.Offset+s.Length > f.Length || s.Offset+s.Length < 0 {
			return fmt.Errorf("segment %d: bytes %d+%d are empty, overlap or end after the file's %d bytes", i, s.Offset, s.Length, f.Length)
		}
		end = s.Offset + s.Length
		if err := checkTime(s.Start, s.Duration); err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
		from, to := s.Start, s.Start+s.Duration
		if i > 0 {
			from, to = min(from, f.Start), max(to, f.Start+f.Duration)
		}
		f.Start, f.Duration = from, to-from
	}
	f.Root = FileRoot(f.Pieces)
	return checkTime(f.Start, f.Duration)
}

func checkTime(start, duration time.Duration) error {
	if start < 0 || duration < 0 || start > MaxTime || duration > MaxTime || start+duration > MaxTime {
		return fmt.Errorf("time %v+%v: must be within 49 days", start, duration)
	}
	return nil
}

// page is a page being written.
type page struct {
	files   []File
	records []Record
	payload []byte
	entry   pageEntry
}

// paginate cuts files into pages by the size of their encoding. The first page is small: Open's one read shall have it.
func paginate(files []File) []page {
	var pages []page
	for len(files) > 0 {
		target := pageBytes
		if len(pages) == 0 {
			target = firstPageBytes
		}
		b := newPageBuilder(files[0].Start)
		n := 0
		for ; n < len(files) && n < maxPageRecords; n++ {
			before := *b
			b.add(&files[n].Record)
			if n > 0 && len(b.payload) > target {
				*b = before // paths may hold too much now, but the page ends here
				break
			}
		}
		p := page{files: files[:n], payload: b.finish()}
		for i := range p.files {
			p.records = append(p.records, p.files[i].Record)
		}
		p.entry.payloadBytes = uint32(len(p.payload))
		p.entry.areaBytes = b.area
		p.entry.from, p.entry.to = fromMicros(b.from), fromMicros(b.to)
		pages = append(pages, p)
		files = files[n:]
	}
	return pages
}

func indexPaths(pages []page) ([][]byte, error) {
	total := 0
	for _, p := range pages {
		total += len(p.records)
	}
	count := min((total+bucketPaths-1)/bucketPaths, maxBuckets)
	entries := make([][]indexEntry, count)
	for i, p := range pages {
		for j := range p.records {
			f := fingerprint(p.records[j].Path)
			b := bucketOf(f, count)
			entries[b] = append(entries[b], indexEntry{fingerprint: f & fingerprintMask, page: uint32(i)})
		}
	}
	buckets := make([][]byte, count)
	for i := range entries {
		buckets[i] = appendBucket(nil, entries[i])
		if len(buckets[i]) > maxFramePayload {
			return nil, fmt.Errorf("%d files are too many for one title", total)
		}
	}
	return buckets, nil
}

func checkLimits(h *header, pages []page) error {
	if len(h.pages) > maxPages {
		return fmt.Errorf("the title needs %d pages: more than %d", len(h.pages), maxPages)
	}
	for _, p := range pages {
		if len(p.payload) > maxFramePayload {
			return fmt.Errorf("%s: its segments need %d bytes: more than %d", p.records[0].Path, len(p.payload), maxFramePayload)
		}
	}
	return nil
}
