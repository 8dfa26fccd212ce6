package proxy

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAbsoluteURLsOfPlaylistsLeadThroughTheNode(t *testing.T) {
	base, err := url.Parse("https://cdn.example/vod")
	require.NoError(t, err)
	rw := newRewriter(base, "film/hls/master.m3u8")
	for in, want := range map[string]string{
		// Relative: node and origin have the same tree.
		"720p/index.m3u8": "720p/index.m3u8",
		"../a.m4s?x=1":    "../a.m4s?x=1",
		// To the prefix: as seen from the playlist.
		"https://cdn.example/vod/film/hls/720p/i.m3u8":   "720p/i.m3u8",
		"https://cdn.example/vod/film/a%20b.m4s?t=%2f#f": "../a%20b.m4s?t=%2f#f",
		"https://CDN.example:443/vod/x.key":              "../../x.key",
		"//cdn.example/vod/film/hls/s.ts":                "s.ts",
		"/vod/film/hls/s.ts":                             "s.ts",
		"https://cdn.example/vod/film/hls/a:b.ts":        "./a:b.ts",
		"https://cdn.example/vod/film/hls":               "../hls",
		"https://cdn.example/vod":                        "../../",
		// Elsewhere: the player goes there itself.
		"https://other.example/vod/s.ts":    "https://other.example/vod/s.ts",
		"https://cdn.example/vodka/s.ts":    "https://cdn.example/vodka/s.ts",
		"http://cdn.example/vod/s.ts":       "http://cdn.example/vod/s.ts",
		"https://cdn.example:8443/vod/s.ts": "https://cdn.example:8443/vod/s.ts",
		"https://u:p@cdn.example/vod/s.ts":  "https://u:p@cdn.example/vod/s.ts",
		"/other/s.ts":                       "https://cdn.example/other/s.ts",
		"data:text/plain;base64,AAAA":       "data:text/plain;base64,AAAA",
		"{$base}/s.ts":                      "{$base}/s.ts",
		"%zz":                               "%zz",
	} {
		require.Equal(t, "#EXTM3U\n"+want+"\n", string(rw.playlist([]byte("#EXTM3U\n"+in+"\n"))), in)
	}
}

func TestEveryURIAttributeIsRewrittenAndNothingElse(t *testing.T) {
	base, err := url.Parse("http://127.0.0.1:8080")
	require.NoError(t, err)
	in := strings.Join([]string{
		"#EXTM3U",
		"#EXT-X-VERSION:7",
		"# a comment with URI=\"http://127.0.0.1:8080/no.ts\"",
		`#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="URI=",URI="http://127.0.0.1:8080/t/audio/i.m3u8",LANGUAGE="de"`,
		`#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:8080/keys/1",IV=0x01`,
		`#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://id"`,
		`#EXT-X-MAP:URI="/t/init.mp4",BYTERANGE="10@0"`,
		`#EXT-X-DATERANGE:ID="1",X-ASSET-URI="http://127.0.0.1:8080/ad/m.m3u8",X-A="b"`,
		`#EXT-X-BROKEN:URI="unterminated`,
		"",
		"#EXTINF:4,title",
		"http://127.0.0.1:8080/t/s1.m4s",
		"s2.m4s",
	}, "\r\n")
	want := strings.NewReplacer(
		`URI="http://127.0.0.1:8080/t/audio/i.m3u8"`, `URI="audio/i.m3u8"`,
		`URI="http://127.0.0.1:8080/keys/1"`, `URI="../keys/1"`,
		`X-ASSET-URI="http://127.0.0.1:8080/ad/m.m3u8"`, `X-ASSET-URI="../ad/m.m3u8"`,
		"http://127.0.0.1:8080/t/s1.m4s", "s1.m4s",
	).Replace(in)
	rw := newRewriter(base, "t/master.m3u8")
	require.Equal(t, want, string(rw.playlist([]byte(in))))

	html := []byte("<html>http://127.0.0.1:8080/x</html>\n")
	require.Equal(t, html, rw.playlist(html), "what is no playlist stays as it is")
}

func FuzzPlaylist(f *testing.F) {
	f.Add([]byte("#EXTM3U\n#EXT-X-MAP:URI=\"http://o/vod/i.mp4\"\nhttp://o/vod/a.ts\n"), "a/b.m3u8")
	f.Add([]byte("#EXTM3U\r\n//o/vod/\r\n\r\n/vod"), "")
	f.Add([]byte("#EXTM3U\n#EXT-X-KEY:URI=\"\",URI=\"%"), "x")
	base := &url.URL{Scheme: "http", Host: "o", Path: "/vod"}
	f.Fuzz(func(t *testing.T, in []byte, p string) {
		if strings.ContainsAny(p, "?#\x00") || strings.Contains(p, "..") {
			return
		}
		rw := newRewriter(base, p)
		once := rw.playlist(in)
		if strings.Count(string(in), "\n") != strings.Count(string(once), "\n") {
			t.Fatal("a line was lost")
		}
		if twice := rw.playlist(once); string(twice) != string(once) {
			t.Fatalf("rewriting is not stable: %q, %q, %q", in, once, twice)
		}
	})
}
