// Command firstbyte measures how much later the first byte of a title's first
// segment comes through a cold peer than straight from the CDN.
//
//	go run ./bench/firstbyte [--runs 11] [--latency 20ms]
//
// Each run starts a new peer that knows nothing, asks it for the first segment
// as a player would, and asks the origin for the same; the origin answers every
// request after the given latency. The target is at most 50 ms more at the median.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"shoal/bench/sample"
	"shoal/engine"
	"shoal/engine/proxy"
)

const segment = "/360p/segment_000.m4s"

func main() {
	runs := flag.Int("runs", 11, "runs; medians are printed")
	latency := flag.Duration("latency", 20*time.Millisecond, "time until the origin begins to answer")
	flag.Parse()
	log.SetFlags(0)
	if err := run(*runs, *latency); err != nil {
		log.Fatal("firstbyte: ", err)
	}
}

func run(runs int, latency time.Duration) error {
	origin, err := newOrigin(latency)
	if err != nil {
		return err
	}
	defer origin.Close()
	var direct, through []time.Duration
	for range runs {
		d, err := firstByte(origin.URL + segment)
		if err != nil {
			return err
		}
		direct = append(direct, d)
		if d, err = throughColdPeer(origin.URL); err != nil {
			return err
		}
		through = append(through, d)
	}
	d, t := median(direct), median(through)
	fmt.Printf("first byte: origin %.1f ms, cold peer %.1f ms, difference %.1f ms (medians of %d, origin latency %v)\n",
		millis(d), millis(t), millis(t-d), runs, latency)
	return nil
}

// newOrigin serves the sample title with its manifest.
func newOrigin(latency time.Duration) (*httptest.Server, error) {
	title, err := sample.Handler(context.Background())
	if err != nil {
		return nil, err
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(latency)
		title.ServeHTTP(w, r)
	})), nil
}

func throughColdPeer(origin string) (time.Duration, error) {
	e, err := engine.New(engine.Config{Origin: origin, UDP: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	defer func() { _ = e.Close() }()
	node := httptest.NewServer(proxy.New(proxy.Config{Engine: e}))
	defer node.Close()
	return firstByte(node.URL + segment)
}

// firstByte uses a connection of its own, as a player's first request does.
func firstByte(url string) (time.Duration, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	start := time.Now()
	resp, err := client.Get(url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var b [1]byte
	if _, err := io.ReadFull(resp.Body, b[:]); err != nil || resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s, %w", url, resp.Status, err)
	}
	took := time.Since(start)
	_, err = io.Copy(io.Discard, resp.Body)
	return took, err
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
