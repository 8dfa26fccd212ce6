package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func cmcdOf(t *testing.T, s string) cmcd {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/a.m4s?CMCD="+url.QueryEscape(s), nil)
	c, query := takeCMCD(r)
	require.Empty(t, query)
	return c
}

func TestCMCDAsPlayersSendIt(t *testing.T) {
	base := newCMCD()
	with := func(change func(*cmcd)) cmcd {
		c := base
		c.present = true
		change(&c)
		return c
	}
	for name, tc := range map[string]struct {
		in   string
		want cmcd
	}{
		"hls.js 1.x media segment": {
			`bl=21300,br=3200,cid="film",d=4004,dl=21300,mtp=25400,nor="seg_8.m4s",ot=av,rtp=15000,sf=h,sid="6e2fb550",st=v,tb=6000`,
			with(func(c *cmcd) {
				c.bufferLength, c.deadline, c.duration = 21300*time.Millisecond, 21300*time.Millisecond, 4004*time.Millisecond
				c.bitrateKbps, c.throughputKbps, c.sufficientKbps = 3200, 25400, 15000
				c.object, c.streamFormat, c.sessionID, c.contentID, c.next = objectMedia, "h", "6e2fb550", "film", "seg_8.m4s"
			}),
		},
		"hls.js first playlist": {`ot=m,sf=h,sid="x",su`, with(func(c *cmcd) {
			c.object, c.streamFormat, c.sessionID, c.startup = objectOther, "h", "x", true
		})},
		"a rebuffer at double speed, live": {`bl=0,bs,ot=v,pr=2,st=l`, with(func(c *cmcd) {
			c.bufferLength, c.starved, c.object, c.playbackRate, c.live = 0, true, objectMedia, 2, true
		})},
		"version 2 inner lists take the first item": {`bl=(6000;v 5900),nor=("a%2Fb.m4s" "c.m4s";r="0-9"),ot=a,v=2`, with(func(c *cmcd) {
			c.bufferLength, c.object, c.next = 6*time.Second, objectMedia, "a/b.m4s"
		})},
		"explicit false and parameters": {`su=?0,bs=?1;x,d=2000.0`, with(func(c *cmcd) {
			c.starved, c.duration = true, 2*time.Second
		})},
		"escaped quotes, spaces and custom keys": {`com.example-x="a\"b,c=1" , sid="a\\b"`, with(func(c *cmcd) { c.sessionID = `a\b` })},
		"initialization segment":                 {`ot=i`, with(func(c *cmcd) { c.object = objectInit })},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, cmcdOf(t, tc.in)) })
	}
}

func TestCMCDNonsenseIsIgnoredKeyByKey(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want func(*cmcd)
	}{
		"negative, absurd and non-numbers":  {`bl=-1,dl=1e300,d=NaN,pr=99,br=x,ot=v`, func(c *cmcd) { c.object = objectMedia }},
		"unterminated string ends the list": {`bl=1000,sid="abc`, func(c *cmcd) { c.bufferLength = time.Second }},
		"identifiers are bounded":           {`sid="` + strings.Repeat("a", 65) + `",bl=0`, func(c *cmcd) { c.bufferLength = 0 }},
		"control characters in identifiers": {"sid=\"a\nb\",bl=0", func(c *cmcd) { c.bufferLength = 0 }},
		"empty keys":                        {`=5,bl=1`, func(c *cmcd) { c.present = false }},
	} {
		t.Run(name, func(t *testing.T) {
			want := newCMCD()
			want.present = true
			tc.want(&want)
			require.Equal(t, want, cmcdOf(t, tc.in))
		})
	}
	require.False(t, cmcdOf(t, "bl=1,"+strings.Repeat("x", cmcdBytesMax)).present, "too long to be believed")
}

func TestCMCDInHeadersAddsUp(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/a.m4s?token=1", nil)
	r.Header.Set("CMCD-Request", "bl=4000,dl=4000,mtp=900")
	r.Header.Set("CMCD-Object", "br=800,d=2000,ot=v")
	r.Header.Set("CMCD-Session", `sid="s1",st=v`)
	r.Header.Set("CMCD-Status", "bs")
	c, query := takeCMCD(r)
	require.Equal(t, "token=1", query)
	require.Equal(t, "s1", c.sessionID)
	require.Equal(t, 4*time.Second, c.bufferLength)
	require.Equal(t, 2*time.Second, c.duration)
	require.True(t, c.starved)

	out := withoutCMCD(r, query)
	for name := range out.Header {
		require.False(t, strings.HasPrefix(name, "Cmcd"), name)
	}
}

func TestCMCDIsCutFromSignedQueriesByteForByte(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"CMCD=bl%3D1":                    "",
		"b=2&a=1&CMCD=x&sig=%2f%2F+%20":  "b=2&a=1&sig=%2f%2F+%20",
		"XCMCD=1&CMCDX=2":                "XCMCD=1&CMCDX=2",
		"a=1&&CMCD&b":                    "a=1&&b",
		"a=CMCD":                         "a=CMCD",
		"CMCD=first&x=%zz&CMCD=second":   "x=%zz",
		"token=a;b&CMCD=bl%3D1%2Cdl%3D2": "token=a;b",
	} {
		_, rest := cutCMCD(in)
		require.Equal(t, want, rest, in)
	}
}

func FuzzCMCD(f *testing.F) {
	f.Add(`bl=21300,br=3200,cid="film",d=4004,dl=21300,mtp=25400,nor="..%2Fseg.m4s",ot=av,sid="x",su`)
	f.Add(`bl=(6000;v 5900),nor=("a" "b";r="0-9"),v=2`)
	f.Add(`bl=(`)
	f.Add(`sid="\`)
	f.Add(",,,,= ==,(((\"")
	f.Fuzz(func(t *testing.T, s string) {
		c := newCMCD()
		budget := cmcdBytesMax
		c.parse(s, &budget)
		for _, d := range []time.Duration{c.bufferLength, c.deadline, c.duration} {
			if d < -1 || d > cmcdTimeMax {
				t.Fatalf("time %v out of bounds", d)
			}
		}
		if c.playbackRate > cmcdRateMax || c.playbackRate < -1 {
			t.Fatalf("rate %v out of bounds", c.playbackRate)
		}
		if len(c.sessionID) > cmcdIDBytesMax || len(c.contentID) > cmcdIDBytesMax {
			t.Fatal("identifier out of bounds")
		}
		if len(s) > cmcdBytesMax && c.present {
			t.Fatal("oversize CMCD was believed")
		}
		// What the query loses is CMCD alone: cutting twice changes nothing.
		_, once := cutCMCD(s)
		_, twice := cutCMCD(once)
		if once != twice {
			t.Fatalf("cut %q: %q, then %q", s, once, twice)
		}
	})
}
