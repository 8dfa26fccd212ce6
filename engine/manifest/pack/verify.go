package pack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"shoal/engine/manifest"
	"shoal/internal/wire"
)

// Problem is one thing wrong with a title's files.
type Problem struct {
	Path  string
	Piece int // -1 = the whole file
	What  string
}

// String is one line that names the file and the piece.
func (p Problem) String() string {
	if p.Piece < 0 {
		return p.Path + ": " + p.What
	}
	from := int64(p.Piece) * wire.PieceBytes
	return fmt.Sprintf("%s: piece %d (from byte %d): %s", p.Path, p.Piece, from, p.What)
}

// Verify re-checks every file that the manifest of a folder (or beside a URL) records, and returns what is wrong, in the
// order of the manifest. An error means that the check could not be done; a bad manifest is a *manifest.FormatError.
func Verify(ctx context.Context, o Options) (title *manifest.Title, problems []Problem, err error) {
	src, closer, err := openSource(o.Source, o.Client)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = closer.Close() }()
	place := resource{path: manifest.FileName}
	if w, ok := src.(*web); ok {
		place.url = w.below(manifest.FileName)
	}
	file, _, err := src.random(ctx, place)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s: there is no %s: pack the title first", filepath.Clean(o.Source), manifest.FileName)
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = file.Close() }()
	if title, err = manifest.Open(ctx, manifest.ReaderAtSource(file)); err != nil {
		return nil, nil, err
	}
	records, files, err := recorded(ctx, src, title)
	if err != nil {
		return title, nil, err
	}
	if err := indexed(ctx, manifest.ReaderAtSource(file), records); err != nil {
		return title, nil, err
	}
	if err := src.hash(ctx, files, o.hashOptions(true)); err != nil {
		return title, nil, err
	}
	for i, h := range files {
		found, err := compare(ctx, title, records[i], h)
		if err != nil {
			return title, nil, err
		}
		problems = append(problems, found...)
	}
	return title, problems, nil
}

// recorded lists all files of a title.
func recorded(ctx context.Context, src source, title *manifest.Title) (records []manifest.Record, files []*hashed, err error) {
	for page := range title.PageCount() {
		onPage, err := title.Page(ctx, page)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range onPage {
			h := &hashed{resource: resource{path: r.Path}}
			if w, ok := src.(*web); ok {
				h.url = w.below(r.Path)
			}
			records, files = append(records, r), append(files, h)
		}
	}
	return records, files, nil
}

// indexed checks that the path index leads to every record. It opens the manifest anew: a Title that has read its pages
// does not look there.
func indexed(ctx context.Context, src manifest.Source, records []manifest.Record) error {
	title, err := manifest.Open(ctx, src)
	if err != nil {
		return err
	}
	for _, r := range records {
		_, ok, err := title.PageFor(ctx, r.Path)
		if err != nil {
			return err
		}
		if !ok {
			return &manifest.FormatError{Where: "path index", What: "does not have " + r.Path}
		}
	}
	return nil
}

func compare(ctx context.Context, title *manifest.Title, r manifest.Record, h *hashed) ([]Problem, error) {
	switch {
	case errors.Is(h.err, fs.ErrNotExist):
		return []Problem{{Path: r.Path, Piece: -1, What: "the file is missing"}}, nil
	case h.err != nil:
		return []Problem{{Path: r.Path, Piece: -1, What: h.err.Error()}}, nil
	}
	var problems []Problem
	if h.size != r.Length {
		problems = append(problems, Problem{r.Path, -1, fmt.Sprintf("it has %d bytes, recorded are %d", h.size, r.Length)})
	}
	for group := range manifest.GroupCount(r.Length) {
		want, err := title.Hashes(ctx, r, group)
		if err != nil {
			return nil, err
		}
		for i, hash := range want {
			piece := int(group)*manifest.GroupPieces + i
			// Only pieces of the recorded size can be compared one by one.
			if wire.PieceSize(h.size, uint32(piece)) == wire.PieceSize(r.Length, uint32(piece)) && h.pieces[piece] != hash {
				problems = append(problems, Problem{r.Path, piece, "its bytes are not the recorded ones"})
			}
		}
	}
	return problems, nil
}
