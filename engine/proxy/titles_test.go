package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/engine"
	"shoal/engine/manifest"
)

const (
	masterPlaylist = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n360p/index.m3u8\n"
	vodPlaylist    = "#EXTM3U\n#EXTINF:6,\ns0.m4s\n#EXT-X-ENDLIST\n"
	livePlaylist   = "#EXTM3U\n#EXTINF:6,\ns0.m4s\n"
)

func paths(l *titleList) (out []string) {
	for _, t := range l.list(nil) {
		out = append(out, t.Path)
	}
	return out
}

func TestAMasterPlaylistIsATitleAndItsRenditionsAreNot(t *testing.T) {
	l := newTitleList(nil)
	l.playlist("film/master.m3u8", []byte(masterPlaylist))
	l.playlist("film/360p/index.m3u8", []byte(vodPlaylist))
	l.playlist("film/audio.m3u8", []byte(vodPlaylist))
	l.playlist("other/index.m3u8", []byte(vodPlaylist))
	l.playlist("film/extra/master.m3u8", []byte(masterPlaylist))
	l.playlist("film/login.m3u8", []byte("<html>"))
	require.Equal(t, []string{"film/extra/master.m3u8", "other/index.m3u8", "film/master.m3u8"}, paths(l), "the latest first")
	l.playlist("film/master.m3u8", []byte(masterPlaylist))
	require.Equal(t, "film/master.m3u8", paths(l)[0], "played again")
}

func TestAnMP4IsATitleUnlessAPlaylistUsesIt(t *testing.T) {
	l := newTitleList(nil)
	l.movie("film/movie.mp4", "")
	l.movie("film/bonus.mp4", "")
	require.Equal(t, []string{"film/bonus.mp4", "film/movie.mp4"}, paths(l), "two files of one folder are two titles")
	l.playlist("film/master.m3u8", []byte(masterPlaylist))
	require.Equal(t, []string{"film/master.m3u8"}, paths(l), "the playlist's file was no title of its own")
	l.movie("film/360p/init.mp4", "empty")
	require.Len(t, paths(l), 1)
	l.movie("film/trailer.mp4", "video")
	require.Equal(t, []string{"film/trailer.mp4", "film/master.m3u8"}, paths(l), "a media element asked for it")
}

func TestALivePlaylistMakesItsTitleLive(t *testing.T) {
	l := newTitleList([]string{"tv/master.m3u8"})
	live := func() bool { return l.list(nil)[0].Live }
	l.playlist("tv/master.m3u8", []byte(masterPlaylist))
	require.False(t, live(), "a master playlist does not tell")
	l.playlist("tv/360p/index.m3u8", []byte(livePlaylist))
	require.True(t, live())
	l.playlist("tv/360p/index.m3u8", []byte(vodPlaylist))
	require.False(t, live(), "the broadcast has ended")
}

func TestRememberedTitlesAreBounded(t *testing.T) {
	l := newTitleList([]string{"/a/master.m3u8", "a/master.m3u8", "", strings.Repeat("x", titlePathBytesMax+1)})
	require.Equal(t, []string{"a/master.m3u8"}, paths(l))
	for i := range 2 * titlesMax {
		l.playlist(fmt.Sprintf("film%d/master.m3u8", i), []byte(masterPlaylist))
	}
	l.playlist(strings.Repeat("y", titlePathBytesMax+1), []byte(masterPlaylist))
	got := l.list(nil)
	require.Len(t, got, titlesMax)
	require.Equal(t, "a/master.m3u8", got[0].Path, "configured ones stay")
	require.Equal(t, titleConfigured, got[0].Source)
	require.Equal(t, fmt.Sprintf("film%d/master.m3u8", 2*titlesMax-1), got[1].Path)

	var many []string
	for i := range titlesMax + 5 {
		many = append(many, fmt.Sprint(i))
	}
	full := newTitleList(many)
	full.playlist("film/master.m3u8", []byte(masterPlaylist))
	require.Equal(t, many[:titlesMax], paths(full))
}

func TestOpenTitlesGiveNameAndID(t *testing.T) {
	l := newTitleList([]string{"vod/film/master.m3u8", "vod/film/extra/Trailer.mp4", "tv/index.m3u8", "master.m3u8"})
	got := l.list([]engine.TitleStatus{
		{ID: "aa", Path: "vod/film/", Name: "The Film"},
		{ID: "bb", Path: "vod/film/extra/"},
	})
	require.Equal(t, []listedTitle{
		{Path: "vod/film/master.m3u8", Name: "The Film", ID: "aa", Source: titleConfigured},
		{Path: "vod/film/extra/Trailer.mp4", Name: "Trailer", ID: "bb", Source: titleConfigured},
		{Path: "tv/index.m3u8", Name: "tv", Source: titleConfigured},
		{Path: "master.m3u8", Name: "master", Source: titleConfigured},
	}, got)
}

func TestWhatIsPlayedIsListed(t *testing.T) {
	n := newFakeNode(t)
	n.origin = func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/film/master.m3u8":
			_, _ = w.Write([]byte(masterPlaylist))
		case "/film/360p/index.m3u8":
			_, _ = w.Write([]byte(vodPlaylist))
		case "/clips/clip.mp4":
			_, _ = w.Write([]byte("mp4"))
		default:
			http.NotFound(w, r)
		}
	}
	progressive := n.add("film/movie.mp4", content(100), 0, time.Minute)
	progressive.rec.Segments = []manifest.Segment{{Length: 100, Duration: time.Minute}}
	n.add("film/360p/init.mp4", content(10), 0, 0)
	p := newTestProxy(t, n)
	p.titles = newTitleList([]string{"film/none.m3u8"})
	for _, target := range []string{
		"/film/360p/init.mp4", "/film/movie.mp4", "/film/master.m3u8", "/film/360p/index.m3u8", "/clips/clip.mp4",
		"/clips/gone.mp4", "/film/none.m3u8",
	} {
		request(t, p, "GET", target)
	}
	var got struct{ Titles []listedTitle }
	w := request(t, p, "GET", "/api/titles")
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	var listed []string
	for _, title := range got.Titles {
		listed = append(listed, title.Path+" "+title.Source)
	}
	require.Equal(t, []string{"film/none.m3u8 configured", "clips/clip.mp4 played", "film/master.m3u8 played"}, listed)
}
