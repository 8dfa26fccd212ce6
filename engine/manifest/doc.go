// Package manifest reads and writes title.shoal, the native manifest of a
// title: which files it has, when their bytes are due, and the hashes of their
// pieces.
//
// It decodes, verifies and encodes; it fetches nothing by itself (a Source
// does) and knows neither playlists nor peers. Package
// shoal/engine/manifest/pack makes manifests from media. A Title is safe for
// concurrent use by any goroutine; everything it returns is shared and must not
// be changed. Memory is bounded whatever the bytes say: every count is checked
// against a named limit and against the bytes that would have to carry it.
//
// # Hashes
//
// As in BitTorrent v2 (BEP 52): a file is cut into leaves of 16 KiB, each hashed
// with SHA-256; missing leaves are 32 zero bytes; the tree above is binary. Four
// leaves make a piece of 64 KiB. A file of one piece has the tree of its own
// leaves, padded to a power of two, and its root is the piece's hash. In a longer
// file every piece hash covers four leaves, and missing pieces are the hash of
// four zero leaves. 1,024 piece hashes make a group (64 MiB of media, 32 KiB of
// hashes), the unit in which hashes are read and exchanged.
//
// # File format, version 1
//
// Integers are big-endian; uvarint is the unsigned LEB128 of encoding/binary,
// zigzag its signed form; str is a uvarint count of bytes and UTF-8 without
// control characters; times are whole microseconds.
//
//	0   6  "shoal" and 0x1a
//	6   2  version, 1
//	8      one header frame, page frames in the order of their media time,
//	       path index frames
//
// A frame:
//
//	0   1  kind: 'H' header, 'P' page, 'I' path index
//	1   3  zero
//	4   4  index among the frames of its kind, from 0
//	8   4  bytes of the payload
//	12  8  bytes of the hash area (pages; zero in other frames)
//	20     payload
//	   64  Ed25519 signature by the publisher
//	       hash area
//
// The signature covers the 24 bytes "shoal manifest frame v1" and a zero byte, the
// title ID (32), the edition (16), the 20 bytes before the payload and the payload.
// In the header frame the title ID and the edition are zeros: its payload holds
// what they are made from. So no frame can be moved to another place, another
// title, or another edition of the same title. The hash area is not
// signed; the roots in the signed records vouch for it.
//
// Title ID = SHA-256("shoal title id v1", 0, publisher key, name).
//
// Header payload:
//
//	32      publisher's Ed25519 key
//	16      edition: the first half of SHA-256 over tracks and page payloads
//	1       flags: bit 0 = live, page frames may follow the last one known
//	str     name, 1..255 bytes
//	uvarint number of tracks, 1..256; each:
//	        uvarint ID, u8 kind (1 video, 2 audio, 3 muxed, 4 text, 5 image),
//	        uvarint bandwidth in bit/s, str name, str codecs, str language
//	uvarint number of pages, 0..16,384; each:
//	        uvarint gap since the end of the frame before, uvarint payload bytes,
//	        uvarint hash area bytes, uvarint start minus the start of the page
//	        before (pages are ordered by start), uvarint span
//	uvarint number of path index frames, 0..4,096; if any: uvarint gap since the
//	        last page, then of each its payload bytes; nothing lies between them
//
// Page payload: uvarint number of records, 1..4,096, ordered by start; each:
//
//	uvarint track ID
//	uvarint bytes that the path shares with the path of the record before of the
//	        same track on this page
//	str     the rest of the path (slash path below the title's top folder, at most
//	        1,024 bytes, no "." or ".." elements)
//	uvarint file length, 1..2^40
//	32      root
//	uvarint start minus the page's start
//	uvarint duration; 0 = no media time
//	u8      flags: bit 0 = has segments, bit 1 = each begins in the file where the
//	        one before ended, bit 2 = and so do their times
//	with segments: uvarint their number (1..65,536); zigzag start of the first minus
//	        the record's start; uvarint offset of the first; then of each, in turn:
//	        uvarint gap since the one before (from the second on, without bit 1),
//	        uvarint length, zigzag start minus the end of the one before (from the second
//	        on, without bit 2); then their durations as runs until all are covered:
//	        uvarint number of segments, zigzag duration minus the run's before
//
// A page's span covers the times of its records, and a record's those of its
// segments.
//
// The hash area of a page holds one entry per file of more than one piece, ordered
// by track and then as on the page, so that what a viewer of one track needs next
// lies together. An entry is, for files of more than 1,024 pieces, the hash of every
// group, then the hashes of all pieces.
//
// Path index frame i of n: uvarint number of entries, then, in ascending order, the
// low 6 bytes of the path's fingerprint and a uvarint page number. A
// fingerprint is the first 8 bytes of SHA-256(path) as an integer f; it belongs
// to the frame floor(f * n / 2^64). So a path at an unknown time costs one frame of
// about 4 KiB and one page.
//
// Appending (live) adds page frames at the end; their own preambles are enough
// to walk them. Path index frames then list the pages before them, and unknown
// kinds are to be stepped over.
//
// # Hashes from peers
//
// Between peers a group travels with its proof: the group's piece hashes, then, for
// files of more than one group, the sibling of each node on the way up to the
// root (log2 of the number of groups, rounded up). VerifyHashes checks it, AddHashes keeps
// it, HashBytes makes it.
package manifest
