package trace

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

// Open opens a file for reading, and un-gzips what is gzipped, whatever its name.
func Open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := Decompress(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return opened{r, f}, nil
}

type opened struct {
	io.Reader
	io.Closer
}

// Decompress returns what r holds, un-gzipped if it is gzipped. It streams: how
// far a small file inflates costs time, and no memory.
func Decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, lineBytesMax)
	magic, err := b.Peek(2)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if string(magic) != "\x1f\x8b" { // RFC 1952 §2.3.1
		return b, nil
	}
	return gzip.NewReader(b)
}
