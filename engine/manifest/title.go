package manifest

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync"
	"time"
)

// What a Title may hold: a title of two hours and 8 tracks has 1.3 MiB of pages and 250 KiB of path index; the hashes
// are those of a whole 8 GB file.
const (
	pageCacheBytes   = 4 << 20
	bucketCacheBytes = 1 << 20
	hashCacheBytes   = 4 << 20
	areaRuns         = 16 // read-ahead of hashes: 16 × 8 KiB
	recordCostBytes  = 192
	segmentCostBytes = 32
)

// Title is an opened manifest.
type Title struct {
	// constant after Open
	src      Source
	header   *header
	seal     seal
	trackIDs map[uint16]bool
	head     []byte // the file's first bytes, as Open got them

	mu      sync.Mutex
	flights map[flight]chan struct{}  // guarded by mu
	pages   *lru[int, []Record]       // guarded by mu
	paths   map[string]int            // guarded by mu: path → page, of the pages in the cache
	buckets *lru[int, []indexEntry]   // guarded by mu
	hashes  *lru[hashKey, *hashGroup] // guarded by mu
	uppers  *lru[Root, []Hash]        // guarded by mu: group hashes of files with several groups
	runs    [areaRuns]areaRun         // guarded by mu
	nextRun int                       // guarded by mu
}

// flight is something being read; a second reader of the same waits for the first.
type flight struct {
	kind  byte
	index int
	root  Root
}

type hashKey struct {
	root  Root
	group uint32
}

// hashGroup is a verified group with its proof.
type hashGroup struct {
	pieces []Hash
	proof  []Hash
}

// areaRun is a piece of a hash area that was read ahead. Its bytes are unverified.
type areaRun struct {
	offset int64
	data   []byte
}

// Open reads and checks a manifest's header: one read of 8 KiB and, when the header is longer, one more. A *FormatError
// means that the manifest is bad; other errors are the source's.
func Open(ctx context.Context, src Source) (*Title, error) {
	head, err := readUpTo(ctx, src, openReadBytes)
	if err != nil {
		return nil, fmt.Errorf("%s: read header: %w", FileName, err)
	}
	if len(head) < fileIntroBytes+preambleBytes {
		return nil, &FormatError{Where: "header", What: fmt.Sprintf("the file ends after %d bytes", len(head))}
	}
	if string(head[:len(magic)]) != magic {
		return nil, &FormatError{Where: "magic", What: "this is not a shoal manifest"}
	}
	if v := int(head[len(magic)])<<8 | int(head[len(magic)+1]); v != formatVersion {
		return nil, &FormatError{Where: "version", What: fmt.Sprintf("%d is not known here (only %d)", v, formatVersion)}
	}
	pre, _ := parseFrameHead(head[fileIntroBytes:])
	if pre.payloadBytes < ed25519.PublicKeySize || pre.payloadBytes > maxHeaderPayload {
		return nil, &FormatError{
			Where: "header: length",
			What:  fmt.Sprintf("%d bytes: not between %d and %d", pre.payloadBytes, ed25519.PublicKeySize, maxHeaderPayload),
		}
	}
	t := &Title{src: src, head: head}
	end := fileIntroBytes + frameOverhead + int(pre.payloadBytes)
	if end > len(head) {
		if t.head, err = t.read(ctx, 0, end, "header"); err != nil {
			return nil, err
		}
	}
	frame := t.head[fileIntroBytes:end]
	key := ed25519.PublicKey(frame[preambleBytes : preambleBytes+ed25519.PublicKeySize])
	payload, err := openFrame(frame, key, seal{}, frameHead{kind: kindHeader, payloadBytes: pre.payloadBytes}, "header")
	if err != nil {
		return nil, err
	}
	if t.header, err = parseHeader(payload, int64(end)); err != nil {
		return nil, err
	}
	t.init()
	return t, nil
}

func (t *Title) init() {
	t.seal = t.header.seal()
	t.trackIDs = make(map[uint16]bool, len(t.header.tracks))
	for _, track := range t.header.tracks {
		t.trackIDs[track.ID] = true
	}
	t.flights = make(map[flight]chan struct{})
	t.paths = make(map[string]int)
	t.pages = newLRU[int, []Record](pageCacheBytes)
	t.pages.evicted = func(page int, records []Record) {
		for i := range records {
			if t.paths[records[i].Path] == page {
				delete(t.paths, records[i].Path)
			}
		}
	}
	t.buckets = newLRU[int, []indexEntry](bucketCacheBytes)
	t.hashes = newLRU[hashKey, *hashGroup](hashCacheBytes)
	t.uppers = newLRU[Root, []Hash](hashCacheBytes)
}

// ID is the title's identity.
func (t *Title) ID() TitleID { return t.seal.title }

// Name is what the publisher calls the title.
func (t *Title) Name() string { return t.header.name }

// Edition tells two manifests of the same title apart; it changes with every change of the content.
func (t *Title) Edition() [16]byte { return t.header.edition }

// Publisher is the key that signed the manifest.
func (t *Title) Publisher() ed25519.PublicKey { return slices.Clone(t.header.publisher) }

// Tracks are the title's tracks in the publisher's order.
func (t *Title) Tracks() []Track { return slices.Clone(t.header.tracks) }

// PageCount is the number of pages.
func (t *Title) PageCount() int { return len(t.header.pages) }

// PageSpan is the media time that the records of page i cover, 0 ≤ i < PageCount. Pages are ordered by from; they overlap
// where a file is longer than a page.
func (t *Title) PageSpan(i int) (from, to time.Duration) {
	p := t.header.pages[i]
	return p.from, p.to
}

// PageFor finds the page of a path. It reads at most one path index frame (about 4 KiB), and nothing when a page read
// before has the path. A path that the title does not have may, very rarely (2^-48 per file), be said to be on some page.
func (t *Title) PageFor(ctx context.Context, path string) (page int, ok bool, err error) {
	pages, err := t.candidates(ctx, path)
	if err != nil || len(pages) == 0 {
		return 0, false, err
	}
	return pages[0], true, nil
}

func (t *Title) candidates(ctx context.Context, path string) ([]int, error) {
	t.mu.Lock()
	page, ok := t.paths[path]
	t.mu.Unlock()
	if ok {
		return []int{page}, nil
	}
	if len(t.header.buckets) == 0 || CheckPath(path) != nil {
		return nil, nil
	}
	f := fingerprint(path)
	entries, err := t.bucket(ctx, bucketOf(f, len(t.header.buckets)))
	return pagesOf(entries, f), err
}

func (t *Title) bucket(ctx context.Context, i int) (entries []indexEntry, err error) {
	err = t.share(ctx, flight{kind: kindIndex, index: i},
		func() (ok bool) { entries, ok = t.buckets.get(i); return ok },
		func() error {
			where := fmt.Sprintf("path index %d", i)
			payload, err := t.frame(ctx, kindIndex, i, t.header.buckets[i], where)
			if err != nil {
				return err
			}
			if entries, err = parseBucket(payload, len(t.header.pages), where); err != nil {
				return err
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			t.buckets.put(i, entries, len(entries)*16)
			return nil
		})
	return entries, err
}

// Page returns the records of page i, 0 ≤ i < PageCount, ordered by start.
func (t *Title) Page(ctx context.Context, i int) (records []Record, err error) {
	if i < 0 || i >= len(t.header.pages) {
		return nil, fmt.Errorf("%s: page %d of %d", FileName, i, len(t.header.pages))
	}
	err = t.share(ctx, flight{kind: kindPage, index: i},
		func() (ok bool) { records, ok = t.pages.get(i); return ok },
		func() error {
			where := fmt.Sprintf("page %d", i)
			e := t.header.pages[i]
			payload, err := t.frame(ctx, kindPage, i, e.extent, where)
			if err != nil {
				return err
			}
			if records, err = parsePage(payload, e, t.trackIDs, where); err != nil {
				return err
			}
			t.keepPage(i, records)
			return nil
		})
	return records, err
}

func (t *Title) keepPage(i int, records []Record) {
	cost := 0
	for j := range records {
		cost += recordCostBytes + len(records[j].Path) + segmentCostBytes*len(records[j].Segments)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for j := range records {
		t.paths[records[j].Path] = i
	}
	t.pages.put(i, records, cost)
}

// Lookup finds the record of a path: at most one path index frame and one page are read.
func (t *Title) Lookup(ctx context.Context, path string) (Record, bool, error) {
	pages, err := t.candidates(ctx, path)
	if err != nil {
		return Record{}, false, err
	}
	for _, page := range pages {
		records, err := t.Page(ctx, page)
		if err != nil {
			return Record{}, false, err
		}
		for i := range records {
			if records[i].Path == path {
				return records[i], true, nil
			}
		}
	}
	return Record{}, false, nil
}
