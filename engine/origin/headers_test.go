package origin

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestContentRange(t *testing.T) {
	for s, want := range map[string]contentRange{
		"bytes 0-0/1":                    {0, 0, 1},
		"bytes 5-9/*":                    {5, 9, -1},
		"BYTES 5-9/10":                   {5, 9, 10},
		"bytes */77":                     {-1, -1, 77},
		"bytes 1-999999999999999998/*":   {1, 999999999999999998, -1},
		"bytes   0-1/2":                  {0, 1, 2},
		"bytes 00-01/02":                 {0, 1, 2},
		"bytes 0-99999/100000000000":     {0, 99999, 100000000000},
		"bytes 999-999/1000":             {999, 999, 1000},
		"bytes 65536-131071/17179869184": {65536, 131071, 17179869184},
	} {
		got, err := parseContentRange(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{
		"", "bytes", "bytes ", "bytes 1", "bytes 1-2", "bytes */*", "bytes -1-2/3", "bytes 2-1/3", "bytes 0-3/3",
		"bytes 0x1-2/3", "items 0-1/2", "bytes 0-1/", "bytes -/3", "bytes 1-/3", "bytes +1-2/3", "bytes 0-1/-1",
		"bytes 0-9999999999999999999/*", "bytes 0- 1/2", "bytes=0-1/2", "bytes 0-1/2/3",
	} {
		_, err := parseContentRange(s)
		require.ErrorIs(t, err, errRange, "%q", s)
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes */10", "bytes 5-9/*", "bytes 1-0/0", "b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseContentRange(s)
		if err != nil {
			require.Less(t, len(err.Error()), 500, "what a peer sends does not fill the log")
			return
		}
		span, total := "*", "*"
		if r.first >= 0 {
			require.LessOrEqual(t, r.first, r.last)
			require.True(t, r.total < 0 || r.last < r.total)
			span = fmt.Sprintf("%d-%d", r.first, r.last)
		}
		if r.total >= 0 {
			total = fmt.Sprint(r.total)
		}
		again, err := parseContentRange("bytes " + span + "/" + total)
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		" 7 ":                           7 * time.Second,
		"99999":                         maxRetryAfter,
		"9999999999999999999":           0,
		"-5":                            0,
		"1.5":                           0,
		"soon":                          0,
		"Sun, 01 Mar 2026 12:00:30 GMT": 30 * time.Second,
		"Sun, 01 Mar 2026 11:00:30 GMT": 0,
		"Sun, 01 Mar 2099 11:00:30 GMT": maxRetryAfter,
	} {
		require.Equal(t, want, parseRetryAfter(s, now), "%q", s)
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Sun, 01 Mar 2026 12:00:30 GMT")
	f.Fuzz(func(t *testing.T, s string) {
		d := parseRetryAfter(s, time.Unix(1e9, 0))
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.LessOrEqual(t, d, maxRetryAfter)
	})
}

func TestPathsThatLeadOut(t *testing.T) {
	c := New(Config{Base: parse(t, "https://cdn.example/vod/")})
	for _, p := range []string{
		"/vod/..", "/vod/../x", "/vod/a/../../x", "/vod/%2e%2e/x", "/vod/.%2e/x", "/vod/%252e%252e/x",
		"/vod/%25252e%25252e%25252fx", "/vod/a%2f..%2fx", `/vod/..\x`, `/vod/a\..\x`, "/vod/%5c..%5cx",
		"/vod/a\x00b", "/vod/a\nb", "/vod\x7f", "/", "", "/vodka", "/vo", "/VOD/a", "//vod/../a", "/%76od/../../a",
		"//evil.example/vod/../../x", "https://evil.example/vod/x",
	} {
		_, err := c.resolve(p)
		require.ErrorIs(t, err, ErrPath, "%q", p)
	}
	for p, want := range map[string]string{
		"/vod":            "https://cdn.example/vod",
		"/vod/":           "https://cdn.example/vod/",
		"vod/a":           "https://cdn.example/vod/a",
		"//vod//a/./b":    "https://cdn.example/vod/a/b",
		"/vod/a/":         "https://cdn.example/vod/a/",
		"/vod/a b?c#d%41": "https://cdn.example/vod/a%20b%3Fc%23d%2541",
		"/vod/...":        "https://cdn.example/vod/...",
		"/vod/a..b":       "https://cdn.example/vod/a..b",
		"/vod/100%":       "https://cdn.example/vod/100%25",
		"/vod/ü":          "https://cdn.example/vod/%C3%BC",
	} {
		u, err := c.resolve(p)
		require.NoError(t, err, "%q", p)
		require.Equal(t, want, u.String())
	}
	root := New(Config{Base: parse(t, "http://cdn.example")})
	u, err := root.resolve("//evil.example/x")
	require.NoError(t, err)
	require.Equal(t, "http://cdn.example/evil.example/x", u.String())
}

func FuzzCleanPath(f *testing.F) {
	for _, s := range []string{"/vod/a", "/vod/%252e%252e/x", `/vod/\..\`, "//x", "/vod/%", "/vod/%2525252e."} {
		f.Add(s)
	}
	c := New(Config{Base: &url.URL{Scheme: "https", Host: "cdn.example", Path: "/vod"}})
	f.Fuzz(func(t *testing.T, p string) {
		u, err := c.resolve(p)
		if err != nil {
			return
		}
		require.Equal(t, "cdn.example", u.Host)
		// As the origin will see it, however often it decodes.
		parsed, err := url.Parse(u.String())
		require.NoError(t, err)
		for decoded := parsed.Path; ; {
			require.True(t, decoded == "/vod" || strings.HasPrefix(decoded, "/vod/"), "%q", decoded)
			for segment := range strings.FieldsFuncSeq(decoded, isSeparator) {
				require.NotEqual(t, "..", segment)
			}
			again, err := url.PathUnescape(decoded)
			if err != nil || again == decoded {
				break
			}
			decoded = again
		}
	})
}

func TestSameOrigin(t *testing.T) {
	c := New(Config{Base: parse(t, "https://cdn.example/vod")})
	for s, want := range map[string]bool{
		"https://cdn.example/x":       true,
		"https://CDN.example:443/x":   true,
		"http://cdn.example/x":        false,
		"https://cdn.example:8443/x":  false,
		"https://www.cdn.example/x":   false,
		"https://cdn.example.evil/x":  false,
		"https://cdn.example@evil/x":  false,
		"https://evil/cdn.example":    false,
		"http://cdn.example:443/vod/": false,
	} {
		require.Equal(t, want, c.isOrigin(parse(t, s)), s)
	}
}

func TestTransientStatuses(t *testing.T) {
	for code := 100; code < 600; code++ {
		want := code >= 500 && code != 501 && code != 505 || code == 408 || code == 425 || code == 429
		require.Equal(t, want, transient(code), "%d %s", code, http.StatusText(code))
	}
}
