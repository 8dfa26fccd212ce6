package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/metainfo"
	"github.com/stretchr/testify/require"

	"shoal/engine/manifest"
	"shoal/engine/manifest/pack"
)

// packFilm makes a folder with a playlist of two segments.
func packFilm(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "film")
	require.NoError(t, os.Mkdir(dir, 0o755))
	for name, b := range map[string][]byte{
		"list.m3u8": []byte("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n0.ts\n#EXTINF:4,\n1.ts\n#EXT-X-ENDLIST\n"),
		"0.ts":      bytes.Repeat([]byte("shoal"), 40_000),
		"1.ts":      []byte("fish"),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	return dir
}

// runPack runs shoal pack and returns what it printed.
func runPack(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := packCommand()
	var out, errOut bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(args)
	cmd.SilenceErrors = true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errOut.String(), err
}

func TestPackWritesTheManifestIntoTheFolderAndVerifiesIt(t *testing.T) {
	dir, key := packFilm(t), filepath.Join(t.TempDir(), "key")
	stdout, stderr, err := runPack(t, dir, "--key", key)
	require.NoError(t, err)
	require.Contains(t, stdout, "1 tracks, 2 files, 5 pieces, 195.3 KiB\n")
	require.Equal(t, 1, strings.Count(stderr, "\n"), "no progress in a pipe, but a word about the new key")
	require.Contains(t, stderr, "made a publisher's key")

	file := filepath.Join(dir, manifest.FileName)
	first, err := os.ReadFile(file)
	require.NoError(t, err)
	_, stderr, err = runPack(t, dir, "--key", key)
	require.NoError(t, err)
	require.Empty(t, stderr)
	second, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, first, second)

	stdout, _, err = runPack(t, dir, "--verify", "--key", key)
	require.NoError(t, err)
	require.Contains(t, stdout, "every file is as recorded")
	other := filepath.Join(t.TempDir(), "other")
	_, _, err = runPack(t, dir, "--verify", "--key", other)
	require.ErrorContains(t, err, "no such file")
	require.NoFileExists(t, other)
	_, _, err = pack.LoadOrCreateKey(other)
	require.NoError(t, err)
	_, _, err = runPack(t, dir, "--verify", "--key", other)
	require.ErrorContains(t, err, "title.shoal: publisher: it is not the one of --key")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "1.ts"), []byte("fist"), 0o644))
	stdout, _, err = runPack(t, dir, "--verify")
	require.ErrorContains(t, err, "1 files do not match")
	require.Equal(t, "1.ts: piece 0 (from byte 0): its bytes are not the recorded ones\n", stdout)
}

func TestPackNamesWhatIsWrongWithAManifestInOneLine(t *testing.T) {
	dir := packFilm(t)
	_, _, err := runPack(t, dir, "--key", filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err)
	file := filepath.Join(dir, manifest.FileName)
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	forged := bytes.Clone(good)
	forged[100] ^= 1
	for want, bad := range map[string][]byte{
		"title.shoal: header: signature: ":   forged,
		"title.shoal: header: the file ends": good[:20],
		"title.shoal: magic: ":               []byte(strings.Repeat("no manifest", 20)),
	} {
		require.NoError(t, os.WriteFile(file, bad, 0o644))
		_, _, err := runPack(t, dir, "--verify")
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestPackExportsATorrent(t *testing.T) {
	dir, out := packFilm(t), t.TempDir()
	torrent := filepath.Join(out, "film.torrent")
	stdout, _, err := runPack(t, dir, "--key", filepath.Join(out, "key"), "--out", filepath.Join(out, "elsewhere.shoal"),
		"--torrent", torrent, "--web-seed", "https://cdn.example.com/vod", "--name", "Der Film")
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, manifest.FileName))
	require.FileExists(t, filepath.Join(out, "elsewhere.shoal"))
	require.Contains(t, stdout, "(Der Film)")
	mi, err := metainfo.LoadFromFile(torrent)
	require.NoError(t, err)
	require.Equal(t, metainfo.UrlList{"https://cdn.example.com/vod/"}, mi.UrlList)
	info, err := mi.UnmarshalInfo()
	require.NoError(t, err)
	require.Equal(t, "film", info.Name, "a web seed needs the folder's name, not the title's")
	magnet, err := mi.MagnetV2()
	require.NoError(t, err)
	infohash := magnet.V2InfoHash.Unwrap()
	require.Contains(t, stdout, infohash.HexString())
}

func TestPackFailsBeforeItWorksWhenFlagsMakeNoSense(t *testing.T) {
	dir := packFilm(t)
	for want, args := range map[string][]string{
		"--torrent, which is missing":  {dir, "--web-seed", "https://a.example/"},
		"not an HTTP URL":              {dir, "--torrent", "x", "--web-seed", "cdn/"},
		"--verify writes nothing":      {dir, "--verify", "--out", "x"},
		"no such file or directory":    {filepath.Join(dir, "nothing"), "--key", filepath.Join(t.TempDir(), "key")},
		"accepts 1 arg(s), received 0": {},
		"publisher's key: ":            {dir, "--key", dir + "/0.ts"},
	} {
		_, _, err := runPack(t, args...)
		require.ErrorContains(t, err, want)
	}
	require.NoFileExists(t, filepath.Join(dir, manifest.FileName))
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	dir, key := packFilm(t), filepath.Join(t.TempDir(), "key")
	_, _, err := runPack(t, dir, "--key", key, "--out", filepath.Join(dir, "missing", "title.shoal"))
	require.ErrorContains(t, err, "missing")
	_, _, err = runPack(t, dir, "--key", key, "--out", dir) // a folder cannot be replaced by a file
	require.Error(t, err)
	entries, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")
}

func TestProgressLineShowsHowFarItIs(t *testing.T) {
	var p pack.Progress
	p.DoneBytes.Store(3 << 20)
	p.DoneFiles.Store(1)
	p.TotalFiles.Store(4)
	require.Equal(t, "1/4 files, 3.0 MiB, 1.5 MiB/s", progressLine(&p, 2*time.Second), "a URL's size is not known")
	p.TotalBytes.Store(4 << 20)
	require.Equal(t, "[======================        ]  75 %  1/4 files, 3.0 MiB, 1.5 MiB/s", progressLine(&p, 2*time.Second))
}
