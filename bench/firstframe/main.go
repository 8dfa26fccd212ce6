// Command firstframe measures in a browser how much later the first frame comes
// through a cold peer than straight from the CDN.
//
//	go run ./bench/firstframe [--runs 5] [--latency 20ms] [--rate 50] [--json]
//
// A page plays the sample title with hls.js, in turn straight from the CDN and
// through a new node that knows nothing, as docs/players.md tells sites to do
// it: shoal.js asks for the node first, and that counts. Each time the browser
// has an empty cache. The time is from the page's decision to play until
// requestVideoFrameCallback tells of a picture. One pair before the counted ones
// warms up the browser, which loads its decoder with the first film. The exit
// status is 1 when the medians are more than --target apart.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"time"

	"shoal/engine"
	"shoal/engine/proxy"
	"shoal/engine/proxy/page"
	"shoal/internal/chrome"
)

// config is what may be chosen.
type config struct {
	runs    int
	latency time.Duration
	mbits   float64
	target  time.Duration
}

// result is what --json prints. Milliseconds.
type result struct {
	Runs             int       `json:"runs"`
	OriginLatencyMS  float64   `json:"origin_latency_ms"`
	OriginMbitPerSec float64   `json:"origin_mbit_per_s"`
	CDN              []float64 `json:"cdn_ms"`
	Peer             []float64 `json:"peer_ms"`
	CDNMedian        float64   `json:"cdn_median_ms"`
	PeerMedian       float64   `json:"peer_median_ms"`
	Difference       float64   `json:"difference_ms"`
	Target           float64   `json:"target_ms"`
	Met              bool      `json:"met"`
}

// firstFrameMax bounds one measurement.
const firstFrameMax = 20 * time.Second

func main() {
	var c config
	flag.IntVar(&c.runs, "runs", 5, "runs each way; medians are compared")
	flag.DurationVar(&c.latency, "latency", 20*time.Millisecond, "time until the origin begins to answer")
	flag.Float64Var(&c.mbits, "rate", 50, "what the origin sends at most, Mbit/s")
	flag.DurationVar(&c.target, "target", 100*time.Millisecond, "how much later the first frame may come through a peer")
	asJSON := flag.Bool("json", false, "print one JSON object")
	flag.Parse()
	log.SetFlags(0)
	if c.runs < 1 || c.mbits <= 0 {
		log.Fatal("firstframe: --runs and --rate must be above 0")
	}
	r, err := run(context.Background(), c)
	if err == nil {
		err = r.print(os.Stdout, *asJSON)
	}
	if err != nil {
		log.Fatal("firstframe: ", err)
	}
	if !r.Met {
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) (result, error) {
	r := result{
		Runs: c.runs, OriginLatencyMS: millis(c.latency), OriginMbitPerSec: c.mbits, Target: millis(c.target),
	}
	origin, err := startOrigin(c)
	if err != nil {
		return r, err
	}
	defer origin.Close()
	site := httptest.NewServer(http.HandlerFunc(serveSite))
	defer site.Close()
	browser, err := chrome.Start(ctx)
	if err != nil {
		return r, err
	}
	defer browser.Close()

	for i := range c.runs + 1 {
		cdn, err := firstFrame(browser, site.URL, origin.URL, "")
		if err != nil {
			return r, fmt.Errorf("from the CDN: %w", err)
		}
		peer, err := throughColdPeer(browser, site.URL, origin.URL)
		if err != nil {
			return r, fmt.Errorf("through a peer: %w", err)
		}
		if i > 0 {
			r.CDN, r.Peer = append(r.CDN, cdn), append(r.Peer, peer)
		}
	}
	r.CDNMedian, r.PeerMedian = median(r.CDN), median(r.Peer)
	r.Difference = tenths(r.PeerMedian - r.CDNMedian)
	r.Met = r.Difference <= r.Target
	return r, nil
}

func throughColdPeer(browser *chrome.Browser, site, origin string) (ms float64, err error) {
	e, err := engine.New(engine.Config{Origin: origin, UDP: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	base, err := url.Parse(origin)
	if err != nil {
		return 0, err
	}
	handler := proxy.New(proxy.Config{Engine: e, Base: base, Origins: []string{site}})
	defer func() { err = errors.Join(err, handler.Close()) }()
	node := httptest.NewServer(handler)
	defer func() {
		node.CloseClientConnections()
		node.Close()
	}()
	return firstFrame(browser, site, origin, node.URL)
}

// firstFrame opens the page in a new tab and returns how many milliseconds it
// took to show a picture.
func firstFrame(browser *chrome.Browser, site, origin, node string) (float64, error) {
	tab, err := browser.Tab()
	if err != nil {
		return 0, err
	}
	defer tab.Close()
	query := url.Values{"src": {origin + "/master.m3u8"}, "node": {node}}
	if err := tab.Open(site + "/?" + query.Encode()); err != nil {
		return 0, err
	}
	if err := tab.Wait("firstFrame > 0", firstFrameMax); err != nil {
		return 0, fmt.Errorf("%w, console: %q", err, tab.Errors())
	}
	via, err := chrome.Eval[string](tab, "via")
	if err != nil {
		return 0, err
	}
	if (via == "node") != (node != "") {
		return 0, fmt.Errorf("the page plays via %s", via)
	}
	ms, err := chrome.Eval[float64](tab, "firstFrame")
	return tenths(ms), err
}

// sitePage measures once its scripts are there, which are not what is compared.
const sitePage = `<!doctype html>
<meta charset="utf-8"><title>First frame</title><link rel="icon" href="data:,">
<video muted autoplay playsinline width="640" height="360"></video>
<script src="/_shoal/vendor/hls.min.js"></script>
<script>var firstFrame = 0, via = 'cdn'</script>
<script type="module">
import shoal from '/_shoal/shoal.js'

const video = document.querySelector('video')
const query = new URLSearchParams(location.search)
const node = query.get('node')
const start = performance.now()
video.requestVideoFrameCallback(now => firstFrame = now - start)
let src = query.get('src')
const config = {}
if (node) {
  const s = await shoal(src, {node})
  config.xhrSetup = (xhr, url) => xhr.open('GET', s.route(url))
  via = s.via
  src = s.src
}
const hls = new Hls(config)
hls.loadSource(src)
hls.attachMedia(video)
</script>
`

func serveSite(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, sitePage) // the browser may be gone
		return
	}
	if !page.Serve(w, r) {
		http.NotFound(w, r)
	}
}

func (r result) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	_, err := fmt.Fprintf(w, "first frame: CDN %.0f ms, cold peer %.0f ms, difference %+.0f ms, target at most %+.0f ms "+
		"(medians of %d; origin %g ms away, %g Mbit/s)\nCDN  %.0f\npeer %.0f\n",
		r.CDNMedian, r.PeerMedian, r.Difference, r.Target, r.Runs, r.OriginLatencyMS, r.OriginMbitPerSec, r.CDN, r.Peer)
	return err
}

func median(ms []float64) float64 {
	sorted := slices.Sorted(slices.Values(ms))
	return sorted[len(sorted)/2]
}

// tenths rounds to what the browser's clock resolves.
func tenths(ms float64) float64 { return math.Round(ms*10) / 10 }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
