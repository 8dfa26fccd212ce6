// Package sample serves the sample title with a fresh manifest, as a CDN would:
// what measurements put behind the latency and the rate of their own origins.
package sample

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net/http"
	"os"
	"time"

	"shoal/engine/manifest"
	"shoal/engine/manifest/pack"
	"shoal/testdata"
)

// Handler returns the title's files below "/". It may be used by any goroutine.
func Handler(ctx context.Context) (http.Handler, error) {
	dir, err := os.MkdirTemp("", "sample")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.CopyFS(dir, testdata.Media()); err != nil {
		return nil, err
	}
	packed, err := pack.Pack(ctx, pack.Options{Source: dir})
	if err != nil {
		return nil, err
	}
	var title bytes.Buffer
	if err := manifest.Write(&title, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), packed.Content); err != nil {
		return nil, err
	}
	files := http.FileServerFS(testdata.Media())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/"+manifest.FileName {
			http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(title.Bytes()))
			return
		}
		files.ServeHTTP(w, r)
	}), nil
}
