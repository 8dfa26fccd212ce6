package pack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/metainfo"
	"github.com/stretchr/testify/require"

	"shoal/engine/manifest"
)

func TestALadderBecomesTracksAndTimedRecords(t *testing.T) {
	f := ladder()
	r := doPack(t, f.write(t, filepath.Join(t.TempDir(), "film")))
	require.Equal(t, "film", r.Content.Name)
	require.Equal(t, []manifest.Track{
		{ID: 0, Kind: manifest.KindVideo, Name: "1280x720", BandwidthBitsPerSec: 2500000, Codecs: "avc1.64001f,mp4a.40.2"},
		{ID: 1, Kind: manifest.KindVideo, Name: "640x360", BandwidthBitsPerSec: 800000, Codecs: "avc1.64001e,mp4a.40.2"},
		{ID: 2, Kind: manifest.KindAudio, Name: "English", BandwidthBitsPerSec: 294378, Language: "en"},
		{ID: 3, Kind: manifest.KindText, Name: "Deutsch", BandwidthBitsPerSec: 19, Language: "de"},
	}, r.Content.Tracks)
	require.Len(t, r.Content.Files, 13, "no playlist is recorded")
	for _, file := range r.Content.Files {
		want := f[file.Path]
		require.Equal(t, int64(len(want)), file.Length, file.Path)
		require.Equal(t, hashesOf(want), file.Pieces, file.Path)
		require.Empty(t, file.Segments)
	}
	second := record(t, r, "video/360_001.m4s")
	require.Equal(t, 6006*time.Millisecond, second.Start)
	require.Equal(t, 6006*time.Millisecond, second.Duration)
	require.Equal(t, uint16(1), second.Track)
	last := record(t, r, "audio/en_002.m4s")
	require.Equal(t, 12012*time.Millisecond, last.Start)
	require.Equal(t, 3500*time.Millisecond, last.Duration)
	require.Zero(t, record(t, r, "video/360_init.mp4").Duration)
	require.Equal(t, uint16(3), record(t, r, "text/de full.vtt").Track)
}

func TestThePackedTitleCanBeReadBack(t *testing.T) {
	f := ladder()
	r := doPack(t, f.write(t, t.TempDir()))
	title, err := manifest.Open(t.Context(), manifest.ReaderAtSource(bytes.NewReader(encode(t, r))))
	require.NoError(t, err)
	for _, path := range paths(r) {
		rec, ok, err := title.Lookup(t.Context(), path)
		require.NoError(t, err)
		require.True(t, ok, path)
		hashes, err := title.Hashes(t.Context(), rec, 0)
		require.NoError(t, err)
		require.Equal(t, hashesOf(f[path]), hashes)
	}
}

func TestSameInputGivesSameBytesFromFolderAndURL(t *testing.T) {
	dir := ladder().write(t, filepath.Join(t.TempDir(), "film"))
	want := encode(t, doPack(t, dir))
	require.Equal(t, want, encode(t, doPack(t, dir)))
	require.Equal(t, want, encode(t, doPack(t, filepath.Join(dir, "master.m3u8"))))

	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(dir))))
	defer server.Close()
	r := doPack(t, server.URL+"/film/master.m3u8?token=secret")
	require.Equal(t, want, encode(t, r), "hosts and tokens leave no trace")
	require.Equal(t, server.URL+"/", r.Parent.String())
	require.NotContains(t, string(encode(t, r)), "token")
}

// singleFile is byte-range HLS: initialization and segments in one file, offsets stated, implied and out of order.
func singleFile() files {
	return files{
		"master.m3u8": []byte("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nv.m3u8\n" +
			"#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=100,URI=\"i.m3u8\"\n"),
		"v.m3u8": []byte(`#EXTM3U
#EXT-X-TARGETDURATION:4
#EXT-X-MAP:URI="v.mp4",BYTERANGE="700@0"
#EXTINF:4,
#EXT-X-BYTERANGE:100000@700
v.mp4
#EXTINF:4,
#EXT-X-BYTERANGE:100000
v.mp4
#EXTINF:2,
#EXT-X-BYTERANGE:50000@300000
v.mp4
#EXTINF:2,
#EXT-X-BYTERANGE:50000@700
v.mp4
#EXT-X-ENDLIST
`),
		"i.m3u8": []byte("#EXTM3U\n#EXT-X-I-FRAMES-ONLY\n#EXTINF:4,\n#EXT-X-BYTERANGE:5000@700\nv.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:50@0\nthumbs.bin\n"),
	}.add("v.mp4", 400_000).add("thumbs.bin", 100)
}

func TestByteRangesOfOneFileBecomeSegments(t *testing.T) {
	r := doPack(t, singleFile().write(t, t.TempDir()))
	require.Equal(t, []manifest.Segment{
		{Offset: 0, Length: 700},
		{Offset: 700, Length: 100_000, Start: 0, Duration: 4 * time.Second},
		{Offset: 100_700, Length: 100_000, Start: 4 * time.Second, Duration: 4 * time.Second},
		{Offset: 300_000, Length: 50_000, Start: 8 * time.Second, Duration: 2 * time.Second},
	}, record(t, r, "v.mp4").Segments, "bytes that play twice count where they play first")
	require.Len(t, r.Content.Tracks, 2, "I-frames make a track only with files of their own")
	require.Equal(t, []manifest.Segment{{Length: 50, Start: 4 * time.Second, Duration: 4 * time.Second}}, record(t, r, "thumbs.bin").Segments)
	encode(t, r)
}

func playlistOf(uris ...string) []byte {
	list := "#EXTM3U\n#EXT-X-TARGETDURATION:4\n"
	for _, uri := range uris {
		list += "#EXTINF:4,\n" + uri + "\n"
	}
	return []byte(list + "#EXT-X-ENDLIST\n")
}

func TestAbsoluteURLsAreFoundBelowTheFolder(t *testing.T) {
	f := files{
		"v/list.m3u8": playlistOf("https://cdn.example.com/vod/film/v/0.ts?sig=1", "//cdn.example.com/vod/film/v/1.ts",
			"/vod/film/v/2.ts", "../v/3.ts", "./4%20.ts#t=1"),
	}
	for i := range 4 {
		f.add(fmt.Sprintf("v/%d.ts", i), 1000)
	}
	f.add("v/4 .ts", 10)
	r := doPack(t, f.write(t, t.TempDir()))
	require.ElementsMatch(t, []string{"v/0.ts", "v/1.ts", "v/2.ts", "v/3.ts", "v/4 .ts"}, paths(r))

	f["v/list.m3u8"] = playlistOf("https://cdn.example.com/vod/film/v/0.ts", "https://cdn.example.com/vod/other/v/1.ts")
	_, err := Pack(t.Context(), Options{Source: f.write(t, t.TempDir())})
	require.ErrorContains(t, err, `v/list.m3u8: segment 1: "https://cdn.example.com/vod/other/v/1.ts" lies outside of the title's folder`)
}

func TestNothingOutsideOfTheFolderIsRead(t *testing.T) {
	outside := files{}.add("secret.ts", 100).write(t, t.TempDir())
	for uri, want := range map[string]string{
		"../secret.ts":                     "lies outside of the title's folder",
		"a/../../secret.ts":                "lies outside of the title's folder",
		"..%2fsecret.ts":                   "lies outside of the title's folder",
		outside + "/secret.ts":             "no such file in or below the title's folder",
		"file://" + outside + "/secret.ts": "only files and http URLs",
		"data:video/mp2t;base64,AAAA":      "only files and http URLs",
		"link.ts":                          "link.ts: path escapes from parent",
		"linked/secret.ts":                 "linked/secret.ts: path escapes from parent",
		"sub":                              "sub: not a regular file",
		"missing.ts":                       "missing.ts: no such file",
	} {
		dir := files{"list.m3u8": playlistOf(uri), "sub/x": nil}.write(t, filepath.Join(t.TempDir(), "film"))
		require.NoError(t, os.Symlink(filepath.Join(outside, "secret.ts"), filepath.Join(dir, "link.ts")))
		require.NoError(t, os.Symlink(outside, filepath.Join(dir, "linked")))
		_, err := Pack(t.Context(), Options{Source: dir})
		require.ErrorContains(t, err, want, uri)
		require.NotContains(t, err.Error(), "\n")
	}
	dir := files{}.write(t, t.TempDir())
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret.ts"), filepath.Join(dir, "m.m3u8")))
	_, err := Pack(t.Context(), Options{Source: dir})
	require.ErrorContains(t, err, "m.m3u8: path escapes from parent")
}

func TestALinkInsideOfTheFolderIsFollowed(t *testing.T) {
	dir := files{"list.m3u8": playlistOf("a.ts")}.add("real.ts", 100).write(t, t.TempDir())
	require.NoError(t, os.Symlink("real.ts", filepath.Join(dir, "a.ts")))
	require.Equal(t, hashesOf(media("real.ts", 100)), record(t, doPack(t, dir), "a.ts").Pieces)
}

func TestBadPlaylistsAreNamed(t *testing.T) {
	for want, f := range map[string]files{
		"no HLS playlist":               {"readme.txt": []byte("x")},
		"not a playlist":                {"a.m3u8": []byte("<html>")},
		"it names no segment":           {"a.m3u8": []byte("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI=\"x\"\n")},
		"EXTINF is not a duration":      {"a.m3u8": []byte("#EXTM3U\n#EXTINF:x,\na.ts\n"), "a.ts": nil},
		"it is malformed":               {"a.m3u8": []byte("#EXTM3U\n#EXT-X-MAP:URI=\"x\"\n00")},
		"EXT-X-DEFINE":                  {"a.m3u8": playlistOf("{$v}.ts")},
		"byte range":                    {"a.m3u8": []byte("#EXTM3U\n#EXTINF:4,\n#EXT-X-BYTERANGE:x@1\na.ts\n"), "a.ts": nil},
		"EXT-X-MAP":                     {"a.m3u8": []byte("#EXTM3U\n#EXT-X-MAP:FOO=1\n#EXTINF:4,\na.ts\n"), "a.ts": nil},
		"but the file has 4":            {"a.m3u8": []byte("#EXTM3U\n#EXTINF:4,\n#EXT-X-BYTERANGE:5@0\na.ts\n"), "a.ts": []byte("1234")},
		"names no media playlist":       {"a.m3u8": []byte("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n")},
		"b.m3u8 is a master playlist":   {"a.m3u8": []byte("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8\n"), "b.m3u8": []byte("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n")},
		"a.m3u8: gone.m3u8: no such":    {"a.m3u8": []byte("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ngone.m3u8\n")},
		"2 EXTINF tags, but 1 segments": {"a.m3u8": []byte("#EXTM3U\n#EXTINF:4,\na.ts\n#EXTINF:4,\n"), "a.ts": nil},
		"v.mp4: byte 0: box ":           {"v.mp4": []byte("this is not a movie at all, and long")},
		"longer than 49 days":           {"a.m3u8": []byte("#EXTM3U\n#EXTINF:4000000,\na.ts\n#EXTINF:4000000,\nb.ts\n")},
	} {
		_, err := Pack(t.Context(), Options{Source: f.write(t, t.TempDir())})
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestPartsOfOtherFormatsAreLeftOut(t *testing.T) {
	fragment := []byte("\x00\x00\x00\x08moof\x00\x00\x00\x09mdatx")
	f := files{"list.m3u8": playlistOf("0.mp4"), "0.mp4": fragment, "dash/chunk-1.mp4": fragment}
	require.Equal(t, []string{"0.mp4"}, paths(doPack(t, f.write(t, t.TempDir()))))
	_, err := Pack(t.Context(), Options{Source: files{"chunk-1.mp4": fragment}.write(t, t.TempDir())})
	require.ErrorContains(t, err, "chunk-1.mp4: no movie with samples")
}

func TestGapsAndEmptyFilesAreLeftOut(t *testing.T) {
	f := files{"a.m3u8": []byte("#EXTM3U\n#EXTINF:4,\n0.ts\n#EXT-X-GAP\n#EXTINF:4,\n1.ts\n#EXTINF:4,\n2.ts\n#EXTINF:4,\n3.ts\n"), "2.ts": nil}
	r := doPack(t, f.add("0.ts", 10).add("3.ts", 10).write(t, t.TempDir()))
	require.ElementsMatch(t, []string{"0.ts", "3.ts"}, paths(r))
	require.Equal(t, 12*time.Second, record(t, r, "3.ts").Start)
	var b bytes.Buffer
	_, err := r.WriteTorrent(&b, TorrentOptions{})
	require.NoError(t, err)
}

// flaky breaks every first answer off in the middle and fails every second.
type flaky struct {
	next  http.Handler
	calls map[string]int
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.calls[r.URL.Path]++
	switch f.calls[r.URL.Path] {
	case 1:
		f.next.ServeHTTP(&cutWriter{ResponseWriter: w, left: 70_000}, r)
	case 2:
		http.Error(w, "later", http.StatusServiceUnavailable)
	default:
		f.next.ServeHTTP(w, r)
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(b []byte) (int, error) {
	n := min(len(b), c.left)
	c.left -= n
	written, err := c.ResponseWriter.Write(b[:n])
	if n < len(b) {
		panic(http.ErrAbortHandler)
	}
	return written, err
}

func TestABrokenDownloadGoesOnWhereItBrokeOff(t *testing.T) {
	f := files{"list.m3u8": playlistOf("0.ts")}.add("0.ts", 300_000)
	dir := f.write(t, t.TempDir())
	server := httptest.NewServer(&flaky{next: http.FileServer(http.Dir(dir)), calls: make(map[string]int)})
	defer server.Close()
	r := doPack(t, server.URL+"/list.m3u8")
	require.Equal(t, hashesOf(f["0.ts"]), record(t, r, "0.ts").Pieces)
	require.Nil(t, r.Parent, "a title at the root of its host has no folder that a web seed could name")
}

func TestAChangedFileIsNotSpliced(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".m3u8") {
			_, _ = w.Write(playlistOf("0.ts"))
			return
		}
		calls++
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, calls))
		http.ServeContent(&cutWriter{ResponseWriter: w, left: 100_000}, r, "0.ts", time.Time{}, bytes.NewReader(media(fmt.Sprint(calls), 300_000)))
	}))
	defer server.Close()
	_, err := Pack(t.Context(), Options{Source: server.URL + "/a/list.m3u8"})
	require.ErrorContains(t, err, "0.ts: the download broke off and cannot be resumed, or the file has changed")
}

func TestURLErrorsAreNamed(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/film/other.m3u8", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(playlistOf("http://elsewhere.example/film/0.ts"))
	})
	mux.HandleFunc("/film/above.m3u8", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(playlistOf("../0.ts")) })
	mux.HandleFunc("/film/norange.mp4", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(media("x", 1000)) })
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, want := range map[string]string{
		"/film/missing.m3u8": "missing.m3u8: the server answers 404",
		"/film/other.m3u8":   "lies outside of the title's folder",
		"/film/above.m3u8":   "lies outside of the title's folder",
		"/film/norange.mp4":  "does not answer byte ranges",
		"/film/":             "cannot be listed",
	} {
		_, err := Pack(t.Context(), Options{Source: server.URL + path})
		require.ErrorContains(t, err, want)
	}
}

func TestVerifyNamesEachBadFileAndPiece(t *testing.T) {
	f := ladder().add("video/720_000.m4s", 500_000)
	dir := f.write(t, t.TempDir())
	write := func(name string, b []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	_, _, err := Verify(t.Context(), Options{Source: dir})
	require.ErrorContains(t, err, "there is no title.shoal")
	write(manifest.FileName, encode(t, doPack(t, dir)))
	_, problems, err := Verify(t.Context(), Options{Source: dir})
	require.NoError(t, err)
	require.Empty(t, problems)

	bad := bytes.Clone(f["video/720_000.m4s"])
	bad[70_000] ^= 1
	bad[499_999] ^= 1
	write("video/720_000.m4s", bad)
	write("video/360_001.m4s", f["video/360_001.m4s"][:70_000])
	require.NoError(t, os.Remove(filepath.Join(dir, "audio/en_002.m4s")))
	var lines []string
	_, problems, err = Verify(t.Context(), Options{Source: dir})
	require.NoError(t, err)
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	require.ElementsMatch(t, []string{
		"video/720_000.m4s: piece 1 (from byte 65536): its bytes are not the recorded ones",
		"video/720_000.m4s: piece 7 (from byte 458752): its bytes are not the recorded ones",
		"video/360_001.m4s: it has 70000 bytes, recorded are 190000",
		"audio/en_002.m4s: the file is missing",
	}, lines)

	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	_, remote, err := Verify(t.Context(), Options{Source: server.URL + "/master.m3u8"})
	require.NoError(t, err)
	require.Equal(t, problems, remote, "a URL is checked alike")

	write(manifest.FileName, []byte("shoal\x1a\x00\x01 and then nothing"))
	_, _, err = Verify(t.Context(), Options{Source: dir})
	var format *manifest.FormatError
	require.ErrorAs(t, err, &format)
}

func TestTheExportIsCompleteBitTorrentV2(t *testing.T) {
	f := ladder().add("video/720_000.m4s", 500_000)
	f["notes.txt"] = []byte("not part of the title")
	r := doPack(t, f.write(t, filepath.Join(t.TempDir(), "film")))
	var b bytes.Buffer
	infohash, err := r.WriteTorrent(&b, TorrentOptions{WebSeeds: []string{"https://a.example", "https://b.example/x/"}})
	require.NoError(t, err)

	mi, err := metainfo.Load(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	require.Equal(t, metainfo.UrlList{"https://a.example/", "https://b.example/x/"}, mi.UrlList)
	info, err := mi.UnmarshalInfo()
	require.NoError(t, err)
	require.Equal(t, "film", info.Name)
	require.True(t, info.HasV2())
	require.NoError(t, metainfo.ValidatePieceLayers(mi.PieceLayers, &info.FileTree, info.PieceLength))
	magnet, err := mi.MagnetV2()
	require.NoError(t, err)
	require.Equal(t, infohash, [32]byte(magnet.V2InfoHash.Unwrap()))

	delete(f, "notes.txt")
	got := make(map[string]int64)
	for _, file := range info.UpvertedFiles() {
		got[strings.Join(file.Path, "/")] = file.Length
	}
	for path, want := range f {
		require.Equal(t, int64(len(want)), got[path], path)
	}
	require.Len(t, got, len(f), "recorded files and the playlists that name them, nothing else")

	var again bytes.Buffer
	_, err = r.WriteTorrent(&again, TorrentOptions{WebSeeds: []string{"https://a.example/", "https://b.example/x"}})
	require.NoError(t, err)
	require.Equal(t, b.Bytes(), again.Bytes())
}

func TestAKeyIsMadeOnceAndKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "below", "key")
	first, created, err := LoadOrCreateKey(file)
	require.NoError(t, err)
	require.True(t, created)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	second, created, err := LoadOrCreateKey(file)
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, first, second)

	require.NoError(t, os.WriteFile(file, []byte("hello"), 0o600))
	_, _, err = LoadOrCreateKey(file)
	require.ErrorContains(t, err, "not a PKCS #8 private key")
}

func TestPackingStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Pack(ctx, Options{Source: ladder().write(t, t.TempDir())})
	require.ErrorIs(t, err, context.Canceled)
}

func TestProgressEndsAtTheTotal(t *testing.T) {
	var p Progress
	f := ladder().add("video/720_000.m4s", 40<<20)
	r, err := Pack(t.Context(), Options{Source: f.write(t, t.TempDir()), Progress: &p, Workers: 3})
	require.NoError(t, err)
	require.Equal(t, r.Bytes, p.TotalBytes.Load())
	require.Equal(t, r.Bytes, p.DoneBytes.Load())
	require.Equal(t, int64(13), p.DoneFiles.Load())
	require.Equal(t, hashesOf(f["video/720_000.m4s"]), record(t, r, "video/720_000.m4s").Pieces)
}

func FuzzPlaylist(f *testing.F) {
	for _, list := range []files{ladder(), singleFile()} {
		for name, b := range list {
			if isPlaylistName(name) {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		master, list, err := parsePlaylist(b)
		if err != nil {
			return
		}
		if (master == nil) == (list == nil) {
			t.Fatal("neither or both")
		}
		if list == nil {
			return
		}
		for _, s := range list.segments {
			if s.duration < 0 || s.offset < 0 || s.length < 0 {
				t.Fatalf("%+v", s)
			}
		}
	})
}

// BenchmarkPackHash hashes 256 MiB in 16 files of a folder with one worker per core. The metric sha256-ratio is its speed
// divided by that of bare SHA-256 over 16 KiB blocks on all cores, measured in the same run just before and after; compare with
// openssl speed -multi CORES -bytes 16384 sha256.
func BenchmarkPackHash(b *testing.B) {
	f := files{}
	var names []string
	for i := range 16 {
		name := fmt.Sprintf("%d.ts", i)
		f.add(name, 16<<20)
		names = append(names, name)
	}
	src, err := openFolder(f.write(b, b.TempDir()))
	require.NoError(b, err)
	defer func() { _ = src.Close() }()
	o := (&Options{}).hashOptions(false)
	hashedFiles := make([]*hashed, len(names))
	const total = 16 * 16 << 20
	b.SetBytes(total)
	b.ReportAllocs()
	bare := bareSHA256(b, o.workers)
	start, rounds := time.Now(), 0
	for b.Loop() {
		for i, name := range names {
			hashedFiles[i] = &hashed{resource: resource{path: name}}
		}
		if err := src.hash(b.Context(), hashedFiles, o); err != nil {
			b.Fatal(err)
		}
		rounds++
	}
	speed := float64(rounds*total) / time.Since(start).Seconds()
	bare = (bare + bareSHA256(b, o.workers)) / 2
	b.ReportMetric(speed/bare, "sha256-ratio")
}

// bareSHA256 is the speed in bytes per second of hashing 16 KiB blocks on some cores for half a second or so.
func bareSHA256(b *testing.B, workers int) float64 {
	b.Helper()
	jobs := make([]int, 512)
	start := time.Now()
	err := parallel(b.Context(), workers, jobs, func() func(context.Context, int) error {
		block := make([]byte, 16<<10)
		return func(context.Context, int) error {
			for range 64 {
				sha256.Sum256(block)
			}
			return nil
		}
	})
	require.NoError(b, err)
	return float64(len(jobs)*64*16<<10) / time.Since(start).Seconds()
}

func TestMappedAndReadFilesHashAlike(t *testing.T) {
	f := files{}.add("a.ts", 1_000_000)
	dir := f.write(t, t.TempDir())
	file, err := os.Open(filepath.Join(dir, "a.ts"))
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	var got int
	done := func(n int) error { got += n; return nil }
	fresh := func() *hashed { return &hashed{size: 1_000_000, pieces: make([]manifest.Hash, 16)} }
	read, mapped := fresh(), fresh()
	require.NoError(t, hashRead(file, read, 0, 1_000_000, make([]byte, readBytes), done))
	require.Equal(t, hashesOf(f["a.ts"]), read.pieces)
	if err := hashMapped(file, mapped, 0, 1_000_000, done); !errors.Is(err, errNotMapped) {
		require.NoError(t, err)
		require.Equal(t, read.pieces, mapped.pieces)
		require.Equal(t, 2_000_000, got)
	}
}

func TestAFileThatShrinksIsAnErrorNotACrash(t *testing.T) {
	dir := files{}.add("a.ts", 300_000).write(t, t.TempDir())
	file, err := os.OpenFile(filepath.Join(dir, "a.ts"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	shrink := func(int) error { return file.Truncate(1000) }
	h := &hashed{size: 900_000, pieces: make([]manifest.Hash, 14)}
	require.ErrorIs(t, hashRead(file, h, 0, 900_000, make([]byte, readBytes), shrink), errChanged)
	require.NoError(t, file.Truncate(900_000))
	if err := hashMapped(file, h, 0, 900_000, shrink); !errors.Is(err, errNotMapped) {
		require.ErrorIs(t, err, errChanged)
	}
}
