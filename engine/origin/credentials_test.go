package origin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// playerRequest is how a player that has been let in asks its node.
func playerRequest(rawQuery string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:7070/film/master.m3u8?"+rawQuery, nil)
	r.Header.Set("Cookie", "session=s3cret; lang=de")
	r.Header.Set("Authorization", "Bearer t0ken")
	r.Header.Set("X-Playback-Session-Id", "77")
	r.Header.Set("User-Agent", "player/1")
	r.Header.Set("Referer", "https://site.example/watch?user=me")
	r.Header.Set("Origin", "https://site.example")
	r.Header.Set("X-Unrelated", "no")
	return r
}

func TestPlayersCredentialsGoToTheOrigin(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
	creds := CredentialsFrom(playerRequest("b=%7E2&CMCD=bl%3D1&a=1&_HLS_msn=5&sig=x%2fy+z"))
	wd.wantFilm(Request{Length: 10, Credentials: creds})
	r := wd.requests()[0]
	require.Equal(t, "b=%7E2&a=1&sig=x%2fy+z", r.URL.RawQuery, "order and spelling as signed")
	require.Equal(t, "session=s3cret; lang=de", r.Header.Get("Cookie"))
	require.Equal(t, "Bearer t0ken", r.Header.Get("Authorization"))
	require.Equal(t, "77", r.Header.Get("X-Playback-Session-Id"))
	require.Equal(t, "player/1", r.Header.Get("User-Agent"))
	require.Equal(t, "https://site.example/watch?user=me", r.Header.Get("Referer"))
	require.Equal(t, "https://site.example", r.Header.Get("Origin"))
	require.Empty(t, r.Header.Get("X-Unrelated"))
}

func TestNodesOwnAddressMeansNothingToTheOrigin(t *testing.T) {
	r := playerRequest("")
	r.Header.Set("Referer", "http://127.0.0.1:7070/film/master.m3u8")
	r.Header.Set("Origin", "http://127.0.0.1:7070")
	creds := CredentialsFrom(r)
	require.Empty(t, creds.Header.Get("Referer"))
	require.Empty(t, creds.Header.Get("Origin"))
	require.Empty(t, creds.Query)
}

func TestPrefixWithUserAndQuery(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { serveFilm(w, r) })
	base := *wd.base
	base.User, base.RawQuery = url.UserPassword("shoal", "pw"), "customer=9"
	wd.client = New(Config{Base: &base})
	t.Cleanup(wd.client.Close)
	wd.wantFilm(Request{Length: 10, Credentials: &Credentials{Query: "t=1"}})
	resp, _ := wd.passed(httptest.NewRequest(http.MethodGet, "/film.mp4?t=2", nil))
	require.Equal(t, 200, resp.StatusCode)
	for i, want := range []string{"customer=9&t=1", "customer=9&t=2"} {
		r := wd.requests()[i]
		require.Equal(t, want, r.URL.RawQuery)
		name, password, ok := r.BasicAuth()
		require.True(t, ok)
		require.Equal(t, "shoal:pw", name+":"+password)
	}
}

// Wherever the origin redirects to, and however the way leads back, no one else learns who is watching.
func TestCredentialsNeverReachAnotherHost(t *testing.T) {
	var foreign []*http.Request
	var mu sync.Mutex
	back := ""
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		foreign = append(foreign, r)
		if strings.HasPrefix(r.URL.Path, "/back") {
			http.Redirect(w, r, back, http.StatusFound)
			return
		}
		serveFilm(w, r)
	}))
	defer other.Close()
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/vod/away.mp4":
			http.SetCookie(w, &http.Cookie{Name: "edge", Value: "s3cret-too", Path: "/"})
			http.Redirect(w, r, other.URL+"/edge/film.mp4?own=1", http.StatusFound)
		case "/vod/boomerang.mp4":
			http.Redirect(w, r, other.URL+"/back", http.StatusTemporaryRedirect)
		default:
			serveFilm(w, r)
		}
	})
	back = wd.base.String() + "/film.mp4"
	// The same address under another name is another host.
	otherName := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	require.NotEqual(t, other.URL, otherName)

	creds := CredentialsFrom(playerRequest("token=t0ken"))
	wd.wantFilm(Request{Path: "/vod/away.mp4", Offset: 100, Length: 50, Credentials: creds})
	wd.wantFilm(Request{Path: "/vod/boomerang.mp4", Offset: 100, Length: 50, Credentials: creds})
	require.Len(t, foreign, 2)
	for _, r := range foreign {
		require.Equal(t, "bytes=100-149", r.Header.Get("Range"))
		require.Equal(t, "player/1", r.Header.Get("User-Agent"))
		dump := fmt.Sprint(r.URL, r.Header)
		for _, secret := range []string{"s3cret", "t0ken", "session", "site.example", "77"} {
			if secret == "s3cret" {
				// Cookies that the origin itself has set follow the rules of cookies, which know no ports; the
				// player's own do not leave.
				dump = strings.ReplaceAll(dump, "edge=s3cret-too", "")
			}
			require.NotContains(t, dump, secret)
		}
	}
	last := wd.requests()[len(wd.requests())-1]
	require.Equal(t, "/vod/film.mp4", last.URL.Path)
	require.NotContains(t, fmt.Sprint(last.URL, last.Header), "t0ken", "who was sent by another host is not vouched for")
}

func TestRedirectsInsideTheOriginKeepCredentialsAndCookies(t *testing.T) {
	wd := serve(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("gate"); err != nil || c.Value != "2" {
			if err != nil {
				http.SetCookie(w, &http.Cookie{Name: "gate", Value: "1", Path: "/"})
			} else {
				http.SetCookie(w, &http.Cookie{Name: "gate", Value: "2", Path: "/"})
			}
			http.SetCookie(w, &http.Cookie{Name: "lang", Value: "en", Path: "/"})
			http.Redirect(w, r, r.URL.Path+"?checked=1", http.StatusFound)
			return
		}
		serveFilm(w, r)
	})
	creds := CredentialsFrom(playerRequest("token=t0ken"))
	wd.wantFilm(Request{Length: 10, Credentials: creds})
	wd.wantFilm(Request{Length: 20, Credentials: creds})
	asked := wd.requests()
	require.Len(t, asked, 4, "the second fetch needs no gate")
	for _, r := range asked[1:] {
		require.Equal(t, "Bearer t0ken", r.Header.Get("Authorization"))
		require.Equal(t, "https://site.example/watch?user=me", r.Header.Get("Referer"), "not the last URL with its token")
		session, err := r.Cookie("session")
		require.NoError(t, err)
		require.Equal(t, "s3cret", session.Value)
		require.Len(t, r.CookiesNamed("lang"), 1)
		require.Equal(t, "en", r.CookiesNamed("lang")[0].Value, "the origin's newer value")
		require.Len(t, r.CookiesNamed("gate"), 1)
	}
	require.Equal(t, "checked=1", asked[2].URL.RawQuery, "a redirect is taken as it is")
	require.Equal(t, "token=t0ken", asked[3].URL.RawQuery)
}

func TestErrorsTellNoTokens(t *testing.T) {
	listener := httptest.NewServer(nil)
	address := listener.URL
	listener.Close() // nobody is there now
	c := New(Config{Base: parse(t, address+"/vod")})
	defer c.Close()
	_, err := c.Fetch(t.Context(), Request{
		Path: "/vod/a", Length: 1, Credentials: &Credentials{Query: "token=t0ken"},
		Deadline: time.Now().Add(-time.Minute),
	}, func(int64, []byte) error { return nil })
	require.ErrorIs(t, err, ErrDeadline)
	require.ErrorContains(t, err, "refused")
	require.NotContains(t, err.Error(), "t0ken")
}

func FuzzKeepQuery(f *testing.F) {
	f.Add("a=1&CMCD=x&b")
	f.Add("%43MCD=1&&=&;")
	f.Fuzz(func(t *testing.T, raw string) {
		kept := keepQuery(raw)
		require.LessOrEqual(t, len(kept), len(raw))
		require.Equal(t, kept, keepQuery(kept))
		values, err := url.ParseQuery(kept)
		if err == nil {
			require.False(t, values.Has("CMCD"))
		}
	})
}
