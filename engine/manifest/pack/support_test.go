package pack

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"shoal/engine/manifest"
)

func testKey() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("publisher"))
	return ed25519.NewKeyFromSeed(seed[:])
}

// media are bytes that nobody else has: they depend on the name and the length.
func media(name string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b)
	return b
}

// files is a folder in a map.
type files map[string][]byte

func (f files) write(t testing.TB, dir string) string {
	t.Helper()
	for name, b := range f {
		file := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, b, 0o644))
	}
	return dir
}

func (f files) add(name string, n int) files {
	f[name] = media(name, n)
	return f
}

// ladder is a master playlist with two renditions and separate audio, in folders, as fMP4.
func ladder() files {
	f := files{"master.m3u8": []byte(`#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aud",NAME="English",LANGUAGE="en",DEFAULT=YES,URI="audio/en.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="sub",NAME="Deutsch",LANGUAGE="de",URI="text/de.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2500000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,AUDIO="aud",SUBTITLES="sub"
video/720.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=800000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360,AUDIO="aud",SUBTITLES="sub"
video/360.m3u8?session=abc
`)}
	for _, v := range []string{"video/720", "video/360", "audio/en"} {
		list := "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MAP:URI=\"" + filepath.Base(v) + "_init.mp4\"\n"
		f.add(v+"_init.mp4", 800)
		for i, duration := range []string{"6.006", "6.006", "3.5"} {
			list += fmt.Sprintf("#EXTINF:%s,\n%s_%03d.m4s?token=t%d\n", duration, filepath.Base(v), i, i)
			f.add(fmt.Sprintf("%s_%03d.m4s", v, i), 150_000+i*40_000)
		}
		f[v+".m3u8"] = []byte(list + "#EXT-X-ENDLIST\n")
	}
	f["text/de.m3u8"] = []byte("#EXTM3U\n#EXT-X-TARGETDURATION:16\n#EXTINF:15.512,\nde%20full.vtt\n#EXT-X-ENDLIST\n")
	f["text/de full.vtt"] = []byte("WEBVTT\n\n00:01.000 --> 00:02.000\nHallo\n")
	return f
}

func doPack(t testing.TB, source string) *Result {
	t.Helper()
	r, err := Pack(t.Context(), Options{Source: source})
	require.NoError(t, err)
	return r
}

func encode(t testing.TB, r *Result) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, manifest.Write(&b, testKey(), r.Content))
	return b.Bytes()
}

func record(t testing.TB, r *Result, path string) manifest.File {
	t.Helper()
	for _, f := range r.Content.Files {
		if f.Path == path {
			return f
		}
	}
	require.Fail(t, "not recorded", path)
	return manifest.File{}
}

func paths(r *Result) (out []string) {
	for _, f := range r.Content.Files {
		out = append(out, f.Path)
	}
	return out
}

// hashesOf are the piece hashes of a file as package manifest makes them of the bytes at once.
func hashesOf(b []byte) (out []manifest.Hash) {
	for i := 0; i*65536 < len(b); i++ {
		out = append(out, manifest.PieceHash(b[i*65536:min((i+1)*65536, len(b))], uint32(i), int64(len(b))))
	}
	return out
}
