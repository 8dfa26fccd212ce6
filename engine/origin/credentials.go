package origin

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/publicsuffix"
)

// keptHeaders of the player's request are sent with the fetches made for it: what CDNs check beside cookies.
var keptHeaders = []string{
	"User-Agent", "Referer", "Origin", "X-Playback-Session-Id", "X-Auth-Token", "X-Access-Token", "X-Api-Key",
}

// perRequest are query parameters that say something of one request and are no part of being let in: CMCD
// (CTA-5004) and the delivery directives of low-latency HLS.
var perRequest = []string{"CMCD", "_HLS_msn", "_HLS_part", "_HLS_skip"}

// Credentials are what a player's request carried to be let in. They are kept for the fetches made on its behalf,
// together with the cookies that the origin sets on the way. Nil is allowed everywhere and means none.
//
// The exported fields must not be changed once in use.
type Credentials struct {
	// Query is the raw query, appended to the URL of each fetch.
	Query string
	// Cookie is the raw Cookie header.
	Cookie string
	// Authorization is the header of that name.
	Authorization string
	// Header holds further headers.
	Header http.Header

	once sync.Once
	set  http.CookieJar // what the origin has set since
}

// CredentialsFrom keeps what a player's request carries.
func CredentialsFrom(r *http.Request) *Credentials {
	c := &Credentials{
		Query:         keepQuery(r.URL.RawQuery),
		Cookie:        strings.Join(r.Header["Cookie"], "; "),
		Authorization: r.Header.Get("Authorization"),
		Header:        make(http.Header),
	}
	for _, name := range keptHeaders {
		if v := r.Header.Get(name); v != "" && !isLocal(name, v, r.Host) {
			c.Header.Set(name, v)
		}
	}
	return c
}

// isLocal says whether a Referer or Origin names the node itself, which means nothing to the origin.
func isLocal(name, value, host string) bool {
	if name != "Referer" && name != "Origin" {
		return false
	}
	u, err := url.Parse(value)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// keepQuery drops what belongs to one request only and leaves the rest as it is.
func keepQuery(raw string) string {
	if raw == "" {
		return ""
	}
	return strings.Join(slices.DeleteFunc(strings.Split(raw, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		return err == nil && slices.Contains(perRequest, name)
	}), "&")
}

// jar returns the cookies that the origin has set.
func (c *Credentials) jar() http.CookieJar {
	c.once.Do(func() {
		// It fails never: the interface foresees it.
		c.set, _ = cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	})
	return c.set
}

// apply adds the credentials to a request to the origin itself.
func (c *Credentials) apply(h http.Header, u *url.URL) {
	for name, values := range c.Header {
		h[name] = values
	}
	if c.Authorization != "" {
		h.Set("Authorization", c.Authorization)
	}
	if cookie := c.cookie(u); cookie != "" {
		h.Set("Cookie", cookie)
	}
}

// remove takes the credentials off a request to somebody else. The name of the player's program is no secret.
func (c *Credentials) remove(h http.Header) {
	for name := range c.Header {
		if name != "User-Agent" {
			h.Del(name)
		}
	}
	h.Del("Authorization")
	h.Del("Cookie")
	h.Del("Referer")
}

// cookie is the player's Cookie header, as it was but for cookies that the origin has set anew: those the
// http.Client adds from the jar.
func (c *Credentials) cookie(u *url.URL) string {
	newer := c.jar().Cookies(u)
	if len(newer) == 0 {
		return c.Cookie
	}
	var kept []string
	for pair := range strings.SplitSeq(c.Cookie, ";") {
		pair = strings.TrimSpace(pair)
		name, _, _ := strings.Cut(pair, "=")
		if pair != "" && !slices.ContainsFunc(newer, func(n *http.Cookie) bool { return n.Name == name }) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; ")
}
