//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBlindRehearsal plays a title that the repository has never seen as its
// users would: packed by hand, served by nginx, with a tracker and three peers.
func TestBlindRehearsal(t *testing.T) {
	lib := titles(t)
	premiere := lib.premiere
	require.Contains(t, string(premiere.read(t, "index.m3u8")), "#EXT-X-BYTERANGE", "HLS in one file")
	origin := startNginx(t, lib.www, 4)
	_, tracker := startTracker(t)
	var peers []*peer
	for i := range 3 {
		peers = append(peers, startPeer(t, fmt.Sprintf("peer-%d", i+1), origin.url(i), tracker, t.TempDir()))
	}
	peers[0].watchAll(premiere)
	peers[1].watchAll(premiere)

	third := peers[2]
	third.watchAll(premiere)
	rangesAndHeads(t, premiere, origin.url(2), third)
	requireCheap(t, premiere, origin, 2, third, 0.15)

	// What the third peer has by then it only repeats. One that has nothing yet
	// is asked for ranges alone: each is a seek, after which a picture is wanted
	// at once, so that it may cost more.
	fourth := startPeer(t, "peer-4", origin.url(3), tracker, t.TempDir())
	rangesAndHeads(t, premiere, origin.url(3), fourth)
	requireCheap(t, premiere, origin, 3, fourth, 0.35)
}

// rangesAndHeads compares ranges of all files, and HEAD, with the origin's.
func rangesAndHeads(t *testing.T, title *title, origin string, p *peer) {
	for _, name := range title.files {
		path := "/" + title.name + "/" + name
		whole := title.read(t, name)
		for _, r := range ranges(len(whole)) {
			t.Run(p.name+" "+name+" "+r.header, func(t *testing.T) {
				got := curl(t, p.url+path, "--range", r.header)
				require.Equal(t, http.StatusPartialContent, got.status)
				require.Equal(t, fmt.Sprintf("bytes %d-%d/%d", r.from, r.to-1, len(whole)), got.header("Content-Range"))
				requireSame(t, whole[r.from:r.to], got.body, "range %s", r.header)
			})
		}
		t.Run(p.name+" "+name+" HEAD", func(t *testing.T) {
			direct, through := curl(t, origin+path, "--head"), curl(t, p.url+path, "--head")
			require.Equal(t, http.StatusOK, through.status)
			for _, header := range []string{"Content-Length", "Accept-Ranges", "Content-Type"} {
				require.Equal(t, direct.header(header), through.header(header), header)
			}
			require.Empty(t, through.body)
		})
		t.Run(p.name+" "+name+" beyond the end", func(t *testing.T) {
			got := curl(t, p.url+path, "--range", fmt.Sprintf("%d-", len(whole)))
			require.Equal(t, http.StatusRequestedRangeNotSatisfiable, got.status)
		})
	}
}

// requireCheap checks what a peer has cost the origin, by the origin's own log: at
// most a share of the title's bytes; and that the peer's books are right.
func requireCheap(t *testing.T, title *title, origin *nginx, port int, p *peer, share float64) {
	t.Helper()
	// The origin notes what it has sent when it is done with it.
	var all, media int64
	var s status
	p.eventually(func() bool {
		s = p.status()
		all, media = origin.sent(port)
		p2p, _ := p.find(`shoal_bytes_total{source="p2p"}`)
		return media >= s.Bytes.CDN && media <= s.Bytes.CDN+s.Bytes.Duplicate && p2p == float64(s.Bytes.P2P)
	}, "the origin's log, the status of %s and its metrics agree", p.name)
	t.Logf("the title has %d bytes; the origin has sent %d to %s (%.1f %%): %v",
		title.bytes, all, p.name, 100*float64(all)/float64(title.bytes), s.CDNReasons)
	require.LessOrEqual(t, float64(all), share*float64(title.bytes))
	require.GreaterOrEqual(t, s.Saving, 1-1.2*share)
	require.Zero(t, s.Bytes.HashFailed)
	var reasons int64
	for _, n := range s.CDNReasons {
		reasons += n
	}
	require.Equal(t, s.Bytes.CDN, reasons, "every CDN byte has a reason")
}

// byteRange is a range in curl's notation and what it means.
type byteRange struct {
	header   string
	from, to int
}

// ranges are the usual ones of a file of so many bytes: a byte, the ends, and
// what crosses pieces.
func ranges(size int) (list []byteRange) {
	add := func(header string, from, to int) { list = append(list, byteRange{header, from, to}) }
	add("0-0", 0, 1)
	add(fmt.Sprintf("%d-%d", size/2, size/2), size/2, size/2+1)
	add(fmt.Sprintf("%d-", size-1), size-1, size)
	add("-100", max(size-100, 0), size)
	add(fmt.Sprintf("%d-%d", size/3, size-1), size/3, size)
	add(fmt.Sprintf("%d-%d", size/4, size+1000), size/4, size)
	if size > 8*pieceBytes {
		add(fmt.Sprintf("%d-%d", pieceBytes-1, pieceBytes), pieceBytes-1, pieceBytes+1)
		add(fmt.Sprintf("%d-%d", 3*pieceBytes-17, 7*pieceBytes+41), 3*pieceBytes-17, 7*pieceBytes+42)
		add(fmt.Sprintf("-%d", 2*pieceBytes+5), size-2*pieceBytes-5, size)
	}
	return list
}

// answer is what curl got.
type answer struct {
	status  int
	headers http.Header
	body    []byte
}

func (a answer) header(name string) string { return a.headers.Get(name) }

// curl makes one request.
func curl(t *testing.T, url string, args ...string) (a answer) {
	t.Helper()
	dir := t.TempDir()
	head, body := filepath.Join(dir, "head"), filepath.Join(dir, "body")
	args = append([]string{"--silent", "--show-error", "--path-as-is", "--max-time", "60", "--dump-header", head, "--output", body}, args...)
	must(t, patience*3, "curl", append(args, url)...)
	text, err := os.ReadFile(head)
	require.NoError(t, err)
	a.headers = http.Header{}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\r\n") {
		if i == 0 {
			_, err := fmt.Sscanf(line, "HTTP/1.1 %d", &a.status)
			require.NoError(t, err, "%q", line)
			continue
		}
		name, value, _ := strings.Cut(line, ": ")
		a.headers.Add(name, value)
	}
	a.body, err = os.ReadFile(body)
	if !os.IsNotExist(err) { // curl makes no file for an empty body
		require.NoError(t, err)
	}
	if len(args) > 0 && a.headers.Get("Content-Length") != "" && strings.Contains(strings.Join(args, " "), "--head") {
		a.body = nil // curl writes the headers there
	}
	return a
}
