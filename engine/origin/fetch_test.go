package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFetchOfRanges(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%v", h2), func(t *testing.T) {
			wd := serve(t, h2, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
			for _, req := range []Request{
				{Length: -1},
				{Length: 1},
				{Length: int64(len(film))},
				{Offset: 65536, Length: 65536},
				{Offset: 299_999, Length: 1},
				{Offset: 200_000, Length: -1},
				{Offset: 290_000, Length: 65536},
			} {
				result := wd.wantFilm(req)
				require.Equal(t, int64(len(film)), result.TotalBytes)
				require.Equal(t, `"v1"`, result.Validator)
				require.Equal(t, 1, result.Attempts)
				require.Positive(t, result.TTFB)
				require.GreaterOrEqual(t, result.Duration, result.TTFB)
			}
			got, _, err := wd.get(Request{Offset: 5, Length: 0})
			require.NoError(t, err)
			require.Empty(t, got)
			first := wd.requests()[0]
			require.Equal(t, h2, first.ProtoMajor == 2)
			require.Equal(t, "identity", first.Header.Get("Accept-Encoding"))
			require.Empty(t, first.Header.Get("Range"), "a whole file needs none")
			require.Equal(t, "bytes=65536-131071", wd.requests()[3].Header.Get("Range"))
			for _, r := range wd.requests() {
				require.Equal(t, first.RemoteAddr, r.RemoteAddr, "the connection is used again")
			}
			require.Equal(t, uint64(7), wd.client.Stats().Requests)
			require.Zero(t, wd.client.Stats().InFlight)
		})
	}
}

func TestBytesComeAsTheyArrive(t *testing.T) {
	seen := make(chan struct{})
	wd := serve(t, false, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-seen // the second half is not sent before the first one was taken
		_, _ = io.WriteString(w, "after")
	})
	var got strings.Builder
	_, err := wd.client.Fetch(t.Context(), Request{Path: "/vod/a", Length: -1}, func(_ int64, p []byte) error {
		got.Write(p)
		if got.String() == "first" {
			close(seen)
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, "firstafter", got.String())
}

func TestResumesAtTheMissingByte(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%v", h2), func(t *testing.T) {
			wd := serve(t, h2, func(n int, w http.ResponseWriter, r *http.Request) {
				if n == 4 {
					serveFilm(w, r)
					return
				}
				panicAfter(50_000, w, r) // cut in the middle
			})
			result := wd.wantFilm(Request{Offset: 1000, Length: 250_000})
			require.Equal(t, 4, result.Attempts)
			asked := wd.requests()
			for i, r := range asked {
				var from, to int64
				_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
				require.NoError(t, err)
				require.Equal(t, int64(250_999), to)
				if i == 0 {
					require.Equal(t, int64(1000), from)
					require.Empty(t, r.Header.Get("If-Range"))
				} else {
					require.Greater(t, from, int64(i)*1000)
					require.Equal(t, `"v1"`, r.Header.Get("If-Range"), "the rest must be of the same version")
				}
			}
			require.Equal(t, uint64(3), wd.client.Stats().Retries)
		})
	}
}

// panicAfter serves the film and breaks the connection after n bytes.
func panicAfter(n int, w http.ResponseWriter, r *http.Request) {
	serveFilm(&cutWriter{ResponseWriter: w, left: n}, r)
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) >= w.left {
		_, _ = w.ResponseWriter.Write(p[:w.left])
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	w.left -= len(p)
	return w.ResponseWriter.Write(p)
}

func TestFileThatChangesBetweenAttempts(t *testing.T) {
	wd := serve(t, false, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			panicAfter(50_000, w, r)
		}
		w.Header().Set("ETag", `"v2"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(strings.Repeat("x", 300_000)))
	})
	got, _, err := wd.get(Request{Length: 250_000})
	require.ErrorIs(t, err, ErrChanged)
	require.Equal(t, film[:len(got)], got, "nothing of the new version")
	require.Len(t, wd.requests(), 2)
}

func TestPermanentStatusesEndTheFetchAtOnce(t *testing.T) {
	for _, code := range []int{204, 304, 400, 401, 403, 404, 405, 410, 451, 501} {
		wd := serve(t, false, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		_, result, err := wd.get(Request{Length: 100})
		var status *StatusError
		require.ErrorAs(t, err, &status)
		require.Equal(t, code, status.Code)
		require.Equal(t, "/vod/film.mp4", status.Path)
		require.Equal(t, 1, result.Attempts)
		require.Zero(t, result.TTFB)
	}
}

func TestAnswersOfBadOrigins(t *testing.T) {
	ranged := func(contentRange string, body string) handler {
		return func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", contentRange)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, body)
		}
	}
	soon := func() time.Time { return time.Now().Add(minBudget) } // retries make no difference
	ten := string(film[100:110])
	cases := []struct {
		name    string
		answer  handler
		req     Request
		want    string
		wantErr error
		retried bool
	}{
		{name: "good", answer: ranged("bytes 100-109/300000", ten), want: ten},
		{name: "total unknown", answer: ranged("bytes 100-109/*", ten), want: ten},
		{name: "longer than asked for", answer: ranged("bytes 100-199/300000", string(film[100:200])), want: ten},
		{name: "longer than promised", answer: ranged("bytes 100-109/300000", string(film[100:5000])), want: ten},
		{name: "file ends before", answer: ranged("bytes 100-104/105", ten[:5]), want: ten[:5]},
		{name: "other place", answer: ranged("bytes 0-9/300000", ten), wantErr: errRange, retried: true},
		{name: "no place", answer: ranged("", ten), wantErr: errRange, retried: true},
		{name: "nonsense", answer: ranged("bytes 100-99/18446744073709551616", ten), wantErr: errRange, retried: true},
		{
			name: "another length", answer: ranged("bytes 100-109/299999", ten),
			req: Request{TotalBytes: 300_000}, wantErr: ErrChanged,
		},
		{
			name: "ranges ignored", want: ten,
			answer: func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(film) },
		},
		{
			name: "ranges ignored, another length", req: Request{TotalBytes: 5}, wantErr: ErrChanged,
			answer: func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", strconv.Itoa(len(film)))
				_, _ = w.Write(film)
			},
		},
		{
			name: "ranges ignored, length unknown, file ends before", want: ten[:4],
			answer: func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.(http.Flusher).Flush()
				_, _ = w.Write(film[:104])
			},
		},
		{
			name: "ranges ignored, far into the file", req: Request{Offset: maxSkipBytes + 1}, wantErr: ErrNoRanges,
			answer: func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", strconv.Itoa(2*maxSkipBytes))
				_, _ = w.Write(film)
			},
		},
		{
			name: "compressed", wantErr: ErrEncoded,
			answer: func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(film)
			},
		},
		{
			name: "416 for a shorter file", req: Request{TotalBytes: 300_000}, wantErr: ErrChanged,
			answer: func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Range", "bytes */50")
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			},
		},
		{
			name: "416", wantErr: &StatusError{Code: 416, Path: "/vod/film.mp4"},
			answer: func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(416) },
		},
		{
			name: "redirects in circles", wantErr: errRedirects,
			answer: func(_ int, w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		},
		{
			name: "one byte at a time", wantErr: errRange, retried: true, want: "*",
			answer: func(_ int, w http.ResponseWriter, r *http.Request) {
				at, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
				w.Header().Set("Content-Range", "bytes "+at+"-"+at+"/300000")
				w.WriteHeader(http.StatusPartialContent)
				_, _ = io.WriteString(w, "x")
			},
			req: Request{Length: 3000},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // two of them take the time that retries take
			wd := serve(t, false, c.answer)
			if c.req.Offset == 0 {
				c.req.Offset = 100
			}
			if c.req.Length == 0 {
				c.req.Length = 10
			}
			c.req.Deadline = soon()
			got, result, err := wd.get(c.req)
			var status *StatusError
			switch {
			case c.wantErr == nil:
				require.NoError(t, err)
			case errors.As(c.wantErr, &status):
				require.Equal(t, c.wantErr, err)
			default:
				require.ErrorIs(t, err, c.wantErr)
			}
			if c.want != "*" {
				require.Equal(t, c.want, string(got))
			}
			require.Equal(t, c.retried, result.Attempts > 1)
		})
	}
}

func TestRangesWithoutTotalEndByThemselves(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
		var from int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil || from >= len(film) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(film)))
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		to := min(from+100_000, len(film))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", from, to-1))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(film[from:to])
	})
	result := wd.wantFilm(Request{Offset: 10, Length: -1})
	require.Equal(t, int64(len(film)), result.TotalBytes)
}

func TestValidatorsThatDoNotMatch(t *testing.T) {
	const monday, tuesday = "Mon, 05 Jan 2026 10:00:00 GMT", "Tue, 06 Jan 2026 10:00:00 GMT"
	cases := []struct {
		validator, tag, date string
		changed              bool
		ifRange              string
	}{
		{validator: "", tag: `"b"`, date: monday},
		{validator: `"a"`, tag: `"a"`, ifRange: `"a"`},
		{validator: `"a"`, tag: `W/"a"`, ifRange: `"a"`},
		{validator: `W/"a"`, tag: `"a"`, ifRange: ""}, // a weak tag must not be sent
		{validator: `"a"`, tag: `"b"`, changed: true, ifRange: `"a"`},
		{validator: `W/"a"`, tag: `"b"`, changed: true},
		{validator: `"a"`, date: monday, ifRange: `"a"`}, // nothing to compare
		{validator: monday, date: monday, ifRange: monday},
		{validator: monday, date: tuesday, changed: true, ifRange: monday},
	}
	for _, c := range cases {
		wd := serve(t, false, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header()["Etag"], w.Header()["Last-Modified"] = []string{c.tag}, []string{c.date}
			w.Header().Set("Content-Range", "bytes 5-9/300000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(film[5:10])
		})
		got, _, err := wd.get(Request{Offset: 5, Length: 5, Validator: c.validator})
		if c.changed {
			require.ErrorIs(t, err, ErrChanged, "%+v", c)
			require.Empty(t, got)
		} else {
			require.NoError(t, err, "%+v", c)
		}
		require.Equal(t, c.ifRange, wd.requests()[0].Header.Get("If-Range"), "%+v", c)
	}
}

func TestErrorOfTheConsumerEndsTheFetch(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
	mine := errors.New("enough")
	result, err := wd.client.Fetch(t.Context(), Request{Path: "/vod/film.mp4", Length: -1},
		func(int64, []byte) error { return mine })
	require.ErrorIs(t, err, mine)
	require.Zero(t, result.Bytes)
	require.Len(t, wd.requests(), 1)
}

func TestImpossibleRequests(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
	for _, req := range []Request{
		{Offset: -1, Length: 5},
		{Length: -2},
		{Path: "/other/film.mp4", Length: 1},
		{Path: "/vod/../film.mp4", Length: 1},
		{Path: "/vodka/film.mp4", Length: 1},
	} {
		_, _, err := wd.get(req)
		require.Error(t, err)
	}
	require.Empty(t, wd.requests())
}

func TestEarliestDeadlineIsNext(t *testing.T) {
	free := make(chan struct{})
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
		<-free
		serveFilm(w, r)
	})
	wd.client.limiter = newLimiter(1)
	now := time.Now()
	var group sync.WaitGroup
	for i, seconds := range []int{60, 50, 20, 40, 30} {
		group.Go(func() {
			_, err := wd.client.Fetch(t.Context(), Request{
				Path: fmt.Sprintf("/vod/%d", seconds), Length: 10, Deadline: now.Add(time.Duration(seconds) * time.Second),
			}, func(int64, []byte) error { return nil })
			if err != nil {
				t.Error(err)
			}
		})
		// The first one has its turn, the others queue one by one.
		require.Eventually(t, func() bool {
			st := wd.client.Stats()
			return st.InFlight == 1 && st.Waiting == i
		}, 20*time.Second, time.Millisecond)
	}
	close(free)
	group.Wait()
	var order []string
	for _, r := range wd.requests() {
		order = append(order, r.URL.Path)
	}
	require.Equal(t, []string{"/vod/60", "/vod/20", "/vod/30", "/vod/40", "/vod/50"}, order)
	require.Zero(t, wd.client.Stats().InFlight)
}

func TestLimiterSurvivesThoseWhoGiveUp(t *testing.T) {
	l := newLimiter(2)
	now := time.Now()
	require.NoError(t, l.acquire(t.Context(), now))
	require.NoError(t, l.acquire(t.Context(), now))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range maxWaiting * 2 {
		require.ErrorIs(t, l.acquire(gone, now), context.Canceled)
	}
	running, waiting := l.load()
	require.Equal(t, 2, running)
	require.Zero(t, waiting)
	l.release()
	l.release()
	require.NoError(t, l.acquire(gone, now), "a free slot is given without waiting")
	l.release()
	running, _ = l.load()
	require.Zero(t, running)

	// Those who wait are bounded.
	require.NoError(t, l.acquire(t.Context(), now))
	require.NoError(t, l.acquire(t.Context(), now))
	for range maxWaiting {
		l.waiters.Push(&waiter{})
	}
	require.ErrorIs(t, l.acquire(t.Context(), now), ErrBusy)
}

func BenchmarkFetch(b *testing.B) {
	for _, h2 := range []bool{false, true} {
		b.Run(fmt.Sprintf("h2=%v", h2), func(b *testing.B) {
			wd := serve(b, h2, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
			b.SetBytes(256 << 10)
			b.ReportAllocs()
			for b.Loop() {
				_, err := wd.client.Fetch(context.Background(), Request{Path: "/vod/film.mp4", Length: 256 << 10},
					func(int64, []byte) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
				wd.asked = wd.asked[:0]
			}
		})
	}
}
