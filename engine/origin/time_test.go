package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Everything here runs in virtual time, over pipes.

func TestServerErrorsAreRetriedInsideTheDeadline(t *testing.T) {
	for _, code := range []int{408, 425, 429, 500, 502, 503, 504} {
		synctest.Test(t, func(t *testing.T) {
			wd := serveInside(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if n <= 4 {
					w.WriteHeader(code)
					return
				}
				serveFilm(w, r)
			})
			start := time.Now()
			result := wd.wantFilm(Request{Length: 1000, Deadline: start.Add(10 * time.Second)})
			require.Equal(t, 5, result.Attempts)
			require.Less(t, time.Since(start), backoffBase*(2+4+8+16), "the sum of the largest pauses")
		})
	}
}

func TestServerErrorsEndWithTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
		start := time.Now()
		_, result, err := wd.get(Request{Length: 1000, Deadline: start.Add(8 * time.Second)})
		var status *StatusError
		require.ErrorIs(t, err, ErrDeadline)
		require.ErrorAs(t, err, &status)
		require.Equal(t, 503, status.Code)
		require.LessOrEqual(t, time.Since(start), 8*time.Second)
		require.Greater(t, result.Attempts, 5)
		require.Less(t, result.Attempts, 30, "backs off")
	})
}

func TestFetchWithoutDeadlineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
		start := time.Now()
		_, _, err := wd.get(Request{Length: 1000})
		require.Error(t, err)
		require.LessOrEqual(t, time.Since(start), defaultBudget)
		// A far deadline is no reason to try for ever.
		start = time.Now()
		_, result, err := wd.get(Request{Length: 1000, Deadline: start.Add(time.Hour)})
		require.Error(t, err)
		require.Equal(t, maxFailures, result.Attempts)
		require.Less(t, time.Since(start), 2*time.Minute)
	})
}

func TestWhoComesLateStillGetsATry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
		wd.wantFilm(Request{Length: 1000, Deadline: time.Now().Add(-time.Second)})
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for _, form := range []string{"seconds", "date"} {
		synctest.Test(t, func(t *testing.T) {
			var times []time.Time
			wd := serveInside(t, func(n int, w http.ResponseWriter, r *http.Request) {
				times = append(times, time.Now())
				if n > 1 {
					serveFilm(w, r)
					return
				}
				if form == "seconds" {
					w.Header().Set("Retry-After", "4")
				} else {
					w.Header().Set("Retry-After", time.Now().Add(4*time.Second).UTC().Format(http.TimeFormat))
				}
				w.WriteHeader(503)
			})
			wd.wantFilm(Request{Length: 1000, Deadline: time.Now().Add(20 * time.Second)})
			require.GreaterOrEqual(t, times[1].Sub(times[0]), 3*time.Second) // a date has whole seconds
			require.Less(t, times[1].Sub(times[0]), 5*time.Second)
		})
	}
}

func TestRetryAfterBeyondTheDeadlineLeavesOneTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []time.Time
		wd := serveInside(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			times = append(times, time.Now())
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(429)
		})
		start := time.Now()
		_, _, err := wd.get(Request{Length: 1000, Deadline: start.Add(8 * time.Second)})
		require.ErrorIs(t, err, ErrDeadline)
		require.Len(t, times, 2)
		require.InDelta(t, 6, times[1].Sub(start).Seconds(), 0.5)
		require.LessOrEqual(t, time.Since(start), 8*time.Second)
	})
}

func TestSilentConnectionIsReplaced(t *testing.T) {
	for name, stall := range map[string]func(n int, w http.ResponseWriter){
		"before the headers": func(int, http.ResponseWriter) {},
		"after the headers":  func(_ int, w http.ResponseWriter) { promise(w, 0, 1000) },
		"in the body": func(n int, w http.ResponseWriter) {
			promise(w, (n-1)*300, 1000)
			_, _ = w.Write(film[(n-1)*300 : n*300])
			w.(http.Flusher).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wd := serveInside(t, func(n int, w http.ResponseWriter, r *http.Request) {
					if n <= 2 {
						stall(n, w)
						<-r.Context().Done() // the client hangs up
						return
					}
					serveFilm(w, r)
				})
				start := time.Now()
				var at int64
				result, err := wd.client.Fetch(t.Context(), Request{
					Path: "/vod/film.mp4", Length: 1000, Deadline: start.Add(9 * time.Second),
				}, func(off int64, p []byte) error {
					require.Equal(t, at, off)
					at += int64(len(p))
					return nil
				})
				require.NoError(t, err)
				require.Equal(t, int64(1000), at)
				require.Equal(t, 3, result.Attempts)
				require.Less(t, time.Since(start), 8*time.Second, "a third of the time, then half of it")
				require.Equal(t, uint64(2), wd.client.Stats().Stalls)
			})
		})
	}
}

// promise sends the headers of a part of the film.
func promise(w http.ResponseWriter, from, to int) {
	w.Header().Set("ETag", `"v1"`)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(film)))
	w.WriteHeader(http.StatusPartialContent)
	w.(http.Flusher).Flush()
}

func TestDeadOriginIsGivenUpAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		start := time.Now()
		_, result, err := wd.get(Request{Length: 1000, Deadline: start.Add(5 * time.Second)})
		require.ErrorIs(t, err, ErrDeadline)
		require.ErrorIs(t, err, ErrStalled)
		require.LessOrEqual(t, time.Since(start), 5*time.Second)
		require.GreaterOrEqual(t, result.Attempts, 3)
		require.Zero(t, result.TTFB)
	})
}

func TestSlowOriginIsNotAbandonedForEver(t *testing.T) {
	// Its first byte takes 1.3 s, which is more than a third of the 3 s that there are: patience grows.
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			timer := time.NewTimer(1300 * time.Millisecond)
			defer timer.Stop()
			select {
			case <-timer.C:
				serveFilm(w, r)
			case <-r.Context().Done():
			}
		})
		wd.wantFilm(Request{Length: 1000, Deadline: time.Now().Add(3 * time.Second)})
		result := wd.wantFilm(Request{Length: 1000, Deadline: time.Now().Add(3 * time.Second)})
		require.Equal(t, 1, result.Attempts, "and it is remembered")
	})
}

func TestDrippingOriginIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n > 1 {
				serveFilm(w, r)
				return
			}
			promise(w, 0, 5000)
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for i := range 5000 {
				_, _ = w.Write(film[i : i+1])
				w.(http.Flusher).Flush()
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		})
		start := time.Now()
		result := wd.wantFilm(Request{Length: 5000, Deadline: start.Add(6 * time.Second)})
		require.Equal(t, 2, result.Attempts)
		require.Less(t, time.Since(start), 3*time.Second)
	})
}

func TestFlowingBodyIsNotCutAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(film)))
			for at := 0; at < len(film); at += 30_000 {
				<-time.After(600 * time.Millisecond)
				_, _ = w.Write(film[at : at+30_000])
				w.(http.Flusher).Flush()
			}
		})
		start := time.Now()
		result := wd.wantFilm(Request{Length: int64(len(film)), Deadline: start.Add(3 * time.Second)})
		require.Equal(t, 1, result.Attempts)
		require.Greater(t, time.Since(start), 5*time.Second)
	})
}

func TestSlowConsumerIsNotTheOriginsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
		result, err := wd.client.Fetch(t.Context(), Request{
			Path: "/vod/film.mp4", Length: -1, Deadline: time.Now().Add(3 * time.Second),
		}, func(int64, []byte) error {
			<-time.After(5 * time.Second)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 1, result.Attempts)
		require.Equal(t, int64(len(film)), result.Bytes)
	})
}

func TestCanceledFetchReturnsAtOnce(t *testing.T) {
	for name, serve := range map[string]handler{
		"waiting for bytes": func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"between attempts": func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "20")
			w.WriteHeader(503)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wd := serveInside(t, serve)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				start := time.Now()
				_, err := wd.client.Fetch(ctx, Request{Path: "/vod/a", Length: 1, Deadline: start.Add(time.Minute)},
					func(int64, []byte) error { return nil })
				require.ErrorIs(t, err, context.Canceled)
				require.Equal(t, time.Second, time.Since(start))
				require.Zero(t, wd.client.Stats().InFlight)
			})
		})
	}
}

func TestWaitingForATurnEndsWithTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
		wd.client.limiter = newLimiter(1)
		require.NoError(t, wd.client.limiter.acquire(t.Context(), time.Now()))
		_, result, err := wd.get(Request{Length: 1, Deadline: time.Now().Add(3 * time.Second)})
		require.ErrorIs(t, err, ErrDeadline)
		require.ErrorContains(t, err, "busy")
		require.Zero(t, result.Attempts)
		wd.client.limiter.release()
		wd.wantFilm(Request{Length: 1})
	})
}

// An HTTP/2 connection that has gone silent is not asked again: over a real one, because that is where it matters.
func TestSilentHTTP2ConnectionIsReplaced(t *testing.T) {
	wd := serve(t, true, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 2 {
			<-r.Context().Done()
			return
		}
		serveFilm(w, r)
	})
	wd.wantFilm(Request{Length: 1000})
	wd.wantFilm(Request{Length: 1000, Deadline: time.Now().Add(minBudget)})
	asked := wd.requests()
	require.Len(t, asked, 3)
	require.Equal(t, 2, asked[2].ProtoMajor)
	require.Equal(t, asked[0].RemoteAddr, asked[1].RemoteAddr)
	require.NotEqual(t, asked[1].RemoteAddr, asked[2].RemoteAddr)
}

func TestPassthroughToASilentOriginIs504(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		start := time.Now()
		code, body := wd.passInside("/a.m3u8")
		require.Equal(t, http.StatusGatewayTimeout, code)
		require.Equal(t, "The origin did not answer within 10s.\n", body)
		require.LessOrEqual(t, time.Since(start), passBudget)
		require.Len(t, wd.requests(), passAttempts)
	})
}

func TestPassthroughRetriesWhatMayBeRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n <= 2 {
				w.WriteHeader(503)
				return
			}
			_, _ = io.WriteString(w, "playlist")
		})
		code, body := wd.passInside("/a.m3u8")
		require.Equal(t, 200, code)
		require.Equal(t, "playlist", body)
	})
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(503)
			_, _ = io.WriteString(w, "closed for today")
		})
		code, body := wd.passInside("/a.m3u8")
		require.Equal(t, 504, code)
		require.Equal(t, "The origin failed: its last answer was 503 Service Unavailable.\n", body)
		require.Len(t, wd.requests(), 1)
	})
}

func TestPassthroughEndsASilentBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wd := serveInside(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "beginning")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		start := time.Now()
		_, body := wd.passInside("/a.m3u8")
		require.Equal(t, "beginning", body)
		require.Equal(t, passStall, time.Since(start))
	})
}

// passInside is Passthrough without a socket to the player.
func (wd *world) passInside(path string) (code int, body string) {
	wd.t.Helper()
	w := &recorder{header: make(http.Header)}
	r, err := http.NewRequest(http.MethodGet, path, nil)
	require.NoError(wd.t, err)
	func() {
		defer func() {
			if x := recover(); x != nil {
				require.True(wd.t, errors.Is(x.(error), http.ErrAbortHandler))
			}
		}()
		wd.client.Passthrough(w, r, wd.base.Path+path)
	}()
	return w.code, string(w.body)
}

type recorder struct {
	header http.Header
	code   int
	body   []byte
}

func (w *recorder) Header() http.Header  { return w.header }
func (w *recorder) WriteHeader(code int) { w.code = code }
func (w *recorder) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}
