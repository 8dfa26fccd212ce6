package origin

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/engine/manifest"
)

var _ manifest.Source = (*Source)(nil)

func TestSourceReadsAsAReaderAtDoes(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
	rapid.Check(t, func(rt *rapid.T) {
		s := wd.client.Source("/vod/title.shoal", nil)
		want := bytes.NewReader(film)
		for range rapid.IntRange(1, 8).Draw(rt, "reads") {
			off := rapid.OneOf(rapid.Int64Range(0, 40_000), rapid.Int64Range(290_000, 310_000)).Draw(rt, "off")
			p := make([]byte, rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(0, 100_000)).Draw(rt, "length"))
			q := bytes.Clone(p)
			n, err := s.ReadAt(t.Context(), p, off)
			m, wantErr := want.ReadAt(q, off)
			if len(p) == 0 {
				m, wantErr = 0, nil // bytes.Reader says EOF for nothing at the end
			}
			require.Equal(rt, m, n)
			require.Equal(rt, wantErr, err)
			require.True(rt, bytes.Equal(q[:m], p[:n]))
		}
	})
}

func TestNeighbouringReadsCostOneRequest(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
	s := wd.client.Source("/vod/title.shoal", nil)
	p := make([]byte, 100)
	for off := int64(0); off+100 <= readThroughBytes; off += 100 {
		n, err := s.ReadAt(t.Context(), p, off)
		require.NoError(t, err)
		require.Equal(t, film[off:off+100], p[:n])
	}
	require.Len(t, wd.requests(), 1)
	require.Equal(t, "bytes=0-16383", wd.requests()[0].Header.Get("Range"))
	// Reads elsewhere do not fill the memory.
	for i := range int64(20) {
		_, err := s.ReadAt(t.Context(), make([]byte, 1000), i*14_000)
		require.NoError(t, err)
	}
	require.Len(t, s.kept, keptReads)
	_, err := s.ReadAt(t.Context(), make([]byte, 2*keptReadBytes), 0)
	require.NoError(t, err)
	require.Len(t, s.kept, keptReads)
	_, err = s.ReadAt(t.Context(), p, -1)
	require.Error(t, err)
}

func TestSourceNoticesAnotherVersion(t *testing.T) {
	wd := serve(t, false, func(n int, w http.ResponseWriter, r *http.Request) {
		if n > 1 {
			w.Header().Set("ETag", `"v2"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(film[:200_000]))
			return
		}
		serveFilm(w, r)
	})
	s := wd.client.Source("/vod/title.shoal", nil)
	_, err := s.ReadAt(t.Context(), make([]byte, 10), 0)
	require.NoError(t, err)
	_, err = s.ReadAt(t.Context(), make([]byte, 10), 100_000)
	require.ErrorIs(t, err, ErrChanged)
}

func TestSourceOfNothing(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/vod/empty" {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(nil))
			return
		}
		w.WriteHeader(404)
	})
	_, err := wd.client.Source("/vod/empty", nil).ReadAt(t.Context(), make([]byte, 10), 0)
	require.ErrorIs(t, err, io.EOF)
	_, err = wd.client.Source("/vod/none", nil).ReadAt(t.Context(), make([]byte, 10), 0)
	var status *StatusError
	require.True(t, errors.As(err, &status))
	require.Equal(t, 404, status.Code)
}

func TestSourceUsesTheLatestCredentials(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
	s := wd.client.Source("/vod/title.shoal", &Credentials{Query: "t=1"})
	_, err := s.ReadAt(t.Context(), make([]byte, 10), 0)
	require.NoError(t, err)
	s.SetCredentials(&Credentials{Query: "t=2"})
	var group sync.WaitGroup
	for i := range int64(4) { // from several goroutines
		group.Go(func() {
			if _, err := s.ReadAt(t.Context(), make([]byte, 10), 50_000*i+20_000); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	asked := wd.requests()
	require.Equal(t, "t=1", asked[0].URL.RawQuery)
	require.Equal(t, "t=2", asked[1].URL.RawQuery)
}
