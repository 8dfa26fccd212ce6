package tracker

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

func TestURLIsRead(t *testing.T) {
	id := wire.PeerID{1, 2, 31: 0xff}
	for given, want := range map[string]URL{
		"quic://tracker.example:7000":                               {Host: "tracker.example", Port: 7000},
		"quic://tracker.example:7000/":                              {Host: "tracker.example", Port: 7000},
		"quic://127.0.0.1:1#" + id.Hex():                            {Host: "127.0.0.1", Port: 1, Fingerprint: id},
		"quic://[::1]:65535#" + strings.ToUpper(id.Hex()):           {Host: "::1", Port: 65535, Fingerprint: id},
		"quic://h:2#" + base64.RawURLEncoding.EncodeToString(id[:]): {Host: "h", Port: 2, Fingerprint: id},
	} {
		got, err := ParseURL(given)
		require.NoError(t, err, given)
		require.Equal(t, want, got, given)
		again, err := ParseURL(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
}

func TestURLThatIsWrongSaysWhy(t *testing.T) {
	for given, want := range map[string]string{
		"":                               `the scheme is ""`,
		"http://h:1":                     `the scheme is "http"`,
		"h:1":                            `the scheme is "h"`,
		"quic://h":                       "the port is missing",
		"quic://:7000":                   "the host is missing",
		"quic://h:0":                     "port 0 is not between",
		"quic://h:70000":                 "port 70000 is not between",
		"quic://h:x":                     "not a URL",
		"quic://h:1/announce":            "only host, port and fingerprint",
		"quic://user@h:1":                "only host, port and fingerprint",
		"quic://h:1?x=1":                 "only host, port and fingerprint",
		"quic://h:1#":                    "the fingerprint after # is missing",
		"quic://h:1#abcd":                "the fingerprint has 4 characters",
		"quic://h:1#" + z("g", 64):       "neither hexadecimal nor base64url",
		"quic://h:1#" + z("0", 64):       "all zero",
		"quic://h:1#" + z("!", 43):       "neither hexadecimal nor base64url",
		"quic://" + z("a", 1000) + ":x/": "not a URL",
	} {
		_, err := ParseURL(given)
		require.ErrorContains(t, err, want, given)
		require.ErrorContains(t, err, "want quic://HOST:PORT", given)
		require.Less(t, len(err.Error()), 400)
	}
}

func z(s string, n int) string { return strings.Repeat(s, n) }

func FuzzParseURL(f *testing.F) {
	f.Add("quic://h:1#" + z("a", 64))
	f.Add("quic://[::1%25eth0]:1")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURL(s)
		if err != nil {
			return
		}
		require.NotEmpty(t, u.Host)
		require.NotZero(t, u.Port)
	})
}
