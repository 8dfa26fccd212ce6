package manifest

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
)

const (
	fingerprintMask  = 1<<48 - 1 // what a path index frame keeps of a fingerprint
	minIndexEntry    = 7
	fingerprintBytes = 6
)

// indexEntry says that a path of this fingerprint lies on this page.
type indexEntry struct {
	fingerprint uint64 // low 48 bits
	page        uint32
}

func fingerprint(path string) uint64 {
	sum := sha256.Sum256([]byte(path))
	return binary.BigEndian.Uint64(sum[:])
}

// bucketOf is floor(fingerprint * buckets / 2^64).
func bucketOf(fingerprint uint64, buckets int) int {
	high, _ := bits.Mul64(fingerprint, uint64(buckets))
	return int(high)
}

func appendBucket(b []byte, entries []indexEntry) []byte {
	slices.SortFunc(entries, func(x, y indexEntry) int {
		return cmp.Or(cmp.Compare(x.fingerprint, y.fingerprint), cmp.Compare(x.page, y.page))
	})
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for _, e := range entries {
		var f [8]byte
		binary.BigEndian.PutUint64(f[:], e.fingerprint)
		b = append(b, f[8-fingerprintBytes:]...)
		b = binary.AppendUvarint(b, uint64(e.page))
	}
	return b
}

func parseBucket(payload []byte, pageCount int, where string) ([]indexEntry, error) {
	d := &decoder{b: payload, where: where}
	entries := make([]indexEntry, d.count("entries", maxFramePayload, minIndexEntry))
	for i := range entries {
		var f [8]byte
		copy(f[8-fingerprintBytes:], d.bytes("fingerprint", fingerprintBytes))
		e := indexEntry{
			fingerprint: binary.BigEndian.Uint64(f[:]),
			page:        uint32(d.uvarint("page", uint64(max(pageCount, 1)-1))),
		}
		if i > 0 && e.fingerprint < entries[i-1].fingerprint {
			d.fail("fingerprint", "entry %d is out of order", i)
		}
		if d.err != nil {
			return nil, d.err
		}
		entries[i] = e
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	return entries, nil
}

// pagesOf lists the pages that may hold a path: one, or none, but for a collision of 48 bits.
func pagesOf(entries []indexEntry, fingerprint uint64) []int {
	fingerprint &= fingerprintMask
	i, _ := slices.BinarySearchFunc(entries, fingerprint, func(e indexEntry, f uint64) int {
		return cmp.Compare(e.fingerprint, f)
	})
	var pages []int
	for ; i < len(entries) && entries[i].fingerprint == fingerprint; i++ {
		pages = append(pages, int(entries[i].page))
	}
	return pages
}
