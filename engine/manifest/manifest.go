package manifest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"
)

// FileName is the name under which a title's manifest lies in its top folder.
const FileName = "title.shoal"

// Root is the Merkle root of a file (BEP 52 "pieces root") and the file's identity on the wire and in the store.
type Root [sha256.Size]byte

// String is the root in hexadecimal.
func (r Root) String() string { return hex.EncodeToString(r[:]) }

// Hash is the hash of one piece, or of an inner node of a file's Merkle tree.
type Hash = [sha256.Size]byte

// TitleID identifies a title and its swarm. It depends on the publisher's key and the title's name alone: never on hosts,
// tokens or query strings, and not on the set of tracks either.
type TitleID [sha256.Size]byte

// String is the ID in hexadecimal.
func (id TitleID) String() string { return hex.EncodeToString(id[:]) }

// TitleIDOf derives the identity of the title that publisher calls name.
func TitleIDOf(publisher ed25519.PublicKey, name string) TitleID {
	h := sha256.New()
	_, _ = h.Write([]byte("shoal title id v1\x00"))
	_, _ = h.Write(publisher)
	_, _ = h.Write([]byte(name))
	return TitleID(h.Sum(nil))
}

// Kind says what a track carries.
type Kind uint8

// The kinds of tracks. The numbers are those of the file format.
const (
	KindVideo Kind = 1
	KindAudio Kind = 2
	KindMuxed Kind = 3
	KindText  Kind = 4
	KindImage Kind = 5
)

// String names the kind in lower case.
func (k Kind) String() string {
	switch k {
	case KindVideo:
		return "video"
	case KindAudio:
		return "audio"
	case KindMuxed:
		return "muxed"
	case KindText:
		return "text"
	case KindImage:
		return "image"
	default:
		return "unknown"
	}
}

// Track is one rendition of a title.
type Track struct {
	ID                  uint16
	Kind                Kind
	Name                string
	BandwidthBitsPerSec uint32 // peak rate as the playlist states it; 0 = unknown
	Codecs              string // RFC 6381; empty = unknown
	Language            string // BCP 47; empty = unknown
}

// Record describes one file of a title.
type Record struct {
	Path     string // slash path relative to the title's top folder, percent-decoded
	Length   int64
	Root     Root
	Track    uint16
	Start    time.Duration // media time of the file's first frame, or of its first use when Duration is zero
	Duration time.Duration // zero: no media time (an initialization segment)

	// Segments are byte ranges with their media times, by ascending offset. Empty: the whole file is one segment,
	// [Start, Start+Duration). A segment of zero duration is needed at its Start whatever the playhead (MP4 boxes).
	Segments []Segment

	hashOffset int64 // where the file's piece layer begins in the manifest; 0 = the record was not read from one
	hashEnd    int64 // end of the hash run that a read may take along: later files of the same track and page
}

// Segment is a byte range of a file and its time range.
type Segment struct {
	Offset, Length  int64
	Start, Duration time.Duration
}

// Source reads a manifest's bytes: a file, or an HTTP resource by ranges. The contract is that of io.ReaderAt: fewer bytes
// than asked only together with an error, io.EOF at the end. It must be safe for concurrent use.
type Source interface {
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
}

type readerAtSource struct{ r io.ReaderAt }

// ReaderAtSource makes a Source of a local file or a byte reader.
func ReaderAtSource(r io.ReaderAt) Source { return readerAtSource{r} }

func (s readerAtSource) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return s.r.ReadAt(p, off)
}
