package engine_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"shoal/engine"
	"shoal/engine/manifest"
	"shoal/internal/wire"
)

// An application opens a title, reads a range of a file with a deadline, and
// asks where the bytes came from. Here the origin is a test server and there
// are no other viewers, so they come from the origin.
func Example() {
	film := bytes.Repeat([]byte("a film of one picture. "), 10_000)
	cdn := httptest.NewServer(filmOrigin(film))
	defer cdn.Close()

	e, err := engine.New(engine.Config{Origin: cdn.URL + "/vod", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = e.Close() }()

	ctx := context.Background()
	title, err := e.OpenTitle(ctx, "film/film.mp4", nil)
	if err != nil {
		log.Fatal(err)
	}
	file, err := title.File(ctx, "film/film.mp4")
	if err != nil {
		log.Fatal(err)
	}
	r, err := file.Open(ctx, engine.OpenOptions{Offset: 100_000, Length: 50_000, Deadline: time.Now().Add(5 * time.Second)})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(file.ContentType(), len(data), "bytes, right:", bytes.Equal(data, film[100_000:150_000]))
	fmt.Println("saved:", e.Status().Saving)
	// Output:
	// video/mp4 50000 bytes, right: true
	// saved: 0
}

// filmOrigin serves the film and its manifest below /vod/film/. A publisher
// makes the manifest with shoal pack.
func filmOrigin(film []byte) http.Handler {
	f := manifest.File{Record: manifest.Record{
		Path: "film.mp4", Length: int64(len(film)), Track: 1, Duration: time.Minute,
	}}
	for p := range wire.PieceCount(f.Length) {
		from := int(p) * wire.PieceBytes
		f.Pieces = append(f.Pieces, manifest.PieceHash(film[from:from+wire.PieceSize(f.Length, p)], p, f.Length))
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	var description bytes.Buffer
	err = manifest.Write(&description, key, manifest.Content{
		Name:   "film",
		Tracks: []manifest.Track{{ID: 1, Kind: manifest.KindMuxed, Name: "film"}},
		Files:  []manifest.File{f},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	serve := func(path string, data []byte) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, path, time.Time{}, bytes.NewReader(data))
		})
	}
	serve("/vod/film/film.mp4", film)
	serve("/vod/film/"+manifest.FileName, description.Bytes())
	return mux
}
